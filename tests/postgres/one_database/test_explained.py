"""EXPLAIN over several shards: what each would run, and with ANALYZE has run."""

from __future__ import annotations

import contextlib

import psycopg2
import pytest

import greenshard
from tests.postgres.one_database.compared import compared

SCHEMA = """
CREATE TABLE orders (id int PRIMARY KEY, total int CHECK (total < 1000), note text);
CREATE TABLE nation (id int PRIMARY KEY, name text);
INSERT INTO nation VALUES (1, 'Peru');
"""
TABLES = {"orders": greenshard.Sharded("id"), "nation": greenshard.Reference()}


@pytest.fixture(scope="module")
def databases(greenshard_shards):
    with compared(greenshard_shards, TABLES, SCHEMA) as made:
        yield made


@pytest.fixture
def conn(databases):
    with contextlib.closing(greenshard.connect(databases[0])) as conn:
        rows = ", ".join(f"({n}, {n}, 'x')" for n in range(1, 21))
        conn.cursor().execute(f"INSERT INTO orders VALUES {rows}")
        yield conn


def told(conn, *statement):
    cur = conn.cursor()
    cur.execute(*statement)
    assert [column.name for column in cur.description] == ["QUERY PLAN"]
    assert cur.statusmessage == "EXPLAIN"
    return [row[0] for row in cur.fetchall()]


def test_each_shard_tells_its_own_plan_below_the_strategy(conn):
    query = "SELECT count(*) FROM orders WHERE note LIKE 'x%%' AND total > %s"
    lines = told(conn, f"EXPLAIN (COSTS off) {query}", (5,))
    plan = conn.explain(query, (5,)).splitlines()
    assert lines[: len(plan)] == plan
    rest = lines[len(plan) :]
    at = rest.index("plan on s1:")
    assert rest[0] == "plan on s0:"
    assert rest[1:at] == rest[at + 1 :]
    assert rest[1] == "    Aggregate"
    assert "(note ~~ 'x%'::text)" in rest[-1]


def test_gathered_tables_and_documents(conn):
    (plan,) = told(conn, "EXPLAIN (FORMAT json) SELECT * FROM orders a JOIN orders b USING (total)")
    (plan,) = plan
    assert plan["Strategy"] == "gather"
    assert [each["Shard"] for each in plan["Shards"]] == ["s0", "s1"]
    assert {each["Table"] for each in plan["Shards"]} == {'"public"."orders"'}
    assert {each["Plan"][0]["Plan"]["Node Type"] for each in plan["Shards"]} == {"Seq Scan"}
    with pytest.raises(greenshard.NotSupportedError, match="FORMAT yaml"):
        told(conn, "EXPLAIN (FORMAT yaml) TABLE orders")
    with pytest.raises(psycopg2.errors.SyntaxError):
        conn.cursor("named").execute("EXPLAIN TABLE orders")


def test_analyze_of_writes_writes_and_explain_does_not(conn):
    cur = conn.cursor()
    many = "INSERT INTO orders VALUES (31, 1), (32, 1), (33, 1), (34, 1)"
    for statement in (many, "UPDATE orders SET note = 'y'", "UPDATE nation SET name = 'Chad'"):
        lines = told(conn, f"EXPLAIN {statement}")
        assert sum(line.startswith("plan on s") for line in lines) == 2
    cur.execute("SELECT count(*), min(note), (SELECT min(name) FROM nation) FROM orders")
    assert cur.fetchall() == [(20, "x", "Peru")]
    for statement in (many, "UPDATE orders SET note = 'y'", "UPDATE nation SET name = 'Chad'"):
        lines = told(conn, f"EXPLAIN ANALYZE {statement}")
        assert sum("actual" in line for line in lines) >= 2
    cur.execute("SELECT count(*), min(note), (SELECT min(name) FROM nation) FROM orders")
    assert cur.fetchall() == [(24, "y", "Chad")]
    for shard in ("s0", "s1"):
        with conn.on(shard):
            cur.execute("SELECT name FROM nation")
            assert cur.fetchall() == [("Chad",)]


def test_analyze_that_fails_on_one_shard_has_written_on_none(conn):
    conn.commit()
    conn.autocommit = True
    cur = conn.cursor()
    try:
        with conn.on("s1"):
            cur.execute("SELECT min(id) FROM orders")
            (key,) = cur.fetchone()
        # s0 has done it by then.
        update = "UPDATE orders SET total = CASE id WHEN %s THEN 1000 ELSE 500 END"
        with pytest.raises(psycopg2.errors.CheckViolation):
            cur.execute(f"EXPLAIN ANALYZE {update}", (key,))
        cur.execute("SELECT max(total) FROM orders")
        assert cur.fetchall() == [(20,)]
    finally:
        cur.execute("DELETE FROM orders")


def test_what_is_read_first_is_refused_with_analyze(conn):
    carried = "UPDATE orders SET total = b.total FROM orders b WHERE b.total = orders.id"
    with pytest.raises(greenshard.NotSupportedError, match="GS410"):
        told(conn, f"EXPLAIN ANALYZE {carried}")
    lines = told(conn, f"EXPLAIN {carried}")
    assert 'plan on s1, its part of "public"."orders":' in lines
    conn.allow_gather = False
    told(conn, f"EXPLAIN {carried}")
    gathered = "SELECT * FROM orders a JOIN orders b USING (total)"
    with pytest.raises(greenshard.NotSupportedError, match="GS407"):
        told(conn, f"EXPLAIN ANALYZE {gathered}")
