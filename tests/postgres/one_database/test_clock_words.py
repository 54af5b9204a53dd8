"""'now', 'today' and their kin are one time for all shards, wherever PostgreSQL reads a time."""

from __future__ import annotations

import contextlib

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


@pytest.fixture(scope="module")
def cluster(shop):
    tables = {"moments": greenshard.Sharded("id"), "days": greenshard.Reference()}
    for name, dsn in shop.dsns.items():
        with contextlib.closing(psycopg2.connect(dsn)) as conn, conn, conn.cursor() as cur:
            cur.execute(
                "CREATE DOMAIN moment AS timestamptz; CREATE TABLE moments (id bigint PRIMARY KEY,"
                " at timestamptz, word text, domained moment); CREATE TABLE days (id int"
                " PRIMARY KEY, at timestamptz, word text); INSERT INTO days VALUES (1)"
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


def test_what_postgresql_does_not_assign_is_not_assigned(conn):
    for value in ("CASE WHEN id > 1 THEN 'now' END", "coalesce(NULL, 'now')"):
        with pytest.raises(psycopg2.errors.DatatypeMismatch):
            conn.cursor().execute(f"UPDATE moments SET at = {value}")
        conn.rollback()
