"""Functions that read tables and come with a type: casts, operators, checks of domains."""

from __future__ import annotations

import contextlib

import psycopg2
import pytest

import greenshard
from tests.postgres.one_database.compared import compared, insert

SCHEMA = """
CREATE TABLE t (k int PRIMARY KEY, c int, s text);
CREATE TABLE r (id int PRIMARY KEY, n int, s text);
CREATE FUNCTION rows() RETURNS int STABLE LANGUAGE sql AS 'SELECT count(*)::int FROM public.t';

CREATE TYPE pair AS (a int, b int);
CREATE FUNCTION pair_eq(pair, pair) RETURNS bool STABLE LANGUAGE sql
    AS 'SELECT $1.a = $2.a AND public.rows() = 12';
CREATE FUNCTION pair_hash(pair) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT $1.a';
CREATE OPERATOR = (LEFTARG = pair, RIGHTARG = pair, FUNCTION = pair_eq, HASHES, MERGES);
CREATE OPERATOR CLASS pairs DEFAULT FOR TYPE pair USING hash
    AS OPERATOR 1 =, FUNCTION 1 pair_hash(pair);
CREATE TYPE mood AS ENUM ('x', 'y');
CREATE FUNCTION int_of(mood) RETURNS int STABLE LANGUAGE sql AS 'SELECT public.rows()';
CREATE CAST (mood AS int) WITH FUNCTION int_of(mood) AS IMPLICIT;
CREATE TABLE tp (k int PRIMARY KEY, p pair, m mood, plain int);

CREATE FUNCTION compare(int, int) RETURNS int LANGUAGE plpgsql AS $$ BEGIN
    RETURN CASE WHEN public.rows() = 12 THEN btint4cmp($1, $2) ELSE -1 END; END $$;
CREATE OPERATOR CLASS comparing FOR TYPE int USING btree AS
    OPERATOR 1 <, OPERATOR 2 <=, OPERATOR 3 =, OPERATOR 4 >=, OPERATOR 5 >,
    FUNCTION 1 compare(int, int);
CREATE TYPE span AS RANGE (
    SUBTYPE = int, SUBTYPE_OPCLASS = comparing, MULTIRANGE_TYPE_NAME = spans);
CREATE FUNCTION computed(int, int) RETURNS int LANGUAGE plpgsql AS $$ BEGIN
    RETURN CASE WHEN $1 < $2 THEN -1 WHEN $1 > $2 THEN 1 ELSE 0 END; END $$;
CREATE OPERATOR CLASS computing FOR TYPE int USING btree AS
    OPERATOR 1 <, OPERATOR 2 <=, OPERATOR 3 =, OPERATOR 4 >=, OPERATOR 5 >,
    FUNCTION 1 computed(int, int);
CREATE TYPE plain_span AS RANGE (SUBTYPE = int, SUBTYPE_OPCLASS = computing);
CREATE TABLE ts (k int PRIMARY KEY, s span, m spans, plain int, o plain_span);
CREATE TABLE ti (k int PRIMARY KEY, c int, plain int);
CREATE INDEX ON ti (c comparing);
CREATE TABLE tx (k int PRIMARY KEY, c int);
CREATE INDEX ON tx ((c + 1) comparing);
CREATE TABLE ri (k int PRIMARY KEY, c int);
CREATE INDEX ON ri (c comparing);
CREATE TABLE tq (k int, c int) PARTITION BY RANGE (c comparing);
CREATE TABLE tq_all PARTITION OF tq DEFAULT;
CREATE TABLE tc (k int PRIMARY KEY, c int);
CREATE INDEX ON tc (c computing);

CREATE FUNCTION text_int(text, int) RETURNS bool STABLE LANGUAGE sql
    AS 'SELECT public.rows() = 12';
CREATE OPERATOR = (LEFTARG = text, RIGHTARG = int, FUNCTION = text_int);
CREATE OPERATOR >= (LEFTARG = text, RIGHTARG = int, FUNCTION = text_int);
CREATE OPERATOR <= (LEFTARG = text, RIGHTARG = int, FUNCTION = text_int);

CREATE FUNCTION is_right(int) RETURNS bool STABLE LANGUAGE sql AS 'SELECT public.rows() = 12';
CREATE DOMAIN right_one AS int CHECK (is_right(VALUE));
CREATE FUNCTION taking(right_one) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT 1';
CREATE FUNCTION giving(int) RETURNS right_one IMMUTABLE LANGUAGE sql AS 'SELECT $1';
CREATE TYPE compound AS (x right_one);
CREATE TABLE td (k int PRIMARY KEY, x right_one, n int);
CREATE VIEW cast_view AS SELECT k, c::right_one AS x FROM t;
CREATE VIEW case_view AS SELECT k, CASE s WHEN 5 THEN 1 END AS x FROM t;
CREATE VIEW own_view AS SELECT k, CASE s WHEN '5' THEN 1 END AS x, s IN ('5', '6') AS y FROM t;
CREATE SCHEMA other;
CREATE DOMAIN other.date AS date CHECK (is_right(extract(year FROM VALUE)::int));
INSERT INTO r SELECT n, n, n FROM generate_series(1, 6) AS n;
"""
TABLES = {
    **dict.fromkeys(["t", "tp", "td", "ts", "ti", "tx", "tq", "tc"], greenshard.Sharded("k")),
    **dict.fromkeys(["r", "ri"], greenshard.Reference()),
}
WORKING = [
    "SELECT k, plain FROM tp ORDER BY plain, k",
    "UPDATE tp SET plain = 1",
    "SELECT max(x), sum(n) FROM td",
    "UPDATE td SET n = 2",
    "SELECT CASE WHEN s OPERATOR(pg_catalog.=) '5' THEN 1 END FROM t",
    "SELECT k FROM t WHERE k OPERATOR(pg_catalog.=) 7",
    "DELETE FROM t",
    "SELECT k, CURRENT_DATE - '2020-01-01'::date > 0 FROM t",
    "SELECT date '2020-01-01' FROM r",
    "SELECT k, x, y FROM own_view",
    "SELECT sum(plain) FROM ts",
    "SELECT count(k) FROM ti",
    "DELETE FROM ti",
    "SELECT k FROM tc WHERE c OPERATOR(pg_catalog.=) 4",
    "INSERT INTO tc VALUES (1, 4), (2, 5)",
    "UPDATE ts SET plain = 1 WHERE k < 5",
    "SELECT k, isempty(plain_span(k, 4)), o && plain_span(3, 9) FROM ts WHERE k < 5",
    "UPDATE ts SET o = '[4,9)' WHERE isempty(plain_span(k, k))",
]
REFUSED = [
    "SELECT DISTINCT p FROM tp",
    "SELECT count(*) FROM tp GROUP BY p",
    "SELECT k FROM tp WHERE p IN ((1, 1)::pair)",
    "SELECT k FROM tp WHERE p = ANY (ARRAY[(1, 1)::pair])",
    "SELECT CASE p WHEN (1, 1)::pair THEN 1 END FROM tp",
    "SELECT NULLIF(p, (1, 1)::pair) FROM tp",
    "SELECT a.k FROM tp a JOIN tp b USING (p)",
    "SELECT (1, 1)::pair = (1, 1)::pair",
    "SELECT m + 1 FROM tp",
    "SELECT 'x'::mood::int",
    "UPDATE tp SET plain = m",
    "SELECT CASE s WHEN 5 THEN 1 END FROM t",
    "SELECT s IN (SELECT 5) FROM t",
    "SELECT s IN (5) FROM t",
    "SELECT s BETWEEN 1 AND 5 FROM t",
    "SELECT CASE s WHEN 5 THEN 1 END FROM r",
    "SELECT s BETWEEN SYMMETRIC 1 AND 1 FROM r",
    "SELECT taking(5) FROM t",
    "SELECT taking(n) FROM r",
    "SELECT giving(n) FROM r",
    "SELECT right_one(n) FROM r",
    "SELECT (ROW(5)::compound).x FROM t",
    "SELECT jsonb_populate_record(NULL::compound, '{\"x\": 5}') FROM r",
    "SELECT * FROM jsonb_to_record('{\"x\": 5}') AS q (x right_one)",
    "SELECT CAST(5 AS public.right_one)",
    "SELECT right_one '5'",
    "SELECT * FROM cast_view",
    "SELECT k FROM case_view",
    "SELECT '2020-01-01'::other.date",
    "INSERT INTO td (k) VALUES (20)",
    "SELECT k FROM ti WHERE c OPERATOR(pg_catalog.=) 4",
    "SELECT k FROM tx WHERE c + 1 OPERATOR(pg_catalog.=) 4",
    "SELECT k FROM ri WHERE c OPERATOR(pg_catalog.=) 4",
    "SELECT k FROM tq WHERE c OPERATOR(pg_catalog.=) 4",
    "INSERT INTO ti VALUES (1, 2)",
    "INSERT INTO tx VALUES (1, 2)",
    "INSERT INTO ri VALUES (1, 2)",
    "INSERT INTO tq VALUES (1, 2)",
    "UPDATE ti SET plain = 1",
    "UPDATE ri SET c = 1",
    "SELECT isempty(span(4, 4))",
    "SELECT n, span(0, n) && span(4, 9) FROM r",
    "SELECT k FROM t WHERE '[4,9)'::span @> k",
    "SELECT span(4, 4) FROM t",
    "SELECT '{[1,2)}'::spans FROM r",
    "SELECT k FROM ts WHERE s = '[4,9)'",
    "SELECT k FROM ts WHERE isempty(m)",
    "SELECT range_agg(s) FROM ts",
    "UPDATE ts SET plain = 1 WHERE isempty(span(k, k))",
    "UPDATE ts SET s = '[4,4)'",
    "UPDATE r SET n = 1 WHERE isempty(span(id, id))",
    "INSERT INTO ts (k, s) VALUES (20, '[4,4)')",
    "INSERT INTO ts (k, m) VALUES (20, '{[4,9)}')",
    "INSERT INTO ts (k, plain) VALUES (20, 1)",
]


