"""What is another one on each server though it looks like a value: OIDs, seeds, a check's time."""

from __future__ import annotations

import contextlib

import psycopg2
import pytest

import greenshard
from tests.postgres.one_database.compared import compared, connected, told
from tests.postgres.psql import run

SCHEMA = """
CREATE DOMAIN fresh AS timestamptz CHECK (VALUE >= now());
CREATE TABLE orders (id int PRIMARY KEY, n int, note text);
CREATE TABLE rates (code int PRIMARY KEY, n int);
CREATE TABLE visits (
    id int PRIMARY KEY, n int, at timestamptz DEFAULT now() CHECK (at >= now()),
    day date CHECK (day <= CURRENT_DATE), made timestamptz DEFAULT now());
CREATE TABLE domains (id int PRIMARY KEY, at fresh DEFAULT now());
CREATE TABLE copies (id int PRIMARY KEY, at timestamptz DEFAULT now() CHECK (at >= now()));
CREATE TABLE granted (
    id int PRIMARY KEY, n int, two int DEFAULT 1 + 1, low text DEFAULT lower('A'),
    mark uuid DEFAULT gen_random_uuid());
CREATE TABLE timed (id int PRIMARY KEY, n int, at timestamptz DEFAULT now());
CREATE VIEW estimates AS SELECT to_jsonb(c) ->> 'reltuples' AS name FROM pg_class c;
"""
TABLES = {
    "orders": greenshard.Sharded("id"),
    "rates": greenshard.Reference(),
    "visits": greenshard.Sharded("id"),
    "domains": greenshard.Sharded("id"),
    "copies": greenshard.Reference(),
    "granted": greenshard.Sharded("id"),
    "timed": greenshard.Sharded("id"),
}


@pytest.fixture(scope="module")
def databases(greenshard_shards):
    with compared(greenshard_shards, TABLES, SCHEMA) as made:
        cluster, whole = made
        # OIDs of their own.
        for number, shard in enumerate(cluster.shards.values()):
            for _ in range(number + 1):
                run(shard.primary, "CREATE TABLE away (id int)", "DROP TABLE away")
            run(shard.primary, "CREATE TABLE later (id int)")
        run(whole, "CREATE TABLE later (id int)")
        for connect in (lambda: psycopg2.connect(whole), lambda: greenshard.connect(cluster)):
            with contextlib.closing(connect()) as conn:
                conn.cursor().execute("INSERT INTO orders SELECT g, g FROM generate_series(1, 8) g")
                conn.commit()
        yield made


