"""A shard is killed, stopped, frozen, cut off or resets, at each moment of a connection's life."""

from __future__ import annotations

import warnings

import gevent
import psycopg2
import pytest

import greenshard
from tests.fault.scene import ANSWERING, SILENT, SURVIVORS, VICTIM, bounded, eventually

TIMEOUT_S = 0.25
GRACE_S = 0.25
#: A call that is not answered: its timeout, the grace for the cancel, the end of the greenlets.
SILENT_S = TIMEOUT_S + GRACE_S + 1.0

every_fault = pytest.mark.parametrize("fault", ANSWERING + SILENT)
#: Every fault where the connection does not live on the shard, and some where it does.
every_fault_and_place = pytest.mark.parametrize(
    ("fault", "order"),
    [
        *((fault, ("s0", "s2", "s1")) for fault in ANSWERING + SILENT),
        *((fault, ("s1", "s0", "s2")) for fault in ("stopped", "black hole")),
    ],
)


@pytest.fixture
def failing():
    """The block fails, in time, with an error of the right class that names the shard."""

    def check(excinfo, fault):
        error = excinfo.value
        assert isinstance(error, greenshard.OperationalError)
        assert isinstance(error, psycopg2.OperationalError)
        assert error.shard == VICTIM
        assert VICTIM in str(error)
        if fault in SILENT:
            assert isinstance(error, greenshard.QueryTimeout)

    return check


@every_fault_and_place
def test_connect_names_the_shard_and_closes_the_others(scene, fault, order):
    scene.inflict(fault)
    with bounded(TIMEOUT_S), pytest.raises(greenshard.OperationalError) as excinfo:
        scene.connect(fault, order, connect_timeout=TIMEOUT_S)
    assert excinfo.value.shard == VICTIM
    assert VICTIM in str(excinfo.value)
    del excinfo
    scene.assert_idle(*SURVIVORS, sessions=0)


@every_fault_and_place
def test_partial_connect_answers_without_the_shard(scene, fault, order):
    scene.inflict(fault)
    with bounded(TIMEOUT_S):
        conn = scene.connect(fault, order, connect_timeout=TIMEOUT_S, on_error="partial")
    assert conn.shards == order
    cur = conn.cursor()
    with bounded(0), pytest.warns(greenshard.PartialResultWarning, match=VICTIM):
        cur.execute("SELECT 1")
    assert cur.fetchall() == [(1,), (1,)]
    assert list(cur.failures) == [VICTIM]
    scene.assert_idle(*SURVIVORS, sessions=1)
    scene.assert_usable(conn)


@every_fault
def test_statement_after_the_fault_fails(scene, fault, failing):
    conn = scene.connect(fault, timeout=TIMEOUT_S)
    scene.inflict(fault)
    with bounded(SILENT_S), pytest.raises(greenshard.Error) as excinfo:
        conn.cursor().execute("SELECT pg_sleep(0.05)")
    failing(excinfo, fault)
    scene.assert_idle(*SURVIVORS, sessions=1)
    assert conn.closed == 2
    scene.assert_usable(conn)


@every_fault_and_place
def test_fault_during_a_statement_cancels_it_on_the_others(scene, fault, order, failing):
    timeout = 0.8 if fault in SILENT else 60.0
    conn = scene.connect(fault, order, timeout=timeout)
    inflicting = scene.inflict_during(fault)
    with (
        bounded(timeout + 2.0 if fault in SILENT else 2.0),
        pytest.raises(greenshard.Error) as excinfo,
    ):
        conn.cursor().execute("SELECT pg_sleep(60)")
    inflicting.get()
    if fault in ANSWERING:
        failing(excinfo, fault)
    else:
        # All three were late.
        assert isinstance(excinfo.value, greenshard.QueryTimeout)
        assert f"connection to {VICTIM} was closed" in str(excinfo.value)
    scene.assert_idle(*SURVIVORS, sessions=1)
    assert conn.closed == 2
    scene.assert_usable(conn)


@every_fault
def test_partial_answer_after_the_fault(scene, fault):
    conn = scene.connect(fault, timeout=TIMEOUT_S, on_error="partial")
    scene.inflict(fault)
    cur = conn.cursor()
    with bounded(SILENT_S), pytest.warns(greenshard.PartialResultWarning, match=VICTIM):
        cur.execute("SELECT 1")
    assert cur.fetchall() == [(1,), (1,)]
    assert list(cur.timings) == list(SURVIVORS)
    assert isinstance(cur.failures[VICTIM], psycopg2.OperationalError)
    scene.assert_idle(*SURVIVORS, sessions=1)
    scene.assert_usable(conn)


@every_fault
def test_partial_answer_when_the_fault_is_during_the_statement(scene, fault):
    conn = scene.connect(fault, timeout=1.0, on_error="partial")
    conn.cursor().execute("CREATE TEMP TABLE long (s float)")
    conn.on(VICTIM).cursor().execute("INSERT INTO long VALUES (%s)", (60,))
    for shard in SURVIVORS:
        conn.on(shard).cursor().execute("INSERT INTO long VALUES (%s)", (0.1,))
    conn.commit()
    inflicting = scene.inflict_during(fault, [VICTIM])
    cur = conn.cursor()
    with bounded(3.0), pytest.warns(greenshard.PartialResultWarning, match=VICTIM):
        cur.execute("SELECT 1 FROM long WHERE pg_sleep(s) IS NOT NULL")
    inflicting.get()
    assert cur.fetchall() == [(1,), (1,)]
    assert list(cur.failures) == [VICTIM]
    scene.assert_idle(*SURVIVORS, sessions=1)
    scene.assert_usable(conn)


