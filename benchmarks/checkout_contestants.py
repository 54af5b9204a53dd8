"""Pools with one connection that is open and has worked just now; each a process of its own.

greenshard's has one to each of four shards; the other pools are of the first shard alone. See
`contestants` for the processes.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from contestants import Ask, Rows, Server, serve

_SELECT = "SELECT 1"
QUESTIONS = ("take and give back", "with SELECT 1 on one shard")


def asking(take: Callable[[], AbstractContextManager[Any]]) -> Ask:
    """What answers a question, with how a pool lends a connection."""

    def ask(question: str) -> Rows:
        with take() as connection:
            if question == QUESTIONS[0]:
                return []
            cursor = connection.cursor()
            cursor.execute(_SELECT)
            rows: Rows = cursor.fetchall()
            return rows

    return ask


@contextmanager
def with_greenshard(dsns: list[str]) -> Iterator[Ask]:
    import greenshard  # noqa: PLC0415

    with greenshard.Pool(dsns) as pool:
        with pool.connection() as connection:
            connection.cursor().execute(_SELECT)  # on all shards: opens all connections

        @contextmanager
        def take() -> Iterator[Any]:
            with pool.connection() as connection, connection.on("s0"):
                yield connection

        one = asking(take)
        bare = asking(pool.connection)
        yield lambda question: (bare if question == QUESTIONS[0] else one)(question)


@contextmanager
def psycopg2_pool(dsns: list[str]) -> Iterator[Ask]:
    from psycopg2.pool import ThreadedConnectionPool  # noqa: PLC0415

    with closing_all(ThreadedConnectionPool(1, 10, dsns[0])) as pool:

        @contextmanager
        def take() -> Iterator[Any]:
            connection = pool.getconn()
            try:
                yield connection
                connection.commit()
            finally:
                pool.putconn(connection)

        yield asking(take)


@contextmanager
def psycopg_pool(dsns: list[str]) -> Iterator[Ask]:
    from psycopg_pool import ConnectionPool  # noqa: PLC0415

    with ConnectionPool(dsns[0], min_size=1, max_size=10, open=True) as pool:
        pool.wait()
        yield asking(pool.connection)


@contextmanager
def closing_all(pool: Any) -> Iterator[Any]:
    try:
        yield pool
    finally:
        pool.closeall()


WAYS = {
    "greenshard": with_greenshard,
    "psycopg2.pool": psycopg2_pool,
    "psycopg_pool": psycopg_pool,
}


if __name__ == "__main__":
    serve(Server(WAYS[sys.argv[1]]))
