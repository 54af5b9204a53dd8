"""The demo's four questions, the seed's cases, and how they are measured."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import greenshard

LEAST_RUNS = 7
MOST_RUNS = 51
BUDGET_S = 1.0
"""A case is repeated at least, at most so often; in between, for this long."""


@dataclass(frozen=True)
class Case:
    """One question to the shards."""

    title: str
    remark: str
    sql: str


CASES = (
    Case(
        "Filter on the key",
        "One aircraft: its rows share a shard, the other shards answer with none.",
        """\
SELECT month, day, carrier, flight, origin, dest, arr_delay
FROM flights
WHERE tailnum = 'N725MQ'""",
    ),
    Case(
        "Filter on another column",
        "To Anchorage: any shard may have rows, so the answer is the union of all.",
        """\
SELECT month, day, tailnum, carrier, flight, origin, arr_delay
FROM flights
WHERE dest = 'ANC'""",
    ),
    Case(
        "Join with the copied tables",
        "Over ten hours late: every join is local, for every shard has these tables.",
        """\
SELECT a.name AS airline, p.model, p.year AS built,
       d.name AS destination, f.arr_delay
FROM flights f
JOIN airlines a USING (carrier)
JOIN planes   p USING (tailnum)
JOIN airports d ON d.faa = f.dest
WHERE f.arr_delay > 600""",
    ),
    Case(
        "Group by the key",
        "No group crosses a shard, so even a percentile is exact when merged by union.",
        """\
SELECT tailnum, count(*) AS flights, sum(distance) AS miles,
       round(avg(arr_delay), 1) AS mean_delay,
       percentile_disc(0.9) WITHIN GROUP (ORDER BY arr_delay) AS p90
FROM flights
WHERE tailnum IS NOT NULL
GROUP BY tailnum""",
    ),
)


@dataclass(frozen=True)
class ShardPart:
    """What one shard gave to an answer: its rows and its seconds, from ``cursor.timings``."""

    shard: str
    rows: int
    total_s: float


@dataclass(frozen=True)
class Measurement:
    """The answer to a case, and the seconds that it took.

    Attributes:
        columns: the columns' names.
        rows: the merged rows.
        parts: the shards' parts in the very run that ``fanout_s`` is of, the median one.
        fanout_s: the median of all shards at once.
        sequential_s: the median of one shard after another.
        ratios: for each pair of runs, how many times as long one after another took; in order
            of size. On a busy machine they differ widely, and one of them alone would mislead.
    """

    columns: tuple[str, ...]
    rows: Sequence[Sequence[Any]]
    parts: tuple[ShardPart, ...]
    fanout_s: float
    sequential_s: float
    ratios: tuple[float, ...]


def measure(
    conn: greenshard.Connection, sql: str, clock: Callable[[], float] = time.perf_counter
) -> Measurement:
    """Run a statement over all shards at once, and over one after another.

    Both ways take turns, after one run each that does not count, on the same open connections.
    Both include fetching all rows.

    Args:
        conn: a connection in autocommit mode, so that no run pays for a BEGIN.
        sql: a statement that reads.
        clock: seconds.

    Switches: yes.
    """
    run_everywhere(conn, sql)
    run_one_by_one(conn, sql)
    fanouts: list[tuple[float, tuple[ShardPart, ...]]] = []
    sequentials: list[float] = []
    begin = clock()
    while len(fanouts) < LEAST_RUNS or (len(fanouts) < MOST_RUNS and clock() - begin < BUDGET_S):
        start = clock()
        columns, rows, parts = run_everywhere(conn, sql)
        middle = clock()
        run_one_by_one(conn, sql)
        fanouts.append((middle - start, parts))
        sequentials.append(clock() - middle)
    ratios = [alone / at_once for alone, (at_once, _) in zip(sequentials, fanouts, strict=True)]
    half = len(fanouts) // 2
    fanout_s, parts = sorted(fanouts, key=lambda run: run[0])[half]
    sequential_s = sorted(sequentials)[half]
    return Measurement(columns, rows, parts, fanout_s, sequential_s, tuple(sorted(ratios)))


def run_everywhere(
    conn: greenshard.Connection, sql: str
) -> tuple[tuple[str, ...], list[Any], tuple[ShardPart, ...]]:
    """Run a statement on all shards at once.

    Returns:
        The columns' names, the rows, and each shard's part.
    """
    with conn.cursor() as cursor:
        cursor.execute(sql)
        rows = cursor.fetchall()
        columns = tuple(column[0] for column in cursor.description or ())
        return columns, rows, shard_parts(conn.shards, cursor.timings)


def run_one_by_one(conn: greenshard.Connection, sql: str) -> list[Any]:
    """Run a statement on one shard after another.

    Returns:
        The rows.
    """
    rows: list[Any] = []
    for shard in conn.shards:
        with conn.on(shard).cursor() as cursor:
            cursor.execute(sql)
            rows += cursor.fetchall()
    return rows


def shard_parts(shards: Sequence[str], timings: Mapping[str, Any]) -> tuple[ShardPart, ...]:
    """Read ``cursor.timings`` in shard order."""
    return tuple(ShardPart(shard, timings[shard].rows, timings[shard].total_s) for shard in shards)
