"""Where in the user's own text an error is: never where it is in the text that a shard was sent."""

from __future__ import annotations

import pickle

import psycopg2
import pytest

import greenshard
from tests.postgres.one_database.compared import compared, connected

SCHEMA = """
CREATE TABLE orders (id int PRIMARY KEY, n int, note text, at timestamptz DEFAULT now());
CREATE TABLE items (id int PRIMARY KEY, n int);
CREATE TABLE rates (code int PRIMARY KEY, n int, at timestamptz DEFAULT now());
"""
TABLES = {
    "orders": greenshard.Sharded("id"),
    "items": greenshard.Sharded("id"),
    "rates": greenshard.Reference(),
}
STATEMENTS = [
    # Sent as they are.
    "SELECT note + 1 FROM orders WHERE id = 3",
    "SELECT nosuch FROM rates",
    "SELECT id, note + 1 FROM orders",
    # Rewritten.
    "SELECT count(*) FROM orders WHERE at < now() AND note + 1 > 2",
    "SELECT id FROM orders ORDER BY nosuch",
    "SELECT max(n) + 'x' FROM orders",
    "SELECT n, count(*) FROM orders GROUP BY n HAVING sum(note) > 1",
    "SELECT avg(n) FILTER (WHERE note > 1) FROM orders",
    "SELECT a.id FROM orders a JOIN items b ON a.n = b.n WHERE a.note + 1 > 2",
    "INSERT INTO orders (id, n) VALUES (100, 1), (101, 'x')",
    "INSERT INTO orders (id, n) VALUES (100, 1), (101, 1) RETURNING nosuch",
    "INSERT INTO rates (code, n) VALUES (random(), nosuch())",
    "INSERT INTO rates (code, n) SELECT id, note FROM orders",
    "UPDATE orders SET n = (SELECT count(*) FROM items i WHERE i.n = orders.n) + note",
    "UPDATE rates SET n = note FROM orders WHERE orders.n = rates.n",
    "UPDATE rates SET n = 'x' WHERE n > 0",
    "DELETE FROM orders USING items WHERE orders.n = items.n AND orders.note > 1",
    # Several.
    "SELECT 1; SELECT nosuch FROM orders",
    "SELECT now(); SELECT note + 1 FROM orders WHERE id = 1",
]


@pytest.fixture(scope="module")
def databases(greenshard_shards):
    with compared(greenshard_shards, TABLES, SCHEMA) as made:
        yield made


def raised(conn, statement, given=None):
    cur = conn.cursor()
    cur.execute("SELECT 1")
    with pytest.raises(psycopg2.Error) as caught:
        cur.execute(statement, given)
    conn.rollback()
    return caught.value


@pytest.mark.parametrize("statement", STATEMENTS)
def test_a_position_is_the_users_or_absent(databases, statement):
    with connected(databases) as (one, conn):
        expected, got = raised(one, statement), raised(conn, statement)
        assert got.pgcode == expected.pgcode
        errors = [got, *got.failures.values()]
        for error in errors:
            assert error.diag.statement_position in (None, expected.diag.statement_position)
            assert error.diag.sqlstate == expected.pgcode
            assert error.diag.message_primary == expected.diag.message_primary
        assert pickle.loads(pickle.dumps(got)).args == got.args
        # No excerpt of a text that the user has not written.
        for line in str(got).splitlines():
            if "LINE 1: " in line:
                excerpt = line.partition("LINE 1: ")[2].strip(" ^.").partition(" HINT:")[0]
                assert excerpt.strip(" ^") in statement


@pytest.mark.parametrize(
    "statement", ["SELECT id, note + 1 FROM orders", "SELECT note + 1 FROM orders WHERE id = 3"]
)
def test_where_the_text_is_the_users_the_position_is_told(databases, statement):
    with connected(databases) as (one, conn):
        expected, got = raised(one, statement), raised(conn, statement)
        assert got.diag.statement_position == expected.diag.statement_position
        assert "LINE 1" in str(got)


def test_parameters_count_as_they_were_written(databases):
    statement, given = "SELECT %s, note + 1 FROM orders", ("longer than its placeholder",)
    with connected(databases) as (one, conn):
        expected, got = raised(one, statement, given), raised(conn, statement, given)
        assert got.diag.statement_position == expected.diag.statement_position


@pytest.mark.parametrize("group", ["", " GROUP BY n", " WHERE id = 3"])
def test_an_average_that_postgresql_has_not_is_an_error(databases, group):
    statement = f"SELECT avg(n::money) FROM orders{group}"
    with connected(databases) as (one, conn):
        assert raised(conn, statement).pgcode == raised(one, statement).pgcode == "42883"
