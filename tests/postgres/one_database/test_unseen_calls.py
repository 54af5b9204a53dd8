"""Functions that a statement calls though it does not look so, and names that mean others."""

from __future__ import annotations

import contextlib

import psycopg2
import pytest
from psycopg2.extensions import make_dsn

import greenshard
from tests.postgres.one_database.compared import compared, insert
from tests.postgres.psql import run

SCHEMA = """
CREATE EXTENSION tablefunc;
CREATE TYPE size AS (count int, max int, age int, touched text);
CREATE TABLE orders (
    id bigint PRIMARY KEY, n int, sum int, now int, random int, version text, size size,
    sizes size[], at timestamptz, words tsvector, span float8);
CREATE TABLE rates (code text PRIMARY KEY, n int, count int, size size);
CREATE FUNCTION rank_of(orders) RETURNS bigint STABLE LANGUAGE sql
    AS 'SELECT count(*) FROM public.orders WHERE id <= $1.id';
CREATE FUNCTION rank_of(rates) RETURNS bigint STABLE LANGUAGE sql
    AS 'SELECT count(*) FROM public.orders';
CREATE FUNCTION rank_of(bigint) RETURNS bigint STABLE LANGUAGE sql
    AS 'SELECT count(*) FROM public.orders WHERE id <= $1';
CREATE FUNCTION touched(size) RETURNS bigint STABLE LANGUAGE sql
    AS 'SELECT count(*) FROM public.orders';
CREATE FUNCTION one_of(orders) RETURNS bigint IMMUTABLE LANGUAGE sql AS 'SELECT $1.id + $1.n';
CREATE FUNCTION twice(bigint) RETURNS bigint IMMUTABLE LANGUAGE sql AS 'SELECT 2 * $1';
CREATE FUNCTION sized(bigint) RETURNS TABLE (count int, wide int) IMMUTABLE LANGUAGE sql
    AS 'SELECT 3, 4';
CREATE FUNCTION beside(bigint, bigint) RETURNS bigint STABLE LANGUAGE sql
    AS 'SELECT count(*) FROM public.orders WHERE id BETWEEN $1 AND $2';
CREATE OPERATOR <<|>> (LEFTARG = bigint, RIGHTARG = bigint, FUNCTION = beside);
CREATE FUNCTION counted(bigint, bigint) RETURNS bigint STABLE LANGUAGE sql
    AS 'SELECT $1 + count(*) FROM public.orders';
CREATE AGGREGATE counting(bigint) (SFUNC = counted, STYPE = bigint, INITCOND = '0');
"""
TABLES = {"orders": greenshard.Sharded("id"), "rates": greenshard.Reference()}

