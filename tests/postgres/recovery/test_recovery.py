"""Each state that a coordinator can leave, made by hand, is finished once and rightly."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time

import gevent
import psycopg2
import pytest

import greenshard
from greenshard import Outcome
from greenshard.transaction import recovery
from greenshard.transaction.gids import Gid
from tests.postgres.psql import run


def done(report):
    return sorted((part.gid, part.shard, part.committed) for part in report.finished)


def left(report):
    return sorted((part.gid, part.shard, part.committed, part.lost) for part in report.in_doubt)


def test_every_state_that_a_coordinator_can_leave(scene):
    undecided, decided, aborted, half = (scene.gid() for _ in range(4))
    for x, gid in enumerate((undecided, decided, aborted, half), 1):
        scene.prepare("s1", gid, x)
        scene.prepare("s2", gid, x)
    scene.decide(decided, True)
    scene.decide(aborted, False)
    scene.decide(half, True)
    scene.ask("s1", f"COMMIT PREPARED '{half.prepared(scene.ids['s1'])}'")
    report = scene.recover()
    expected = [(undecided, False), (decided, True), (aborted, False)]
    assert done(report) == sorted(
        [(g.decision, s, c) for g, c in expected for s in ("s1", "s2")]
        + [(half.decision, "s2", True)]
    )
    assert report.ok
    assert report.shards == ("s0", "s1", "s2")
    assert scene.rows("s1") == scene.rows("s2") == [2, 4]
    # The verdict is there: a coordinator that comes late can never commit any more.
    assert scene.decisions()[undecided.decision] is False
    with pytest.raises(psycopg2.errors.UniqueViolation):
        scene.decide(undecided, True)
    again = scene.recover()
    assert (again.finished, again.in_doubt) == ((), ())


def test_the_oldest_is_told_first_and_how_old_it_is(scene):
    first, second = scene.gid(), scene.gid()
    scene.prepare("s1", first, 1)
    time.sleep(0.05)
    scene.prepare("s1", second, 2)
    with holding(scene, first), holding(scene, second):
        report = scene.recover()
    assert [part.gid for part in report.in_doubt] == [first.decision, second.decision]
    old, young = report.in_doubt
    assert 0.05 <= old.age_s - young.age_s < 5
    assert report.oldest_s == old.age_s
    assert not report.ok


@contextlib.contextmanager
def holding(scene, gid, committed=True):
    """A coordinator that lives, and has its decision in an open transaction."""
    with contextlib.closing(psycopg2.connect(scene.dsns["s0"])) as coordinator:
        sql = "INSERT INTO greenshard.decision VALUES (%s, %s, '{}')"
        coordinator.cursor().execute(sql, (gid.decision, committed))
        yield coordinator


def test_a_coordinator_that_lives_is_waited_for_and_not_decided_over(scene):
    slow, dead = scene.gid(), scene.gid()
    scene.prepare("s1", slow, 1)
    scene.prepare("s1", dead, 2)
    with holding(scene, slow) as coordinator:
        report = scene.recover()
        # It holds up nothing but itself.
        assert done(report) == [(dead.decision, "s1", False)]
        assert left(report) == [(slow.decision, "s1", None, False)]
        assert "s0" in report.in_doubt[0].why
        assert greenshard.outcome(slow.decision, scene.dsns) is Outcome.IN_PROGRESS
        coordinator.commit()
    assert greenshard.outcome(slow.decision, scene.dsns) is Outcome.COMMITTED
    assert done(scene.recover()) == [(slow.decision, "s1", True)]
    assert scene.rows("s1") == [1]


def test_a_coordinator_that_commits_while_it_is_waited_for_is_obeyed(scene, monkeypatch):
    gid = scene.gid()
    scene.prepare("s1", gid, 1)
    monkeypatch.setattr(recovery, "_BEGIN", recovery._BEGIN.replace("200ms", "5s"))
    with holding(scene, gid) as coordinator:
        # In a transaction that is serializable it would be an error of serialization.
        settings = "options='-c default_transaction_isolation=serializable'"
        dsns = {name: f"{dsn} {settings}" for name, dsn in scene.dsns.items()}
        recovering = gevent.spawn(greenshard.recover, dsns)
        waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'transactionid'"
        end = time.monotonic() + 5
        while scene.ask("s0", waits) == [(0,)]:
            assert time.monotonic() < end
            gevent.sleep(0.01)
        coordinator.commit()
    assert done(recovering.get()) == [(gid.decision, "s1", True)]


COORDINATOR = """
import sys, psycopg2, time
conn = psycopg2.connect(sys.argv[1])
conn.cursor().execute("INSERT INTO greenshard.decision VALUES (%s, true, '{}')", (sys.argv[2],))
print("open", flush=True)
time.sleep(600)
"""


def test_a_frozen_coordinator_is_left_and_a_killed_one_is_finished(scene):
    gid = scene.gid()
    scene.prepare("s1", gid, 1)
    command = [sys.executable, "-c", COORDINATOR, scene.dsns["s0"], gid.decision]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as coordinator:
        try:
            assert coordinator.stdout.readline() == "open\n"
            os.kill(coordinator.pid, signal.SIGSTOP)
            assert left(scene.recover()) == [(gid.decision, "s1", None, False)]
        finally:
            coordinator.kill()
    end = time.monotonic() + 10
    while not (report := scene.recover()).ok:  # its server notices that it is gone
        assert time.monotonic() < end
    assert done(report) == [(gid.decision, "s1", False)]


def test_what_is_not_this_cluster_s_is_never_touched(scene):
    """Other programs', another cluster's on the same servers, another database's."""
    stranger = scene.gid(cluster="f" * 32)
    other_program = ["greenshard_mine", "greenshard__", scene.gid().decision, "'; drop"]
    ours = scene.gid()
    for number, name in enumerate(other_program):
        scene.prepare("s1", ours, 10 + number, name=name)
    scene.prepare("s1", stranger, 20)
    # Another cluster's shard, on the server of this cluster's s0.
    elsewhere = scene.gid()
    scene.prepare("s2", elsewhere, 21, name=elsewhere.prepared(scene.ids["s0"]))
    scene.ask("s2", "UPDATE greenshard.shard SET cluster = %s", "e" * 32)
    scene.prepare("s1", ours, 1)
    assert done(scene.recover()) == [(ours.decision, "s1", False)]
    assert sorted(scene.prepared("s1")) == sorted(
        [*other_program, stranger.prepared(scene.ids["s1"])]
    )
    assert len(scene.prepared("s2")) == 1
    assert scene.recover().ok


