"""PREPARE, EXECUTE and DEALLOCATE as SQL do what they do on one server that has all rows."""

from __future__ import annotations

import contextlib

import psycopg2
import pytest

import greenshard
from tests.postgres.one_database.compared import compared

SCHEMA = """
CREATE TYPE mood AS ENUM ('sad', 'ok');
CREATE TABLE orders (id int PRIMARY KEY, total int, note text, of mood);
CREATE TABLE nation (id int PRIMARY KEY, name text);
CREATE SEQUENCE numbers;
CREATE SCHEMA apart CREATE TABLE here (n int);
CREATE DOMAIN apart.few AS int CHECK (value < 10);
"""
TABLES = {"orders": greenshard.Sharded("id"), "nation": greenshard.Reference()}

#: In this order; a tuple has parameters.
STATEMENTS = [
    "PREPARE put (int, text) AS INSERT INTO orders VALUES ($1, 5, $2)",
    r"EXECUTE put(1, 'x\y''z')",
    ("EXECUTE put(%s, %s)", (2, "é\\")),
    ("EXECUTE put(%(k)s, %(n)s)", {"k": 3, "n": None}),
    "EXECUTE put(4.4, now()::date)",
    "EXECUTE put(1 + 4, upper('q'))",
    "EXECUTE put(-6, U&'\\00e9')",
    "EXECUTE put('7', 1.50)",
    "EXECUTE put(1, 'again')",
    'PREPARE "Q 1" AS SELECT $1, id, $2::text, note FROM orders WHERE id > $3 ORDER BY 2',
    "EXECUTE \"Q 1\"('l', 5, 1)",
    "EXECUTE \"Q 1\"('l', 5, 1.6)",
    "EXECUTE \"Q 1\"('l', NULL, 2::numeric)",
    'PREPARE "Q 1" AS SELECT 1',
    "EXECUTE q",
    "EXECUTE put(1)",
    "EXECUTE put(1, 'x', 'y')",
    "EXECUTE put(true, 'x')",
    "EXECUTE put((SELECT 1), 'x')",
    "EXECUTE put('one', 'x')",
    "EXECUTE put(99999999999, 'x')",
    "EXECUTE put(1 / 0, 'x')",
    "PREPARE nothing AS SELECT * FROM nowhere",
    "PREPARE felt (mood) AS SELECT $1, count(*) FROM orders",
    "EXECUTE felt('sad')",
    "EXECUTE felt('happy')",
    "EXECUTE felt(NULL)",
    "PREPARE few (apart.few) AS SELECT $1 + 1, (SELECT count(*) FROM nation)",
    "EXECUTE few(3)",
    "EXECUTE few(30)",
    "PREPARE next AS SELECT nextval('numbers')",
    "EXECUTE next",
    "PREPARE these AS SELECT id FROM orders WHERE id = ANY($1) ORDER BY 1",
    ("EXECUTE these(%s)", ([1, 2],)),
    "EXECUTE these('{2,3}')",
    "PREPARE more (int, int) AS UPDATE orders SET total = total + $2 WHERE id = $1 RETURNING 5, $2",
    "EXECUTE more(1, 10)",
    "EXECUTE more(1, -10)",
    "EXECUTE more(2, (random() * 0)::int)",
    "PREPARE ten AS VALUES ($1::float8), (0.1)",
    "EXECUTE ten(pi())",
    "EXECUTE ten(1e300)",
    "SELECT name, parameter_types::text, statement FROM pg_prepared_statements ORDER BY 1",
    "EXECUTE more(1, 1); EXECUTE these('{1}')",
    "DEALLOCATE nothing",
    "DEALLOCATE PREPARE more",
    "EXECUTE more(1, 1)",
    "PREPARE more AS SELECT 'new'",
    "EXECUTE more",
    "DEALLOCATE ALL",
    "EXECUTE felt('sad')",
    "PREPARE a AS SELECT 1; PREPARE b AS SELECT count(*) + $1 FROM orders",
    "EXECUTE b(100)",
    "DISCARD ALL",
    "EXECUTE b(100)",
]  # fmt: skip


@pytest.fixture(scope="module")
def databases(greenshard_shards):
    with compared(greenshard_shards, TABLES, SCHEMA) as made:
        yield made


def done(conn, statement):
    cur = conn.cursor()
    try:
        cur.execute(*([statement] if isinstance(statement, str) else statement))
    except psycopg2.Error as error:
        if not conn.autocommit:
            with pytest.raises(psycopg2.errors.InFailedSqlTransaction):
                cur.execute("EXECUTE whatever")
            conn.rollback()
        return error.pgcode
    columns = [column.name for column in cur.description or ()]
    rows = cur.fetchall() if cur.description else None
    if not conn.autocommit:
        conn.commit()
    return cur.statusmessage, cur.rowcount, columns, rows, cur.query


@pytest.mark.parametrize("autocommit", [False, True], ids=["transaction", "autocommit"])
def test_prepared_statements_are_those_of_one_server(databases, autocommit):
    cluster, whole = databases
    with (
        contextlib.closing(greenshard.connect(cluster)) as ours,
        contextlib.closing(psycopg2.connect(whole)) as theirs,
    ):
        for conn in (ours, theirs):
            done(conn, "DELETE FROM orders")
            conn.autocommit = autocommit
        for statement in STATEMENTS:
            assert done(ours, statement) == done(theirs, statement), statement


@pytest.fixture
def conn(databases):
    with contextlib.closing(greenshard.connect(databases[0])) as conn:
        cur = conn.cursor()
        cur.execute("PREPARE put (int, text) AS INSERT INTO orders VALUES ($1, 5, $2)")
        yield conn


def test_execute_goes_to_one_shard_where_its_arguments_say_so(conn):
    cur = conn.cursor()
    cur.executemany("EXECUTE put(%s, %s)", [(100, "x"), (101, "y")])
    assert cur.rowcount == 2
    cur.execute("PREPARE one AS SELECT note FROM orders WHERE id = $1")
    cur.execute("EXECUTE one(100)")
    assert (cur.fetchall(), len(cur.timings)) == ([("x",)], 1)
    cur.execute("EXPLAIN (COSTS off) EXECUTE one(100)")
    assert "Index" in cur.fetchone()[0]
    cur.execute("PREPARE every AS SELECT sum(id) FROM orders WHERE id > $1")
    cur.execute("EXPLAIN ANALYZE EXECUTE every(7)")
    assert cur.fetchone() == ("strategy: combine",)
    with pytest.raises(psycopg2.errors.SyntaxError):
        conn.cursor("named").execute("EXECUTE one(100)")
    conn.rollback()


def test_on_named_shards_execute_writes_no_row_that_belongs_elsewhere(databases, conn):
    cluster, _ = databases
    home = cluster.placement.shards_for(200, "int4", cluster.names)
    (other,) = set(cluster.names) - {home}
    cur = conn.cursor()
    texts = ["EXECUTE put(200, 'x')", "SELECT 1; EXECUTE put(200, 'x')"]
    for text in texts:
        with pytest.raises(greenshard.NotSupportedError), conn.on(other):
            cur.execute(text)
    with conn.on(home):
        cur.execute(texts[0])
    assert cur.rowcount == 1
    conn.rollback()


def test_a_pool_gives_out_sessions_without_prepared_statements(databases):
    with contextlib.closing(greenshard.Pool(databases[0], max_size=1)) as pool:
        for _ in range(2):
            with pool.connection() as conn:
                cur = conn.cursor()
                cur.execute("PREPARE mine AS SELECT count(*) FROM orders")
                cur.execute("EXECUTE mine")
                assert cur.rowcount == 1
