"""Parameters that may be any SQL, and texts that can only be read with the parameters in them."""

from __future__ import annotations

from typing import Any

from greenshard._driver import RawConnection, RawCursor, python_encoding
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


def needs_values(plan: Plan, given: Any) -> bool:
    """Whether the statement may be readable with its parameters in it, as ``date %s`` is."""
    return given is not None and isinstance(plan.step, Refused) and plan.step.unreadable
