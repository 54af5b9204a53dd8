"""What tells how a connection stands tells of all its shards: pools go by that."""

from __future__ import annotations

import contextlib

import psycopg2
import psycopg2.pool
import pytest
from psycopg2.extensions import (
    STATUS_BEGIN,
    STATUS_READY,
    TRANSACTION_STATUS_IDLE,
    TRANSACTION_STATUS_INERROR,
    TRANSACTION_STATUS_INTRANS,
    TRANSACTION_STATUS_UNKNOWN,
)

import greenshard


def states(conn):
    assert conn.info.transaction_status == conn.get_transaction_status()
    return conn.status, conn.info.transaction_status


@pytest.mark.parametrize("shard", ["s0", "s2"])
def test_gravest_of_all_shards_counts(conn, shard):
    assert states(conn) == (STATUS_READY, TRANSACTION_STATUS_IDLE)
    with conn.on("s1"):
        conn.cursor().execute("SELECT 1")
    assert states(conn) == (STATUS_BEGIN, TRANSACTION_STATUS_INTRANS)
    with conn.on(shard), pytest.raises(psycopg2.DataError):
        conn.cursor().execute("SELECT 1 / 0")
    assert states(conn) == (STATUS_BEGIN, TRANSACTION_STATUS_INERROR)
    with conn.on("s1"):
        assert conn.info.transaction_status == TRANSACTION_STATUS_INTRANS
        pid = conn.get_backend_pid()
        assert conn.info.backend_pid == pid
    assert conn.info.backend_pid != pid
    conn.rollback()
    assert states(conn) == (STATUS_READY, TRANSACTION_STATUS_IDLE)


def test_lost_shard_makes_the_state_unknown(conn, plain):
    assert conn.info.status == 0
    with conn.on("s2"):
        pid = conn.get_backend_pid()
    plain["s2"].cursor().execute("SELECT pg_terminate_backend(%s)", (pid,))
    with conn.on("s2"), pytest.raises(psycopg2.OperationalError):
        conn.cursor().execute("SELECT 1")
    assert conn.closed == 2
    assert (conn.info.status, conn.info.transaction_status) == (1, TRANSACTION_STATUS_UNKNOWN)
    with conn.on("s1"):
        assert (conn.info.status, conn.info.transaction_status) == (0, TRANSACTION_STATUS_IDLE)
    with conn.on("s2"):
        assert conn.info.status == 1
    conn.close()
    assert (conn.closed, conn.info.status) == (1, 1)
    assert conn.get_transaction_status() == TRANSACTION_STATUS_UNKNOWN


@pytest.mark.parametrize("shard", ["s0", "s1", "s2"])
def test_psycopg2s_pool_rolls_back_what_is_open_on_any_shard(dsns, monkeypatch, shard):
    monkeypatch.setattr(psycopg2, "connect", lambda **_: greenshard.connect(dsns))
    pool = psycopg2.pool.SimpleConnectionPool(1, 1)
    with contextlib.closing(pool.getconn()) as conn:
        with conn.on(shard):
            conn.cursor().execute("CREATE TABLE left_behind (a int)")
        pool.putconn(conn)
        again = pool.getconn()
        assert again is conn
        again.commit()
        cur = again.cursor()
        cur.execute("SELECT to_regclass('left_behind')")
        assert cur.fetchall() == [(None,)] * 3


def test_pools_connection_tells_of_a_named_shard_that_it_has_not_opened_yet(dsns):
    pools = contextlib.closing(greenshard.Pool(dsns))
    with pools as pool, pool.connection() as conn, conn.on("s2"):
        assert conn.info.backend_pid == conn.get_backend_pid()
