"""'now', 'today' and their kin are one time for all shards, wherever PostgreSQL reads a time."""

from __future__ import annotations

import contextlib
import datetime as dt
from contextlib import nullcontext as nothing

import psycopg2
import pytest

import greenshard
from tests.postgres.one_database.conftest import TABLES

#: Statements that give each row the time at which the transaction began, in some way.
WRITTEN = [
    "UPDATE moments SET at = 'now'",
    "UPDATE moments SET (word, at) = ('now', ' NOW ')",
    "UPDATE moments SET at = 'now'::text::timestamptz",
    "UPDATE moments SET at = timestamptz(5) 'now'",
    "UPDATE moments SET at = domained, domained = 'now'",
    "UPDATE days SET at = 'now'",
    "UPDATE days SET at = 'now'::unused",
    "INSERT INTO days VALUES (1, 'now', 'now') ON CONFLICT (id) DO UPDATE SET at = 'now'",
    "UPDATE moments SET at = U&'\\006eow'", "UPDATE moments SET at = E'\\156ow'",
    "UPDATE moments SET at = U&'!006eow' UESCAPE '!'", "UPDATE moments SET at = 'n'\n'ow'",
    "UPDATE moments SET ats[1] = 'now', pair.at = 'now'",
    "UPDATE moments SET at = (array_append(ats, 'now'))[array_length(ats, 1) + 1]",
]  # fmt: skip
#: Conditions that are true of all rows, and of none.
TRUE = [
    "at <= 'now'", "at < 'tomorrow'", "'today' <= at", "at BETWEEN 'yesterday' AND 'now'",
    "at::date IN ('today', 'yesterday')", "(id * 0, at::date) = (0, 'today')", "word = 'now'",
    "date_trunc('day', at) = 'today'", "domained <= 'now'", "greatest(at, 'yesterday') = at",
    "(SELECT at) <= 'now'", "tstzrange(at, 'tomorrow') @> at", "at + interval '1 day' > 'now'",
]  # fmt: skip
REFUSED = [
    "SELECT id FROM moments WHERE at > 'today 00:00'",
    "SELECT id FROM moments WHERE '[yesterday,tomorrow)'::tstzrange @> at",
    "SELECT id FROM moments WHERE at = ANY('{now}')",
    "UPDATE moments SET at = 'now+01'",
    "UPDATE moments SET ats[1:2] = '{now,now}'",
    "UPDATE moments SET ats = array_cat(ats, '{now}')", "UPDATE moments SET word = shown('now')",
    "UPDATE moments SET word = shown_row('(now,1)')", "UPDATE moments SET at = told('now')",
    "UPDATE moments SET at = told_in_sql('now')", "UPDATE moments SET word = shown(U&'\\006eow')",
    "UPDATE moments SET word = at_most(at, 'now')", "UPDATE moments SET word = 'now' <<<< at",
    "UPDATE moments SET at = timestamptz_larger('now', at)", "UPDATE moments SET at = told_at(1)",
    "UPDATE moments SET at = timestamptz_in('now', 0, -1)",
    "SELECT id FROM moments WHERE 'now' <<<< at = word",
]  # fmt: skip
GIVEN = [
    ("SELECT id FROM moments WHERE at > %s", ("today",)),
    ("SELECT id FROM moments WHERE at::date = ANY(%s)", (["2020-01-01", "today"],)),
    ("SELECT count(*) FROM moments WHERE at IN %s", (("now",),)),
    ("SELECT id FROM moments WHERE at > %(when)s::timestamptz", {"when": "yesterday"}),
    ("UPDATE moments SET word = %s, at = %s", ("x", "now")),
    ("INSERT INTO days (id, at, word) VALUES %s", ((5, "now", "x"),)),
    ("UPDATE moments SET ats[2] = %s", ("now",)),
    ("UPDATE moments SET word = shown(%s)", ("now",)),
    ("UPDATE moments SET at = told(%s)", ("now",)),
]
TAKEN = [
    ("SELECT id FROM moments WHERE word = %s AND id = %s", ("now", 7)),
    ("SELECT id FROM moments WHERE id = %s AND at > %s", (7, "today")),
    ("UPDATE moments SET word = %s, at = %s", ("now", "2020-01-01")),
    ("INSERT INTO days (id, at, word) VALUES %s", ((5, "2020-01-01", "now"),)),
    ("UPDATE moments SET word = said('now') || concat(at, 'now'), pair.n = 3, ats[2] = NULL", None),
    ("UPDATE moments SET word = replace('nxow', 'x', ''), at = told('2020-01-01')", None),
    ("UPDATE moments SET at = told(%s), word = day(at)", ("2020-01-01",)),
    ("UPDATE moments SET at = (word || ' 10:00 America/New_York')::timestamptz WHERE false", None),
    ("UPDATE moments SET at = replace('2020 01-01', ' ', '-')::timestamptz", None),
]
#: Writes to a reference table with text that becomes a time, which cannot be read beforehand.
COMPUTED = [
    "UPDATE days SET at = 'today 01:00'", "UPDATE texts SET ats[2] = 'now'",
    "UPDATE texts SET ats[1:2] = '{now,now}'", "UPDATE texts SET pair.at = 'now'",
    "UPDATE texts SET pairs[1].at = 'now'", "UPDATE texts SET listed[2] = 'now'",
    "INSERT INTO texts (id) VALUES (1) ON CONFLICT (id) DO UPDATE SET ats[3] = 'now'",
    "INSERT INTO texts (id) VALUES (1) ON CONFLICT (id) DO UPDATE SET pair.at = 'now'",
    "INSERT INTO texts (id, ats[1], pair.at) VALUES (2, 'now', 'now')",
    "INSERT INTO texts (id, word, at) VALUES (3, shown('now'), told('now'))",
    "UPDATE texts SET ats = array_append(ats, 'now')",
    "UPDATE texts SET ats = array_prepend('now', ats)",
    "UPDATE texts SET ats = array_replace(ats, '2020-01-01', 'now')",
    "UPDATE texts SET ats = array_cat(ats, '{now}')", "UPDATE texts SET word = shown('now')",
    "UPDATE texts SET word = told('now')::text", "UPDATE texts SET word = told_in_sql('now')::text",
    "UPDATE texts SET word = told(word)::text", "UPDATE texts SET at = told('n' || 'ow')",
    "UPDATE texts SET at = U&'\\006eow'", "UPDATE texts SET at = reverse('won')::timestamptz",
    "UPDATE texts SET at = replace('nxow', 'x', '')::timestamptz",
    "UPDATE texts SET word = at_most(at, 'now')", "UPDATE texts SET word = 'now' <<<< at",
    "UPDATE texts SET at = (chr(110) || 'ow')::timestamptz", "UPDATE texts SET word = served()",
    "MERGE INTO texts USING days ON days.id = texts.id WHEN MATCHED THEN UPDATE SET ats[1] = 'now'",
    "UPDATE texts SET at = word::timestamptz", "UPDATE texts SET at = (doc->>'at')::date",
    "UPDATE texts SET at = ('n' || 'ow')::timestamptz", "UPDATE texts SET at = date(word)",
    "UPDATE texts SET at = word::written.date::timestamptz",
    "UPDATE texts SET at = upper('noW')::timestamptz",
    "UPDATE texts SET at = CASE WHEN id > 1 THEN 'today' ELSE word END::timestamptz",
    "UPDATE texts SET pair = ROW('now', 1)", "UPDATE texts SET pair = '(now,1)'",
    "UPDATE texts SET pair = ROW('now', 1)::timed", "UPDATE texts SET pair = '(now,1)'::timed",
    "UPDATE texts SET ats = string_to_array(word, ',')::timestamptz[]",
    "UPDATE texts SET ats = '{now}'", "UPDATE texts SET ats = '{now}'::text::timestamptz[]",
    "UPDATE texts SET ats = ARRAY[word]::timestamptz[]", "UPDATE texts SET span = '[now,)'",
    "UPDATE texts SET span = format('[%%s,)', word)::tstzrange",
    "UPDATE texts SET mine = '[now,)'::spans", "UPDATE texts SET mine = word::spans",
    "UPDATE texts SET at = (jsonb_populate_record(null::timed, doc)).at",
    "UPDATE texts SET at = (jsonb_populate_record(pair, doc)).at",
    "UPDATE texts SET at = x.at FROM jsonb_to_record('{}') AS x (at timestamptz)",
    "UPDATE texts SET at = w.at FROM (SELECT word::timestamptz AS at FROM days LIMIT 1) w",
    "UPDATE texts SET at = (SELECT max(at) FROM worded)", "DELETE FROM texts WHERE word::date < at",
    "INSERT INTO texts (id) VALUES (1) ON CONFLICT (id) DO UPDATE SET at = texts.word::date",
]  # fmt: skip
PROVED = [
    ("UPDATE texts SET at = ('2020-01-01' || ' 10:00')::timestamptz", None),
    ("UPDATE texts SET at = date(at), word = 'now', doc = '{\"at\": \"now\"}'", None),
    ("UPDATE texts SET at = (at + '1 day')::date WHERE (at AT TIME ZONE 'UTC')::date > at", None),
    ("UPDATE texts SET at = coalesce(at, '2020-01-01')::date, word = 'now'::text", None),
    ("UPDATE texts SET at = (%s || ' 10:00')::timestamptz", ("2020-01-01",)),
    ("UPDATE texts SET at = concat(%s, ' 10:00')::timestamptz", ("2020-01-01",)),
]  # fmt: skip
#: `shown` takes a time, `told` makes one of a text, `said` does neither.
FUNCTIONS = """
CREATE FUNCTION shown(timestamptz) RETURNS text IMMUTABLE LANGUAGE sql AS 'SELECT $1::text';
CREATE FUNCTION shown_row(timed) RETURNS text IMMUTABLE LANGUAGE sql AS 'SELECT ($1).at::text';
CREATE FUNCTION at_most(anyelement, anyelement) RETURNS text IMMUTABLE LANGUAGE sql
    AS 'SELECT least($1, $2)::text';
CREATE FUNCTION of_two(timestamptz, timestamptz) RETURNS text IMMUTABLE LANGUAGE sql
    AS 'SELECT $1::text || $2';
CREATE OPERATOR <<<< (LEFTARG = timestamptz, RIGHTARG = timestamptz, FUNCTION = of_two);
CREATE FUNCTION told(text) RETURNS timestamptz STABLE LANGUAGE plpgsql AS 'BEGIN RETURN $1; END';
CREATE FUNCTION told_in_sql(text) RETURNS timestamptz STABLE LANGUAGE sql
    AS 'SELECT $1::timestamptz';
CREATE FUNCTION told_at(int) RETURNS timestamptz STABLE LANGUAGE plpgsql
    AS $$ BEGIN RETURN 'n' || 'ow'; END $$;
CREATE FUNCTION said(text) RETURNS text STABLE LANGUAGE plpgsql AS 'BEGIN RETURN $1; END';
CREATE FUNCTION day(timestamptz) RETURNS text STABLE LANGUAGE plpgsql
    AS $$ BEGIN RETURN to_char($1::date, 'YYYY-MM-DD'); END $$;
CREATE FUNCTION served() RETURNS text LANGUAGE plpgsql AS 'BEGIN RETURN version(); END';
"""


