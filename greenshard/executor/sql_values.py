"""Parameters that may be any SQL, and texts that can only be read with the parameters in them."""

from __future__ import annotations

from types import NoneType
from typing import Any

from greenshard._driver import (
    DriverError,
    ISQLQuote,
    RawConnection,
    RawCursor,
    adapters,
    own_adapters,
    python_encoding,
)
from greenshard.executor.answers.parts import Parts
from greenshard.executor.knowledge.one_database import OneDatabase
from greenshard.links.deadline import Deadline
from greenshard.links.quoting import check_written
from greenshard.planner.plan import Plan, Refused
from greenshard.sql.parameters import with_literals
from greenshard.sql.plain_rows import begins_insert
from greenshard.sql.statement import MAX_CACHED_CHARACTERS
from greenshard.sql.unknown_values import with_unknown_values

#: Of a text that PostgreSQL's parser could not read.
_UNREADABLE = "GS404"


def plan_for(
    database: OneDatabase, parts: Parts, text: str, given: Any, timeout: Deadline
) -> tuple[str, Any, Plan]:
    """The plan of a statement with these parameters, and the text and parameters that it is for.

    The parameters are put into the text where the text alone does not say what it means: one of
    them may be any SQL, as ``AsIs("count(*)")``, or the text cannot be read without them, as
    ``date %s``. And of an INSERT that is too long for its plan to be kept: rows of plain values are
    planned by a few of them (`plain_rows`), rows of placeholders only whole, in 0.3 ms for each.

    Switches: when something must be asked for first.
    """
    if given is None:
        return text, given, database.plan(text, False, timeout)
    literals = with_literals_in(parts, given, text)
    if literals is None or (len(text) > MAX_CACHED_CHARACTERS and begins_insert(text)):
        text, given = _written(parts.quoting(), text, given), None
    else:
        given = literals
    plan = database.plan(text, given is not None, timeout)
    if given is not None and isinstance(plan.step, Refused) and plan.step.unreadable:
        text, given = _written(parts.quoting(), text, given), None
        plan = database.plan(text, False, timeout)
    return text, given, plan


def plan_without_values(
    database: OneDatabase, text: str, timeout: Deadline
) -> tuple[str, Plan] | None:
    """The plan of a text whose placeholders have no values, as a log has it; None of another.

    Returns:
        The text with psycopg2's placeholders, and its plan.

    Switches: when something must be asked for first.
    """
    placed = with_unknown_values(text)
    plan = None if placed is None else database.plan(placed, True, timeout)
    if placed is None or plan is None:
        return None
    # `a %s` may be a remainder of the column s.
    unread = isinstance(plan.step, Refused) and plan.step.code == _UNREADABLE
    return None if unread and placed == text else (placed, plan)


def with_literals_in(parts: Parts, given: Any, text: str) -> Any:
    """Parameters as `with_literals` gives them."""

    def write(value: Any) -> tuple[bytes, str]:
        raw = parts.quoting()
        # psycopg2 writes it as it would in the statement, whatever adapter the program has
        # registered.
        quoted = RawCursor(raw).mogrify("%s", (value,))
        check_written(raw, quoted)
        return quoted, quoted.decode(python_encoding(raw))

    return with_literals(given, text, _is_usual, write)


def _is_usual(kind: type) -> bool:
    """Whether psycopg2 writes values of exactly this type with its own adapter, if at all.

    The program may have registered another one. None is always NULL.

    Cost: 0.1 us.
    """
    own = _OWN.get(kind)
    # By identity: a program may have registered an adapter for str that makes AsIs of it.
    return kind is NoneType if own is None else adapters.get(*own) is own[1]


def are_usual(given: Any) -> bool:
    """Whether psycopg2 writes all parameters with its own adapters, and as what they are.

    Of lists that is not looked for: False.

    Cost: 0.3 us.
    """
    kind = type(given)
    # A subclass may give out other values each time that it is asked.
    if kind is not tuple and kind is not list and kind is not dict:
        return False
    for each in map(type, given.values() if kind is dict else given):
        if each is list or each is tuple or not _is_usual(each):
            return False
    return True


_OWN = {kind: ((kind, ISQLQuote), adapter) for kind, adapter in own_adapters.items()}


def are_values(parts: Parts, given: Any, text: str) -> bool:
    """Whether parameters are values: what stands for them in the text is a literal."""
    if given is None:
        return True
    try:
        return with_literals_in(parts, given, text) is not None
    except (DriverError, AttributeError, LookupError, TypeError, ValueError):
        return False  # the statement fails, in the driver's words


def written_out(parts: Parts, text: str, given: Any) -> str:
    """A statement with its parameters in it, if there are any, as psycopg2 would send it.

    Raises:
        errors.NotSupportedError: Written for this session, it could mean something else in others.
    """
    return text if given is None else _written(parts.quoting(), text, given)


def _written(raw: RawConnection, text: str, given: Any) -> str:
    """The statement with its parameters in it, as psycopg2 would send it.

    Raises:
        errors.NotSupportedError: Written for this session, it could mean something else in others.
    """
    written = RawCursor(raw).mogrify(text, given)
    check_written(raw, written)
    return written.decode(python_encoding(raw))
