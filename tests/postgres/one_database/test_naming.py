"""The names that the planner gives to columns are those that PostgreSQL gives."""

from __future__ import annotations

import contextlib

import psycopg2
import pytest

from greenshard.sql.column_names import column_name
from greenshard.sql.parser import parse

#: Over a table t with the columns i integer, s text, a integer[], j jsonb, d timestamp, c of a row.
EXPRESSIONS = """
i
t.i
public.t.i
1
1.5
'x'
NULL
true
false
-i
+i
i + 1
i = 1
NOT true
i IS NULL
i IS NOT NULL
s IS DISTINCT FROM s
i BETWEEN 1 AND 2
i IN (1, 2)
s LIKE 'a'
s ILIKE 'a'
s SIMILAR TO 'a'
s ~ 'a'
s || 'x'
(i)
i AS other
i AS "Quoted Name"
i::text
i::bigint
1::int4
'1'::numeric(10,2)
'x'::text
date '2024-01-01'
interval '1 day'
interval '1' day
timestamp with time zone '2024-01-01'
CAST(i AS text)
CAST('1' AS double precision)
(i + 1)::text
(i + 1)::bigint::text
i::text::int
true::text
NULL::int
upper(s)
pg_catalog.upper(s)
count(*)
sum(i)
sum(i) OVER ()
count(*) FILTER (WHERE true)
upper(s)::varchar
CASE WHEN true THEN 1 END
CASE WHEN true THEN 1 ELSE i END
CASE WHEN true THEN 1 ELSE upper(s)::int END
CASE WHEN true THEN i ELSE 2 END
CASE WHEN true THEN 1 ELSE 2::int8 END
CASE i WHEN 1 THEN 2 ELSE CASE WHEN true THEN 1 ELSE i END END
coalesce(i, 1)
nullif(i, 1)
greatest(i, 1)
least(i, 1)
ARRAY[1, 2]
ARRAY[1, 2]::int[]
ARRAY(SELECT 1)
ROW(1, 2)
(1, 2)
a[1]
a[1:2]
(ARRAY[1, 2])[1]
(c).x
(t.c).x
(SELECT 1)
(SELECT i)
(SELECT i AS inner_)
(SELECT upper(s))
(SELECT 1 UNION SELECT 2)
(SELECT i UNION SELECT 2)
(VALUES (1))
(SELECT i)::text
EXISTS (SELECT 1)
i IN (SELECT 1)
i = ANY (SELECT 1)
i = ANY (ARRAY[1])
i > ALL (ARRAY[1])
j -> 'a'
j ->> 'a'
j['a']
current_date
current_time
current_time(2)
current_timestamp
current_timestamp(2)
localtime
localtimestamp
localtimestamp(0)
current_user
session_user
user
current_role
current_catalog
current_schema
current_schema()
now()
extract(year FROM d)
date_part('year', d)
d AT TIME ZONE 'UTC'
overlay(s PLACING 'x' FROM 1)
position('a' IN s)
substring(s FROM 1 FOR 2)
substring(s, 1, 2)
trim(s)
trim(LEADING 'x' FROM s)
trim(TRAILING FROM s)
normalize(s)
s IS NORMALIZED
collation for (s)
s COLLATE "C"
upper(s) COLLATE "C"
'x' COLLATE "C"
xmlelement(name foo)
xmlconcat(NULL)
xmlforest(i)
xmlserialize(CONTENT NULL AS text)
xmlparse(DOCUMENT '<a/>')
xmlpi(name php)
NULL IS DOCUMENT
random()
unnest(a)
generate_series(1, 2)
row_number() OVER (ORDER BY i)
percentile_cont(0.5) WITHIN GROUP (ORDER BY i)
string_agg(s, ',' ORDER BY s)
pg_typeof(i)
make_interval(days => 1)
concat(VARIADIC ARRAY['a'])
t
t IS NULL
row_to_json(t)
""".strip().splitlines()

#: Since version 16 or 17.
NEWER = {
    160000: ["JSON_ARRAY(1, 2)", "JSON_OBJECT('a': 1)", "JSON_ARRAYAGG(i)", "JSON_OBJECTAGG(s: i)",
             "s IS JSON", "JSON_ARRAY(SELECT 1)", "d AT TIME ZONE 'UTC'"],
    170000: ["JSON('1')", "JSON_SCALAR(1)", "JSON_SERIALIZE('1')", "JSON_VALUE(j, '$.a')",
             "JSON_QUERY(j, '$.a')", "JSON_EXISTS(j, '$.a')", "d AT LOCAL"],
}  # fmt: skip


@pytest.fixture(scope="module")
def cursor(greenshard_shards):
    connection = psycopg2.connect(greenshard_shards[0].dsn)
    with contextlib.closing(connection), connection.cursor() as cur:
        cur.execute(
            "CREATE TYPE pair AS (x integer, y integer);"
            "CREATE TABLE t (i integer, s text, a integer[], j jsonb, d timestamp, c pair)"
        )
        yield cur
        connection.rollback()


def check(cursor, expression):
    (statement,) = parse(f"SELECT {expression} FROM t")
    (target,) = statement.stmt.select_stmt.target_list
    cursor.execute("SAVEPOINT a")
    try:
        cursor.execute(f"SELECT {expression} FROM t LIMIT 0".replace("%", "%%"))
    except psycopg2.errors.FeatureNotSupported:
        pytest.skip("this server has no XML")
    finally:
        described = cursor.description
        cursor.execute("ROLLBACK TO a")
    assert column_name(target.res_target) == described[0].name


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_a_column_has_the_name_that_postgresql_gives_it(cursor, expression):
    if expression in {"true", "false"} and cursor.connection.server_version < 150000:
        pytest.skip("PostgreSQL 14 calls such a column bool")
    check(cursor, expression)


@pytest.mark.parametrize(
    ("version", "expression"), [(v, each) for v, found in NEWER.items() for each in found]
)
def test_a_column_of_newer_syntax_has_the_name_that_postgresql_gives_it(
    cursor, version, expression
):
    if cursor.connection.server_version < version:
        pytest.skip(f"needs PostgreSQL {version // 10000}")
    check(cursor, expression)