@pytest.fixture(scope="module")
def cluster(shop):
    tables = {"moments": greenshard.Sharded("id"), "days": greenshard.Reference(),
              "texts": greenshard.Reference()}  # fmt: skip
    for name, dsn in shop.dsns.items():
        with contextlib.closing(psycopg2.connect(dsn)) as conn, conn, conn.cursor() as cur:
            cur.execute(
                "CREATE DOMAIN moment AS timestamptz; CREATE TABLE moments (id bigint PRIMARY KEY,"
                " at timestamptz, word text, domained moment); CREATE TABLE days (id int"
                " PRIMARY KEY, at timestamptz, word text); INSERT INTO days VALUES (1);"
                "CREATE DOMAIN unused AS moment; CREATE TYPE timed AS (at timestamptz, n int);"
                "CREATE DOMAIN list AS timestamptz[]; CREATE TYPE spans AS RANGE (subtype ="
                " timestamptz); CREATE TABLE texts (id int PRIMARY KEY, at timestamptz, word text,"
                " doc jsonb, pair timed, ats timestamptz[], span tstzrange, mine spans,"
                " pairs timed[], listed list); INSERT INTO texts (id) VALUES (1);"
                "ALTER TABLE moments ADD ats timestamptz[] DEFAULT '{2020-01-01}', ADD pair timed;"
                + FUNCTIONS
                + "CREATE SCHEMA written; CREATE DOMAIN written.date AS text;"
                "CREATE VIEW worded AS SELECT word::timestamptz AS at FROM days"
            )
            for number in range(20):
                if shop.shard_of(number) == name:
                    cur.execute("INSERT INTO moments VALUES (%s, now(), 'now', now())", (number,))
    return greenshard.Cluster(shop.dsns, {**TABLES, **tables})


