"""Goal: one time for all servers that a statement runs on.

    SELECT count(*) FROM orders WHERE o_orderdate > CURRENT_DATE
    SELECT count(*) FROM orders WHERE o_orderdate > ($1::timestamptz)::pg_catalog.date

The time at which the transaction began is another one on each server. So it is asked for once,
and put in the place of what tells it: `now()`, CURRENT_DATE and its kin, `age()` of one argument,
and `'today'::date`; and of literals whose type their context tells, see `clock_words`.
Columns keep their names. What is called so and may not be PostgreSQL's has
been refused before: see `namesakes`.

Source: PostgreSQL manual, 9.9.5 "Current Date/Time", 8.5.1.4 "Special Values".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from greenshard.sql.column_names import UNNAMED, column_name, is_named_by_value
from greenshard.sql.functions import AGE, TIME_VALUES, Fact, facts_of
from greenshard.sql.nodes import expression, with_names
from greenshard.sql.parser import VALUE_FUNCTIONS, Message, type_name, walk
from greenshard.sql.tree import names_of, own_type, unwrap
from greenshard.sql.types import Trait, names_with

#: The number of the placeholder that stands for the time at which the statement began: PostgreSQL
#: has none that is so large.
STATEMENT_TIME = 70_000
_WITH_COLUMNS = frozenset({"SelectStmt", "InsertStmt", "UpdateStmt", "DeleteStmt"})
_STATEMENT_TIMES = (("statement_timestamp",), ("pg_catalog", "statement_timestamp"))
#: Special values of dates and times, of the time of the transaction.
_WORDS = {
    "now": "t",
    "today": "t::pg_catalog.date",
    "tomorrow": "t::pg_catalog.date OPERATOR(pg_catalog.+) 1",
    "yesterday": "t::pg_catalog.date OPERATOR(pg_catalog.-) 1",
}
#: Through which a literal is still read as what it says.
_TEXTS = frozenset({"text", "varchar", "bpchar", "name", "unknown"})
_OF_DAYS, _OF_TIMES = names_with(Trait.CALENDAR), names_with(Trait.TELLS_NOW)


def tells_time(root: Message) -> bool:
    """Whether the time at which the transaction began stands in a tree."""
    return any(_replacement(message) is not None for message in walk(root))


def is_telling(call: Any) -> bool:
    """Whether a call tells the time, if its function is PostgreSQL's own."""
    return _of_call(call) is not None


def is_replaced(node: Message) -> bool:
    """Whether a `Node` tells the time, so that `replace_now` puts something in its place."""
    return _replacement(node) is not None


def put_times(root: Message, types: Mapping[int, str], number: int) -> None:
    """Put placeholder `number` in the place of literals that stand for a time.

    Args:
        root: A statement's tree; it is changed.
        types: By the literals' places, in bytes of the text, what they are to be.
        number: The placeholder's number.
    """
    now = expression(f"${number}::pg_catalog.timestamptz")
    for message in list(walk(root)):
        node: Any = message
        if type_name(message) != "Node" or not node.HasField("a_const"):
            continue
        target = types.get(node.a_const.location) if node.a_const.HasField("sval") else None
        made = None if target is None else _of_constant(node, target)
        if made is not None:
            node.CopyFrom(with_names(made[0], {"t": now}))


def replace_now(root: Message, number: int) -> bool:
    """Put placeholder `number` in the place of what tells the time.

    Args:
        root: A statement's tree; it is changed.
        number: The placeholder's number.

    Returns:
        Whether there is such a thing.
    """
    messages = list(walk(root))
    wanted = [message for message in messages if _replacement(message) is not None]
    if not wanted:
        return False
    _name_all_columns(messages, tells_time)
    now = expression(f"${number}::pg_catalog.timestamptz")
    for message in reversed(wanted):  # what stands within others first
        made = _replacement(message)
        if made is not None:
            message.CopyFrom(with_names(made[0], {"t": now, **made[1]}))
    return True


def statement_times(root: Message) -> Iterator[Any]:
    """The calls of ``statement_timestamp()``, each a `Node`; some may be of a namesake."""
    for message in walk(root):
        node: Any = message
        if type_name(message) == "Node" and node.HasField("func_call"):
            call = node.func_call
            names = names_of(call.funcname)
            if names in _STATEMENT_TIMES and not call.args:
                yield node