def test_two_clusters_on_the_same_databases_servers(scene, servers):
    """Its part is prepared on the same server, in another database: that is the other's."""
    with servers.databases() as others:
        with contextlib.closing(psycopg2.connect(others["s0"])) as conn:
            conn.cursor().execute("CREATE TABLE t (x int)")
            conn.commit()
        gid = scene.gid()
        scene.prepare("s0", gid, 1, dsn=others["s0"])
        report = scene.recover()
        assert (report.finished, report.in_doubt) == ((), ())
        with contextlib.closing(psycopg2.connect(others["s0"])) as conn:
            conn.autocommit = True
            conn.cursor().execute(f"ROLLBACK PREPARED '{gid.prepared(scene.ids['s0'])}'")


def test_an_unknown_anchor_is_told_and_left(scene):
    gid = scene.gid(anchor_id="a" * 32)
    scene.prepare("s1", gid, 1)
    report = scene.recover()
    assert left(report) == [(gid.decision, "s1", None, True)]
    assert "a" * 32 in report.in_doubt[0].why
    with pytest.raises(greenshard.ProgrammingError, match="no shard of the cluster"):
        greenshard.outcome(gid.decision, scene.dsns)


def test_copies_of_an_anchor_decide_nothing(scene):
    """A database that was copied to become another shard has the id of the first."""
    gid = scene.gid("s0")
    scene.decide(gid, True)
    scene.prepare("s1", gid, 1)
    scene.ask("s2", "UPDATE greenshard.shard SET id = %s", scene.ids["s0"])
    report = recovery_in_order(scene)
    assert left(report) == [(gid.decision, "s1", None, True)]
    assert "copies" in report.in_doubt[0].why


def recovery_in_order(scene):
    """Recover, the shards that decide answering first."""
    from greenshard.transaction.verdict import Recovery

    steps = Recovery(scene.dsns)
    found = {}
    for ask in steps.begin():
        with contextlib.closing(psycopg2.connect(scene.dsns[ask.shard])) as raw:
            raw.autocommit = True
            physical = recovery.Physical.of_open(ask.shard, raw)
            found[ask] = recovery.ask(physical)
    for ask in sorted(found, key=lambda each: each.shard == "s1"):
        assert steps.answer(ask, found[ask]) == []
    return steps.report()


