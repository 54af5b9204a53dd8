"""The queries of TPC-H and TPC-DS over four shards give what one server with every row gives."""

from __future__ import annotations

import contextlib

import psycopg2
import pytest

import greenshard
from benchmarks.tpc_answers import Answer, Likeness, compare
from benchmarks.tpc_data import TPC_DS, TPC_H

SCALE = 0.01


@contextlib.contextmanager
def opened(dataset, greenshard_shards, files):
    """A connection to four shards, and one to the server with every row.

    They are databases on the session's two servers.
    """
    dataset.generate(SCALE, files)
    with contextlib.ExitStack() as stack:
        databases = [stack.enter_context(greenshard_shards.databases()) for _ in range(3)]
        *shards, single, _ = [dsn for dsns in databases for dsn in dsns.values()]
        dataset.load(files, single, shards)
        cluster = dataset.cluster(shards)
        yield [
            stack.enter_context(contextlib.closing(connection))
            for connection in (greenshard.connect(cluster), psycopg2.connect(single))
        ]


@pytest.fixture(scope="module")
def tpc_h(greenshard_shards, tmp_path_factory):
    with opened(TPC_H, greenshard_shards, tmp_path_factory.mktemp("tpch")) as sides:
        yield sides


@pytest.fixture(scope="module")
def tpc_ds(greenshard_shards, tmp_path_factory):
    with opened(TPC_DS, greenshard_shards, tmp_path_factory.mktemp("tpcds")) as sides:
        yield sides


@pytest.mark.parametrize("query", TPC_H.queries(), ids=lambda query: query.name)
def test_shards_answer_tpc_h_as_one_server_does(tpc_h, query):
    assert likeness(tpc_h, query) is Likeness.EQUAL


@pytest.mark.parametrize("query", TPC_DS.queries(), ids=lambda query: query.name)
def test_shards_answer_tpc_ds_as_one_server_does(tpc_ds, query):
    assert likeness(tpc_ds, query) is not Likeness.DIFFERENT


def likeness(sides, query):
    sql = query.sql(SCALE)
    return compare(sql, *(answer(conn, sql) for conn in sides))


def answer(conn, sql):
    cur = conn.cursor()
    cur.execute(sql)
    rows = cur.fetchall()
    conn.rollback()
    return Answer([(column.name, column.type_code) for column in cur.description], rows)


def test_each_order_is_on_the_shard_of_its_key(tpc_h):
    conn, _ = tpc_h
    cur = conn.cursor()
    for name in conn.shards:
        with conn.on(name):
            cur.execute("SELECT min(o_orderkey), max(o_orderkey), count(*) FROM orders")
            [(first, last, count)] = cur.fetchall()
        assert count > 0
        for key in (first, last):
            with conn.on(key=key):
                cur.execute("SELECT count(*) FROM orders WHERE o_orderkey = %s", (key,))
                assert cur.fetchall() == [(1,)]
    conn.rollback()
