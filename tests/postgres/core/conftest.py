"""Three shards: databases on the two servers of the session, new for each module.

Most tests create their tables in a transaction that is never committed, so they leave nothing.
"""

from __future__ import annotations

import contextlib

import psycopg2
import pytest

import greenshard


@pytest.fixture(scope="module")
def dsns(greenshard_shards):
    """The connection strings of three empty databases, by shard name."""
    with greenshard_shards.databases() as first, greenshard_shards.databases() as second:
        yield {"s0": first["s0"], "s1": first["s1"], "s2": second["s0"]}


@pytest.fixture
def conn(dsns):
    with contextlib.closing(greenshard.connect(dsns)) as connection:
        yield connection


@pytest.fixture
def cur(conn):
    """A cursor over a table ``t`` of two rows on each shard, in an open transaction."""
    cursor = conn.cursor()
    cursor.execute("CREATE TEMP TABLE t (a int, shard text)")
    for number, name in enumerate(conn.shards):
        with conn.on(name):
            cursor.execute(
                "INSERT INTO t VALUES (%s, %s), (%s, %s)",
                (2 * number, name, 2 * number + 1, name),
            )
    return cursor


@pytest.fixture
def plain(dsns):
    """psycopg2's own connections to the shards' databases, by shard name."""
    with contextlib.ExitStack() as opened:
        yield {
            name: opened.enter_context(contextlib.closing(psycopg2.connect(dsn)))
            for name, dsn in dsns.items()
        }