@pytest.fixture
def conn(cluster):
    with contextlib.closing(greenshard.connect(cluster)) as connection:
        yield connection


@pytest.mark.parametrize("statement", WRITTEN)
def test_all_rows_are_given_the_same_time(conn, statement):
    cur = conn.cursor()
    cur.execute(statement)
    if " SET at = domained" in statement:
        cur.execute("UPDATE moments SET at = domained")
    if "pair.at = 'now'" in statement:
        cur.execute("UPDATE moments SET at = greatest(ats[1], (pair).at)")
    times = set()
    for shard in conn.shards:
        with conn.on(shard):
            cur.execute(f"SELECT at FROM {'days' if 'days' in statement else 'moments'}")
            times.update(cur.fetchall())
    cur.execute("SELECT abs(extract(epoch FROM clock_timestamp() - %s)) < 60", times.pop())
    assert cur.fetchone() == (True,)
    assert not times


def test_all_rows_are_compared_with_the_same_time(conn):
    cur = conn.cursor()
    cur.execute("UPDATE moments SET at = now(), domained = now()")
    for condition in TRUE:
        cur.execute(f"SELECT count(*) FROM moments WHERE {condition}")
        assert cur.fetchone() == (20,), condition
        text = conn.explain(f"SELECT id FROM moments WHERE {condition}")
        assert ("%(now)s" in text) == (condition != "word = 'now'"), condition


