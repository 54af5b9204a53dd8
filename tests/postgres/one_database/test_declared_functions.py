"""Functions of which the declaration says what they read."""

from __future__ import annotations

import contextlib

import psycopg2
import pytest

import greenshard
from greenshard.checking import check
from tests.postgres.one_database.compared import compared, insert
from tests.postgres.psql import run

SCHEMA = """
CREATE SCHEMA sales;
CREATE TABLE orders (id bigint PRIMARY KEY, n int, note text);
CREATE TABLE items (order_id bigint, line int, PRIMARY KEY (order_id, line));
CREATE TABLE rates (code text PRIMARY KEY, n int);
-- Their texts do not show that they read no table, or no other shard's rows.
CREATE FUNCTION taxed(n int) RETURNS int LANGUAGE plpgsql AS $$
    DECLARE found int; BEGIN SELECT n * 2 INTO found FROM (SELECT 1) AS one; RETURN found; END $$;
CREATE FUNCTION taxed(n text) RETURNS bigint LANGUAGE plpgsql AS $$
    BEGIN RETURN (SELECT count(*) FROM orders); END $$;
CREATE FUNCTION lines(of bigint) RETURNS bigint LANGUAGE plpgsql AS $$
    BEGIN RETURN (SELECT count(*) FROM public.items WHERE order_id = of); END $$;
CREATE FUNCTION sales.lines_of(of bigint) RETURNS SETOF int LANGUAGE plpgsql AS $$
    BEGIN RETURN QUERY SELECT line FROM public.items WHERE order_id = of; END $$;
CREATE FUNCTION added(a int, b int) RETURNS int LANGUAGE plpgsql AS $$
    BEGIN EXECUTE 'SELECT $1 + $2' INTO a USING a, b; RETURN a; END $$;
CREATE AGGREGATE adding(int) (SFUNC = added, STYPE = int, INITCOND = '0');
CREATE OPERATOR <+> (LEFTARG = int, RIGHTARG = int, FUNCTION = added);
CREATE FUNCTION kept(x int) RETURNS boolean LANGUAGE plpgsql AS $$
    BEGIN EXECUTE 'SELECT $1 < 100' INTO STRICT x USING x; RETURN true; END $$;
CREATE TABLE guarded (id bigint PRIMARY KEY, n int CHECK (added(n, 0) < 100));
"""
TABLES = {
    "orders": greenshard.Sharded("id"),
    "items": greenshard.Sharded("order_id"),
    "guarded": greenshard.Sharded("id"),
    "rates": greenshard.Reference(),
}
FUNCTIONS = {
    "taxed(int)": {"reads": "nothing"},
    "public.added": {"reads": "nothing"},
    "lines": {"reads": "shard"},
    "sales.lines_of(bigint)": {"reads": "shard"},
}

#: Statement and strategy.
WORKING = [
    ("SELECT id, added(n, 1) FROM orders", "concatenate"),
    ("SELECT added(2, n), count(*) FROM orders GROUP BY 1", "combine"),
    ("SELECT added(2, count(*)::int) FROM orders", "combine"),
    ("SELECT cardinality(array_agg(DISTINCT coalesce(added(n, 1)))) FROM orders", "gather"),
    ("SELECT id, n <+> 7 FROM orders", "concatenate"),
    ("SELECT adding(n) FROM orders WHERE id = 3", "route"),
    ("SELECT id, adding(n) FROM orders GROUP BY id", "concatenate"),
    ("SELECT added(1, 2)", "reference"),
    ("SELECT id, lines(id) FROM orders", "concatenate"),
    ("SELECT id FROM orders WHERE lines(id) > 1 ORDER BY lines(id), id LIMIT 3", "merge"),
    ("SELECT lines(id), count(*) FROM orders GROUP BY 1", "combine"),
    ("SELECT max(lines(id)) FROM orders", "combine"),
    ("SELECT DISTINCT lines(id) FROM orders", "combine"),
    ("SELECT id, l FROM orders, sales.lines_of(id) AS l", "concatenate"),
    ("SELECT lines(7), n FROM orders WHERE id = 7", "route"),
    ("SELECT o.id, lines(o.id) FROM orders o JOIN items ON order_id = o.id", "concatenate"),
]
REFUSED = [
    ("SELECT lines(7)", "GS410"),
    ("SELECT * FROM sales.lines_of(7)", "GS410"),
    ("SELECT lines(7), n FROM orders", "GS410"),
    ("SELECT code FROM rates WHERE lines(n) = 0", "GS410"),
    ("SELECT n, lines(n) FROM orders GROUP BY n", "GS410"),
    ("SELECT n FROM orders GROUP BY n HAVING lines(sum(id)::bigint) = 0", "GS410"),
    ("SELECT sum(lines(id)) OVER () FROM orders", "GS410"),
    ("SELECT o.id, lines(p.id) FROM orders o JOIN orders p ON o.n = p.n", "GS410"),
    ("UPDATE rates SET n = lines(1)", "GS410"),
    ("UPDATE orders SET n = lines(2)", "GS410"),
    ("INSERT INTO rates VALUES ('x', lines(7))", "GS410"),
    ("INSERT INTO orders VALUES (lines(7), 1, 'x')", "GS410"),
    ("INSERT INTO orders (id, n) VALUES (21, lines(1)), (22, 3), (23, 3), (24, 3)", "GS410"),
    # Of the overloaded name, one is not declared.
    ("SELECT taxed(n) FROM orders", "GS410"),
]


