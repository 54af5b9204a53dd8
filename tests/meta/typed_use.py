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


def of_mistakes(conn: greenshard.Connection) -> None:
    """What a type checker finds: else mypy tells that the comment is not needed."""
    greenshard.connect("dbname=a", timout=3)  # type: ignore[call-overload]
    greenshard.connect("dbname=a", on_error="parial")  # type: ignore[call-overload]
    greenshard.Pool("cluster.toml", maxsize=3)  # type: ignore[call-arg]
    greenshard.Pool("cluster.toml", on_error="parial")  # type: ignore[arg-type]
    conn.timeout = "x"  # type: ignore[assignment]
    conn.gather_limit = "many"  # type: ignore[assignment]
    cursor = conn.cursor()
    cursor.timeout = "x"  # type: ignore[assignment]
    cursor.on_error = "parial"  # type: ignore[assignment]
    cursor.on_error = "partial"
    cursor.timeout = None
    greenshard.connect(host="db0", dbname="app", port=5433, sslmode="verify-full", timeout=3)
    greenshard.Pool("cluster.toml", 20, timeout=5.0, connect_timeout=2.0, call_timeout=4.0)


def of_pools(pool: greenshard.Pool) -> None:
    assert_type(pool.getconn(), PooledConnection)
    with pool.connection() as conn:
        assert_type(conn, PooledConnection)
        assert_type(conn.cursor(), greenshard.Cursor)
