"""Copies of a reference table whose rows lie in another order on each server."""

from __future__ import annotations

import contextlib
from random import Random

import psycopg2
import pytest

import greenshard
from tests.postgres.one_database.conftest import TABLES, insert

CODES = [
    (i, i % 3, 0.1 * i + 1e10 * (i % 2), ["1.0", "1.00", "1", "2.5", "2.50"][i % 5], f"n{i % 4}")
    for i in range(30)
]
#: What one server would tell of the codes alone, so that it is one row for all orders.
TOLD = [
    ("array(SELECT code FROM codes)", "gather"),
    ("(SELECT array_agg(code ORDER BY n) FROM codes)", "gather"),
    ("(SELECT array_agg(name ORDER BY n, code) FROM codes)", "combine"),
    ("(SELECT string_agg(name, ',') FROM codes)", "gather"),
    ("(SELECT string_agg(name, ',' ORDER BY name) FROM codes)", "combine"),
    ("(SELECT sum(w) FROM codes)", "gather"),
    ("(SELECT corr(code, n) FROM codes)", "gather"),
    ("(SELECT sum(w) OVER () FROM codes WHERE w = 0)", "gather"),
    ("(SELECT sum(x) FROM (SELECT w * 2 AS x FROM codes) y)", "gather"),
    ("(SELECT max(num)::text FROM codes WHERE num < 2)", "gather"),
    ("(SELECT array_agg(DISTINCT num)::text FROM codes)", "gather"),
    ("array(SELECT DISTINCT num FROM codes)::text", "gather"),
    ("(SELECT max(num) FROM codes WHERE num < 2)", "gather"),
    ("(SELECT sum(num)::text FROM codes)", "combine"),
    ("(SELECT max(n) + avg(n) FROM codes)", "combine"),
]
#: Queries of which each row is told by some of the codes: as many rows, and how many columns.
CHOSEN = [
    "SELECT DISTINCT id % 3, (SELECT array_agg(code) FROM codes WHERE n = id % 3) FROM orders",
    "SELECT id % 3, array(SELECT code FROM codes WHERE n = id % 3) FROM orders GROUP BY 1, 2",
    (
        "SELECT DISTINCT id % 3, c FROM orders, LATERAL (SELECT code AS c FROM codes"
        " WHERE n = id % 3 LIMIT 1) x"
    ),
]
DIFFERENT = [
    "UPDATE codes SET a = array(SELECT code FROM codes)",
    "UPDATE codes SET a = (SELECT array_agg(code ORDER BY n) FROM codes)",
    "UPDATE codes SET w = (SELECT avg(w) FROM codes)",
    "UPDATE codes SET num = (SELECT max(num) FROM codes)",
    "UPDATE codes SET name = (SELECT max(num)::text FROM codes)",
    "UPDATE codes SET (num, name) = (SELECT num, name FROM codes WHERE n = 1 LIMIT 1)",
    "UPDATE codes SET num = (SELECT DISTINCT num FROM codes WHERE num < 1.5)",
    (
        "INSERT INTO codes VALUES (9, 1, 1, 1, '', NULL) ON CONFLICT (code) DO UPDATE"
        " SET num = (SELECT min(num) FROM codes)"
    ),
]
ALIKE = [
    "UPDATE codes SET a = array(SELECT code FROM codes ORDER BY code)",
    "UPDATE codes SET a = (SELECT array_agg(n ORDER BY n) FROM codes)",
    "UPDATE codes SET num = (SELECT avg(num) FROM codes)",
    "UPDATE codes SET n = n + 1 WHERE num >= (SELECT max(num) FROM codes)",
    "INSERT INTO codes VALUES (99, 1, 1, 1, (SELECT max(name) FROM codes), NULL)",
    "INSERT INTO codes VALUES (99, 1, 1, 1, (SELECT string_agg(name, ',') FROM codes), NULL)",
    "DELETE FROM codes WHERE num IN (SELECT DISTINCT num FROM codes WHERE n = 1)",
]


@pytest.fixture(scope="module")
def cluster(shop):
    for seed, dsn in enumerate((*shop.dsns.values(), shop.single)):
        rows = Random(seed).sample(CODES, len(CODES))
        with contextlib.closing(psycopg2.connect(dsn)) as conn, conn, conn.cursor() as cur:
            cur.execute(
                "CREATE TABLE codes (code int PRIMARY KEY, n int, w float8, num numeric, name text,"
                " a int[])"
            )
            insert(cur, "codes (code, n, w, num, name)", rows)
    return greenshard.Cluster(shop.dsns, {**TABLES, "codes": greenshard.Reference()})


@pytest.fixture
def conn(cluster):
    with contextlib.closing(greenshard.connect(cluster)) as connection:
        yield connection


def test_all_shards_tell_the_same_of_their_copies(conn):
    cur = conn.cursor()
    for told, strategy in TOLD:
        query = f"SELECT DISTINCT {told} FROM orders"
        assert f"strategy: {strategy}" in conn.explain(query), told
        cur.execute(query)
        assert cur.rowcount == 1, told
    for query in CHOSEN:
        cur.execute(query)
        assert cur.rowcount == 3, query
    # What is only compared may look otherwise on each shard.
    assert "strategy: concatenate" in conn.explain(
        "SELECT id FROM orders WHERE total > (SELECT coalesce(max(num), 0) FROM codes)"
    )


def test_what_is_written_to_one_copy_is_written_to_all(conn):
    cur = conn.cursor()
    for statement in (*DIFFERENT, *ALIKE):
        if statement in DIFFERENT:
            assert "strategy: broadcast" not in conn.explain(statement), statement
        cur.execute(statement)
        copies = set()
        for shard in conn.shards:
            with conn.on(shard):
                cur.execute("SELECT array_agg(codes::text ORDER BY code) FROM codes")
                copies.add(str(cur.fetchall()))
        assert len(copies) == 1, statement
        conn.rollback()
