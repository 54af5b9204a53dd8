"""A caller that is timed out or killed: its statements end, its connections survive if they can."""

from __future__ import annotations

import os
import signal
import time

import gevent
import psycopg2
import pytest

import greenshard
from tests.fault.scene import SILENT, SURVIVORS, bounded, eventually

AFTER_S = 0.2
GRACE_S = 0.25


def by_own_timeout(conn, call):
    """The connection was made with the timeout."""
    with pytest.raises(greenshard.QueryTimeout) as excinfo:
        call()
    assert isinstance(excinfo.value, psycopg2.errors.QueryCanceled)
    assert isinstance(excinfo.value, greenshard.OperationalError)


def by_gevent_timeout(conn, call):
    timeout = gevent.Timeout(AFTER_S)
    with pytest.raises(gevent.Timeout) as excinfo, timeout:
        call()
    assert excinfo.value is timeout


def by_kill(conn, call):
    caller = gevent.spawn(call)
    gevent.sleep(AFTER_S)
    caller.kill()
    assert isinstance(caller.value, gevent.GreenletExit)


def by_two_kills(conn, call):
    """The second arrives while the first is being cleaned up after."""
    caller = gevent.spawn(call)
    gevent.sleep(AFTER_S)
    caller.kill(block=False)
    gevent.sleep(0.02)
    caller.kill()
    assert isinstance(caller.value, gevent.GreenletExit)


def by_timeout_and_kill(conn, call):
    def with_timeout():
        with gevent.Timeout(AFTER_S, False):
            call()
        # The kill must not be lost because a timeout came first.
        raise AssertionError("went on after the kill")

    caller = gevent.spawn(with_timeout)
    gevent.sleep(AFTER_S + 0.02)
    assert not caller.dead
    caller.kill()
    assert isinstance(caller.value, gevent.GreenletExit)


def by_two_timeouts(conn, call):
    outer = gevent.Timeout(AFTER_S + 0.02)
    with pytest.raises(gevent.Timeout) as excinfo, outer, gevent.Timeout(AFTER_S):
        call()
    assert excinfo.value is outer or excinfo.value.seconds == AFTER_S


WAYS = [
    by_own_timeout,
    by_gevent_timeout,
    by_kill,
    by_two_kills,
    by_two_timeouts,
]
every_way = pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
every_silence = pytest.mark.parametrize("fault", SILENT)


def write(conn):
    conn.broadcast().cursor().execute(
        "INSERT INTO writes SELECT coalesce(max(x), 0) + 1 FROM writes"
    )


def execute(conn):
    cur = conn.cursor()
    return lambda: cur.execute("SELECT pg_sleep(10)")


def execute_on_one(conn):
    cur = conn.on("s1").cursor()
    return lambda: cur.execute("SELECT pg_sleep(10)")


def fetch(conn):
    cur = conn.cursor("streamed")
    cur.itersize = 5
    # Of shard s0's 20 rows the first ten come at once.
    cur.execute("SELECT pg_sleep(10 * (n > 10)::int) FROM generate_series(1, 20) AS n")
    assert len(cur.fetchmany(10)) == 10
    return lambda: cur.fetchmany(5)


def executemany(conn):
    cur = conn.cursor()
    return lambda: cur.executemany("SELECT pg_sleep(%s)", [(0.05,)] * 1000)


def commit(conn):
    """Waits in a deferred trigger on s0."""
    cur = conn.cursor()
    cur.execute("CREATE TEMP TABLE slow (x int)")
    cur.execute(
        "CREATE FUNCTION pg_temp.wait() RETURNS trigger LANGUAGE plpgsql AS"
        " 'BEGIN PERFORM pg_sleep(10); RETURN NULL; END'"
    )
    cur.execute(
        "CREATE CONSTRAINT TRIGGER t AFTER INSERT ON slow DEFERRABLE INITIALLY DEFERRED"
        " FOR EACH ROW EXECUTE FUNCTION pg_temp.wait()"
    )
    conn.commit()
    write(conn)
    conn.on("s0").cursor().execute("INSERT INTO slow VALUES (1)")
    return conn.commit


@every_way
@pytest.mark.parametrize("prepare", [execute, execute_on_one, fetch, executemany, commit])
def test_sound_shards_keep_their_connections(scene, way, prepare):
    timeout = AFTER_S if way is by_own_timeout else None
    conn = scene.connect(timeout=timeout, cancel_grace=30.0)
    pids = {name: scene.sessions(name) for name in conn.shards}
    call = prepare(conn)
    with bounded(AFTER_S):
        way(conn, call)
    scene.assert_idle(*conn.shards, sessions=1)
    assert not conn.closed
    assert {name: scene.sessions(name) for name in conn.shards} == pids
    scene.assert_usable(conn, conn.shards)
    assert [scene.rows(shard) for shard in conn.shards] == [[], [], []]


def statement(conn):
    cur = conn.cursor()
    return lambda: cur.execute("SELECT 1")


def statement_on_one(conn):
    cur = conn.on("s1").cursor()
    return lambda: cur.execute("SELECT 1")


def stream(conn):
    cur = conn.on("s1").cursor("streamed")
    cur.execute("SELECT generate_series(1, 100000)")
    assert len(cur.fetchmany(10)) == 10
    return lambda: cur.fetchmany(10)


def writes_then_commit(conn):
    write(conn)
    return conn.commit


def writes_then_rollback(conn):
    write(conn)
    return conn.rollback


