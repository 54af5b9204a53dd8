"""Parameters that may be any SQL, and texts that can only be read with the parameters in them."""

from __future__ import annotations

from typing import Any

from greenshard._driver import RawConnection, RawCursor, python_encoding
from greenshard.executor.deadline import Timeout
from greenshard.executor.one_database import OneDatabase
from greenshard.planner.parameters import is_literal, odd_parameters
from greenshard.planner.plan import Plan, Refused


def written(raw: RawConnection, text: str, given: Any) -> str:
    """The statement with its parameters in it, as psycopg2 would send it."""
    return RawCursor(raw).mogrify(text, given).decode(python_encoding(raw))


def with_odd_values(raw: RawConnection, text: str, given: Any) -> str | None:
    """The statement with its parameters in it, if one of them may be any SQL; None if not.

    ``AsIs("count(*)")`` is, say; a plan for the text with a placeholder would not count.

    Args:
        raw: Whose settings count for how parameters are written.
        given: The parameters, or None.
    """
    for value in odd_parameters(given):
        if not is_literal(written(raw, "%s", (value,))):
            return written(raw, text, given)
    return None


def plan_for(
    database: OneDatabase, raw: RawConnection, text: str, given: Any, timeout: Timeout
) -> tuple[str, Any, Plan]:
    """The plan of a statement with these parameters, and the text and parameters that it is for.

    The parameters are put into the text where the text alone does not say what it means: one of
    them may be any SQL, or the text cannot be read without them, as ``date %s``.

    Switches: when something must be asked for first.
    """
    if (whole := with_odd_values(raw, text, given)) is not None:
        text, given = whole, None
    plan = database.plan(text, given is not None, timeout)
    if given is not None and isinstance(plan.step, Refused) and plan.step.unreadable:
        text, given = written(raw, text, given), None
        plan = database.plan(text, False, timeout)
    return text, given, plan