def test_an_anchor_that_is_down_is_waited_for_and_the_others_are_not_held_up(scene, servers):
    gid, other = scene.gid("s1"), scene.gid("s0")
    scene.prepare("s2", gid, 1)
    scene.prepare("s2", other, 2)
    servers["s1"].kill()
    try:
        report = scene.recover()
        assert done(report) == [(other.decision, "s2", False)]
        assert left(report) == [(gid.decision, "s2", None, False)]
        assert list(report.unreached) == ["s1"]
        assert "s1" in report.in_doubt[0].why
        with pytest.raises(greenshard.OperationalError, match="s1"):
            greenshard.outcome(gid.decision, scene.dsns)
        assert greenshard.outcome(other.decision, scene.dsns) is Outcome.ROLLED_BACK
    finally:
        servers["s1"].start()
        scene._asked["s1"] = psycopg2.connect(scene.dsns["s1"])
    scene.decide(gid, True, "s1")
    assert done(scene.recover()) == [(gid.decision, "s2", True)]


def test_a_frozen_participant_holds_up_nobody_and_time_is_limited(scene, servers):
    gid = scene.gid("s0")
    scene.prepare("s1", gid, 1)
    scene.prepare("s2", gid, 1)
    scene.decide(gid, True)
    servers["s1"].pause()
    try:
        recovering = gevent.spawn(scene.recover, connect_timeout=2.0)
        end = time.monotonic() + 1.5
        while scene.rows("s2") != [1]:
            assert time.monotonic() < end, "it waits for the frozen one"
            gevent.sleep(0.02)
        started = time.monotonic()
        report = recovering.get()
        assert time.monotonic() - started < 4
        assert list(report.unreached) == ["s1"]
    finally:
        servers["s1"].resume()
    assert done(scene.recover()) == [(gid.decision, "s1", True)]


def test_a_killed_caller_leaves_nothing_open(scene, servers):
    scene.prepare("s1", scene.gid(), 1)
    servers["s1"].pause()
    try:
        with pytest.raises(gevent.Timeout), gevent.Timeout(0.3):
            scene.recover()
    finally:
        servers["s1"].resume()
    sessions = (
        "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'greenshard recovery'"
    )
    end = time.monotonic() + 5
    while any(scene.ask(shard, sessions) != [(0,)] for shard in scene.dsns):
        assert time.monotonic() < end
        time.sleep(0.02)


def test_several_recoverers_at_once_finish_each_part_once(scene):
    expected = []
    for x in range(8):
        gid = scene.gid()
        for shard in ("s1", "s2"):
            scene.prepare(shard, gid, x)
            expected.append((gid.decision, shard, x % 2 == 0))
        if x % 2 == 0:
            scene.decide(gid, True)
    running = [gevent.spawn(scene.recover) for _ in range(4)]
    reports = [each.get() for each in running]
    assert sorted(part for report in reports for part in done(report)) == sorted(expected)
    whys = {part.why for report in reports for part in report.in_doubt}
    assert whys <= {"another session is finishing it"}
    assert sum(report.gone for report in reports)
    assert scene.recover().ok
    assert scene.rows("s1") == scene.rows("s2") == [0, 2, 4, 6]


def test_what_another_role_has_prepared_is_told_with_who_can(scene, role):
    gid = scene.gid()
    scene.decide(gid, True)
    scene.prepare("s1", gid, 1)
    dsns = {name: f"{dsn} user={role}" for name, dsn in scene.dsns.items()}
    report = greenshard.recover(dsns)
    assert left(report) == [(gid.decision, "s1", True, False)]
    owner = report.in_doubt[0].owner
    assert f"only {owner}" in report.in_doubt[0].why
    theirs = scene.gid()
    scene.prepare("s1", theirs, 2, dsn=dsns["s1"])
    assert done(greenshard.recover(dsns)) == [(theirs.decision, "s1", False)]
    assert done(scene.recover()) == [(gid.decision, "s1", True)]  # a superuser


