"""Transactions of several programs that wait for each other over shards: one gives way."""

from __future__ import annotations

import contextlib
import secrets
import select
import time

import psycopg2
import pytest

import greenshard
from greenshard._driver import Dsn
from greenshard.deadlocks.graph import Backend
from greenshard.deadlocks.observer import NAME, Member, Observer
from greenshard.links.identity import identify
from greenshard.links.physical import Physical
from tests.postgres import psql
from tests.postgres.deadlocks.conftest import TIMEOUT_S, ask, lookers, until, waits

ADD = "UPDATE t SET n = n + 1 WHERE k = 0"
MARKS = f"""
SELECT DISTINCT a.application_name, l.classid
FROM pg_locks AS l JOIN pg_stat_activity AS a ON a.pid = l.pid
WHERE l.objsubid = 2 AND starts_with(a.application_name, '{NAME}')
AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""
FAILED = 3  # libpq's PQTRANS_INERROR


def outcomes(members):
    """What members told of what they had begun: who was done, and who was not, with the error."""
    told = {member: member.end() for member in members}
    victims = {member: each for member, each in told.items() if "text" in each}
    return [member for member in members if member not in victims], victims


def is_deadlock(told):
    assert "psycopg2.errors.DeadlockDetected" in told["class"]
    assert "greenshard.errors.OperationalError" in told["class"]
    assert told["pgcode"] == "40P01"
    return told["code"] == "GS508"


def counts(dsns):
    return [ask(dsn, "SELECT n FROM t WHERE k = 0")[0][0] for dsn in dsns.values()]


@pytest.mark.parametrize("size", [2, 3, 4, 5])
def test_ring_is_broken_by_the_youngest_and_the_others_commit(members, dsns, size):
    ring, names = members[:size], list(dsns)[:size]
    for member, shard in zip(ring, names, strict=True):
        member.do("connect")
        member.do("run", shard, ADD)
        time.sleep(0.02)  # so that they are not equally old
    began = time.monotonic()
    for member, shard in zip(ring, names[1:] + names[:1], strict=True):
        member.begin("run", shard, ADD)
    # Who waits for the victim goes on, and commits; then who waits for that one.
    victim = ring[-1]
    told = victim.end()
    assert time.monotonic() - began < 2 * TIMEOUT_S
    assert is_deadlock(told)
    for shard in names:
        assert f"  {shard}: " in told["text"]
    assert told["text"].count("this transaction (process") == 2  # waits, and is waited for
    assert "UPDATE" not in told["text"]
    assert told["shard"] == names[0]
    for member in reversed(ring[:-1]):
        assert "text" not in member.end()
        member.do("commit")
    # It is undone before the program does anything about it, and cannot go on by mistake.
    assert victim.do("status") == FAILED
    victim.begin("run", names[0], ADD)
    assert victim.end()["pgcode"] == "25P02"
    victim.do("rollback")
    assert sum(counts(dsns)) == 2 * (size - 1)
    victim.do("run", names[0], ADD)
    victim.do("commit")


def test_nobody_gives_way_where_there_is_no_ring(members, dsns):
    first, second, third, fourth = members[:4]
    for member in (first, second, third, fourth):
        member.do("connect")
    first.do("run", ["s0", "s1", "s2"], ADD)
    second.do("run", ["s3"], ADD)
    second.begin("run", ["s0"], ADD)
    waits(dsns["s0"], 1)
    third.do("run", ["s4"], ADD)
    third.begin("run", ["s3"], ADD)  # a chain of three over two shards
    fourth.begin("run", ["s0", "s1"], ADD)  # and one behind the second, too
    time.sleep(3 * TIMEOUT_S)
    # However many wait, each process has one session more at most.
    assert all(1 <= len(lookers(dsn)) <= 3 for dsn in dsns.values())
    first.do("commit")
    # Whose turn is next PostgreSQL leaves open: who comes later often has the row's new version
    # first, where processors are busy. Who has it must commit before the other one goes on.
    waiting = [second, third, fourth]
    while waiting:
        answered = next(iter(select.select(waiting, [], [], 60.0)[0]), waiting[0])
        waiting.remove(answered)
        assert "text" not in answered.end()
        answered.do("commit")
    assert counts(dsns) == [3, 2, 1, 2, 1]
    until(lambda: not any(lookers(dsn) for dsn in dsns.values()))


def test_nobody_else_can_tell_that_his_sessions_are_of_our_transaction(members, dsns):
    """Names of sessions and advisory locks are anybody's: whose they are counts."""
    first, dsn = members[0], dsns["s0"]
    role = f"r_{secrets.token_hex(4)}"
    psql.run(dsn, f"CREATE ROLE {role} LOGIN", f"GRANT ALL ON t TO {role}")
    theirs = f"{dsn} user={role}"
    with contextlib.closing(psycopg2.connect(theirs)) as holds:
        holds.cursor().execute(ADD)
        first.do("connect")
        first.begin("run", ["s0", "s1"], ADD)
        until(lambda: len(ask(dsn, MARKS)) == 1)  # sessions of the test before may still be there
        ((name, number),) = ask(dsn, MARKS)
        forged = psycopg2.connect(theirs, application_name=name)
        with contextlib.closing(forged), forged, forged.cursor() as cursor:
            pid = holds.info.backend_pid
            cursor.execute("SELECT pg_try_advisory_lock_shared(%s, %s)", (number, pid))
            assert cursor.fetchone() == (True,)
            time.sleep(3 * TIMEOUT_S)
            holds.commit()
            assert "text" not in first.end()
    first.do("rollback")
    psql.run(dsn, f"DROP OWNED BY {role}", f"DROP ROLE {role}")