def replace_statement_times(root: Message) -> None:
    """Put a placeholder in the place of the time at which the statement began.

    Over several shards that is asked for once: else each would tell its own.

    Args:
        root: A statement's tree; it is changed.
    """
    _name_all_columns(walk(root), lambda named: any(True for _ in statement_times(named)))
    now = expression(f"${STATEMENT_TIME}::pg_catalog.timestamptz")
    for node in list(statement_times(root)):
        node.CopyFrom(now)


def _replacement(message: Any) -> tuple[str, dict[str, Message]] | None:
    """The expression to be put in the place of a `Node`, in which `t` is the time.

    Returns:
        The text, and what other names in it stand for; None if the node tells no time.
    """
    kind, inner = unwrap(message) if type_name(message) == "Node" else ("", None)
    rule = _RULES.get(kind)
    return rule(inner) if rule else None


def _of_value_function(inner: Any) -> tuple[str, dict[str, Message]] | None:
    name = VALUE_FUNCTIONS[inner.op]
    plain = name.removesuffix("_n")
    made = TIME_VALUES.get(plain)
    if made is None:
        return None
    if name == "current_timestamp":
        return "t", {}
    return f"t::pg_catalog.{made}{'' if name == plain else f'({inner.typmod})'}", {}


def _of_call(inner: Any) -> tuple[str, dict[str, Message]] | None:
    *schema, name = names_of(inner.funcname) or ("",)
    if schema not in ([], ["pg_catalog"]):
        return None
    if Fact.TELLS_TIME in facts_of(name) and not inner.args:
        return "t", {}
    if len(inner.args) != 1:
        return None
    if is_ambiguous(inner):
        return None
    if name == AGE:
        return "pg_catalog.age(t::pg_catalog.date, x)", {"x": inner.args[0]}
    return _of_constant(inner.args[0], name)


def is_ambiguous(call: Any) -> bool:
    """Whether a call is ``age('now')``: PostgreSQL has several such functions, and prefers none."""
    names = names_of(call.funcname) or ("",)
    if names[-1] != AGE or len(call.args) != 1:
        return False
    constant = call.args[0].a_const
    return bool(constant.HasField("sval") or constant.isnull)


def _of_cast(inner: Any) -> tuple[str, dict[str, Message]] | None:
    """What stands for ``'today'::date``, ``timestamptz(3) 'now'``, ``'now'::text::timestamp``."""
    *schema, target = names_of(inner.type_name.names) or ("",)
    if inner.type_name.array_bounds or schema not in ([], ["pg_catalog"]):
        return None
    node = inner.arg
    while node.HasField("type_cast") and own_type(node.type_cast.type_name) in _TEXTS:
        node = node.type_cast.arg
    digits = [each.a_const.ival.ival for each in inner.type_name.typmods]
    return _of_constant(node, target, f"({digits[0]})" if digits else "")


def _of_constant(node: Any, target: str, digits: str = "") -> tuple[str, dict[str, Message]] | None:
    """What stands for a literal of a type; ``date('today')`` is a cast, too."""
    if not node.HasField("a_const") or target not in _OF_TIMES:
        return None
    word = node.a_const.sval.sval.strip().lower()
    if word not in _WORDS or (word != "now" and target not in _OF_DAYS):
        return None
    return f"({_WORDS[word]})::pg_catalog.{target}{digits}", {}


_RULES = {"sqlvalue_function": _of_value_function, "func_call": _of_call, "type_cast": _of_cast}


def _name_all_columns(messages: Iterable[Message], tells: Callable[[Message], bool]) -> None:
    """Write down the names that columns have of the functions they are made of.

    Args:
        messages: Of a tree.
        tells: Whether something tells the time.
    """
    for message in messages:
        if type_name(message) in _WITH_COLUMNS:
            _name_columns(message, tells)


def _name_columns(statement: Any, tells: Callable[[Message], bool]) -> None:
    kind = type_name(statement)
    targets = statement.target_list if kind == "SelectStmt" else statement.returning_clause.exprs
    for target in targets:
        named = target.res_target
        if named.name or is_named_by_value(named) or not tells(named):
            continue
        name = column_name(named)
        if name != UNNAMED:
            named.name = name
