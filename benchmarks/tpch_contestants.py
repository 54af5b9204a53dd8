"""The two that answer the queries of TPC-H: one server with every row, and greenshard over shards.

Each is a process of its own, see `contestants`; the one server is asked with psycopg2 as it is.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import tpch_data
from contestants import Ask, Rows, Server, serve


@contextmanager
def one_server(dsns: list[str]) -> Iterator[Ask]:
    import psycopg2  # noqa: PLC0415

    [dsn] = dsns
    with closing(psycopg2.connect(dsn)) as connection:
        connection.autocommit = True
        yield lambda query: _answer(connection, query)


@contextmanager
def with_greenshard(dsns: list[str]) -> Iterator[Ask]:
    import greenshard  # noqa: PLC0415

    with closing(greenshard.connect(tpch_data.cluster(dsns))) as connection:
        connection.autocommit = True
        yield lambda query: _answer(connection, query)


WAYS = {"one server": one_server, "greenshard": with_greenshard}


def _answer(connection: Any, query: str) -> Rows:
    """The names and type codes of the columns, then the rows: all of it must be equal."""
    cursor = connection.cursor()
    cursor.execute(query)
    columns = [(column.name, column.type_code) for column in cursor.description]
    return [tuple(columns), *cursor.fetchall()]


if __name__ == "__main__":
    serve(Server(WAYS[sys.argv[1]]))