# OIDs -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT id, 'orders'::regclass::oid FROM orders",
        "SELECT to_regclass('orders')::oid::int, id FROM orders",
        "SELECT id FROM orders WHERE n < 'orders'::regclass::int",
        "SELECT n::regclass FROM orders",
        "SELECT (16384 + n)::regclass FROM orders",
        "SELECT count(DISTINCT pg_typeof(n)::oid) FROM orders",
        "UPDATE orders SET n = 'orders'::regclass::oid::int",
    ],
)
def test_numbers_of_oids_are_refused_over_several_shards(databases, statement):
    refused = pytest.raises(greenshard.NotSupportedError, match="OID")
    with connected(databases) as (_, conn), refused:
        conn.cursor().execute(statement)


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT id, 'orders'::regclass FROM orders ORDER BY id",
        "SELECT id, 'orders'::regclass::text, pg_typeof(n) FROM orders ORDER BY id",
        "SELECT note::regclass FROM orders WHERE id = 1",
        "SELECT relname FROM pg_class WHERE oid = 'orders'::regclass",
    ],
)
def test_names_of_tables_are_the_same_everywhere(databases, statement):
    with connected(databases) as (one, conn):
        mine, theirs = conn.cursor(), one.cursor()
        mine.execute(statement)
        theirs.execute(statement)
        assert mine.fetchall() == theirs.fetchall()


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT reltuples FROM pg_class",
        "SELECT to_jsonb(c)->>'reltuples' FROM pg_class c",
        "SELECT c FROM pg_class c",
        "SELECT row_to_json(pg_class) FROM pg_class",
        "SELECT c::text FROM pg_catalog.pg_class c",
        "SELECT (c).* FROM pg_class c",
        "SELECT (c).reltuples FROM pg_class c",
        "SELECT reltuples(c) FROM pg_class c",
        "SELECT 1 FROM pg_class c ORDER BY c::text",
        "SELECT relname FROM pg_class c WHERE c::text LIKE '%7%'",
        "SELECT j FROM (pg_class c JOIN pg_namespace n ON n.oid = relnamespace) AS j",
        "SELECT l FROM (pg_class c JOIN pg_am n ON n.oid = relam) AS j (a,b,c,d,e,f,g,h,i,k,l)",
        "SELECT j.l FROM pg_class AS j (a, b, c, d, e, f, g, h, i, k, l)",
        "SELECT count(*) FROM pg_class JOIN pg_class c USING (oid, relpages)",
        "SELECT (SELECT c FROM pg_class c LIMIT 1) FROM rates",
        "WITH w AS (SELECT c FROM pg_class c) SELECT count(w) FROM w",
        "SELECT code FROM rates, LATERAL (SELECT jsonb_agg(c) FROM pg_class c) AS q",
        "SELECT s::text FROM pg_sequences s",
        "SELECT name FROM estimates",
        "INSERT INTO rates SELECT length(c::text) + oid::int FROM pg_class c LIMIT 1",
    ],
)
def test_whole_rows_of_the_catalog_tell_of_one_shard(databases, statement):
    with connected(databases) as (one, conn):
        one.cursor().execute(statement)  # it means something
        with pytest.raises(greenshard.NotSupportedError, match="one shard's part only"):
            conn.cursor().execute(statement)


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT c.relname, relkind FROM pg_class c WHERE c.relname IN ('orders', 'rates')",
        "SELECT count(*) > 9 FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace",
        "SELECT pg_catalog.pg_class.relname FROM pg_class WHERE relname = 'orders'",
        "SELECT n::text LIKE '%public%' FROM pg_namespace n WHERE nspname = 'public'",
        "SELECT sequencename FROM pg_sequences s WHERE s.schemaname = 'public'",
    ],
)
def test_names_in_the_catalog_are_told(databases, statement):
    with connected(databases) as both:
        one, mine = (told(each, statement) for each in both)
        assert one == mine


def test_a_program_that_goes_by_oids_asks_one_server(databases):
    with connected(databases) as (_, conn):
        conn.autocommit = True
        cur = conn.cursor()
        for turn in range(6):
            # Whichever shard has answered last.
            with conn.on(("s0", "s1")[turn % 2]):
                conn.cursor().execute("SELECT 1")
            cur.execute("SELECT oid FROM pg_class WHERE relname = 'later'")
            (oid,) = cur.fetchone()
            with conn.on(("s1", "s0")[turn % 2]):
                conn.cursor().execute("SELECT 1")
            cur.execute(
                "SELECT relname, %s::regclass::text FROM pg_class WHERE oid = %s", (oid,) * 2
            )
            assert cur.fetchall() == [("later", "later")]
            cur.execute(f"SELECT {oid}::regclass::text")
            assert cur.fetchall() == [("later",)]


# Seeds ------------------------------------------------------------------------------------------


def test_random_numbers_after_setseed_are_those_of_one_server(databases):
    with connected(databases) as (one, conn):
        one.autocommit = conn.autocommit = True
        told = []
        for each in (one, conn):
            cur, found = each.cursor(), []
            for turn in range(4):
                cur.execute("SELECT setseed(0.25)")
                if each is conn:
                    with conn.on(("s0", "s1")[turn % 2]):
                        conn.cursor().execute("SELECT 1")
                cur.execute("SELECT random()")
                found.append(cur.fetchone())
            told.append(found)
        assert told[0] == told[1]


@pytest.mark.parametrize("statement", ["SET seed = 0.5", "SET LOCAL seed TO 0.5"])
def test_shards_are_not_seeded_alike(databases, statement):
    refused = pytest.raises(greenshard.NotSupportedError, match="random numbers")
    with connected(databases) as (_, conn), refused:
        conn.cursor().execute(statement)