@pytest.mark.parametrize(
    ("fault", "way"),
    [
        ("frozen", by_two_kills),
        ("frozen", by_timeout_and_kill),
        ("black hole", by_gevent_timeout),
    ],
)
@pytest.mark.parametrize(
    "prepare", [statement, statement_on_one, stream, writes_then_commit, writes_then_rollback]
)
def test_silent_shard_loses_its_connection_after_the_grace_time(scene, fault, way, prepare):
    conn = scene.connect(fault, cancel_grace=GRACE_S)
    call = prepare(conn)
    scene.inflict(fault)
    # A rollback, which is waited for like a commit, may follow.
    with bounded(AFTER_S + 2 * (GRACE_S + 1.0)):
        way(conn, call)
    assert conn.closed == 2
    scene.assert_idle(*SURVIVORS, sessions=1)
    scene.assert_usable(conn)
    assert [scene.rows(shard) for shard in SURVIVORS] == [[], []]


@every_silence
@pytest.mark.parametrize("way", [by_gevent_timeout, by_kill, by_two_kills])
def test_connecting_is_given_up(scene, fault, way):
    scene.inflict(fault)
    with bounded(AFTER_S):
        way(None, lambda: scene.connect(fault, connect_timeout=60))
    scene.assert_idle(*SURVIVORS, sessions=0)


@pytest.mark.parametrize("seconds", [0, 0.0001, 0.002])
@pytest.mark.parametrize("prepare", [execute, execute_on_one, statement, writes_then_commit, fetch])
def test_tiny_gevent_timeout(scene, seconds, prepare):
    conn = scene.connect(cancel_grace=30.0)
    for _ in range(10):
        call = prepare(conn)
        with bounded(0), gevent.Timeout(seconds, False):
            call()
        scene.assert_usable(conn, conn.shards)
    scene.assert_idle(*conn.shards, sessions=1)


def test_timeout_of_next_to_nothing(scene):
    conn = scene.connect(timeout=1e-6, cancel_grace=30.0)
    with bounded(0), pytest.raises(greenshard.QueryTimeout):
        conn.cursor().execute("SELECT pg_sleep(10)")
    conn.timeout = None
    scene.assert_usable(conn, conn.shards)


@pytest.mark.parametrize("grace", [0, 30.0])
@pytest.mark.parametrize(
    "prepare", [execute, execute_on_one, writes_then_commit, writes_then_rollback]
)
def test_kill_before_the_greenlets_of_the_shards_started(scene, prepare, grace):
    conn = scene.connect(cancel_grace=grace)
    call = prepare(conn)
    caller = None

    def killed_at_once():
        # Scheduled before anything that the call spawns.
        gevent.get_hub().loop.run_callback(caller.throw)
        call()

    caller = gevent.spawn(killed_at_once)
    with bounded(grace and 0):
        caller.join()
    assert isinstance(caller.value, gevent.GreenletExit)
    if grace:
        assert not conn.closed
        scene.assert_usable(conn, conn.shards)
    scene.assert_idle(*conn.shards)


def test_no_grace_closes_the_connections_of_what_runs(scene):
    conn = scene.connect(timeout=AFTER_S, cancel_grace=0)
    with bounded(AFTER_S + 1), pytest.raises(greenshard.QueryTimeout):
        conn.cursor().execute("SELECT pg_sleep(10)")
    assert conn.closed == 2
    scene.assert_idle(*conn.shards, sessions=0)


def test_error_on_one_shard_cancels_the_others(scene):
    conn = scene.connect(cancel_grace=30.0)
    pids = {name: scene.sessions(name) for name in conn.shards}
    conn.cursor().execute("CREATE TEMP TABLE divisor (n int)")
    conn.broadcast().cursor().execute("INSERT INTO divisor VALUES (1)")
    conn.on("s1").cursor().execute("UPDATE divisor SET n = 0")
    conn.commit()
    with bounded(0), pytest.raises(psycopg2.errors.DivisionByZero) as excinfo:
        conn.cursor().execute("SELECT pg_sleep(10 * (1 / n)) FROM divisor")
    assert isinstance(excinfo.value, greenshard.DataError)
    assert excinfo.value.shard == "s1"
    scene.assert_idle(*conn.shards, sessions=1)
    assert {name: scene.sessions(name) for name in conn.shards} == pids
    scene.assert_usable(conn, conn.shards)


def test_server_that_ignores_the_cancel_loses_its_connection(scene):
    """A statement of ours that cannot be cancelled: its process is frozen, the server is not."""
    conn = scene.connect(timeout=AFTER_S, cancel_grace=GRACE_S)
    (pid,) = scene.sessions("s1")
    os.kill(pid, signal.SIGSTOP)
    try:
        with bounded(AFTER_S + GRACE_S + 1), pytest.raises(greenshard.QueryTimeout) as excinfo:
            conn.cursor().execute("SELECT 1")
        assert excinfo.value.shard == "s1"
        assert conn.closed == 2
        scene.assert_usable(conn)
    finally:
        os.kill(pid, signal.SIGCONT)


@pytest.mark.parametrize("shards", [("s0", "s1", "s2"), ("s1",)])
def test_interruptions_at_any_moment_leave_a_sound_connection(scene, shards):
    """Steps through the life of a statement, from before its first message to after its end."""
    conn = scene.connect(cancel_grace=30.0)
    pids = {name: scene.sessions(name) for name in conn.shards}
    started = time.monotonic()
    for step in range(150):
        caller = gevent.spawn(conn.on(shards).cursor().execute, "SELECT pg_sleep(0.004)")
        gevent.sleep(step * 0.0001)
        caller.kill()
        assert caller.dead
        conn.rollback()
        cur = conn.on(shards).cursor()
        cur.execute("SELECT %s", (step,))
        assert cur.fetchall() == [(step,)] * len(shards)
        assert time.monotonic() - started < 60
    eventually(lambda: {name: scene.sessions(name) for name in conn.shards} == pids)
