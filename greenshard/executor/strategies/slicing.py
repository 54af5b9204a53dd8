"""What LIMIT and OFFSET say, as PostgreSQL reads it."""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from greenshard.planner.plan import Constant, Slice, Value


def read_slice(taken: Slice, given: Any) -> tuple[int | None, int | None]:
    """LIMIT and OFFSET; None where there is none.

    Args:
        taken: What is taken of some rows. The servers have read it, so it is well written.
        given: The user's parameters.
    """
    return _number(taken.count, given), _number(taken.offset, given)


def _number(value: Value | None, given: Any) -> int | None:
    if value is None:
        return None
    said = value.value if isinstance(value, Constant) else given[value.source]
    # LIMIT NULL is no limit.
    if said is None or isinstance(said, int):
        return said
    text = str(said)
    try:
        # LIMIT 2.5 takes 3 rows: PostgreSQL casts it to bigint, and numerics round away from zero.
        return int(Decimal(text).to_integral_value(ROUND_HALF_UP))
    except ArithmeticError:
        return int(text, 0)  # an integer as PostgreSQL writes them: 0x1F
