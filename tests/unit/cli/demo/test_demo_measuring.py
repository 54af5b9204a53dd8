from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest

from greenshard.cli.demo.cases import Case
from greenshard.cli.demo.measuring import (
    LEAST_RUNS,
    MOST_RUNS,
    AnswersDiffer,
    Reply,
    ShardPart,
    compare,
    measure,
)

CASE = Case("A question", "concatenate", "", "SELECT n")
INTEGER, NUMERIC = 23, 1700


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Cursor:
    """Answers with the rows of its connection; each run takes the next number of seconds."""

    description = (SimpleNamespace(name="n", type_code=INTEGER),)

    def __init__(self, conn: Connection) -> None:
        self.conn = conn

    def __enter__(self) -> Cursor:
        return self

    def __exit__(self, *exc: object) -> None:
        pass

    def execute(self, sql: str) -> None:
        took = next(self.conn.durations)
        self.conn.clock.now += took
        self.timings = {"s0": SimpleNamespace(rows=2, total_s=took)}

    def fetchall(self) -> list[tuple[object, ...]]:
        return self.conn.rows


class Connection:
    shards = ("s0", "s1")

    def __init__(self, clock: Clock, durations: list[float], *rows: tuple[object, ...]) -> None:
        self.clock, self.durations, self.rows = clock, _for_ever(durations), list(rows)

    def cursor(self) -> Cursor:
        return Cursor(self)

    def explain(self, sql: str) -> str:
        return "strategy: merge\nshards: s0, s1\n"


def _for_ever(durations: list[float]) -> Iterator[float]:
    yield from durations
    while True:
        yield durations[-1]


def measured(shards: list[float], single: list[float]) -> Any:
    clock = Clock()
    connections: list[Any] = [Connection(clock, each, (1,), (2,)) for each in (shards, single)]
    return measure(*connections, CASE, clock=clock)


def test_measure_takes_medians_and_leaves_the_first_run_out() -> None:
    found = measured([100.0, 3.0, 1.0, 2.0, 5.0, 4.0], [100.0, 8.0])
    assert (found.shards_s, found.single_s) == (3.0, 8.0)
    assert len(found.ratios) == LEAST_RUNS


def test_measure_keeps_the_ratio_of_every_pair_in_order() -> None:
    assert measured([100.0, 8.0, 1.0, 2.0, 4.0, 8.0], [4.0]).ratios == (0.5, 0.5, 1, 2, 4)


def test_measure_repeats_short_statements_more_often() -> None:
    assert len(measured([0.001], [0.001]).ratios) == MOST_RUNS


def test_measure_shows_the_shards_of_the_median_run() -> None:
    found = measured([100.0, 3.0, 1.0, 2.0, 5.0, 4.0], [1.0])
    assert found.parts == (ShardPart("s0", 2, 3.0), ShardPart("s1", 0, None))
    assert (found.strategy, found.columns, found.rows) == ("merge", ("n",), [(1,), (2,)])


def test_measure_refuses_answers_that_differ() -> None:
    clock = Clock()
    conn: Any = Connection(clock, [1.0], (1,), (2,))
    single: Any = Connection(clock, [1.0], (1,), (3,))
    with pytest.raises(AnswersDiffer, match="2 rows over the shards and 2 on one server"):
        measure(conn, single, CASE, clock=clock)


def reply(*rows: tuple[object, ...], name: str = "n", oid: int = NUMERIC) -> Reply:
    return Reply(((name, oid),), rows, ())


def test_rows_in_another_order_are_equal_unless_an_order_is_asked_for() -> None:
    compare(reply((1,), (2,)), reply((2,), (1,)), ordered=False)
    with pytest.raises(AnswersDiffer):
        compare(reply((1,), (2,)), reply((2,), (1,)), ordered=True)


@pytest.mark.parametrize(
    "other",
    [
        reply((Decimal("1.0"),)),
        reply((Decimal(1),), (None,)),
        reply((1,)),
        reply((Decimal(1),), name="m"),
        reply((Decimal(1),), oid=INTEGER),
    ],
)
@pytest.mark.parametrize("ordered", [True, False])
def test_another_scale_type_name_or_number_of_rows_is_a_difference(
    other: Reply, ordered: bool
) -> None:
    with pytest.raises(AnswersDiffer):
        compare(reply((Decimal(1),)), other, ordered=ordered)


def test_a_row_more_than_once_counts_as_often() -> None:
    with pytest.raises(AnswersDiffer):
        compare(reply((1,), (1,), (2,)), reply((1,), (2,), (2,)), ordered=False)
