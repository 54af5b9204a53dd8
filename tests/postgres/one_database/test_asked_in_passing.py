"""Shards are asked for the catalog in the midst of transactions that SQL has begun or ended.

psycopg2 does not know how these stand. And an answer that comes late is not waited for, so that the
connection may still be busy when the transaction ends.
"""

from __future__ import annotations

import contextlib

import gevent
import psycopg2
import pytest

import greenshard

SCHEMA = """
CREATE TABLE t (k int PRIMARY KEY, c int, at timestamptz DEFAULT '2024-01-02', v text);
CREATE TABLE r (id int);
CREATE VIEW seen AS SELECT * FROM r;
CREATE FUNCTION unseen(command text) RETURNS int LANGUAGE plpgsql VOLATILE AS
    'BEGIN EXECUTE command; RETURN 1; END';
"""
TABLES = {"t": greenshard.Sharded("k"), "r": greenshard.Reference()}
KEYS = range(20)


@pytest.fixture(scope="module")
def dsns(greenshard_shards):
    with greenshard_shards.databases() as dsns:
        for dsn in dsns.values():
            with contextlib.closing(psycopg2.connect(dsn)) as conn, conn, conn.cursor() as cur:
                cur.execute(SCHEMA)
        greenshard.init(greenshard.Cluster(dsns, TABLES))
        yield dict(dsns)


@pytest.fixture
def cluster(dsns):
    cluster = greenshard.Cluster(dsns, TABLES)
    with contextlib.closing(greenshard.connect(cluster)) as conn:
        cur = conn.cursor()
        cur.execute("TRUNCATE t")
        cur.executemany("INSERT INTO t (k, c) VALUES (%s, 0)", [(k,) for k in KEYS])
        conn.commit()
    return cluster


@pytest.fixture
def conn(cluster):
    with contextlib.closing(greenshard.connect(cluster)) as conn:
        yield conn


@pytest.fixture
def changed(cluster):
    """Let every connection load the catalog anew: another one has changed a table."""
    with contextlib.closing(greenshard.connect(cluster)) as other:
        other.autocommit = True
        yield lambda: other.cursor().execute("COMMENT ON TABLE t IS 'x'")


def test_commit_as_text_reaches_a_shard_whose_answer_is_late(cluster, conn, changed, dsns):
    conn.autocommit = True
    cur = conn.cursor()
    for slow in (*dsns, *dsns):  # whichever is asked first
        with contextlib.closing(psycopg2.connect(dsns[slow])) as lock:
            lock.cursor().execute("LOCK TABLE r IN ACCESS EXCLUSIVE MODE")  # what `seen` needs
            cur.execute("BEGIN")
            cur.execute("UPDATE t SET c = c + 1")
            changed()
            cur.execute("COMMIT")
            assert cur.statusmessage == "COMMIT"
    with contextlib.closing(greenshard.connect(cluster)) as other:
        cur = other.cursor()
        cur.execute("SELECT DISTINCT c FROM t")
        assert cur.fetchall() == [(2 * len(dsns),)]


def test_nothing_is_left_in_a_transaction_that_sql_has_begun(conn, changed):
    conn.autocommit = True
    cur = conn.cursor()
    cur.execute("SET DateStyle = 'German'")
    cur.execute("BEGIN")
    changed()
    cur.execute("UPDATE t SET v = at::text")
    cur.execute("SELECT count(*) FROM t")
    assert cur.fetchall() == [(len(KEYS),)]
    cur.execute("COMMIT")
    cur.execute("SELECT DISTINCT left(v, 10) FROM t")
    assert cur.fetchall() == [("02.01.2024",)]


def test_a_transaction_that_sql_has_ended_is_none(conn, changed):
    cur = conn.cursor()
    cur.execute("UPDATE t SET c = 1")
    cur.execute("COMMIT")
    changed()
    cur.execute("SELECT count(*) FROM t")
    assert cur.fetchall() == [(len(KEYS),)]
    cur.execute("UPDATE t SET c = 2")
    assert cur.rowcount == len(KEYS)


def test_what_a_shard_has_told_in_a_transaction_is_not_news_again(cluster, conn):
    """The statement was planned again without end."""
    run = "SELECT unseen('SELECT 1')"
    with contextlib.closing(greenshard.connect(cluster)) as other:
        cur = conn.cursor()
        cur.execute("CREATE TABLE mine (k int)")  # from now on only this transaction sees all
        with other.on(other.shards):
            other.cursor().execute(run)
        other.commit()
        with gevent.Timeout(20):
            for _ in range(3):
                cur.execute("SELECT count(*) FROM t")
                assert cur.fetchall() == [(len(KEYS),)]
                with conn.on(conn.shards):
                    cur.execute(run)