def test_what_one_server_sees_it_breaks_itself(members, dsns):
    first, second = members[:2]
    for member, key in ((first, 1), (second, 2)):
        member.do("connect", deadlock_timeout_s=0.2)
        member.do("run", ["s0", "s1"], f"UPDATE t SET n = n + 1 WHERE k = {key}")
    first.begin("run", "s0", "UPDATE t SET n = n + 1 WHERE k = 2")
    second.begin("run", "s0", "UPDATE t SET n = n + 1 WHERE k = 1")
    done, victims = outcomes([first, second])
    (victim,) = victims
    assert not is_deadlock(victims[victim])
    (other,) = done
    other.do("commit")
    victim.do("rollback")


def test_ring_through_a_client_that_is_not_ours(members, dsns):
    stranger, first, second = members[:3]
    stranger.do("connect_plainly", "s1")
    first.do("connect")
    second.do("connect")
    first.do("run", "s0", ADD)
    second.do("run", "s1", "UPDATE t SET n = n + 1 WHERE k = 1")
    # The youngest, but it does not know of other shards.
    stranger.do("run", None, "UPDATE t SET n = n + 1 WHERE k = 2")
    first.begin("run", "s1", "UPDATE t SET n = n + 1 WHERE k = 2")
    stranger.begin("run", None, "UPDATE t SET n = n + 1 WHERE k = 1")
    waits(dsns["s1"], 2)
    second.begin("run", "s0", ADD)
    told = second.end()
    assert is_deadlock(told)
    assert told["seconds"] < 2 * TIMEOUT_S
    assert "text" not in stranger.end()
    stranger.do("commit")
    assert "text" not in first.end()
    first.do("commit")


def test_statement_that_commits_by_itself_gives_way_on_all_its_shards(members, dsns):
    first, second = members[:2]
    first.do("connect")
    first.do("run", "s1", ADD)
    second.do("connect")
    second.do("set", autocommit=True)
    second.begin("run", ["s0", "s1"], ADD)
    waits(dsns["s1"], 1)
    first.begin("run", "s0", ADD)
    told = second.end()
    assert is_deadlock(told)
    assert "text" not in first.end()
    first.do("commit")
    assert counts(dsns) == [1, 1, 0, 0, 0]
    second.do("run", ["s0", "s1"], ADD)
    assert counts(dsns) == [2, 2, 0, 0, 0]


