"""'now', 'today' and their kin are one time for all shards, wherever PostgreSQL reads a time."""

from __future__ import annotations

import contextlib
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
]
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
    "UPDATE days SET at = 'today 01:00'",
]
GIVEN = [
    ("SELECT id FROM moments WHERE at > %s", ("today",)),
    ("SELECT id FROM moments WHERE at::date = ANY(%s)", (["2020-01-01", "today"],)),
    ("SELECT count(*) FROM moments WHERE at IN %s", (("now",),)),
    ("SELECT id FROM moments WHERE at > %(when)s::timestamptz", {"when": "yesterday"}),
    ("UPDATE moments SET word = %s, at = %s", ("x", "now")),
    ("INSERT INTO days (id, at, word) VALUES %s", ((5, "now", "x"),)),
]
TAKEN = [
    ("SELECT id FROM moments WHERE word = %s AND id = %s", ("now", 7)),
    ("SELECT id FROM moments WHERE id = %s AND at > %s", (7, "today")),
    ("UPDATE moments SET word = %s, at = %s", ("now", "2020-01-01")),
    ("INSERT INTO days (id, at, word) VALUES %s", ((5, "2020-01-01", "now"),)),
]
#: Writes to a reference table with text that becomes a time, which cannot be read beforehand.
COMPUTED = [
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
                "CREATE TYPE spans AS RANGE (subtype = timestamptz); CREATE TABLE texts (id int"
                " PRIMARY KEY, at timestamptz, word text, doc jsonb, pair timed, ats timestamptz[],"
                " span tstzrange, mine spans); INSERT INTO texts (id) VALUES (1);"
                "CREATE SCHEMA written; CREATE DOMAIN written.date AS text;"
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


def test_text_that_becomes_a_time_is_not_written_to_copies(conn):
    cur = conn.cursor()
    for statement in COMPUTED:
        with pytest.raises(greenshard.errors.NotSupportedError) as caught:
            cur.execute(statement, () if "%%" in statement else None)
        assert caught.value.code == "GS412", statement
        assert caught.value.hint, statement
        conn.rollback()
    for statement, parameters in PROVED:
        cur.execute(statement, parameters)
        assert cur.rowcount in {0, 1}, statement
        conn.rollback()
    with pytest.raises(greenshard.errors.NotSupportedError, match="tells the time"):
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
