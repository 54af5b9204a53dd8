"""What types tell a user of the public surface: mypy reads it (``make lint``), nothing runs it."""

from __future__ import annotations

import psycopg2.extensions as ext
from psycopg2.extras import LoggingConnection, RealDictCursor
from typing_extensions import assert_type

import greenshard
from greenshard.pool.pooled import PooledConnection


def of_connections() -> None:
    conn = greenshard.connect(["dbname=a", "dbname=b"], timeout=3)
    assert_type(conn, greenshard.Connection)
    logged = greenshard.connect("dbname=a", connection_factory=LoggingConnection)
    assert_type(logged, LoggingConnection)
    assert_type(greenshard.connect("dbname=a", async_=True), ext.connection)
    assert_type(conn.autocommit, bool)
    assert_type(conn.isolation_level, "int | None")
    assert_type(conn.explain("SELECT 1"), str)
    with conn as same, conn.on("s1") as on_one:
        assert_type(same, greenshard.Connection)
        assert_type(on_one, greenshard.Connection)


def of_cursors(conn: greenshard.Connection) -> None:
    assert_type(conn.cursor(), greenshard.Cursor)
    assert_type(conn.cursor("named", withhold=True), greenshard.Cursor)
    assert_type(conn.cursor(cursor_factory=RealDictCursor), RealDictCursor)
    assert_type(conn.on("s1").cursor(), greenshard.Cursor)
    with conn.cursor() as cursor:
        assert_type(cursor, greenshard.Cursor)
        assert_type(cursor.rowcount, int)


def of_pools(pool: greenshard.Pool) -> None:
    assert_type(pool.getconn(), PooledConnection)
    with pool.connection() as conn:
        assert_type(conn, PooledConnection)
        assert_type(conn.cursor(), greenshard.Cursor)
