"""What the shards hold after a commit that met a fault, and what the error says of it."""

from __future__ import annotations

import random
import time

import gevent
import psycopg2
import pytest

import greenshard
from tests.fault.scene import SURVIVORS, VICTIM, bounded, eventually, outcome

PAIR = ("s0", "s2")


def commit_as_text(conn):
    conn.cursor().execute("COMMIT")


BY = {"method": greenshard.Connection.commit, "text": commit_as_text}


def write(conn, x):
    conn.broadcast().cursor().execute("INSERT INTO writes VALUES (%s)", (x,))


def test_deferred_constraint_on_one_shard_commits_nothing_anywhere(scene):
    scene.ask(VICTIM, "INSERT INTO writes VALUES (1)")
    conn = scene.connect()
    write(conn, 1)
    with bounded(0), pytest.raises(psycopg2.errors.UniqueViolation) as excinfo:
        conn.commit()
    assert isinstance(excinfo.value, greenshard.IntegrityError)
    assert excinfo.value.shard == VICTIM
    assert [scene.rows(shard) for shard in conn.shards] == [[], [1], []]
    scene.assert_usable(conn, conn.shards)


def test_failed_transaction_on_one_shard_commits_nothing_anywhere(scene):
    conn = scene.connect()
    write(conn, 1)
    with pytest.raises(psycopg2.errors.UndefinedTable):
        conn.on(VICTIM).cursor().execute("SELECT * FROM missing")
    with bounded(0), pytest.raises(greenshard.InternalError, match=VICTIM):
        conn.commit()
    assert [scene.rows(shard) for shard in conn.shards] == [[], [], []]
    scene.assert_usable(conn, conn.shards)


@pytest.mark.parametrize("by", BY)
@pytest.mark.parametrize("behaviour", ["silence", "reset"])
def test_commit_that_does_not_reach_the_shard(scene, behaviour, by):
    """The others have committed by then: no more can be done than to say so."""
    conn = scene.connect(timeout=0.4)
    write(conn, 1)
    scene.relay.tell(behaviour, "COMMIT")
    with bounded(3 * 1.8), pytest.raises(greenshard.PartialCommitError) as excinfo:
        BY[by](conn)
    error = excinfo.value
    assert error.committed == SURVIVORS
    assert list(error.failures) == [VICTIM]
    assert VICTIM in str(error)
    assert "cancel" not in str(error), "COMMIT is not cancelled"
    assert [scene.rows(shard) for shard in SURVIVORS] == [[1], [1]]
    conn.commit()  # nothing is left of it, and nobody says that it was rolled back
    scene.assert_usable(conn)
    conn.close()
    scene.heal()
    eventually(lambda: not scene.sessions(VICTIM))
    assert scene.rows(VICTIM) == []


@pytest.fixture
def slow_trigger(scene):
    """The check of deferred constraints takes 0.8 s on one shard."""
    scene.ask(
        VICTIM,
        "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS"
        " 'BEGIN PERFORM pg_sleep(0.8); RETURN NULL; END';"
        "CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON writes DEFERRABLE INITIALLY DEFERRED"
        " FOR EACH ROW EXECUTE FUNCTION slow()",
    )
    yield
    scene.close()
    scene.heal()
    eventually(lambda: not scene.sessions(VICTIM))
    scene.ask(VICTIM, "DROP FUNCTION slow CASCADE")


@pytest.mark.usefixtures("slow_trigger")
def test_steps_of_a_commit_that_hangs_share_its_timeout(scene):
    conn = scene.connect(timeout=1.0)
    write(conn, 1)
    scene.relay.tell("silence", "COMMIT")
    started = time.monotonic()
    with pytest.raises(greenshard.PartialCommitError):
        conn.commit()
    lasted = time.monotonic() - started - conn._session.grace_s
    assert 0.8 < lasted < 1.0 + 0.75, "COMMIT had a timeout of its own"


@pytest.mark.parametrize("by", BY)
@pytest.mark.parametrize("behaviour", ["silence-after", "reset-after"])
def test_commit_whose_answer_is_lost_is_not_called_committed(scene, behaviour, by):
    conn = scene.connect(timeout=0.4)
    write(conn, 1)
    scene.relay.tell(behaviour, "COMMIT")
    with bounded(3 * 1.8), pytest.raises(greenshard.PartialCommitError) as excinfo:
        BY[by](conn)
    assert excinfo.value.committed == SURVIVORS
    assert list(excinfo.value.failures) == [VICTIM]
    assert [scene.rows(shard) for shard in SURVIVORS] == [[1], [1]]
    # "Not known to be committed" is all that can be said: here it is.
    eventually(lambda: scene.rows(VICTIM) == [1])
    scene.assert_usable(conn)


