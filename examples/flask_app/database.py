"""The one way in which this application asks its database, and what it remembers of each answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from time import perf_counter
from typing import Any

from psycopg2.extras import RealDictCursor

from greenshard.ext.flask import GreenShard

db = GreenShard()


@dataclass(frozen=True)
class ShardPart:
    """What one shard did for an answer; no seconds if it was not asked."""

    shard: str
    seconds: float | None = None
    rows: int = 0


@dataclass(frozen=True)
class Answer:
    """The rows of a statement, and how it was run."""

    rows: list[dict[str, Any]]
    sql: str
    plan: str
    seconds: float
    parts: tuple[ShardPart, ...]

    @property
    def row(self) -> dict[str, Any]:
        """The only row."""
        (row,) = self.rows
        return row

    @property
    def strategy(self) -> str:
        """The first line of a plan reads ``strategy: combine``."""
        return self.plan.splitlines()[0].removeprefix("strategy: ")

    @property
    def asked(self) -> list[ShardPart]:
        return [part for part in self.parts if part.seconds is not None]


def ask(sql: str, **parameters: Any) -> Answer:
    """Run a statement on this request's connection.

    The connection is taken from the pool when it is first needed. At the end of the request it
    commits, or rolls back if the response is an error, and goes back.
    """
    conn = db.connection
    with conn.cursor(cursor_factory=RealDictCursor) as cur:
        start = perf_counter()
        cur.execute(sql, parameters)
        rows = [dict(row) for row in cur.fetchall()] if cur.description else []
        seconds = perf_counter() - start
        parts = _parts(conn.shards, cur.timings)
    return Answer(rows, sql, conn.explain(sql, parameters), seconds, parts)


def _parts(shards: tuple[str, ...], timings: Mapping[str, Any]) -> tuple[ShardPart, ...]:
    asked = {name: ShardPart(name, took.total_s, took.rows) for name, took in timings.items()}
    return tuple(asked.get(name, ShardPart(name)) for name in shards)