#: What is a column, or a field, goes on to work.
WORKING = [
    "SELECT o.sum, o.now, o.random, o.version FROM orders o ORDER BY o.id",
    "SELECT public.orders.sum FROM public.orders ORDER BY orders.now, id",
    "SELECT (size).count, (o.size).max, (size).touched FROM orders o ORDER BY (size).age, o.id",
    "SELECT (sizes[1]).count, (o).sum, (o.*).size FROM orders o ORDER BY o.id",
    "SELECT id, (id).twice FROM orders ORDER BY 1",
    "SELECT r.count, (r.size).count FROM rates r ORDER BY code",
    "SELECT unnest.unnest FROM unnest(ARRAY[1, 2])",
    "SELECT o.id FROM orders o WHERE ((o.n)::bigint).twice = 2 ORDER BY 1",
    "SELECT s.count, o.id FROM orders o, sized(o.id) AS s ORDER BY o.id",
    "SELECT s.count FROM orders, jsonb_to_recordset('[{\"count\": 1}]') AS s (count int)",
    "SELECT s.count FROM (SELECT count(*) FROM orders) AS s",
    "WITH s AS (SELECT max(n), n % 2 AS two FROM orders GROUP BY 2) SELECT s.max FROM s ORDER BY 1",
    "SELECT sum(o.sum) FROM orders o WHERE o.id = 3",
    "SELECT (size).count, count(*) FROM orders GROUP BY (size).count ORDER BY 1",
    "SELECT ts_rewrite('a'::tsquery, 'a'::tsquery, 'b'::tsquery)",
    "SELECT date('today') - CURRENT_DATE AS days, id FROM orders ORDER BY id",
    # A function that version 14 calls VOLATILE.
    "SELECT id, '2024-01-01'::timestamptz AT TIME ZONE 'UTC' FROM orders ORDER BY id",
]
#: What would be another answer, or a shard's.
OTHERS = [
    "SELECT o.rank_of FROM orders o ORDER BY o.id",
    "SELECT (o).rank_of FROM orders o ORDER BY o.id",
    "SELECT (o.*).rank_of FROM orders o ORDER BY o.id",
    "SELECT (id).rank_of FROM orders ORDER BY id",
    "SELECT (id + 0).rank_of FROM orders ORDER BY id",
    "SELECT ((id)).rank_of FROM orders WHERE id = 3",
    "SELECT id FROM orders o WHERE o.rank_of > 5 ORDER BY id",
    "SELECT id FROM orders o ORDER BY o.rank_of DESC",
    "SELECT count(*) FROM orders o GROUP BY o.rank_of",
    "SELECT r.rank_of FROM rates r ORDER BY r.code",
    "SELECT r.code FROM rates r JOIN orders o ON o.id = r.rank_of ORDER BY 1",
    "SELECT (id).sum FROM orders",
    "SELECT o.count FROM orders o",
    "SELECT (o).count FROM orders o",
    "SELECT (size).json_agg FROM orders",
    "SELECT (n + 1).avg FROM orders",
    "SELECT id FROM orders o GROUP BY id HAVING o.count > 0 ORDER BY id",
    "SELECT (at).age IS NULL FROM orders",
    "SELECT ('today').date = CURRENT_DATE FROM orders",
    "SELECT 1::bigint <<|>> 9",
    "SELECT id <<|>> 9 FROM orders ORDER BY id",
    "SELECT counting(id) FROM orders",
    "SELECT * FROM ts_stat('SELECT words FROM orders')",
    "SELECT ts_rewrite('a'::tsquery, 'SELECT ''a''::tsquery, count(*)::text::tsquery FROM orders')",
    "SELECT query_to_xml('SELECT count(*) FROM orders', true, true, '')::text",
    "SELECT table_to_xml('orders', true, true, '')::text",
    "SELECT x FROM crosstab('SELECT 1, 2, count(*) FROM orders') AS c (one int, x bigint)",
    "UPDATE orders o SET n = o.rank_of WHERE o.id = 3",
    "UPDATE orders SET n = (id).rank_of",
    "UPDATE rates r SET n = r.rank_of",
    "INSERT INTO orders (id) VALUES (3) ON CONFLICT (id) DO UPDATE SET n = excluded.rank_of",
    "DELETE FROM orders o WHERE o.rank_of = 4",
    "UPDATE orders o SET n = 1 WHERE id = 3 RETURNING o.rank_of",
    "SELECT (id).pg_try_advisory_xact_lock FROM orders",
    "SELECT (7).pg_advisory_xact_lock",
    # Of a whole row only the columns that are named would be brought.
    "SELECT cardinality(array_agg(DISTINCT coalesce(o.to_jsonb))) FROM orders o",
    "SELECT o.row_to_json::text, count(*) OVER () FROM orders o",
    "SELECT o.quote_literal FROM orders o JOIN rates r ON r.n = o.n",
    "SELECT o.one_of FROM orders o, rates r",
    "SELECT r.json_agg FROM rates r",
    # What another session has set.
    (
        "SELECT cardinality(array_agg(DISTINCT coalesce(n))),"
        " min(('TimeZone'::text).current_setting) FROM orders"
    ),
    "SELECT cardinality(array_agg(DISTINCT coalesce(n))), min((at).date) FROM orders",
]
#: A query in an expression that is no sublink; PostgreSQL 16 and newer.
QUERIES = [
    "SELECT JSON_ARRAY(SELECT id FROM orders)::text",
    "SELECT code FROM rates WHERE JSON_ARRAY(SELECT id FROM orders)::text = '[1]'",
    "SELECT id, JSON_ARRAY(SELECT id FROM orders ORDER BY id)::text FROM orders WHERE id = 1",
    "SELECT JSON_ARRAY(SELECT count(*) FROM orders)::text, n FROM orders GROUP BY n",
    "WITH x AS (SELECT count(*) c FROM orders) SELECT JSON_ARRAY(SELECT c FROM x)::text",
    "SELECT n FROM orders ORDER BY JSON_ARRAY(SELECT id FROM rates)::text",
    "SELECT JSON_ARRAY(SELECT 1 FROM hidden)",
    "DELETE FROM orders WHERE jsonb_array_length(JSON_ARRAY(SELECT id FROM orders)::jsonb) < 12",
    "DELETE FROM rates WHERE JSON_ARRAY(SELECT id FROM orders) IS NULL",
    "DELETE FROM orders RETURNING JSON_ARRAY(SELECT id FROM orders)",
    "UPDATE rates SET code = JSON_ARRAY(SELECT id FROM orders ORDER BY id)::text WHERE code = 'a'",
    "UPDATE orders SET version = JSON_ARRAY(SELECT id FROM orders)::text WHERE id = 1",
    "INSERT INTO orders (id, version) VALUES (99, JSON_ARRAY(SELECT id FROM orders)::text)",
    "INSERT INTO rates SELECT JSON_ARRAY(SELECT id FROM orders)::text",
    (
        "INSERT INTO rates AS r VALUES ('a') ON CONFLICT (code)"
        " DO UPDATE SET code = JSON_ARRAY(SELECT id FROM orders)::text"
    ),
    "INSERT INTO rates (code) VALUES ('c') RETURNING JSON_ARRAY(SELECT id FROM orders)",
    "EXPLAIN SELECT JSON_ARRAY(SELECT id FROM orders)",
    (
        "MERGE INTO orders o USING rates r ON o.id = 1"
        " WHEN MATCHED THEN UPDATE SET version = JSON_ARRAY(SELECT id FROM orders)::text"
    ),
]