@pytest.mark.parametrize("behaviour", ["silence", "reset"])
def test_single_writers_commit_is_done_though_a_shard_that_was_read_is_lost(scene, behaviour):
    conn = scene.connect(timeout=0.4)
    conn.on("s0").cursor().execute("INSERT INTO writes VALUES (1)")
    conn.on(VICTIM).cursor().execute("SELECT * FROM writes")
    scene.relay.tell(behaviour, "COMMIT")
    with bounded(3 * 1.8):
        conn.commit()
    assert scene.rows("s0") == [1]
    scene.assert_usable(conn)


@pytest.mark.parametrize("behaviour", ["silence", "reset"])
def test_single_writers_failed_commit_rolls_back_the_others(scene, behaviour):
    conn = scene.connect(timeout=0.4)
    conn.cursor().execute("SELECT * FROM writes")
    conn.on(VICTIM).cursor().execute("INSERT INTO writes VALUES (1)")
    scene.relay.tell(behaviour, "COMMIT")
    with bounded(3 * 1.8), pytest.raises(greenshard.OperationalError) as excinfo:
        conn.commit()
    assert not isinstance(excinfo.value, greenshard.PartialCommitError)
    assert excinfo.value.shard == VICTIM
    assert f"It may be committed on {VICTIM}, or not" in str(excinfo.value)
    scene.assert_usable(conn)
    conn.close()
    scene.heal()
    eventually(lambda: not scene.sessions(VICTIM))
    assert scene.rows(VICTIM) == []


@pytest.mark.parametrize("behaviour", ["silence-after", "reset-after"])
def test_autocommitted_write_whose_answer_is_lost_is_in_doubt(scene, behaviour):
    conn = scene.connect(timeout=0.4)
    conn.autocommit = True
    scene.relay.tell(behaviour, "INSERT")
    with bounded(1.8), pytest.raises(greenshard.OperationalError) as excinfo, conn.on(VICTIM):
        write(conn, 1)
    error = excinfo.value
    assert f"It may be committed on {VICTIM}, or not" in error.hint
    assert error.hint in str(error)
    eventually(lambda: scene.rows(VICTIM) == [1])


@pytest.mark.parametrize("behaviour", ["silence", "silence-after", "reset", "reset-after"])
@pytest.mark.parametrize("at", ["BEGIN", "INSERT", "SET CONSTRAINTS"])
def test_autocommitted_write_on_several_shards_is_undone_if_one_is_lost(scene, at, behaviour):
    conn = scene.connect(timeout=0.4)
    conn.autocommit = True
    scene.relay.tell(behaviour, at)
    with bounded(3 * 1.8), pytest.raises(greenshard.OperationalError) as excinfo:
        write(conn, 1)
    assert not isinstance(excinfo.value, greenshard.PartialCommitError)
    assert "may be committed" not in str(excinfo.value)
    assert [scene.rows(shard) for shard in SURVIVORS] == [[], []]
    scene.assert_usable(conn)
    conn.close()
    scene.heal()
    eventually(lambda: not scene.sessions(VICTIM))
    assert scene.rows(VICTIM) == []


@pytest.mark.parametrize("behaviour", ["silence", "reset"])
def test_autocommitted_write_on_several_shards_tells_where_it_is_committed(scene, behaviour):
    conn = scene.connect(timeout=0.4)
    conn.autocommit = True
    scene.relay.tell(behaviour, "COMMIT")
    with bounded(3 * 1.8), pytest.raises(greenshard.PartialCommitError) as excinfo:
        write(conn, 1)
    assert excinfo.value.committed == SURVIVORS
    assert [scene.rows(shard) for shard in SURVIVORS] == [[1], [1]]


@pytest.mark.parametrize("behaviour", ["silence", "reset"])
def test_commit_of_what_was_only_read_leaves_no_doubt(scene, behaviour):
    conn = scene.connect(timeout=0.4)
    conn.on(VICTIM).cursor().execute("SELECT 1")
    scene.relay.tell(behaviour, "COMMIT")
    with bounded(1.8), pytest.raises(greenshard.OperationalError) as excinfo:
        conn.commit()
    assert "may be committed" not in str(excinfo.value)


