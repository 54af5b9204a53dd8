"""The row at which a cursor stands is another one on each shard."""

from __future__ import annotations

import contextlib

import psycopg2
import pytest

import greenshard
from greenshard import Cluster, Reference, Sharded, Single

TABLES = {"t": Sharded("k"), "r": Reference(), "job": Single("s0")}


@pytest.fixture
def dsns(greenshard_shards):
    with greenshard_shards.databases() as dsns:
        for dsn in dsns.values():
            with contextlib.closing(psycopg2.connect(dsn)) as conn, conn, conn.cursor() as cur:
                cur.execute(
                    "CREATE TABLE t (k int PRIMARY KEY, v int DEFAULT 0);"
                    "CREATE TABLE r (k int PRIMARY KEY, v int DEFAULT 0);"
                    "CREATE TABLE job (k int PRIMARY KEY, v int DEFAULT 0);"
                )
        yield dsns


@pytest.fixture
def cluster(dsns):
    cluster = Cluster(dsns, TABLES)
    greenshard.init(cluster)
    with contextlib.closing(greenshard.connect(cluster)) as conn, conn, conn.cursor() as cur:
        for table in TABLES:
            cur.execute(f"INSERT INTO {table} SELECT generate_series(1, 20)")
    return cluster


@pytest.fixture
def conn(cluster):
    with contextlib.closing(greenshard.connect(cluster)) as conn:
        yield conn


@pytest.mark.parametrize("table", ["t", "r"])
@pytest.mark.parametrize(
    "text",
    [
        "UPDATE {} SET v = 1 WHERE CURRENT OF mine",
        "DELETE FROM {} WHERE CURRENT /* */ OF mine RETURNING k",
        "WITH w AS (UPDATE {} SET v = 1 WHERE CURRENT OF mine RETURNING k) SELECT * FROM w",
    ],
)
@pytest.mark.parametrize("declared", [True, False])
def test_row_of_a_cursor_over_several_shards_is_not_written(dsns, cluster, table, text, declared):
    shards = cluster if declared else dsns
    lock = " FOR UPDATE" if table == "t" and not declared else ""
    with contextlib.closing(greenshard.connect(shards, check=False)) as conn:
        mine = conn.cursor("mine")
        mine.execute(f"SELECT k FROM {table} ORDER BY k{lock}")
        mine.fetchone()
        with pytest.raises(greenshard.NotSupportedError, match="WHERE CURRENT OF") as caught:
            conn.cursor().execute(text.format(table))
        assert caught.value.code == "GS410"
        conn.rollback()


def test_row_of_a_cursor_on_one_shard_is_written(conn):
    job = conn.cursor("mine")
    job.execute("SELECT k FROM job ORDER BY k FOR UPDATE")
    job.itersize = 1
    assert job.fetchone() == (1,)
    conn.cursor().execute("UPDATE job SET v = 1 WHERE CURRENT OF mine")
    with conn.on(key=5, table="t"):
        mine = conn.cursor("other")
        mine.execute("SELECT k FROM t WHERE k = 5 FOR UPDATE")
        assert mine.fetchone() == (5,)
        conn.cursor().execute("UPDATE t SET v = 1 WHERE CURRENT OF other")
    conn.commit()
    cur = conn.cursor()
    cur.execute("SELECT k FROM job WHERE v = 1 UNION ALL SELECT k FROM t WHERE v = 1 ORDER BY 1")
    assert [k for (k,) in cur.fetchall()] == [1, 5]
