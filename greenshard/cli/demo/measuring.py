"""How the demo asks its questions: over the shards and on one server, compared and timed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import greenshard
from greenshard.cli.demo.cases import Case

LEAST_RUNS = 5
MOST_RUNS = 51
BUDGET_S = 1.0
"""A case is repeated at least, at most so often; in between, for this long."""


class AnswersDiffer(Exception):
    """The shards do not give what one server gives."""


@dataclass(frozen=True)
class ShardPart:
    """What one shard did for an answer, from ``cursor.timings``.

    Attributes:
        shard: its name.
        rows: how many rows it gave: of the answer, or of what the answer is made of.
        total_s: seconds; None if it was not asked.
    """

    shard: str
    rows: int
    total_s: float | None


@dataclass(frozen=True)
class Reply:
    """One answer.

    Attributes:
        columns: the columns' names and types.
        rows: the rows.
        parts: what each shard did for it.
    """

    columns: tuple[tuple[str, int], ...]
    rows: Sequence[Sequence[Any]]
    parts: tuple[ShardPart, ...]


@dataclass(frozen=True)
class Measurement:
    """The answer to a case, which is that of one server, and the seconds that it took.

    Attributes:
        strategy: the plan's.
        columns: the columns' names.
        rows: the rows.
        parts: the shards' parts in the very run that ``shards_s`` is of, the median one.
        shards_s: the median over the shards.
        single_s: the median of the one server.
        ratios: for each pair of runs, how many times as long the one server took; in order of
            size. On a busy machine they differ widely, and one of them alone would mislead.
    """

    strategy: str
    columns: tuple[str, ...]
    rows: Sequence[Sequence[Any]]
    parts: tuple[ShardPart, ...]
    shards_s: float
    single_s: float
    ratios: tuple[float, ...]


def measure(
    conn: greenshard.Connection,
    single: greenshard.Connection,
    case: Case,
    clock: Callable[[], float] = time.perf_counter,
) -> Measurement:
    """Ask a question over the shards and on one server, in turns.

    The first answers are compared and not timed. The times include fetching all rows.

    Args:
        conn: the shards, in autocommit mode, so that no run pays for a BEGIN.
        single: the server that has all rows, likewise.
        case: the question.
        clock: seconds.

    Raises:
        AnswersDiffer: the answers are not equal.

    Switches: yes.
    """
    reply = ask(conn, case.sql)
    compare(reply, ask(single, case.sql), ordered=case.ordered)
    runs: list[tuple[float, tuple[ShardPart, ...]]] = []
    singles: list[float] = []
    begin = clock()
    while len(runs) < LEAST_RUNS or (len(runs) < MOST_RUNS and clock() - begin < BUDGET_S):
        start = clock()
        parts = ask(conn, case.sql).parts
        middle = clock()
        ask(single, case.sql)
        singles.append(clock() - middle)
        runs.append((middle - start, parts))
    ratios = [one / over_shards for one, (over_shards, _) in zip(singles, runs, strict=True)]
    half = len(runs) // 2
    shards_s, parts = sorted(runs, key=lambda run: run[0])[half]
    return Measurement(
        strategy=strategy_of(conn.explain(case.sql)),
        columns=tuple(name for name, _ in reply.columns),
        rows=reply.rows,
        parts=parts,
        shards_s=shards_s,
        single_s=sorted(singles)[half],
        ratios=tuple(sorted(ratios)),
    )


def ask(conn: greenshard.Connection, sql: str) -> Reply:
    """Run a statement, and fetch all rows.

    Switches: yes.
    """
    with conn.cursor() as cursor:
        cursor.execute(sql)
        rows = cursor.fetchall()
        columns = tuple((column.name, column.type_code) for column in cursor.description or ())
        return Reply(columns, rows, shard_parts(conn.shards, cursor.timings))


def compare(reply: Reply, expected: Reply, *, ordered: bool) -> None:
    """Make sure that two answers are equal: names, types, values and, if asked for, their order.

    Values are compared as they print, which tells 1.0 from 1.00.

    Raises:
        AnswersDiffer: they are not.
    """
    if reply.columns != expected.columns:
        raise AnswersDiffer(f"the columns are {reply.columns}, on one server {expected.columns}")
    ours, theirs = (_printed(each.rows, ordered) for each in (reply, expected))
    if ours != theirs:
        raise AnswersDiffer(
            f"{len(ours):,} rows over the shards and {len(theirs):,} on one server are not equal"
        )


def _printed(rows: Iterable[Sequence[Any]], ordered: bool) -> list[str]:
    printed = [repr(tuple(row)) for row in rows]
    return printed if ordered else sorted(printed)


def shard_parts(shards: Iterable[str], timings: Mapping[str, Any]) -> tuple[ShardPart, ...]:
    """Read ``cursor.timings`` in shard order."""
    return tuple(
        ShardPart(shard, timings[shard].rows, timings[shard].total_s)
        if shard in timings
        else ShardPart(shard, 0, None)
        for shard in shards
    )


def strategy_of(plan: str) -> str:
    """Read the strategy of a plan that is told in words.

    >>> strategy_of("strategy: route")
    'route'
    """
    return plan.partition("\n")[0].removeprefix("strategy: ")
