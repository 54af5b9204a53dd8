from __future__ import annotations

import contextlib

import psycopg2
import pytest
from psycopg2.extensions import STATUS_PREPARED, STATUS_READY

import greenshard
from greenshard.testing import Shards


@pytest.fixture(scope="module")
def shards():
    with Shards(2, settings={"max_prepared_transactions": 5}) as running:
        yield running


@pytest.fixture
def conn(shards):
    with contextlib.closing(greenshard.connect(shards.dsns)) as connection, connection.on("s1"):
        cur = connection.cursor()
        cur.execute("DROP TABLE IF EXISTS t")
        cur.execute("CREATE TABLE t (a int)")
        connection.commit()
        yield connection


def count(conn):
    with conn.cursor() as cur:
        cur.execute("SELECT count(*) FROM t")
        return cur.fetchone()[0]


def begin(conn, name):
    xid = conn.xid(7, name, "branch")
    conn.tpc_begin(xid)
    conn.cursor().execute("INSERT INTO t VALUES (1)")
    return xid


@pytest.mark.parametrize(("end", "rows"), [("tpc_commit", 1), ("tpc_rollback", 0)])
def test_two_phases_over_one_shard(conn, end, rows):
    begin(conn, end)
    conn.tpc_prepare()
    assert conn.status == STATUS_PREPARED
    getattr(conn, end)()
    assert conn.status == STATUS_READY
    assert count(conn) == rows


def test_one_phase_over_one_shard(conn):
    begin(conn, "one phase")
    conn.tpc_commit()
    assert count(conn) == 1


def test_prepared_transaction_is_recovered_by_another_connection(conn, shards):
    xid = begin(conn, "recovered")
    conn.tpc_prepare()
    conn.close()
    with contextlib.closing(greenshard.connect(shards.dsns)) as other, other.on("s1"):
        (found,) = other.tpc_recover()
        assert (found.format_id, found.gtrid, found.bqual) == tuple(xid)
        other.tpc_commit(found)
        assert other.tpc_recover() == []
        assert count(other) == 1


def test_begin_within_a_transaction_is_refused(conn):
    count(conn)
    with pytest.raises(psycopg2.ProgrammingError, match="inside a transaction"):
        conn.tpc_begin(conn.xid(1, "x", "y"))


def test_commit_within_two_phases_is_refused(conn):
    begin(conn, "refused")
    for use in (conn.commit, conn.rollback):
        with pytest.raises(psycopg2.ProgrammingError):
            use()
    conn.tpc_rollback()
    assert count(conn) == 0
