"""Rows that are made while other shards are waited for are those that would be made afterwards."""

from __future__ import annotations

import datetime as dt
from contextlib import closing

import psycopg2
import pytest
from psycopg2 import extras
from psycopg2.extensions import new_type, register_type

import greenshard
from greenshard.executor.answers.ahead import RowsAhead

MANY = (
    "SELECT n, n::text, n::numeric, timestamptz '2020-01-01 00:00+00' FROM generate_series(1, {}) n"
)


@pytest.fixture(params=[100, 12_000])
def count(request):
    """Of each shard; of the second, some are made when they are fetched."""
    return request.param


@pytest.fixture
def wanted(plain, count):
    cur = plain["s0"].cursor()
    cur.execute(MANY.format(count))
    return cur.fetchall() * 3


def parts(cur):
    return cur._answer.rows._parts


def test_rows_are_the_same_however_they_are_fetched(conn, count, wanted):
    cur = conn.cursor()

    def ask():
        cur.execute(MANY.format(count))
        assert all(isinstance(part, RowsAhead) for part in parts(cur))
        assert (cur.rowcount, cur.rownumber) == (3 * count, 0)

    ask()
    assert cur.fetchall() == wanted
    assert (cur.rownumber, cur.fetchone(), cur.fetchall()) == (3 * count, None, [])
    ask()
    assert list(cur) == wanted
    ask()
    assert [cur.fetchone(), *cur.fetchmany(count), *cur.fetchmany(7)] == wanted[: count + 8]
    assert cur.rownumber == count + 8
    cur.scroll(-20)
    assert cur.fetchmany(30) == wanted[count - 12 : count + 18]
    cur.scroll(5, mode="absolute")
    assert cur.fetchall() == wanted[5:]
    ask()
    assert cur.fetchmany(0) == []
    assert cur.fetchmany(-1) == wanted


def test_what_is_set_before_the_fetch_counts(conn, count, wanted):
    cur = conn.cursor()
    cur.execute(MANY.format(count))
    assert cur.fetchmany(3) == wanted[:3]
    cur.row_factory = lambda _: [None] * 4
    assert cur.fetchmany(2) == [list(row) for row in wanted[3:5]]
    cur.row_factory = None
    cur.tzinfo_factory = None
    assert cur.fetchone()[3] == dt.datetime(2020, 1, 1)  # noqa: DTZ001  # that is what was asked for
    assert len(cur.fetchall()) == 3 * count - 6


def test_what_makes_rows_of_the_program_s_own_makes_them_when_they_are_fetched(dsns, conn):
    made = []
    caster = new_type((23,), "OWN", lambda value, _: made.append(value) or 0)
    register_type(caster, conn)
    cur = conn.cursor()
    cur.execute(MANY.format(100))
    assert not made
    assert cur.fetchone()[0] == 0
    with closing(greenshard.connect(dsns, cursor_factory=extras.RealDictCursor)) as other:
        cur = other.cursor()
        cur.execute(MANY.format(100))
        assert cur.fetchone()["n"] == 1
    for text in ("SELECT n AS a, '{}'::json FROM generate_series(1, 100) n", "SELECT 1"):
        cur = conn.cursor()
        cur.execute(text)
        assert not any(isinstance(part, RowsAhead) for part in parts(cur))


def test_value_that_python_has_not_fails_when_it_is_fetched(conn):
    cur = conn.cursor()
    cur.execute("SELECT date '2020-01-01' + n * 30000 FROM generate_series(0, 200) n")
    assert cur.fetchone() == (dt.date(2020, 1, 1),)
    with pytest.raises((ValueError, psycopg2.DataError, OverflowError)):
        cur.fetchall()


def test_same_rows_of_all_shards_are_given_once(conn):
    with conn.broadcast():
        cur = conn.cursor()
        cur.execute("CREATE TEMP TABLE same (a int)")
        cur.execute("INSERT INTO same SELECT generate_series(1, 60) RETURNING a")
        assert sorted(set(cur.fetchall())) == [(a,) for a in range(1, 61)]