def test_what_cannot_be_one_time_is_refused(conn):
    cur = conn.cursor()
    for statement, parameters in [*((each, None) for each in REFUSED), *GIVEN]:
        with pytest.raises(greenshard.errors.NotSupportedError) as caught:
            cur.execute(statement, parameters)
        assert caught.value.code in {"GS410", "GS412"}, statement
        conn.rollback()
    for statement, parameters in TAKEN:
        cur.execute(statement, parameters)
        assert cur.rowcount >= 0, statement
        conn.rollback()


def test_text_that_becomes_a_time_is_read_once_for_all_copies(conn):
    cur = conn.cursor()
    for statement in COMPUTED:
        cur.execute(statement, () if "%%" in statement else None)
        copies = set()
        for shard in conn.shards:
            with conn.on(shard):
                cur.execute("SELECT t::text, d::text FROM texts t, days d ORDER BY t.id")
                copies.add(tuple(cur.fetchall()))
        assert len(copies) == 1, statement
        conn.rollback()
    for statement, parameters in PROVED:
        cur.execute(statement, parameters)
        assert cur.rowcount in {0, 1}, statement
        conn.rollback()
    # The first shard reads it, for all copies.
    assert "strategy: mirror" in conn.explain(PROVED[-2][0], ("today",))
    cur.execute(PROVED[-2][0], ("today",))
    conn.rollback()


def test_text_that_tells_the_time_is_not_read_by_each_shard(conn):
    cur = conn.cursor()
    moment = "SELECT count(*) FROM moments WHERE at > {}::timestamptz"
    for text in ("('n' || 'ow')", "upper('now')", "('today' || ' 10:00')", "'now+01'::text"):
        with pytest.raises(greenshard.errors.NotSupportedError, match="tells the time"):
            cur.execute(moment.format(text))
    for text in ("('2020-01-01' || ' 10:00')", "to_char(now(), 'YYYY-MM-01')", "word"):
        cur.execute(moment.format(text))
    for value, refused in (("today", True), ("2020-01-01", False)):
        with pytest.raises(greenshard.errors.NotSupportedError) if refused else nothing():
            cur.execute(moment.format("(%s || ' 10:00')"), (value,))
    # The fields of a row have no type in common.
    cur.execute("SELECT DISTINCT ROW('today', id * 0)::text, (id, 'now') = (id, word) FROM moments")
    assert cur.fetchall() == [("(today,0)", True)]


def test_what_postgresql_does_not_assign_is_not_assigned(conn):
    for value in ("CASE WHEN id > 1 THEN 'now' END", "coalesce(NULL, 'now')"):
        with pytest.raises(psycopg2.errors.DatatypeMismatch):
            conn.cursor().execute(f"UPDATE moments SET at = {value}")
        conn.rollback()


def test_a_function_that_postgresql_does_not_choose_is_not_chosen(conn):
    for text in (
        "DISTINCT age('now')",
        "age('2020-01-01')",
        "age(NULL), id",
        "pg_catalog.age('now')",
    ):
        with pytest.raises(psycopg2.errors.AmbiguousFunction):
            conn.cursor().execute(f"SELECT {text} FROM moments")
        conn.rollback()
    cur = conn.cursor()
    cur.execute("SELECT DISTINCT age(date 'today') FROM moments")
    assert cur.fetchall() == [(dt.timedelta(0),)]
    cur.execute("SELECT count(*) FROM moments WHERE age('now', at) >= '0'")
    assert cur.fetchone() == (20,)
