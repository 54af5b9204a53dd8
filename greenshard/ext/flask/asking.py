"""What the commands ask all shards of a pool."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from greenshard import errors
from greenshard.pool.pool import Pool


@dataclass(frozen=True, slots=True)
class Answer:
    """What one shard said.

    Attributes:
        shard: Its name.
        seconds: How long it took, once it was connected to; None if it failed.
        rows: What it said.
        error: Why it failed, in one line; None if it did not.
    """

    shard: str
    seconds: float | None = None
    rows: tuple[tuple[Any, ...], ...] = field(default=())
    error: str | None = None


def ask(pool: Pool, sql: str, timeout_s: float) -> list[Answer]:
    """Run a statement that reads on all shards at once; the answers are in shard order.

    Switches: yes.
    """
    shards = tuple(pool.stats().shards)
    failures: Mapping[str, BaseException] = {}
    answers: dict[str, Answer] = {}
    try:
        with pool.connection(timeout_s) as conn, warnings.catch_warnings():
            warnings.simplefilter("ignore", errors.PartialResultWarning)
            conn.timeout, conn.on_error = timeout_s, "partial"
            cursor = conn.on(shards).cursor()
            cursor.execute(sql)
            failures = cursor.failures
            for shard, timing in cursor.timings.items():
                rows = tuple(cursor.fetchmany(timing.rows))
                answers[shard] = Answer(shard, timing.total_s, rows)
    except errors.Error as error:
        failures = error.failures or {error.shard or name: error for name in shards}
    for shard, failure in failures.items():
        answers.setdefault(shard, Answer(shard, error=_line(failure)))
    return [answers[shard] for shard in shards]


def _line(error: BaseException) -> str:
    """What happened, without the hint."""
    return " ".join(str(error).partition("HINT:")[0].split())