@pytest.mark.parametrize("anchor_id", [None, "a" * 32])
def test_a_name_like_ours_is_not_in_doubt_if_its_role_may_not_decide(scene, stranger, anchor_id):
    """Anybody who may connect can prepare something under any name."""
    gid, dsn = scene.gid(anchor_id=anchor_id), f"{scene.dsns['s1']} user={stranger}"
    scene.prepare("s1", gid, 1, dsn=dsn)
    report = scene.recover()
    if anchor_id is None:  # as a superuser it can be ended, by the word of its anchor
        assert (done(report), report.foreign) == ([(gid.decision, "s1", False)], ())
        return
    assert (report.ok, report.in_doubt) == (True, ())
    (part,) = report.foreign
    assert (part.gid, part.shard, part.owner) == (gid.decision, "s1", stranger)
    end = part.why.partition(" ends it: ")[2]
    assert stranger in part.why
    with contextlib.closing(psycopg2.connect(dsn)) as conn:
        conn.autocommit = True
        conn.cursor().execute(end)
    assert scene.prepared("s1") == []


def test_who_may_not_end_a_name_like_ours_does_not_take_it_for_in_doubt(scene, role, stranger):
    gid, dsn = scene.gid(), f"{scene.dsns['s1']} user={stranger}"
    scene.prepare("s1", gid, 1, dsn=dsn)
    dsns = {name: f"{dsn} user={role}" for name, dsn in scene.dsns.items()}
    report = greenshard.recover(dsns)
    assert (report.ok, [part.gid for part in report.foreign]) == (True, [gid.decision])
    # If it is decided, it was a role's that had the rights: its part must not be lost.
    other = scene.gid()
    scene.decide(other, True)
    scene.prepare("s1", other, 2, dsn=dsn)
    assert left(greenshard.recover(dsns)) == [(other.decision, "s1", True, False)]
    assert (other.decision, "s1", True) in done(scene.recover())


def test_a_role_that_may_not_recover_is_told_what_it_lacks(scene, stranger):
    report = greenshard.recover({"s1": f"{scene.dsns['s1']} user={stranger}"})
    assert stranger in report.unreached["s1"]
    assert "greenshard init --role" in report.unreached["s1"]


HOSTILE = """
ALTER ROLE {role} SET default_transaction_read_only = on;
ALTER ROLE {role} SET default_transaction_isolation = 'serializable';
ALTER ROLE {role} SET default_transaction_deferrable = on;
ALTER ROLE {role} SET lock_timeout = '1ms';
ALTER ROLE {role} SET statement_timeout = '100ms';
ALTER ROLE {role} SET row_security = off;
ALTER ROLE {role} SET standard_conforming_strings = off;
ALTER ROLE {role} SET DateStyle = 'SQL, DMY';
ALTER ROLE {role} SET client_encoding = 'LATIN1';
ALTER ROLE {role} SET search_path = hostile, pg_catalog;
"""
PLANTED = """
CREATE SCHEMA hostile;
GRANT USAGE ON SCHEMA hostile TO PUBLIC;
CREATE TABLE hostile.decision (gid text PRIMARY KEY, committed bool, participants text[]);
CREATE FUNCTION hostile.no(text, text) RETURNS bool LANGUAGE sql AS 'SELECT false';
CREATE OPERATOR hostile.= (LEFTARG = text, RIGHTARG = text, FUNCTION = hostile.no);
CREATE FUNCTION hostile.current_database() RETURNS name LANGUAGE sql AS $$SELECT 'none'::name$$;
CREATE VIEW hostile.pg_prepared_xacts AS SELECT * FROM pg_catalog.pg_prepared_xacts WHERE false;
GRANT ALL ON ALL TABLES IN SCHEMA hostile TO PUBLIC;
"""


