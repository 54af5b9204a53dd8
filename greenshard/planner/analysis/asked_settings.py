"""Goal: say which settings a statement asks for by name.

    SELECT count(DISTINCT x) FROM t WHERE tenant = current_setting('app.tenant')::int

No server lists the settings that applications make up. Where such a statement is run in another
session, this is how to know what to take there.
"""

from __future__ import annotations

from collections.abc import Iterable

from greenshard.planner.calls import calls, name_of
from greenshard.planner.plan import Constant, Parameter, Value
from greenshard.sql.functions import ASKING
from greenshard.sql.parser import Message
from greenshard.sql.placeholders import Translation
from greenshard.sql.tree import unwrap


def settings_asked(roots: Iterable[Message], translation: Translation) -> tuple[Value, ...] | None:
    """The names that ``current_setting()`` is given; None if one of them is computed.

    Args:
        roots: The statement's tree, and those of the views in it.
        translation: Where parameters come from.
    """
    found = []
    for root in roots:
        for call in calls(root):
            if name_of(call) == ASKING:
                value = _value(call.args[0], translation) if call.args else None
                # current_setting('app.' || name): only the server could say which one that is.
                if value is None:
                    return None
                found.append(value)
    return tuple(found)


def _value(node: Message, translation: Translation) -> Value | None:
    kind, inner = unwrap(node)
    if kind == "a_const" and inner.HasField("sval"):
        return Constant(inner.sval.sval)
    parameters = translation.parameters
    # $0 is what stands for something that is no parameter; its value is not known here.
    if kind == "param_ref" and 0 < inner.number <= len(parameters):
        return Parameter(parameters[inner.number - 1])
    return None
