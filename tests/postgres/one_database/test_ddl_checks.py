"""DDL that checks the rows that there are: each shard looks at its own only."""

from __future__ import annotations

import contextlib

import psycopg2
import pytest

import greenshard
from tests.postgres.one_database.compared import compared, connected

SCHEMA = """
CREATE TABLE orders (id int PRIMARY KEY, customer int, at timestamptz, kind text);
CREATE TABLE items (order_id int, line int, customer int, PRIMARY KEY (order_id, line));
CREATE TABLE rates (code int PRIMARY KEY, rate int);
CREATE FUNCTION few(int) RETURNS boolean LANGUAGE plpgsql
    AS 'BEGIN RETURN (SELECT count(*) FROM public.orders) < 5; END';
CREATE FUNCTION several(int) RETURNS boolean LANGUAGE sql
    AS 'SELECT count(*) < 5 FROM public.orders';
CREATE FUNCTION plain(int) RETURNS boolean LANGUAGE plpgsql AS 'BEGIN RETURN $1 < 100; END';
CREATE DOMAIN token AS int CHECK (few(VALUE));
CREATE DOMAIN number AS int;
CREATE TABLE numbers (id int PRIMARY KEY, n number);
"""
TABLES = {
    "orders": greenshard.Sharded("id"),
    "items": greenshard.Sharded("order_id"),
    "numbers": greenshard.Sharded("id"),
    "rates": greenshard.Reference(),
    "made": greenshard.Sharded("k"),
}
ROWS = [
    "INSERT INTO orders SELECT g, g / 2, '2024-01-01', 'k' FROM generate_series(1, 8) AS g",
    "INSERT INTO items SELECT g, 1, 9 - g FROM generate_series(1, 8) AS g",
    "INSERT INTO numbers SELECT g, g FROM generate_series(1, 8) AS g",
    "INSERT INTO rates VALUES (1, 1), (2, 2)",
]

#: What a server would say of its own rows is not what one with all rows says.
REFUSED = [
    "ALTER TABLE orders ADD CHECK (few(customer))",
    "ALTER TABLE orders ADD CHECK (several(customer))",
    "ALTER TABLE orders ADD CHECK (at < now())",
    "ALTER TABLE orders ADD CHECK (current_database() <> kind)",
    "ALTER TABLE rates ADD CHECK (few(rate))",
    "ALTER TABLE orders ADD note token",
    "ALTER TABLE orders ADD notes token[]",
    "ALTER TABLE orders ADD note int CHECK (few(note)) DEFAULT 3",
    "ALTER TABLE orders ALTER customer TYPE token",
    "ALTER DOMAIN number ADD CHECK (few(VALUE))",
    "CREATE UNIQUE INDEX ON orders (kind, lower(kind))",
    "ALTER TABLE orders ADD UNIQUE (customer)",
    "ALTER TABLE orders ADD note int UNIQUE",
    "ALTER TABLE items ADD EXCLUDE (customer WITH =)",
    "ALTER TABLE items ADD EXCLUDE (order_id WITH <>, customer WITH =)",
    "ALTER TABLE items ADD FOREIGN KEY (customer) REFERENCES orders",
    "ALTER TABLE items ADD FOREIGN KEY (customer) REFERENCES orders NOT VALID",
    "ALTER TABLE rates ADD FOREIGN KEY (code) REFERENCES orders (id)",
    "CREATE TABLE made (k int, id int PRIMARY KEY)",
    "CREATE TABLE made (k int, id int UNIQUE)",
    "CREATE TABLE made (k int, id int, CONSTRAINT one UNIQUE (id))",
    "CREATE TABLE made (k int PRIMARY KEY, id int REFERENCES orders)",
    "CREATE TABLE made (k int, LIKE orders INCLUDING ALL)",
]
WORKING = [
    "ALTER TABLE orders ADD CHECK (plain(customer))",
    "ALTER TABLE orders ADD CHECK (customer > 0)",  # 23514
    "ALTER TABLE orders ADD CHECK (customer < 100)",
    "ALTER TABLE orders ADD CHECK (few(customer)) NOT VALID",
    "ALTER TABLE orders ADD CHECK (at < now()) NOT VALID",
    "ALTER TABLE orders ADD note number DEFAULT 3",
    "ALTER DOMAIN number ADD CHECK (VALUE < 100)",
    "ALTER DOMAIN number ADD CHECK (VALUE < 5)",  # 23514
    "ALTER DOMAIN number ADD CHECK (few(VALUE)) NOT VALID",
    "CREATE UNIQUE INDEX ON orders (kind, id)",
    "CREATE INDEX ON orders (customer)",
    "CREATE UNIQUE INDEX ON rates (rate)",
    "ALTER TABLE orders ADD UNIQUE (customer, id)",
    "ALTER TABLE items ADD EXCLUDE (customer WITH =, order_id WITH =)",
    "ALTER TABLE items ADD FOREIGN KEY (order_id) REFERENCES orders",
    "ALTER TABLE items ADD FOREIGN KEY (line) REFERENCES rates",
    "ALTER TABLE items ADD FOREIGN KEY (customer) REFERENCES rates",  # 23503
    "CREATE TABLE made (k int PRIMARY KEY REFERENCES orders, id int)",
    "CREATE TABLE made (k int, id int, up int, PRIMARY KEY (id, k), UNIQUE (k, up))",
    "CREATE TABLE IF NOT EXISTS orders (id int, n int UNIQUE)",
    "CREATE TABLE elsewhere (k int, id int UNIQUE)",
]


