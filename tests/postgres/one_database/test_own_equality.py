"""An `=` of one's own on the search path gives what it gives in one database, or an error."""

from __future__ import annotations

import contextlib
import secrets

import psycopg2
import pytest
from psycopg2.extensions import make_dsn

import greenshard
from tests.postgres.one_database import conftest as scene

#: Keys are equal as if they were counted in tens; so most rows that are equal are on other shards.
PLANTING = """
CREATE DOMAIN kept AS bigint;
CREATE TABLE words (word varchar(20) PRIMARY KEY, n int);
CREATE TABLE keeps (k kept PRIMARY KEY, n int);
CREATE SCHEMA s;
CREATE FUNCTION s.tens(int, int) RETURNS bool IMMUTABLE LANGUAGE sql AS
    'SELECT $1 / 10 OPERATOR(pg_catalog.=) $2 / 10';
CREATE FUNCTION s.tens(bigint, int) RETURNS bool IMMUTABLE LANGUAGE sql AS
    'SELECT $1 / 10 OPERATOR(pg_catalog.=) $2 / 10';
CREATE FUNCTION s.tens(bigint, bigint) RETURNS bool IMMUTABLE LANGUAGE sql AS
    'SELECT $1 / 10 OPERATOR(pg_catalog.=) $2 / 10';
CREATE OPERATOR s.= (LEFTARG = int, RIGHTARG = int, FUNCTION = s.tens);
CREATE OPERATOR s.= (LEFTARG = bigint, RIGHTARG = int, FUNCTION = s.tens);
CREATE OPERATOR s.= (LEFTARG = bigint, RIGHTARG = bigint, FUNCTION = s.tens);
CREATE SCHEMA late;
CREATE FUNCTION late.near(bigint, numeric) RETURNS bool IMMUTABLE LANGUAGE sql AS
    'SELECT pg_catalog.abs($1 - $2) OPERATOR(pg_catalog.<) 3.0';
CREATE FUNCTION late.first(varchar, varchar) RETURNS bool IMMUTABLE LANGUAGE sql AS
    'SELECT pg_catalog.left($1::text, 1) OPERATOR(pg_catalog.=) pg_catalog.left($2::text, 1)';
CREATE FUNCTION late.tens(kept, kept) RETURNS bool IMMUTABLE LANGUAGE sql AS
    'SELECT $1::bigint / 10 OPERATOR(pg_catalog.=) $2::bigint / 10';
CREATE OPERATOR late.= (LEFTARG = bigint, RIGHTARG = numeric, FUNCTION = late.near);
CREATE OPERATOR late.= (LEFTARG = varchar, RIGHTARG = varchar, FUNCTION = late.first);
CREATE OPERATOR late.= (LEFTARG = kept, RIGHTARG = kept, FUNCTION = late.tens);
"""
TABLES = {
    **scene.TABLES,
    "words": greenshard.Sharded("word"),
    "keeps": greenshard.Sharded("k"),
}
STATEMENTS = {
    "s,pg_catalog,public": [
        ("SELECT id FROM orders WHERE id = 17", 10),
        ("SELECT id FROM orders WHERE id = %s", 10),
        ("SELECT id FROM orders WHERE id IN (17, 33)", 20),
        ("SELECT id FROM orders WHERE id = ANY (ARRAY[17, 33])", 20),
        ("SELECT id FROM orders WHERE id = '17'", 10),
        ("SELECT id FROM orders WHERE id IS NOT DISTINCT FROM 17", 10),
        ("SELECT id FROM orders WHERE CASE id WHEN 17 THEN true END", 10),
        ("SELECT id FROM orders WHERE NULLIF(id, 17) IS NULL", 10),
        ("SELECT o.id, n FROM orders o JOIN items ON id = order_id WHERE id < 30", None),
        ("SELECT o.id, n FROM orders o LEFT JOIN items ON id = order_id AND id = 17", None),
        ("SELECT id FROM orders WHERE id IN (SELECT order_id FROM items)", 60),
        ("SELECT id FROM orders WHERE EXISTS (SELECT FROM items WHERE order_id = id)", 60),
        ("SELECT a.id, b.id FROM orders a JOIN orders b USING (id)", 600),
        ("SELECT a.id FROM orders a NATURAL JOIN (SELECT id FROM orders) AS b", 600),
        ("SELECT id FROM orders WHERE id OPERATOR(pg_catalog.=) 17", 1),
        ("SELECT id FROM orders WHERE id OPERATOR(s.=) 17", 10),
        ("UPDATE orders SET note = 'x' WHERE id = 17 RETURNING id", 10),
        ("DELETE FROM items WHERE order_id IN (17) RETURNING order_id", None),
    ],
    "public,late": [
        ("SELECT id FROM orders WHERE id = 17.0", 5),
        ("SELECT id FROM orders WHERE id IN (17.0, 44.5)", 11),
        ("SELECT id FROM orders WHERE id = 17", 1),
        ("SELECT word FROM words WHERE word = 'a1'", 7),
        ("SELECT word FROM words WHERE word IN ('a1', 'b2')", 14),
        ("SELECT a.word, b.word FROM words a JOIN words b USING (word)", None),
        ("SELECT k FROM keeps WHERE k = '17'", 10),
        ("SELECT a.k, b.k FROM keeps a JOIN keeps b ON a.k = b.k", None),
    ],
}
CASES = [(path, *case) for path, cases in STATEMENTS.items() for case in cases]


