"""A server that gives no more sessions: neither new connections nor those that would cancel."""

from __future__ import annotations

import contextlib
import time

import gevent
import psycopg2
import pytest

import greenshard
from greenshard.testing import Shards
from tests.fault.scene import bounded, eventually, nothing_left, outcome


@pytest.fixture(scope="module")
def narrow_shards():
    settings = {
        "max_connections": 5,
        "superuser_reserved_connections": 0,
        "max_wal_senders": 0,
    }
    with Shards(2, settings=settings) as shards:
        yield shards


class Hogs:
    """Sessions of others, as many as there are slots."""

    def __init__(self, dsn):
        self._dsn = dsn
        self._sessions = []

    def fill(self):
        while True:
            try:
                self._sessions.append(psycopg2.connect(self._dsn, application_name="hog"))
            except psycopg2.OperationalError:
                break
        return len(self._sessions)

    def ask(self, statement):
        session = self._sessions[0]
        session.autocommit = True
        with session.cursor() as cur:
            cur.execute(statement)
            return cur.fetchone()[0]

    def running(self):
        return self.ask(
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE state = 'active' AND application_name = 'tested'"
        )

    def leave(self):
        while self._sessions:
            self._sessions.pop().close()


@pytest.fixture
def hogs(narrow_shards, capfd):
    hogs = Hogs(narrow_shards["s1"].dsn)
    with nothing_left():
        yield hogs
        hogs.leave()
    assert capfd.readouterr().err == ""


@pytest.fixture
def connected(narrow_shards, hogs):
    """A connection that got the last slot of s1."""
    conn = greenshard.connect(
        narrow_shards.dsns, application_name="tested", cancel_grace=30.0, on_error="raise"
    )
    # The slot of what a former test closed may not be free yet.
    deadline = time.monotonic() + 2
    while hogs.fill() < 4 and time.monotonic() < deadline:
        gevent.sleep(0.02)
    assert hogs.fill() == 4
    with contextlib.closing(conn):
        yield conn


def assert_sound(conn, hogs):
    eventually(lambda: not hogs.running(), 2.0)
    assert not conn.closed
    conn.rollback()
    cur = conn.cursor()
    cur.execute("SELECT 1")
    assert cur.fetchall() == [(1,), (1,)]


def test_connect_names_the_full_shard(narrow_shards, hogs):
    hogs.fill()
    with pytest.raises(greenshard.OperationalError, match="too many clients") as excinfo:
        greenshard.connect(narrow_shards.dsns)
    assert excinfo.value.shard == "s1"


def test_partial_connect_goes_on_without_the_full_shard(narrow_shards, hogs):
    hogs.fill()
    with contextlib.closing(greenshard.connect(narrow_shards.dsns, on_error="partial")) as conn:
        cur = conn.cursor()
        with pytest.warns(greenshard.PartialResultWarning, match="s1"):
            cur.execute("SELECT 1")
        assert cur.fetchall() == [(1,)]


def test_timeout_cancels_on_a_full_server(connected, hogs):
    cur = connected.cursor()
    cur.timeout = 0.3
    with bounded(0.3), pytest.raises(greenshard.QueryTimeout):
        cur.execute("SELECT pg_sleep(20)")
    assert_sound(connected, hogs)


def test_gevent_timeout_cancels_on_a_full_server(connected, hogs):
    with bounded(0.3), pytest.raises(gevent.Timeout), gevent.Timeout(0.3):
        connected.cursor().execute("SELECT pg_sleep(20)")
    assert_sound(connected, hogs)


def test_kill_cancels_on_a_full_server(connected, hogs):
    caller = gevent.spawn(connected.cursor().execute, "SELECT pg_sleep(20)")
    eventually(hogs.running)
    with bounded(0):
        caller.kill()
    assert isinstance(caller.value, gevent.GreenletExit)
    assert_sound(connected, hogs)


def test_error_elsewhere_cancels_on_a_full_server(connected, hogs):
    with bounded(0), pytest.raises(psycopg2.errors.UndefinedTable):
        connected.on("s0").cursor().execute("SELECT * FROM missing")
    connected.rollback()
    connected.on("s1").cursor().execute("CREATE TEMP TABLE only_there (x int)")
    connected.commit()
    with bounded(0), pytest.raises(psycopg2.errors.UndefinedTable) as excinfo:
        connected.cursor().execute("SELECT pg_sleep(20) FROM (SELECT count(*) FROM only_there) t")
    assert excinfo.value.shard == "s0"
    assert_sound(connected, hogs)


def test_cancel_method_works_on_a_full_server(connected, hogs):
    caller = gevent.spawn(outcome, connected.cursor().execute, "SELECT pg_sleep(20)")
    eventually(hogs.running)
    with bounded(0):
        connected.cancel()
        assert isinstance(caller.get(), psycopg2.errors.QueryCanceled)
    assert_sound(connected, hogs)


def test_named_cursors_fetch_is_cancelled_on_a_full_server(connected, hogs):
    cur = connected.on("s1").cursor("streamed")
    cur.execute("SELECT pg_sleep(20 * (n > 10)::int) FROM generate_series(1, 20) AS n")
    cur.fetchmany(10)
    cur.timeout = 0.3
    with bounded(0.3), pytest.raises(greenshard.QueryTimeout):
        cur.fetchmany(5)
    assert_sound(connected, hogs)


def test_commit_and_rollback_need_no_slot(connected, hogs):
    with bounded(0):
        connected.cursor().execute("CREATE TEMP TABLE t (x int)")
        connected.commit()
        connected.broadcast().cursor().execute("INSERT INTO t VALUES (1)")
        connected.rollback()
    assert_sound(connected, hogs)