@pytest.fixture(scope="module")
def databases(greenshard_shards):
    with compared(greenshard_shards, TABLES, SCHEMA) as made:
        cluster, whole = made
        for connect in (lambda: psycopg2.connect(whole), lambda: greenshard.connect(cluster)):
            with contextlib.closing(connect()) as conn:
                for statement in ROWS:
                    conn.cursor().execute(statement)
                conn.commit()
        yield made


def outcome(conn, *statements):
    """The SQLSTATE of the first statement that fails; None if none does."""
    with conn.cursor() as cur:
        try:
            for statement in statements:
                cur.execute(statement)
        except greenshard.NotSupportedError:
            raise
        except psycopg2.Error as error:
            return error.pgcode
        return None


@pytest.mark.parametrize("statement", WORKING)
def test_what_each_shard_can_check_for_itself_goes_on(databases, statement):
    with connected(databases) as (one, conn):
        assert outcome(conn, statement) == outcome(one, statement)


@pytest.mark.parametrize("statement", REFUSED)
def test_what_needs_all_rows_is_refused(databases, statement):
    with connected(databases) as (_, conn), pytest.raises(greenshard.NotSupportedError) as caught:
        conn.cursor().execute(statement)
    assert caught.value.code in ("GS410", "GS415")
    assert caught.value.hint


@pytest.mark.parametrize(
    ("before", "statement"),
    [
        (
            "ALTER TABLE orders ADD CONSTRAINT small CHECK (few(customer)) NOT VALID",
            "ALTER TABLE orders VALIDATE CONSTRAINT small",
        ),
        (
            "ALTER DOMAIN number ADD CONSTRAINT small CHECK (few(VALUE)) NOT VALID",
            "ALTER DOMAIN number VALIDATE CONSTRAINT small",
        ),
    ],
)
def test_what_was_not_valid_is_not_validated_shard_by_shard(databases, before, statement):
    with connected(databases) as (one, conn):
        assert outcome(one, before, statement) == "23514"
        assert outcome(conn, before) is None
        with pytest.raises(greenshard.NotSupportedError, match=r"few\(\)"):
            conn.cursor().execute(statement)


