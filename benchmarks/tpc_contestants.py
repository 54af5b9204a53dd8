"""The two that answer the queries of TPC-H and TPC-DS: one server with every row, and greenshard.

Each is a process of its own, see `contestants`; the one server is asked with psycopg2 as it is.
Both are opened with the name of the dataset, and then the DSNs of what it was loaded into.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

from contestants import Ask, Rows, Server, serve
from tpc_data import DATASETS


@contextmanager
def one_server(opened: list[str]) -> Iterator[Ask]:
    import psycopg2  # noqa: PLC0415

    _, dsn = opened
    with closing(psycopg2.connect(dsn)) as connection:
        connection.autocommit = True
        yield lambda query: _answer(connection, query)


@contextmanager
def with_greenshard(opened: list[str]) -> Iterator[Ask]:
    import greenshard  # noqa: PLC0415

    dataset, *dsns = opened
    with closing(greenshard.connect(DATASETS[dataset].cluster(dsns))) as connection:
        connection.autocommit = True
        yield lambda query: _answer(connection, query)


WAYS = {"one server": one_server, "greenshard": with_greenshard}


def _answer(connection: Any, query: str) -> Rows:
    cursor = connection.cursor()
    cursor.execute(query)
    rows: Rows = cursor.fetchall()
    return rows


if __name__ == "__main__":
    serve(Server(WAYS[sys.argv[1]]))