@pytest.fixture(scope="module")
def databases(greenshard_shards):
    """Three shards' databases, and one with all rows; all with the same operators."""
    mark = secrets.token_hex(3)
    names = {name: f"equal_{mark}_{name}" for name in ("one", "s0", "s1", "s2")}
    dsns = {name: greenshard_shards[0].dsn_of(each) for name, each in names.items()}
    cluster = greenshard.Cluster({name: dsns[name] for name in ("s0", "s1", "s2")}, TABLES)
    with contextlib.closing(psycopg2.connect(greenshard_shards[0].dsn)) as admin:
        admin.autocommit = True
        for name, dsn in dsns.items():
            admin.cursor().execute(f"CREATE DATABASE {names[name]}")
            with contextlib.closing(psycopg2.connect(dsn)) as conn, conn, conn.cursor() as cur:
                cur.execute(scene.SCHEMA + PLANTING)
                fill(cur, cluster, name)
        greenshard.init(cluster)
        yield dsns
        for each in names.values():
            admin.cursor().execute(f"DROP DATABASE {each} WITH (FORCE)")


def fill(cur, cluster, name):
    def is_here(key, kind):
        return name in ("one", cluster.placement.shards_for(key, kind, cluster.names))

    scene.insert(cur, "orders", [row for row in scene.ORDERS if is_here(row[0], "int8")])
    scene.insert(cur, "items", [row for row in scene.ITEMS if is_here(row[0], "int8")])
    words = [(f"{letter}{n}", n) for letter in "abc" for n in range(7)]
    for table, rows in (
        ("words", [row for row in words if is_here(row[0], "varchar")]),
        ("keeps", [(n, n) for n in range(60) if is_here(n, "int8")]),
    ):
        if rows:
            scene.insert(cur, table, rows)


@pytest.mark.parametrize(("path", "statement", "count"), CASES)
def test_the_rows_are_those_of_one_database(databases, path, statement, count):
    parameters = (17,) if "%s" in statement else None
    dsns = {
        name: make_dsn(dsn, options=f"-c search_path={path}") for name, dsn in databases.items()
    }
    with contextlib.closing(psycopg2.connect(dsns.pop("one"))) as one, one.cursor() as cur:
        cur.execute(statement, parameters)
        expected = sorted(cur.fetchall())
    assert count is None or len(expected) == count
    cluster = greenshard.Cluster(dsns, TABLES)
    with contextlib.closing(greenshard.connect(cluster)) as conn, conn.cursor() as cur:
        cur.execute(statement, parameters)
        assert sorted(cur.fetchall()) == expected
        conn.rollback()


def test_a_write_by_another_equality_is_no_join_by_the_key(databases):
    path = "s,pg_catalog,public"
    dsns = {
        name: make_dsn(dsn, options=f"-c search_path={path}") for name, dsn in databases.items()
    }
    one = dsns.pop("one")
    cluster = greenshard.Cluster(dsns, TABLES)
    with contextlib.closing(greenshard.connect(cluster)) as conn, conn.cursor() as cur:
        # The rows of other shards are compared by it, too.
        deleting = "DELETE FROM items USING orders WHERE order_id = id"
        assert "strategy: carry" in conn.explain(deleting)
        with contextlib.closing(psycopg2.connect(one)) as single, single.cursor() as its:
            its.execute(deleting)
            cur.execute(deleting)
            assert cur.rowcount == its.rowcount
        conn.rollback()
        cur.execute("DELETE FROM items USING orders WHERE order_id OPERATOR(pg_catalog.=) id")
        assert cur.rowcount == len(scene.ITEMS)
        conn.rollback()