@pytest.mark.parametrize("behaviour", ["silence-after", "reset-after"])
def test_lost_commit_of_the_only_shard_is_not_called_rolled_back(scene, behaviour):
    """The error says what happened to COMMIT, not that the connection is gone now."""
    conn = scene.connect(timeout=0.4, order=(VICTIM,))
    conn.cursor().execute("INSERT INTO writes VALUES (1)")
    scene.relay.tell(behaviour, "COMMIT")
    with bounded(3 * 1.8), pytest.raises(greenshard.OperationalError) as excinfo:
        conn.commit()
    assert not isinstance(excinfo.value, greenshard.InterfaceError)
    assert "rolled back" not in str(excinfo.value)
    eventually(lambda: scene.rows(VICTIM) == [1])


def test_end_by_sql_on_the_others_does_not_hide_a_shard_that_was_lost(scene):
    conn = scene.connect()
    write(conn, 1)
    pids = scene.sessions(VICTIM)
    scene.ask(VICTIM, f"SELECT pg_terminate_backend({pids[0]})")
    eventually(lambda: not scene.sessions(VICTIM))
    with pytest.raises(psycopg2.OperationalError):
        conn.on(VICTIM).cursor().execute("SELECT 1")
    conn.on(SURVIVORS).cursor().execute("ROLLBACK")
    with pytest.raises(greenshard.InternalError, match=f"failed on {VICTIM}"):
        conn.commit()
    conn.commit()  # it is told once
    scene.assert_usable(conn)


def test_kill_during_the_wait_for_a_silent_shards_commit(scene):
    conn = scene.connect()
    write(conn, 1)
    scene.relay.tell("silence", "COMMIT")
    caller = gevent.spawn(conn.commit)
    eventually(lambda: scene.rows("s0") == [1])
    with bounded(2.0):
        caller.kill()
    assert isinstance(caller.value, gevent.GreenletExit)
    # Those that could be asked have committed all the same: their commits were under way.
    assert [scene.rows(shard) for shard in SURVIVORS] == [[1], [1]]
    scene.assert_usable(conn)


def commit_and(conn, interrupt, delay):
    """Commit, with an interruption after `delay` seconds; returns the error, if one."""
    committing = gevent.spawn(outcome, conn.commit)
    gevent.sleep(delay)
    interrupt(committing)
    committing.join()
    return committing.value


@pytest.mark.parametrize(
    "interrupt",
    [
        pytest.param(lambda conn, committing: committing.kill(), id="kill"),
        pytest.param(lambda conn, committing: conn.cancel(), id="cancel"),
    ],
)
def test_interrupted_commit_is_whole_or_not_at_all(scene, interrupt):
    conn = scene.connect(order=PAIR, cancel_grace=30.0)
    chance = random.Random(5)
    ends = {"committed": 0, "not": 0}
    for x in range(100):
        write(conn, x)
        error = commit_and(conn, lambda c: interrupt(conn, c), chance.uniform(0, 0.008))
        assert not isinstance(error, greenshard.PartialCommitError)
        conn.rollback()
        there = [x in scene.rows(s) for s in PAIR]
        assert there[0] == there[1]
        if error is None:
            assert all(there)
        ends["committed" if all(there) else "not"] += 1
        assert not conn.closed
    assert ends["committed"]


def test_timed_out_commit_is_whole_or_not_at_all(scene):
    conn = scene.connect(order=PAIR, cancel_grace=30.0)
    chance = random.Random(6)
    for x in range(100):
        conn.timeout = None
        write(conn, x)
        conn.timeout = chance.uniform(0, 0.004)
        error = outcome(conn.commit)
        assert not isinstance(error, greenshard.PartialCommitError)
        conn.timeout = None
        conn.rollback()
        there = [x in scene.rows(s) for s in PAIR]
        assert there[0] == there[1]
        if error is None:
            assert all(there)
        else:
            assert isinstance(error, greenshard.QueryTimeout)
        assert not conn.closed


def test_shard_killed_during_commit_is_told_truthfully(scene):
    """At any moment of the commit: whatever the error says is so on the shards."""
    chance = random.Random(7)
    for x in range(12):
        conn = scene.connect("killed", options="-c synchronous_commit=on")
        write(conn, x)
        killing = gevent.spawn_later(chance.uniform(0, 0.01), scene.inflict, "killed")
        error = outcome(conn.commit)
        killing.get()
        conn.rollback()
        conn.close()
        scene.heal()
        there = {shard.name for shard in scene.shards if x in scene.rows(shard.name)}
        if error is None:
            assert there == {"s0", "s1", "s2"}
        elif isinstance(error, greenshard.PartialCommitError):
            assert set(error.committed) <= there
            assert set(error.failures) == {VICTIM}
        else:
            assert isinstance(error, psycopg2.OperationalError)
            assert there <= {VICTIM} or not there
