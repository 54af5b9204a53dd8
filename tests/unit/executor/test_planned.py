from __future__ import annotations

from decimal import Decimal

import pytest

from greenshard.executor.planned import limit
from greenshard.planner.plan import Constant, Parameter


@pytest.mark.parametrize(
    ("said", "count"),
    [
        (None, None), (0, 0), (7, 7), ("7", 7), (" 7 ", 7), ("0x1F", 31), (2.5, 3), (2.4, 2),
        (Decimal("0.5"), 1), (Decimal("1e2"), 100),
    ],
)  # fmt: skip
def test_limit_is_read_as_postgres_reads_it(said, count):
    assert limit(Constant(said), None) == count
    assert limit(Parameter(1), (None, said)) == count
    assert limit(Parameter("n"), {"n": said}) == count


def test_no_limit():
    assert limit(None, ()) is None
