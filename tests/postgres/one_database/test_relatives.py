"""Partitions, tables that inherit, and which of them a row belongs to."""

from __future__ import annotations

import contextlib

import psycopg2
import pytest

import greenshard

SCHEMA = """
CREATE TABLE parts (k bigint, c int) PARTITION BY LIST (c);
CREATE TABLE low PARTITION OF parts FOR VALUES IN (0, 1, 2);
CREATE TABLE rest PARTITION OF parts DEFAULT;
CREATE TABLE parent (k bigint, c int);
CREATE TABLE child (extra int) INHERITS (parent);
"""
TABLES = dict.fromkeys(("parts", "low", "rest", "parent", "child"), greenshard.Sharded("k"))
READ = [
    ("SELECT DISTINCT tableoid::regclass::text FROM parts", "combine"),
    ("SELECT tableoid::regclass::text, count(*) FROM parts p GROUP BY 1 ORDER BY 1", "combine"),
    ("SELECT parts.tableoid::regclass::varchar AS name, k FROM parts ORDER BY 1, 2", "merge"),
    ("SELECT k FROM parts WHERE tableoid = 'low'::regclass ORDER BY k", "merge"),
    ("SELECT count(*) FROM parent WHERE 'child'::regclass <> tableoid", "combine"),
    ("SELECT cardinality(array_agg(DISTINCT coalesce(c))) FROM ONLY parent", "gather"),
    ("SELECT cardinality(array_agg(DISTINCT coalesce(c))), count(*) FROM parent", "gather"),
    ("SELECT count(DISTINCT a.c), count(*) FROM ONLY parent a JOIN child b ON a.c = b.k", "gather"),
    ("SELECT cardinality(array_agg(DISTINCT coalesce(c))) FROM ONLY parts", "gather"),
]
REFUSED = [
    "SELECT tableoid FROM parts",
    "SELECT tableoid::regclass FROM parts ORDER BY 1",
    "SELECT cardinality(array_agg(DISTINCT coalesce(c))), max(tableoid::regclass::text) FROM parts",
    "SELECT count(DISTINCT a.c) FROM ONLY parent a JOIN parent b ON a.c = b.k",
]


@pytest.fixture(scope="module")
def cluster(shop):
    for name, dsn in {**shop.dsns, None: shop.single}.items():
        with contextlib.closing(psycopg2.connect(dsn)) as conn, conn, conn.cursor() as cur:
            # OIDs of their own on each server
            cur.execute(f"CREATE TABLE beside_{len(name or '')} (); {SCHEMA}")
            for k in range(30):
                if name in (None, shop.shard_of(k)):
                    cur.execute(
                        "INSERT INTO parts VALUES (%(k)s, %(c)s); INSERT INTO parent"
                        " VALUES (%(k)s, 1 + %(c)s); INSERT INTO child VALUES (%(k)s, %(c)s)",
                        {"k": k, "c": k % 5},
                    )
    return greenshard.Cluster(shop.dsns, TABLES)


@pytest.fixture
def conn(cluster):
    with contextlib.closing(greenshard.connect(cluster)) as connection:
        yield connection


def test_rows_of_relatives_are_read_as_by_one_server(same):
    for statement, strategy in READ:
        same(statement, strategy=strategy, ordered="ORDER BY" in statement)


def test_what_would_tell_of_one_server_or_of_a_copy_is_refused(conn):
    for statement in REFUSED:
        with pytest.raises(greenshard.errors.NotSupportedError, match="GS410"):
            conn.cursor().execute(statement)