def test_first_statement_of_a_transaction_and_savepoints(members, dsns):
    first, second = members[:2]
    first.do("connect")
    second.do("connect")
    first.do("run", "s1", ADD)
    second.do("run", ["s0", "s2"], "UPDATE t SET n = n + 1 WHERE k = 3")
    second.do("run", None, "SAVEPOINT a")
    # The first of `first` on s0 and s2, with BEGIN in one message: it has s0, and waits on s2.
    second.do("run", "s2", ADD)
    first.begin("run", ["s0", "s2"], ADD)
    waits(dsns["s2"], 1)
    second.begin("run", "s1", ADD)
    told = second.end()
    assert is_deadlock(told)
    assert "text" not in first.end()
    # What it locked before its savepoint is free as well.
    first.do("run", ["s0", "s2"], "UPDATE t SET n = n + 1 WHERE k = 3")
    first.do("commit")
    second.begin("run", None, "ROLLBACK TO a")
    assert second.end()["pgcode"] is not None
    second.do("rollback")
    assert counts(dsns) == [1, 1, 1, 0, 0]


def test_sessions_that_commit_by_themselves_are_not_one_transaction(members, dsns):
    reader, locker = members[:2]
    reader.do("connect")
    reader.do("set", autocommit=True)
    locker.do("connect")
    locker.do("run", "s1", "LOCK TABLE t")
    # On s0 it ends in a while, whatever happens on s1, and then the locker goes on.
    reader.begin("run", ["s0", "s1"], f"SELECT pg_sleep({3 * TIMEOUT_S}) FROM t WHERE k = 0")
    waits(dsns["s1"], 1)
    locker.begin("run", "s0", "LOCK TABLE t")
    done, victims = outcomes([locker])
    assert (done, victims) == ([locker], {})
    locker.do("commit")
    assert "text" not in reader.end()


def test_units_of_work_in_pools_are_run_again(members, dsns):
    first, second = members[:2]
    first.begin("work", "s0", "s1", ADD)
    second.begin("work", "s1", "s0", ADD)
    assert [each.end()["value"] for each in (first, second)] == [1, 1]
    assert counts(dsns) == [2, 2, 0, 0, 0]


def test_crowd_of_programs_gets_all_its_work_done(members, dsns):
    for member in members[:3]:
        member.begin("transfers", 4, 4)
    told = [member.end() for member in members[:3]]
    assert not [each["text"] for each in told if "text" in each]
    assert sum(each["value"] for each in told) > 3 * 4 * 4  # some had to give way
    assert sum(counts(dsns)) == 0


def test_who_waits_for_a_prepared_transaction_waits(members, dsns):
    stranger, first, second = members[:3]
    stranger.do("connect_plainly", "s0")
    stranger.do("run", None, ADD)
    stranger.do("run", None, "PREPARE TRANSACTION 'deadlocks'")
    first.do("connect", timeout=3 * TIMEOUT_S)
    second.do("connect")
    first.do("run", "s1", ADD)
    first.begin("run", "s0", ADD)
    second.begin("run", "s1", ADD)
    assert first.end()["code"] == "GS301"
    first.do("rollback")
    assert "text" not in second.end()
    second.do("rollback")
    stranger.do("rollback")
    stranger.do("set", autocommit=True)
    stranger.do("run", None, "ROLLBACK PREPARED 'deadlocks'")


def test_victim_of_a_pool_is_given_back_as_good_as_new(members, dsns):
    first, second = members[:2]
    first.do("connect")
    first.do("run", "s0", ADD)
    second.do("from_pool")
    second.do("run", "s1", ADD)
    first.begin("run", "s1", ADD)
    second.begin("run", "s0", ADD)
    assert is_deadlock(second.end())
    assert "text" not in first.end()
    first.do("commit")
    second.do("close")
    second.do("from_pool")
    second.do("run", ["s0", "s1"], ADD)
    second.do("commit")
    assert counts(dsns) == [2, 2, 0, 0, 0]