# A check's time ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO visits (id) VALUES (1), (2), (3), (4), (5), (6)",
        "INSERT INTO visits (id, at) VALUES (1, now()), (2, now()), (3, now()), (4, now())",
        "INSERT INTO visits (id) SELECT id FROM orders",
        "INSERT INTO visits (id, at) SELECT id, now() FROM orders",
        "UPDATE visits SET at = now()",
        "UPDATE visits SET at = DEFAULT",
        "INSERT INTO domains (id) VALUES (1), (2), (3), (4), (5), (6)",
        "INSERT INTO copies (id) VALUES (1)",
        (
            "MERGE INTO visits v USING orders o ON v.id = o.id"
            " WHEN NOT MATCHED THEN INSERT (id) VALUES (o.id)"
        ),
    ],
)
def test_rows_with_the_time_are_not_checked_by_another_one(databases, statement):
    with connected(databases) as (_, conn):
        if statement.startswith("MERGE") and conn.server_version < 150000:
            pytest.skip("there is no MERGE")
        # The time of the transaction is the other shard's.
        for key in (1, 2, 3, 4):
            conn.cursor().execute("SELECT n FROM orders WHERE id = %s", (key,))
        with pytest.raises(greenshard.NotSupportedError, match="is given the time") as caught:
            conn.cursor().execute(statement)
        assert caught.value.code == "GS415"


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO visits (id) VALUES (1)",
        "INSERT INTO visits (id, at) VALUES (2, now())",
        "INSERT INTO visits (id, at, day) SELECT id, '2100-01-01', '2020-01-01' FROM orders",
        (
            "INSERT INTO visits (id, at, day) VALUES (1, '2100-01-01', '2020-01-01'),"
            " (2, '2100-01-01', '2020-01-01'), (3, '2100-01-01', '2020-01-01')"
        ),
        "UPDATE visits SET n = 1 WHERE made < now()",
        "INSERT INTO visits (id, at) VALUES (1, '2000-01-01')",  # 23514
    ],
)
@pytest.mark.parametrize("autocommit", [False, True])
def test_a_check_by_the_transactions_own_time_goes_on(databases, statement, autocommit):
    with connected(databases) as (one, conn):
        one.autocommit = conn.autocommit = autocommit
        found = []
        for each in (one, conn):
            cur = each.cursor()
            try:
                cur.execute(statement)
                found.append(cur.rowcount)
            except psycopg2.Error as error:
                found.append(error.pgcode)
            if autocommit:
                cur.execute("DELETE FROM visits")
        assert found[0] == found[1]


# Rights to columns that are completed -----------------------------------------------------------


@pytest.fixture
def clerk(databases):
    cluster, whole = databases
    dsns = [whole, *(shard.primary for shard in cluster.shards.values())]
    run(whole, "DROP ROLE IF EXISTS ends_clerk_of_columns; CREATE ROLE ends_clerk_of_columns")
    role = "ends_clerk_of_columns"
    for dsn in dsns:
        # On the second server it is another one of that name.
        run(
            dsn,
            f"DO $$ BEGIN CREATE ROLE {role}; EXCEPTION WHEN duplicate_object THEN END $$;"
            f"GRANT INSERT (id, n) ON granted, timed TO {role}; GRANT SELECT ON orders TO {role};",
        )
    yield role
    for dsn in dsns:
        run(dsn, f"DROP OWNED BY {role}")


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO granted (id, n) VALUES (1, 1)",
        "INSERT INTO granted (id, n) VALUES (1, 1), (2, 1), (3, 1), (4, 1), (5, 1)",
        "INSERT INTO granted (id, n) SELECT id, n FROM orders",
        "INSERT INTO granted (id, n) SELECT id + 100, n FROM orders",
    ],
)
def test_defaults_that_shards_compute_need_no_right_to_their_columns(databases, clerk, statement):
    with connected(databases) as (one, conn):
        for each in (one, conn):
            cur = each.cursor()
            cur.execute(f"SET ROLE {clerk}")
            cur.execute(statement)
            cur.execute("RESET ROLE")
            cur.execute("SELECT count(*), count(DISTINCT mark), min(two), min(low) FROM granted")
        assert cur.fetchone()[2:] == (2, "a")


def test_a_right_that_a_completed_default_needs_is_named(databases, clerk):
    with connected(databases) as (_, conn):
        conn.cursor().execute(f"SET ROLE {clerk}")
        with pytest.raises(psycopg2.errors.InsufficientPrivilege, match="is needed, too: at"):
            conn.cursor().execute("INSERT INTO timed (id, n) VALUES (1, 1), (2, 1), (3, 1), (4, 1)")