def test_defaults_of_the_role_change_nothing(scene, role):
    for name in ("s0", "s1"):
        run(scene.dsns[name], HOSTILE.format(role=role))
    for dsn in scene.dsns.values():
        run(dsn, PLANTED)
    dsns = {name: f"{dsn} user={role}" for name, dsn in scene.dsns.items()}
    committed, undecided, old, held = scene.gid(), scene.gid(), scene.gid(days_ago=30), scene.gid()
    for x, gid in enumerate((committed, undecided, held)):
        with contextlib.closing(psycopg2.connect(dsns["s1"])) as conn:
            conn.set_session(readonly=False, isolation_level="READ COMMITTED")
            conn.cursor().execute("INSERT INTO public.t VALUES (%s)", (x,))
            conn.cursor().execute(f"PREPARE TRANSACTION '{gid.prepared(scene.ids['s1'])}'")
    scene.decide(committed, True)
    scene.decide(old, True, days_ago=30)
    with holding(scene, held):
        report = greenshard.recover(dsns)
    assert done(report) == sorted(
        [(committed.decision, "s1", True), (undecided.decision, "s1", False)]
    )
    assert left(report) == [(held.decision, "s1", None, False)]
    assert "open on shard s0" in report.in_doubt[0].why
    assert scene.rows("s1") == [0]
    assert scene.decisions() == {committed.decision: True, undecided.decision: False}
    assert greenshard.outcome(committed.decision, dsns) is Outcome.COMMITTED
    assert done(greenshard.recover(dsns)) == [(held.decision, "s1", False)]
    for dsn in scene.dsns.values():
        run(dsn, "DROP SCHEMA hostile CASCADE")


def test_a_session_s_default_role_does_not_stand_in_the_way(scene, role):
    for name in ("s0", "s1"):
        run(
            scene.dsns[name],
            f"DO $$ BEGIN CREATE ROLE nobody_else; EXCEPTION WHEN duplicate_object THEN END $$;"
            f"GRANT nobody_else TO {role}; ALTER ROLE {role} SET role = 'nobody_else'",
        )
    dsns = {name: f"{dsn} user={role}" for name, dsn in scene.dsns.items()}
    gid = scene.gid()
    with contextlib.closing(psycopg2.connect(dsns["s1"])) as conn:
        conn.cursor().execute("SET LOCAL ROLE NONE; INSERT INTO t VALUES (1)")
        conn.cursor().execute(f"PREPARE TRANSACTION '{gid.prepared(scene.ids['s1'])}'")
    scene.decide(gid, True)
    assert done(greenshard.recover(dsns)) == [(gid.decision, "s1", True)]
    for name in ("s0", "s1"):
        run(scene.dsns[name], "DROP ROLE nobody_else")


def test_shards_that_are_not_initialised_say_so(scene):
    scene.ask("s2", "DROP SCHEMA greenshard CASCADE")
    gid = scene.gid()
    scene.prepare("s1", gid, 1)
    report = scene.recover()
    assert done(report) == [(gid.decision, "s1", False)]
    assert "greenshard init" in report.unreached["s2"]
    scene.ask("s1", "ALTER TABLE greenshard.shard DROP COLUMN id")
    assert "greenshard init" in scene.recover().unreached["s1"]


def test_young_parts_are_left_to_their_coordinators(scene):
    gid = scene.gid()
    scene.prepare("s1", gid, 1)
    report = scene.recover(min_age=60)
    assert (report.finished, report.in_doubt, report.young) == ((), (), 1)
    assert scene.decisions() == {}


# Forgetting ---------------------------------------------------------------------------------


def test_old_decisions_are_forgotten_and_their_outcome_is_unknown(scene):
    old, older, fresh = scene.gid(days_ago=8), scene.gid(days_ago=20), scene.gid(days_ago=6)
    for gid, days in ((old, 8), (older, 20), (fresh, 6)):
        scene.decide(gid, True, days_ago=days)
    assert greenshard.outcome(old.decision, scene.dsns) is Outcome.COMMITTED
    assert scene.recover().ok
    assert scene.decisions() == {fresh.decision: True}
    assert greenshard.outcome(fresh.decision, scene.dsns) is Outcome.COMMITTED
    for gid in (old, older):
        assert greenshard.outcome(gid.decision, scene.dsns) is Outcome.UNKNOWN
    assert scene.decisions() == {fresh.decision: True}, "what is not known was decided"
    # It moves forward only.
    scene.decide(scene.gid(days_ago=30), True, days_ago=30)
    assert scene.recover(keep=20 * 86400.0).ok
    assert greenshard.outcome(old.decision, scene.dsns) is Outcome.UNKNOWN
    assert len(scene.ask("s0", "SELECT until FROM greenshard.forgotten")) == 1


def test_nothing_is_forgotten_while_it_is_prepared_or_a_shard_cannot_be_asked(scene):
    old, other = scene.gid(days_ago=9), scene.gid(days_ago=8)
    scene.decide(old, True, days_ago=9)
    scene.decide(other, True, days_ago=8)
    broken = {**scene.dsns, "s2": "host=/nowhere"}
    greenshard.recover(broken)
    assert len(scene.decisions()) == 2
    scene.prepare("s1", old, 1)
    report = scene.recover()
    assert done(report) == [(old.decision, "s1", True)]
    assert len(scene.decisions()) == 2
    scene.recover()
    assert scene.decisions() == {}