@pytest.fixture(scope="module")
def databases(greenshard_shards):
    with compared(greenshard_shards, TABLES, SCHEMA) as made:
        scripts = {
            n: f"INSERT INTO t VALUES ({n}, {n} % 3, '{n}');"
            f"INSERT INTO tp VALUES ({n}, ({n} % 2, 1), 'x', {n} % 4);"
            f"INSERT INTO ts VALUES ({n}, NULL, NULL, {n} % 4, '[1,{n}]')"
            for n in range(1, 13)
        }
        insert(made, "int4", scripts)
        yield made


def answer(conn, text):
    try:
        cur = conn.cursor()
        cur.execute(text)
        return sorted(map(repr, cur.fetchall())) if cur.description else cur.rowcount
    finally:
        conn.rollback()


def test_what_comes_with_a_type(databases):
    cluster, whole = databases
    with (
        contextlib.closing(greenshard.connect(cluster)) as conn,
        contextlib.closing(psycopg2.connect(whole)) as one,
    ):
        for text in WORKING:
            assert (text, answer(conn, text)) == (text, answer(one, text))
        for text in REFUSED:
            answer(one, text)  # it means something
            with pytest.raises(greenshard.NotSupportedError) as caught:
                answer(conn, text)
            assert (text, caught.value.code) in {(text, "GS410"), (text, "GS415")}
            assert "may read tables" in str(caught.value)
            assert caught.value.hint