@pytest.fixture(scope="module")
def databases(greenshard_shards):
    rates = "INSERT INTO rates VALUES ('a', 1, 7, (2, 3, 4, 'x')), ('b', 2, 8, NULL);"
    with compared(greenshard_shards, TABLES, SCHEMA + rates) as made:
        scripts = {
            n: f"INSERT INTO orders VALUES ({n}, {n} % 5, {n} * 3, {n} % 4, 1, 'v',"
            f" ({n} % 3, {n}, 1, 'x'), ARRAY[({n}, 2, 3, 'y')::size], now(),"
            f" to_tsvector('simple', 'w{n} all'), 0.5)"
            for n in range(1, 13)
        }
        insert(made, "int8", scripts)
        yield made


def answer(conn, text):
    try:
        cur = conn.cursor()
        cur.execute(text)
        return cur.fetchall() if cur.description else cur.rowcount
    finally:
        conn.rollback()


def test_columns_and_fields_are_what_they_were(databases):
    cluster, whole = databases
    with (
        contextlib.closing(psycopg2.connect(whole)) as one,
        contextlib.closing(greenshard.connect(cluster)) as conn,
    ):
        for text in WORKING:
            assert (text, answer(conn, text)) == (text, answer(one, text))


def test_queries_that_are_no_sublinks_are_refused(databases):
    cluster, _ = databases
    with contextlib.closing(greenshard.connect(cluster)) as conn:
        for text in QUERIES:
            with pytest.raises(greenshard.NotSupportedError) as caught:
                answer(conn, text)
            assert caught.value.code in {"GS409", "GS410", "GS412"}, text


def test_what_is_called_unseen_is_refused(databases):
    cluster, whole = databases
    with (
        contextlib.closing(psycopg2.connect(whole)) as one,
        contextlib.closing(greenshard.connect(cluster)) as conn,
    ):
        for text in OTHERS:
            with contextlib.suppress(psycopg2.errors.FeatureNotSupported):  # without XML
                answer(one, text)  # it means something
            with pytest.raises(greenshard.NotSupportedError) as raised:
                answer(conn, text)
            assert (raised.value.code, bool(raised.value.hint)) == ("GS410", True)


NAMESAKES = """
CREATE SCHEMA mine;
CREATE DOMAIN mine.int8 AS text;
CREATE TYPE mine.date AS ENUM ('today', 'now');
CREATE FUNCTION mine.to_eight(mine.date) RETURNS bigint IMMUTABLE LANGUAGE sql
    AS 'SELECT 4::bigint';
CREATE CAST (mine.date AS bigint) WITH FUNCTION mine.to_eight(mine.date) AS IMPLICIT;
CREATE FUNCTION mine.age(int) RETURNS interval IMMUTABLE LANGUAGE sql
    AS $$ SELECT interval '1 hour' * $1 $$;
CREATE FUNCTION mine.now(text) RETURNS text IMMUTABLE LANGUAGE sql AS 'SELECT $1';
CREATE TABLE keyed (id uuid PRIMARY KEY, n int);
CREATE DOMAIN mine.uuid AS text;
CREATE FUNCTION mine.same(pg_catalog.uuid, text) RETURNS bool IMMUTABLE LANGUAGE sql
    AS 'SELECT true';
CREATE OPERATOR mine.<=> (LEFTARG = pg_catalog.uuid, RIGHTARG = text, FUNCTION = mine.same);
"""


def test_names_on_the_path_are_not_taken_for_postgresqls_own(databases):
    cluster, whole = databases
    dsns = [*(shard.primary for shard in cluster.shards.values()), whole]
    for dsn in dsns:
        run(dsn, NAMESAKES)
    options = "-c search_path=mine,pg_catalog,public"
    shards = {
        name: make_dsn(shard.primary, options=options) for name, shard in cluster.shards.items()
    }
    there = greenshard.Cluster(shards, {**TABLES, "keyed": greenshard.Sharded("id")})
    with (
        contextlib.closing(psycopg2.connect(make_dsn(whole, options=options))) as one,
        contextlib.closing(greenshard.connect(there)) as conn,
    ):
        for text in (
            "SELECT 'today'::date, id FROM orders ORDER BY id",
            "SELECT id FROM orders WHERE id = 'today'::date",
            "SELECT id FROM orders WHERE n = 3 AND 'today'::date::text = 'today' ORDER BY id",
            "SELECT mine.age(5), id FROM orders ORDER BY id",
            "SELECT now('x'), id FROM orders ORDER BY id",
            "SELECT pg_catalog.now() = pg_catalog.now(), id FROM orders ORDER BY id",
        ):
            assert (text, answer(conn, text)) == (text, answer(one, text))
        for text in ("SELECT now(), id FROM orders", "SELECT age(5), id FROM orders"):
            with pytest.raises(greenshard.NotSupportedError, match="another function") as raised:
                answer(conn, text)
            assert "pg_catalog." in raised.value.hint
        key = "00000000-0000-0000-0000-000000000001"
        plan = conn.explain("SELECT n FROM keyed WHERE id = %s", (key,))
        assert "strategy: route" not in plan
