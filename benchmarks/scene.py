"""What is asked, and the servers that are asked: 16 databases on 4 embedded servers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass

import psycopg2

from greenshard.testing import Shards

SERVERS = 4
SHARD_COUNTS = (1, 4, 16)
MOST_ROWS = 100_000

_TABLE = """
CREATE TABLE reading AS
SELECT n AS id, n % 97 AS station, 'reading no. ' || n AS note, (n * 0.37)::numeric(12, 2) AS value,
       timestamp '2013-01-01' + n * interval '1 minute' AS taken_at
FROM generate_series(1, {rows}) AS n
"""


@dataclass(frozen=True)
class Workload:
    """One question.

    Attributes:
        name: How it is shown.
        query: Its SQL; ``{rows}`` stands for the rows that each shard gives.
        rows: How many rows all shards give together; 0 where each gives one.
    """

    name: str
    query: str
    rows: int = 0

    def sql(self, shard_count: int) -> str:
        return self.query.format(rows=self.rows // shard_count)


_ROWS = "SELECT id, station, note, value, taken_at FROM reading LIMIT {rows}"
WORKLOADS = (
    Workload("SELECT 1", "SELECT 1"),
    Workload("pg_sleep(0.01)", "SELECT pg_sleep(0.01)"),
    Workload("1,000 rows", _ROWS, 1_000),
    Workload("100,000 rows", _ROWS, MOST_ROWS),
)


@contextmanager
def databases() -> Iterator[list[str]]:
    """The DSNs of 16 databases, of the four servers in turn, each with its rows."""
    with Shards(SERVERS) as shards, ExitStack() as stack:
        dsns: list[str] = []
        for _ in range(max(SHARD_COUNTS) // SERVERS):
            dsns += stack.enter_context(shards.databases()).values()
        for at, dsn in enumerate(dsns):
            # The most that it gives is its part of MOST_ROWS where it is one of the fewest shards.
            _fill(dsn, MOST_ROWS // min(count for count in SHARD_COUNTS if count > at))
        yield dsns


def _fill(dsn: str, rows: int) -> None:
    with closing(psycopg2.connect(dsn)) as connection, connection.cursor() as cursor:
        connection.autocommit = True
        cursor.execute(_TABLE.format(rows=rows))
        cursor.execute("VACUUM ANALYZE reading")
