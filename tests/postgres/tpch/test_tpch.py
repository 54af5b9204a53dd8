"""The 22 queries of TPC-H over four shards give what one server with every row gives."""

from __future__ import annotations

import contextlib

import psycopg2
import pytest

import greenshard
from benchmarks import tpch_data

SCALE = 0.01
#: Of the queries whose ORDER BY leaves ties open: the columns it names. Else it decides the order,
#: or there is one row.
SORT_COLUMNS = {
    "Q3": ["revenue", "o_orderdate"],
    "Q5": ["revenue"],
    "Q10": ["revenue"],
    "Q11": ["value"],
    "Q18": ["o_totalprice", "o_orderdate"],
}


@pytest.fixture(scope="module")
def sides(greenshard_shards, tmp_path_factory):
    """A connection to four shards, and one to the server with every row.

    They are databases on the session's two servers.
    """
    files = tmp_path_factory.mktemp("tpch")
    tpch_data.generate(SCALE, files)
    with contextlib.ExitStack() as opened:
        databases = [opened.enter_context(greenshard_shards.databases()) for _ in range(3)]
        *shards, single, _ = [dsn for dsns in databases for dsn in dsns.values()]
        tpch_data.load(files, single, shards)
        cluster = tpch_data.cluster(shards)
        yield [
            opened.enter_context(contextlib.closing(connection))
            for connection in (greenshard.connect(cluster), psycopg2.connect(single))
        ]


@pytest.mark.parametrize("query", tpch_data.QUERIES, ids=lambda query: query.name)
def test_shards_answer_as_one_server_does(sides, query):
    (ours, our_columns), (expected, columns) = (answer(conn, query.sql(SCALE)) for conn in sides)
    assert our_columns == columns
    if query.name in SORT_COLUMNS:
        at = [name for name, _ in columns].index
        places = [at(name) for name in SORT_COLUMNS[query.name]]
        assert [[row[place] for place in places] for row in ours] == [
            [row[place] for place in places] for row in expected
        ]
        ours, expected = sorted(ours), sorted(expected)
    assert ours == expected


def test_each_order_is_on_the_shard_of_its_key(sides):
    conn, _ = sides
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


def answer(conn, sql):
    """The rows, and the names and type codes of the columns.

    A value is compared by its text, which tells 1.0 from 1.00.
    """
    cur = conn.cursor()
    cur.execute(sql)
    rows = [tuple(map(repr, row)) for row in cur.fetchall()]
    conn.rollback()
    return rows, [(column.name, column.type_code) for column in cur.description]