def test_a_part_that_comes_back_with_a_backup_is_not_rolled_back(scene):
    """Its decision was removed: nobody knows what it was."""
    gid = scene.gid(days_ago=9)
    scene.decide(gid, True, days_ago=9)
    scene.recover()
    scene.prepare("s1", gid, 1)
    report = scene.recover()
    # The server says that it was prepared just now: it cannot have been decided then.
    assert done(report) == [(gid.decision, "s1", False)]
    with contextlib.closing(psycopg2.connect(scene.dsns["s0"])) as raw:
        raw.autocommit = True
        physical = recovery.Physical.of_open("s0", raw)
        scene.ask("s0", "TRUNCATE greenshard.decision")
        verdict = recovery.decide(physical, gid, int(gid.made_at * 1000))
        assert verdict is recovery.Verdict.FORGOTTEN
        assert scene.decisions() == {}


def test_a_clock_that_is_wrong_costs_nothing_but_space(scene):
    """A client's clock that is far behind, or ahead, makes names of another time."""
    behind, ahead = scene.gid(days_ago=400), scene.gid(days_ago=-400)
    scene.decide(behind, True)
    scene.decide(ahead, True, days_ago=9)
    scene.recover()
    assert greenshard.outcome(behind.decision, scene.dsns) is Outcome.COMMITTED
    assert greenshard.outcome(ahead.decision, scene.dsns) is Outcome.COMMITTED


def test_removing_is_done_in_batches_until_nothing_old_is_left(scene, monkeypatch):
    monkeypatch.setattr(recovery, "BATCH", 2)
    monkeypatch.setattr(recovery, "_REMOVE", recovery._REMOVE.replace("LIMIT 10000", "LIMIT 2"))
    for day in range(5):
        scene.decide(scene.gid(days_ago=8 + day), True, days_ago=8)
    scene.recover()
    assert scene.decisions() == {}


def test_forgetting_and_asking_at_once_never_tells_wrongly(scene):
    """Who inserts a verdict while the decision is removed learns that it is not known."""
    gid = scene.gid(days_ago=9)
    scene.decide(gid, True, days_ago=9)
    with contextlib.closing(psycopg2.connect(scene.dsns["s0"])) as forgetter:
        cursor = forgetter.cursor()
        cursor.execute("INSERT INTO greenshard.forgotten VALUES (now() - interval '7 days')")
        cursor.execute("DELETE FROM greenshard.decision")
        asking = gevent.spawn(greenshard.outcome, gid.decision, scene.dsns)
        gevent.sleep(0.1)
        forgetter.commit()
    assert asking.get() in (Outcome.UNKNOWN, Outcome.COMMITTED)
    assert greenshard.outcome(gid.decision, scene.dsns) is Outcome.UNKNOWN


# Outcome ------------------------------------------------------------------------------------


def test_outcome_decides_once_and_for_ever(scene, monkeypatch, tmp_path):
    gid = scene.gid("s2")
    path = tmp_path / "c.toml"
    path.write_text("[shards]\n" + "".join(f'{n} = "{d}"\n' for n, d in scene.dsns.items()))
    monkeypatch.delenv("GREENSHARD_CLUSTER", raising=False)
    with pytest.raises(greenshard.ProgrammingError, match="GREENSHARD_CLUSTER"):
        greenshard.outcome(gid.decision)
    monkeypatch.setenv("GREENSHARD_CLUSTER", str(path))
    assert greenshard.outcome(gid.decision) is Outcome.ROLLED_BACK
    assert greenshard.outcome(gid.prepared("b" * 32)) is Outcome.ROLLED_BACK
    with pytest.raises(psycopg2.errors.UniqueViolation):
        scene.decide(gid, True, "s2")
    assert [each.value for each in Outcome] == [
        "committed",
        "rolled back",
        "in progress",
        "unknown",
    ]
    for wrong in ("", "greenshard_", None, Gid("x", "y", "z").decision):
        with pytest.raises(greenshard.ProgrammingError, match="not the name"):
            greenshard.outcome(wrong, scene.dsns)
