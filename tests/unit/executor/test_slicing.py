from __future__ import annotations

from decimal import Decimal

import pytest

from greenshard.executor.strategies.slicing import read_slice
from greenshard.planner.plan import Constant, Parameter, Slice


@pytest.mark.parametrize(
    ("said", "count"),
    [
        (None, None), (0, 0), (7, 7), ("7", 7), (" 7 ", 7), ("0x1F", 31), (2.5, 3), (2.4, 2),
        (Decimal("0.5"), 1), (Decimal("1e2"), 100),
    ],
)  # fmt: skip
def test_limit_is_read_as_postgres_reads_it(said, count):
    assert read_slice(Slice(Constant(said), Constant(5)), None) == (count, 5)
    assert read_slice(Slice(Parameter(1)), (None, said)) == (count, None)
    assert read_slice(Slice(None, Parameter("n")), {"n": said}) == (None, count)


def test_no_limit():
    assert read_slice(Slice(), ()) == (None, None)
