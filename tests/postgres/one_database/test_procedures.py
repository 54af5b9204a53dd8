"""CALL and DO: on the shards that are named, or anywhere if the procedure is declared harmless."""

from __future__ import annotations

import contextlib

import psycopg2
import pytest

import greenshard
from tests.postgres.one_database.compared import compared

SCHEMA = """
CREATE TABLE orders (id int PRIMARY KEY, total int);
CREATE PROCEDURE next(INOUT n int, more int DEFAULT 1) LANGUAGE plpgsql AS $$
BEGIN n := n + more; RAISE NOTICE 'now %', n; END $$;
CREATE PROCEDURE commits() LANGUAGE plpgsql AS 'BEGIN COMMIT; END';
CREATE PROCEDURE zero() LANGUAGE plpgsql AS 'BEGIN UPDATE orders SET total = 0; END';
CREATE PROCEDURE seen(of int) LANGUAGE plpgsql AS $$
BEGIN UPDATE orders SET total = -1 WHERE id = of; END $$;
"""
FUNCTIONS = {
    "next(int, int)": {"reads": "nothing"},
    "commits": {"reads": "nothing"},
    "seen": {"reads": "shard"},
}

CALLS = [
    ("CALL next(1)",),
    ("CALL next(%s, %s)", (5, 7)),
    ("CALL next(n => %(n)s)", {"n": 5}),
    ("CALL next(extract(year FROM now())::int - extract(year FROM CURRENT_DATE)::int)",),
    ("CALL next('x')",),
    ("CALL next((SELECT 1))",),
    ("CALL next()",),
    ("CALL nothing(1)",),
    ("CALL commits()",),
    ("CALL next(1); CALL next(2)",),
]


@pytest.fixture(scope="module")
def databases(greenshard_shards):
    tables = {"orders": greenshard.Sharded("id")}
    with compared(greenshard_shards, tables, SCHEMA, functions=FUNCTIONS) as made:
        yield made


def done(conn, call):
    cur = conn.cursor()
    try:
        cur.execute(*call)
    except psycopg2.Error as error:
        conn.rollback()
        return error.pgcode
    rows = cur.fetchall() if cur.description else None
    return cur.statusmessage, cur.rowcount, rows


@pytest.mark.parametrize("autocommit", [False, True])
def test_what_is_declared_to_read_nothing_is_called_as_on_one_server(databases, autocommit):
    cluster, whole = databases
    with (
        contextlib.closing(greenshard.connect(cluster)) as ours,
        contextlib.closing(psycopg2.connect(whole)) as theirs,
    ):
        ours.autocommit = theirs.autocommit = autocommit
        for call in CALLS:
            assert done(ours, call) == done(theirs, call), call
        assert "now 3" in ours.notices[-1]


def test_others_run_on_named_shards_only(databases):
    with contextlib.closing(greenshard.connect(databases[0])) as conn:
        cur = conn.cursor()
        cur.execute("INSERT INTO orders VALUES (1, 1), (2, 2), (3, 3), (4, 4)")
        for text, message in [
            ("CALL zero()", r'zero = \{ reads = "nothing" \}'),
            ("CALL seen(1)", "names none"),
            ("DO $$ BEGIN UPDATE orders SET total = 5; END $$", "DO over several shards"),
        ]:
            with pytest.raises(greenshard.NotSupportedError, match=message):
                cur.execute(text)
        with conn.on(key=3, table="orders"):
            cur.execute("CALL seen(3)")
        cur.execute("SELECT id, total FROM orders ORDER BY 1")
        assert cur.fetchall() == [(1, 1), (2, 2), (3, -1), (4, 4)]
        with conn.on(("s0", "s1")):
            cur.execute("CALL zero()")
            cur.execute("DO $$ BEGIN UPDATE orders SET total = total + id; END $$")
        cur.execute("SELECT id, total FROM orders ORDER BY 1")
        assert cur.fetchall() == [(n, n) for n in range(1, 5)]
