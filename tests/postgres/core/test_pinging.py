"""``conn.ping()``: every shard answers, and nothing else is changed by it."""

from __future__ import annotations

import contextlib

import psycopg2
import pytest

import greenshard


def ended(plain, conn, shard):
    """End the server process of a connection's shard, and wait until it is gone."""
    plain[shard].autocommit = True
    pid = conn._session.physicals[shard].backend_pid
    plain[shard].cursor().execute("SELECT pg_terminate_backend(%s, 10000)", (pid,))


@pytest.mark.parametrize("autocommit", [False, True])
def test_ping_begins_no_transaction(conn, autocommit):
    conn.autocommit = autocommit
    conn.ping()
    assert conn.get_transaction_status() == psycopg2.extensions.TRANSACTION_STATUS_IDLE
    assert conn.autocommit is autocommit
    assert conn.status == psycopg2.extensions.STATUS_READY


def test_ping_leaves_transactions_as_they_are(conn, cur):
    conn.ping()
    cur.execute("SELECT count(*) FROM t")
    assert cur.fetchall() == [(2,)] * 3
    with pytest.raises(psycopg2.errors.DivisionByZero):
        cur.execute("SELECT 1/0")
    conn.ping()  # it has failed, and the servers answer
    assert conn.get_transaction_status() == psycopg2.extensions.TRANSACTION_STATUS_INERROR
    conn.rollback()


@pytest.mark.parametrize("shard", ["s0", "s2"])
def test_ping_tells_that_a_shard_is_gone(conn, plain, shard):
    conn.ping()
    ended(plain, conn, shard)
    assert conn.closed == 0  # nobody has noticed
    with pytest.raises(greenshard.OperationalError) as caught:
        conn.ping()
    assert caught.value.shard == shard
    assert conn.closed == 2
    assert conn.get_transaction_status() == psycopg2.extensions.TRANSACTION_STATUS_UNKNOWN
    with pytest.raises(psycopg2.InterfaceError):
        conn.ping()


def test_ping_asks_what_a_pools_connection_has_open(dsns, plain):
    with contextlib.closing(greenshard.Pool(dsns, max_size=1)) as pool:
        conn = pool.getconn()
        conn.ping()
        conn.cursor().execute("SELECT 1")
        conn.ping()
        ended(plain, conn, "s1")
        with pytest.raises(greenshard.OperationalError):
            conn.ping()
        conn.close()
        with pool.connection() as other:
            other.cursor().execute("SELECT 1")
            other.ping()