@pytest.fixture(scope="module")
def databases(greenshard_shards):
    schema = SCHEMA + "INSERT INTO rates VALUES ('a', 1), ('b', 2);"
    with compared(greenshard_shards, TABLES, schema, functions=FUNCTIONS) as made:
        scripts = {
            n: f"INSERT INTO orders VALUES ({n}, {n % 4}, 'x');"
            f"INSERT INTO items SELECT {n}, generate_series(1, {n % 3})"
            for n in range(1, 13)
        }
        insert(made, "int8", scripts)
        yield made


@pytest.fixture
def conn(databases):
    with contextlib.closing(greenshard.connect(databases[0])) as connection:
        yield connection


@pytest.fixture
def whole(databases):
    with contextlib.closing(psycopg2.connect(databases[1])) as connection:
        yield connection


def rows(connection, statement):
    cursor = connection.cursor()
    cursor.execute(statement)
    return sorted(cursor.fetchall(), key=repr)


def test_declared_functions_are_called_where_they_read(conn, whole):
    for statement, strategy in WORKING:
        assert f"strategy: {strategy}\n" in conn.explain(statement), statement
        assert rows(conn, statement) == rows(whole, statement), statement


def test_where_they_would_read_something_else_they_are_refused(conn):
    for statement, code in REFUSED:
        with pytest.raises(greenshard.NotSupportedError) as caught:
            conn.cursor().execute(statement)
        assert caught.value.code == code, statement
    assert 'taxed = { reads = "nothing" }' in caught.value.hint


def test_writes_with_declared_functions(conn, whole):
    statements = [
        "UPDATE orders SET n = lines(id)::int",
        "UPDATE orders SET note = lines(7)::text WHERE id = 7",
        "INSERT INTO orders VALUES (99, lines(99)::int, added(1, 2)::text)",
        "INSERT INTO guarded VALUES (1, 7)",
        "DELETE FROM orders WHERE lines(id) = 1",
    ]
    for statement in statements:
        counts = []
        for connection in (conn, whole):
            cursor = connection.cursor()
            cursor.execute(statement)
            counts.append(cursor.rowcount)
        assert counts[0] == counts[1], statement
    assert rows(conn, "SELECT * FROM orders") == rows(whole, "SELECT * FROM orders")
    with pytest.raises(psycopg2.errors.CheckViolation):
        conn.cursor().execute("INSERT INTO guarded VALUES (2, 700)")


def test_what_is_not_declared_is_refused_beside_a_write(databases):
    cluster = greenshard.Cluster({n: s.primary for n, s in databases[0].shards.items()}, TABLES)
    with contextlib.closing(greenshard.connect(cluster)) as connection:
        with pytest.raises(greenshard.NotSupportedError) as caught:
            connection.cursor().execute("INSERT INTO guarded VALUES (1, 7)")
        assert caught.value.code == "GS415"
        assert 'added = { reads = "nothing" }' in caught.value.hint


def test_check_tells_of_functions_that_are_not_there_or_differ(databases):
    shards = {name: shard.primary for name, shard in databases[0].shards.items()}
    declared = {
        **FUNCTIONS,
        "addet": {"reads": "nothing"},
        "sales.added": {"reads": "nothing"},
        "added(int, text)": {"reads": "nothing"},
    }
    cluster = greenshard.Cluster(shards, TABLES, functions=declared)
    with contextlib.closing(greenshard.connect(shards)) as union:
        run(
            shards["s1"],
            "CREATE FUNCTION lonely() RETURNS int LANGUAGE sql AS 'SELECT 1'",
            "CREATE OR REPLACE FUNCTION kept(x int) RETURNS boolean LANGUAGE sql AS 'SELECT true'",
        )
        findings = [f for f in check(union, cluster, rows=False).findings if f.check == "functions"]
    other = "; there is one of that name, in another schema or with other arguments"
    assert [finding.message for finding in findings] == [
        "the function public.kept(x integer) differs",
        "the function public.lonely() is not there",
        "the declared function addet is not there; there is added",
        f"the declared function sales.added is not there{other}",
        f"the declared function added(int, text) is not there{other}",
    ]
