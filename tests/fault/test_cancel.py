"""`Connection.cancel`, and that no cancel hits the statement after the one it was meant for."""

from __future__ import annotations

import random
import threading

import gevent
import psycopg2
import pytest

import greenshard
from greenshard import _green
from tests.fault.scene import SILENT, bounded, eventually, outcome

#: Statements end about when their cancel arrives, which takes a new session.
LONGEST_S = 0.03
NEXT = "SELECT pg_sleep(0.003), 1"


def run_next(conn):
    cur = conn.cursor()
    cur.execute(NEXT)
    assert [row[1] for row in cur.fetchall()] == [1] * len(conn.shards)


def test_cancel_at_any_moment_never_hits_the_next_statement(scene):
    conn = scene.connect(order=("s0", "s2"), cancel_grace=30.0)
    conn.autocommit = True
    chance = random.Random(1)
    cancelled = 0
    for _ in range(200):
        begun = []

        def cancel_later(delay, begun=begun):
            gevent.sleep(delay)
            begun.append(True)
            conn.cancel()

        canceller = gevent.spawn(cancel_later, chance.uniform(0, 0.01))
        try:
            conn.cursor().execute("SELECT pg_sleep(%s)", (chance.uniform(0, LONGEST_S),))
        except psycopg2.errors.QueryCanceled:
            cancelled += 1
        if not begun:
            canceller.kill()
        run_next(conn)
        canceller.join()
    assert cancelled > 10
    scene.assert_idle(*conn.shards, sessions=1)


def test_timeout_at_any_moment_never_hits_the_next_statement(scene):
    conn = scene.connect(order=("s0", "s2"), cancel_grace=30.0)
    conn.autocommit = True
    chance = random.Random(2)
    cancelled = 0
    for _ in range(100):
        cur = conn.cursor()
        cur.timeout = chance.uniform(0, 0.01)
        try:
            cur.execute("SELECT pg_sleep(%s)", (chance.uniform(0, LONGEST_S),))
        except greenshard.QueryTimeout:
            cancelled += 1
        run_next(conn)
    assert cancelled > 10
    scene.assert_idle(*conn.shards, sessions=1)


def test_failure_elsewhere_at_any_moment_never_hits_the_next_statement(scene):
    conn = scene.connect(order=("s0", "s2"), cancel_grace=30.0)
    conn.autocommit = True
    conn.cursor().execute("CREATE TEMP TABLE fate (naps float, divisor int)")
    conn.broadcast().cursor().execute("INSERT INTO fate VALUES (0, 1)")
    conn.on("s2").cursor().execute("UPDATE fate SET divisor = 0")
    chance = random.Random(3)
    for _ in range(100):
        naps = chance.uniform(0, LONGEST_S)
        conn.cursor().execute("UPDATE fate SET naps = %s WHERE divisor = 1", (naps,))
        with pytest.raises(psycopg2.errors.DivisionByZero):
            conn.cursor().execute("SELECT pg_sleep(naps), 1 / divisor FROM fate")
        run_next(conn)
    scene.assert_idle(*conn.shards, sessions=1)


def test_cancel_from_another_greenlet(scene):
    conn = scene.connect(cancel_grace=30.0)
    caller = gevent.spawn(outcome, conn.cursor().execute, "SELECT pg_sleep(20)")
    eventually(lambda: all(scene.running(name) for name in conn.shards))
    with bounded(0):
        conn.cancel()
        error = caller.get()
    assert isinstance(error, psycopg2.errors.QueryCanceled)
    assert isinstance(error, greenshard.OperationalError)
    scene.assert_usable(conn, conn.shards)
    scene.assert_idle(*conn.shards, sessions=1)


def test_cancel_from_another_thread(scene):
    conn = scene.connect(cancel_grace=30.0)
    for _ in range(10):
        canceller = threading.Timer(0.1, conn.cancel)
        canceller.start()
        with bounded(0), pytest.raises(psycopg2.errors.QueryCanceled):
            conn.cursor().execute("SELECT pg_sleep(20)")
        canceller.join()
        conn.rollback()
        run_next(conn)
        conn.rollback()
    scene.assert_idle(*conn.shards, sessions=1)


def test_cancel_from_several_greenlets_at_once(scene):
    conn = scene.connect(cancel_grace=30.0)
    caller = gevent.spawn(outcome, conn.cursor().execute, "SELECT pg_sleep(20)")
    eventually(lambda: all(scene.running(name) for name in conn.shards))
    with bounded(0):
        gevent.joinall([gevent.spawn(conn.cancel) for _ in range(3)], raise_error=True)
        assert isinstance(caller.get(), psycopg2.errors.QueryCanceled)
    scene.assert_usable(conn, conn.shards)
    scene.assert_idle(*conn.shards, sessions=1)


def test_cancel_of_an_idle_connection_does_nothing(scene):
    conn = scene.connect()
    with bounded(0):
        conn.cancel()
        run_next(conn)


@pytest.mark.parametrize("fault", SILENT)
def test_cancel_returns_when_a_silent_shards_call_has_timed_out(scene, fault):
    conn = scene.connect(fault, timeout=0.5)
    scene.inflict(fault)
    canceller = gevent.spawn_later(0.1, conn.cancel)
    with bounded(2.0), pytest.raises(psycopg2.OperationalError):
        conn.cursor().execute("SELECT pg_sleep(5)")
    canceller.join(timeout=3)
    try:
        assert canceller.successful()
    finally:
        canceller.kill()


@pytest.mark.parametrize("fault", SILENT)
def test_cancel_of_a_silent_shard_ends_the_call_after_the_grace_time(scene, fault):
    conn = scene.connect(fault)
    scene.inflict(fault)
    canceller = gevent.spawn_later(0.1, conn.cancel)
    caller = gevent.spawn(outcome, conn.cursor().execute, "SELECT pg_sleep(5)")
    caller.join(timeout=5)
    try:
        assert caller.dead
        assert isinstance(caller.value, psycopg2.OperationalError)
        canceller.join(timeout=3)
        assert canceller.dead
    finally:
        canceller.kill()
        caller.kill()
    assert conn.closed == 2
    scene.assert_usable(conn)


def no_name_is_known(host):
    raise OSError("no answer from the name server")


def test_cancel_without_name_resolution_uses_the_address_connected_to(scene, monkeypatch):
    dsn = scene.relayed_dsn.replace("127.0.0.1", "localhost")
    conn = greenshard.connect(dsn, application_name="tested", cancel_grace=30.0, timeout=0.3)
    scene.connections.append(conn)
    monkeypatch.setattr(_green, "resolve", no_name_is_known)
    with bounded(0.3), pytest.raises(greenshard.QueryTimeout):
        conn.cursor().execute("SELECT pg_sleep(20)")
    assert not conn.closed
    scene.assert_usable(conn, conn.shards)


@pytest.mark.parametrize("opened_by", ["user", "greenshard"])
def test_silent_shard_without_name_resolution_does_not_freeze_the_process(
    scene, monkeypatch, opened_by
):
    """As when the network is gone: a request by psycopg2's own `cancel` would block it."""
    dsn = scene.relayed_dsn.replace("127.0.0.1", "localhost")
    shard = dsn if opened_by == "greenshard" else psycopg2.connect(dsn)
    conn = greenshard.connect([shard], cancel_grace=0.25, timeout=0.25)
    scene.connections.append(conn)
    scene.relay.tell("silence")
    monkeypatch.setattr(_green, "resolve", no_name_is_known)
    with bounded(1.5), pytest.raises(greenshard.QueryTimeout):
        conn.cursor().execute("SELECT 1")
    assert conn.closed == 2
