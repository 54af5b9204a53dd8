from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

from greenshard.cli.cases import CASES, MOST_RUNS, measure


class Cursor:
    """Answers with one row per shard; each run takes the next number of seconds."""

    description = (("n",),)

    def __init__(self, shards: tuple[str, ...], clock: Clock, durations: Iterator[float]) -> None:
        self.shards, self.clock, self.durations = shards, clock, durations

    def __enter__(self) -> Cursor:
        return self

    def __exit__(self, *exc: object) -> None:
        pass

    def execute(self, sql: str) -> None:
        took = next(self.durations)
        self.clock.now += took
        self.timings = {s: SimpleNamespace(rows=1, total_s=took) for s in self.shards}

    def fetchall(self) -> list[tuple[str]]:
        return [(shard,) for shard in self.shards]


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Connection:
    shards = ("s0", "s1")

    def __init__(self, clock: Clock, fanouts: list[float], alone: float) -> None:
        self.clock, self.fanouts, self.alone = clock, iter(fanouts), alone

    def cursor(self) -> Cursor:
        return Cursor(self.shards, self.clock, self.fanouts)

    def on(self, shard: str) -> Any:
        cursor = Cursor((shard,), self.clock, iter([self.alone]))
        return SimpleNamespace(cursor=lambda: cursor)


def test_measure_takes_medians_and_leaves_the_first_run_out() -> None:
    clock = Clock()
    conn: Any = Connection(clock, [100.0, 3.0, 1.0, 2.0, 4.0, 5.0, 6.0, 7.0], alone=4.0)
    measured = measure(conn, "SELECT n", clock=clock)
    assert measured.fanout_s == 4.0
    assert measured.sequential_s == 8.0


def test_measure_keeps_the_ratio_of_every_pair_in_order() -> None:
    clock = Clock()
    conn: Any = Connection(clock, [100.0, 8.0, 1.0, 2.0, 4.0, 8.0, 8.0, 8.0], alone=4.0)
    assert measure(conn, "SELECT n", clock=clock).ratios == (1, 1, 1, 1, 2, 4, 8)


def test_measure_repeats_short_statements_more_often() -> None:
    clock = Clock()
    conn: Any = Connection(clock, [0.001] * 100, alone=0.001)
    assert len(measure(conn, "SELECT n", clock=clock).ratios) == MOST_RUNS


def test_measure_shows_the_shards_of_the_median_run() -> None:
    clock = Clock()
    conn: Any = Connection(clock, [100.0, 3.0, 1.0, 2.0, 4.0, 5.0, 6.0, 7.0], alone=4.0)
    measured = measure(conn, "SELECT n", clock=clock)
    assert [part.total_s for part in measured.parts] == [4.0, 4.0]
    assert measured.columns == ("n",)
    assert list(measured.rows) == [("s0",), ("s1",)]


def test_cases_fit_eighty_columns() -> None:
    assert max(len(case.remark) for case in CASES) <= 77
    assert max(len(line) for case in CASES for line in case.sql.splitlines()) <= 76