def test_next_youngest_gives_way_if_the_youngest_does_not(members, dsns):
    first, second = members[0], members[4]
    for member, shard in ((first, "s0"), (second, "s1")):
        member.do("connect")
        member.do("run", shard, ADD)
    second.do("numb")
    first.begin("run", "s1", ADD)
    second.begin("run", "s0", ADD)
    told = first.end()
    assert is_deadlock(told)
    assert 2 * TIMEOUT_S < told["seconds"] < 6 * TIMEOUT_S
    assert "text" not in second.end()
    second.do("commit")


def test_forked_process_looks_for_itself(members, dsns):
    parent, other = members[:2]
    # The parent has looked before, and has a thread that does.
    other.do("connect")
    other.do("run", "s0", ADD)
    parent.do("connect", timeout=2 * TIMEOUT_S)
    parent.begin("run", "s0", ADD)
    assert parent.end()["code"] == "GS301"
    assert parent.do("in_child", ["s1", "s0"], ADD) == "1"
    waits(dsns["s0"], 1)
    other.begin("run", "s1", ADD)
    assert parent.do("of_child") == "'GS508'"
    assert "text" not in other.end()
    other.do("commit")


def test_nobody_looks_if_nobody_is_to(dsns):
    with pytest.raises(greenshard.ProgrammingError, match="deadlock_timeout_s"):
        greenshard.connect(dsns, deadlock_timeout_s=0)
    for arguments, looked in (({"deadlock_timeout_s": None}, False), ({}, True)):
        conn = greenshard.connect(dsns, timeout=2 * TIMEOUT_S, **arguments)
        with pytest.raises(greenshard.QueryTimeout):
            conn.cursor().execute("SELECT pg_sleep(10)")
        assert bool(lookers(dsns["s0"])) is looked
        conn.close()


@pytest.mark.parametrize("user", ["marks_others", None])
def test_nobody_marks_the_sessions_of_others(dsns, user):
    """Anybody who may connect can take the locks that are marks."""
    dsn = dsns["s0"]
    with contextlib.suppress(psycopg2.errors.DuplicateObject):
        ask(dsn, "CREATE ROLE marks_others LOGIN; SELECT 1")
    more = {} if user is None else {"user": user}
    observer = Observer({"s0": Dsn(dsn)}, "looks")
    with (
        contextlib.closing(psycopg2.connect(dsn)) as own,
        contextlib.closing(psycopg2.connect(dsn, application_name=f"{NAME}x", **more)) as marks,
    ):
        cursor = marks.cursor()
        pid = own.info.backend_pid
        cursor.execute("SELECT pg_advisory_lock_shared(7, %s)", (pid,))
        try:
            view = observer.look({})["s0"]
        finally:
            observer.close()
    assert [mark.pid for mark in view.marks] == ([pid] if user is None else [])


@pytest.mark.parametrize("users", [("postgres", "postgres"), ("postgres", "marks_others")])
def test_a_process_of_several_users_is_one_still(dsns, users):
    """A server does not know that it is one by its user: the name says that it has several."""
    told = {f"s{number}": Dsn(dsns[f"s{number}"], user=user) for number, user in enumerate(users)}
    for shard in told:
        with contextlib.suppress(psycopg2.errors.DuplicateObject):
            ask(dsns[shard], "CREATE ROLE marks_others LOGIN; SELECT 1")
    observer = Observer(told, "process")
    with contextlib.ExitStack() as opened:
        marked = []
        for shard, dsn in told.items():
            own = Physical.new(shard, dsn)
            opened.callback(own.discard)
            own.open(5.0)
            identify(own)
            own.raw.cursor().execute("SELECT 1")
            marked.append(Member(Backend(shard, own.backend_pid), own.identity, 2))
        opened.callback(observer.close)
        views = observer.look({1: marked})
    found = {mark.waiter.process for view in views.values() for mark in view.marks}
    assert found == observer.names
    assert found == ({"process/postgres"} if len(set(users)) == 1 else {"*process"})