@every_fault
def test_partial_mode_does_not_hide_a_failed_write(scene, fault, failing):
    conn = scene.connect(fault, timeout=TIMEOUT_S, on_error="partial")
    scene.inflict(fault)
    with bounded(SILENT_S), pytest.raises(greenshard.Error) as excinfo:
        conn.cursor().execute("UPDATE writes SET x = 1")
    failing(excinfo, fault)
    conn.rollback()


@every_fault
def test_fault_between_execute_and_fetch_leaves_the_buffered_rows(scene, fault):
    conn = scene.connect(fault, timeout=TIMEOUT_S)
    cur = conn.cursor()
    cur.execute("SELECT 1")
    scene.inflict(fault)
    with bounded(0):
        assert cur.fetchall() == [(1,)] * 3
        cur.close()
    with bounded(SILENT_S):
        scene.assert_usable(conn)


@pytest.mark.parametrize(
    ("fault", "fetch"),
    [
        *((fault, "fetchmany") for fault in ANSWERING + SILENT),
        *(("reset", fetch) for fetch in ("fetchone", "fetchall", "next", "close")),
        ("frozen", "close"),
    ],
)
def test_fault_during_a_named_cursors_life(scene, fault, fetch, failing):
    conn = scene.connect(fault, order=("s1", "s0", "s2"), timeout=TIMEOUT_S)
    cur = conn.cursor("streamed")
    cur.execute("SELECT generate_series(1, 100000)")
    assert len(cur.fetchmany(10)) == 10
    scene.inflict(fault)
    call = {"next": lambda: next(cur)}.get(fetch) or getattr(cur, fetch)
    with bounded(SILENT_S), pytest.raises(greenshard.Error) as excinfo:
        call()
    failing(excinfo, fault)
    scene.assert_idle(*SURVIVORS, sessions=1)
    scene.assert_usable(conn)


@every_fault
def test_commit_after_the_fault_commits_nothing(scene, fault, failing):
    conn = scene.connect(fault, timeout=TIMEOUT_S)
    conn.broadcast().cursor().execute("INSERT INTO writes VALUES (1)")
    scene.inflict(fault)
    with bounded(2 * SILENT_S), pytest.raises(greenshard.Error) as excinfo:
        conn.commit()
    failing(excinfo, fault)
    assert not isinstance(excinfo.value, greenshard.PartialCommitError)
    assert [scene.rows(shard) for shard in SURVIVORS] == [[], []]
    scene.assert_idle(*SURVIVORS, sessions=1)
    scene.assert_usable(conn)


@every_fault
def test_commit_of_the_survivors_after_a_statement_met_the_fault_is_refused(scene, fault):
    conn = scene.connect(fault, timeout=TIMEOUT_S)
    conn.broadcast().cursor().execute("INSERT INTO writes VALUES (1)")
    scene.inflict(fault)
    with bounded(SILENT_S), pytest.raises(greenshard.Error):
        conn.cursor().execute("SELECT 1")
    with bounded(0), pytest.raises(greenshard.InternalError, match=VICTIM):
        conn.commit()
    assert [scene.rows(shard) for shard in SURVIVORS] == [[], []]
    scene.assert_usable(conn)


@every_fault
def test_rollback_after_the_fault_succeeds(scene, fault):
    conn = scene.connect(fault, timeout=TIMEOUT_S)
    conn.broadcast().cursor().execute("INSERT INTO writes VALUES (1)")
    scene.inflict(fault)
    with bounded(SILENT_S):
        conn.rollback()
    assert [scene.rows(shard) for shard in SURVIVORS] == [[], []]
    assert conn.closed == 2
    scene.assert_idle(*SURVIVORS, sessions=1)
    scene.assert_usable(conn)


@every_fault
def test_with_block_over_the_fault_raises_the_statements_error(scene, fault, failing):
    conn = scene.connect(fault, timeout=TIMEOUT_S)

    def block():
        with conn:
            conn.broadcast().cursor().execute("INSERT INTO writes VALUES (1)")
            scene.inflict(fault)
            conn.cursor().execute("SELECT 1")

    with bounded(2 * SILENT_S), pytest.raises(greenshard.Error) as excinfo:
        block()
    failing(excinfo, fault)
    assert [scene.rows(shard) for shard in SURVIVORS] == [[], []]
    scene.assert_usable(conn)


@every_fault
def test_close_does_not_wait_for_the_shard(scene, fault):
    conn = scene.connect(fault)
    conn.cursor().execute("SELECT 1")
    scene.inflict(fault)
    with bounded(0):
        conn.close()
    assert conn.closed == 1
    scene.assert_idle(*SURVIVORS, sessions=0)


def test_shard_that_thaws_within_the_grace_time_keeps_its_connection(scene):
    conn = scene.connect("frozen", timeout=0.3, cancel_grace=30.0)
    conn.cursor().execute("CREATE TEMP TABLE named (name text)")
    conn.on(VICTIM).cursor().execute("INSERT INTO named VALUES (%s)", (VICTIM,))
    conn.commit()
    pids = {name: scene.sessions(name) for name in conn.shards}
    scene.inflict("frozen")
    thawing = gevent.spawn_later(0.6, scene.heal)
    with bounded(1.0), pytest.raises(greenshard.QueryTimeout) as excinfo:
        conn.cursor().execute("SELECT pg_sleep(10 * (name = 's1')::int) FROM named")
    thawing.get()
    assert excinfo.value.shard == VICTIM
    assert not conn.closed
    eventually(lambda: {name: scene.sessions(name) for name in conn.shards} == pids)
    scene.assert_usable(conn, conn.shards)


def test_no_partial_warning_from_sound_shards(scene):
    conn = scene.connect(on_error="partial")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        conn.cursor().execute("SELECT 1")