def test_a_foreign_key_made_elsewhere_is_not_validated_shard_by_shard(databases):
    with connected(databases) as (_, conn):
        with conn.broadcast():
            conn.cursor().execute(
                "ALTER TABLE items ADD CONSTRAINT away FOREIGN KEY (customer) REFERENCES orders"
                " NOT VALID"
            )
        with pytest.raises(greenshard.NotSupportedError, match="other shards"):
            conn.cursor().execute("ALTER TABLE items VALIDATE CONSTRAINT away")


def test_broadcast_lets_each_shard_check_its_own_rows(databases):
    with connected(databases) as (_, conn), conn.broadcast():
        conn.cursor().execute("ALTER TABLE orders ADD UNIQUE (id, customer)")
        conn.cursor().execute("ALTER TABLE items ADD UNIQUE (customer)")
        for shard in conn.shards:
            cur = conn.on(shard).cursor()
            cur.execute(
                "SELECT count(*) FROM pg_constraint WHERE contype = 'u' AND conrelid IN"
                " ('orders'::regclass, 'items'::regclass)"
            )
            assert cur.fetchone() == (2,)


def test_several_statements_in_one_string_are_looked_at_as_one(databases):
    with connected(databases) as (_, conn), pytest.raises(greenshard.NotSupportedError):
        conn.cursor().execute(
            "ALTER TABLE orders ADD note int; ALTER TABLE orders ADD UNIQUE (note)"
        )


# Temporary tables -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "column",
    [
        "n int CHECK (few(n))",
        "n int DEFAULT few(1)::int",
        "n token",
        "n token[]",
    ],
)
def test_a_temporary_table_beside_which_functions_run_is_refused_by_name(databases, column):
    with connected(databases) as (_, conn):
        cur = conn.cursor()
        cur.execute(f"CREATE TEMP TABLE picked (id int, {column})")
        for statement in ("INSERT INTO picked VALUES (1)", "SELECT * FROM picked"):
            with pytest.raises(greenshard.NotSupportedError, match="temporary table picked"):
                cur.execute(statement)
        cur.execute("SELECT count(*) FROM orders")
        assert cur.fetchall() == [(8,)]


def test_a_temporary_table_that_hides_a_declared_one_is_not_taken_for_it(databases):
    with connected(databases) as (_, conn):
        cur = conn.cursor()
        cur.execute("CREATE TEMP TABLE orders (id int, n int CHECK (few(n)) UNIQUE)")
        for statement in ("INSERT INTO orders VALUES (1, 1)", "SELECT * FROM orders WHERE id = 1"):
            with pytest.raises(greenshard.NotSupportedError, match="temporary table orders"):
                cur.execute(statement)
        cur.execute("SELECT count(*) FROM public.orders")
        assert cur.fetchall() == [(8,)]


def test_a_temporary_table_of_one_shard_is_not_said_to_be_missing(databases):
    with connected(databases) as (_, conn):
        with conn.on("s0"):
            conn.cursor().execute("CREATE TEMP TABLE mine (id int)")
        with pytest.raises(greenshard.NotSupportedError, match="mine"):
            conn.cursor().execute("SELECT * FROM mine")


@pytest.mark.parametrize("name", ["picked", "pg_temp.picked"])
@pytest.mark.parametrize(
    "action", ["ADD n float DEFAULT random()", "ADD n int CHECK (few(id))", "ADD CHECK (few(id))"]
)
def test_rows_of_temporary_tables_are_filled_and_checked_alike(databases, name, action):
    with connected(databases) as (_, conn):
        cur = conn.cursor()
        cur.execute("CREATE TEMP TABLE picked (id int)")
        cur.execute("INSERT INTO picked VALUES (1), (2)")
        with pytest.raises(greenshard.NotSupportedError):
            cur.execute(f"ALTER TABLE {name} {action}")
        cur.execute(f"ALTER TABLE {name} ADD m int DEFAULT 3")
        cur.execute("SELECT * FROM picked ORDER BY 1")
        assert cur.fetchall() == [(1, 3), (2, 3)]
