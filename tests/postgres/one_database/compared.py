"""Two shards, and one database with all rows to compare with."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import psycopg2

import greenshard
from greenshard.testing import Shards
from tests.initialised import initialised
from tests.postgres.psql import run

Databases = tuple[greenshard.Cluster, str]


@contextlib.contextmanager
def compared(
    servers: Shards, tables: Mapping[str, Any], schema: str, **declared: Any
) -> Iterator[Databases]:
    """Make them.

    Args:
        servers: Where.
        tables: The cluster's.
        schema: What is run on each of the three.
        declared: What else the cluster declares.

    Yields:
        The cluster, and the DSN of the one database.
    """
    with servers.databases() as dsns, servers.databases() as others:
        shards = {"s0": dsns["s0"], "s1": dsns["s1"]}
        for dsn in (*shards.values(), others["s0"]):
            run(dsn, schema)
        yield initialised(greenshard.Cluster(shards, tables, **declared)), others["s0"]


@contextlib.contextmanager
def connected(databases: Databases) -> Iterator[tuple[Any, Any]]:
    """A connection to the one database, and one to the shards; rolled back at the end."""
    cluster, whole = databases
    one, conn = psycopg2.connect(whole), greenshard.connect(cluster, timeout=30)
    try:
        yield one, conn
    finally:
        for each in (one, conn):
            each.rollback()
            each.close()


def insert(databases: Databases, key_type: str, scripts: Mapping[int, str]) -> None:
    """Run a script for each shard key, on the key's shard and in the one database."""
    cluster, whole = databases
    found: dict[str, list[str]] = {whole: []}
    for key, script in scripts.items():
        shard = cluster.placement.shards_for(key, key_type, cluster.names)
        found.setdefault(cluster.shards[shard].primary, []).append(script)
        found[whole].append(script)
    for dsn, several in found.items():
        run(dsn, *several)


def told(conn: Any, statement: str | tuple[str, object]) -> object:
    """What a connection answers to a statement, which is undone if it fails.

    Returns:
        How many rows, and those, sorted unless the statement says their order; or the SQLSTATE, or
        what a refusal says.
    """
    text, given = statement if isinstance(statement, tuple) else (statement, None)
    with conn.cursor() as cur:
        cur.execute("SAVEPOINT step")
        try:
            cur.execute(text, given)
        except psycopg2.Error as error:
            cur.execute("ROLLBACK TO step")
            return code_of(error)
        rows = cur.fetchall() if cur.description else None
        return cur.rowcount, rows if rows is None or "ORDER BY" in text else sorted(rows, key=repr)


def code_of(error: psycopg2.Error) -> str:
    """The SQLSTATE, of all shards that have failed; of a refusal what it says."""
    several = [*getattr(error, "failures", {}).values()] or [error]
    return "/".join(sorted({str(each.pgcode or each) for each in several}))
