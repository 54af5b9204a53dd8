"""How steps are carried out on connections, by their peers."""

from __future__ import annotations

import logging

import gevent
import psycopg2
import pytest

from greenshard import errors
from greenshard.links import deadline
from greenshard.links.deadline import UNLIMITED, Deadline
from greenshard.links.session import Session
from greenshard.transaction import messages
from greenshard.transaction.actions import Checked, Commit
from greenshard.transaction.carrying_out import Conductor
from greenshard.transaction.commit import commit_all, roll_back_all
from greenshard.transaction.state import Transaction


class FakePhysical:
    """A peer of `Physical`, with the server behind it."""

    worker = raw = late = prepared = None
    failed = False

    def __init__(self, shard, log, *, wrote=True):
        self.shard, self.log, self.wrote = shard, log, wrote
        self.alive = self.in_transaction = True
        self.raw = object()  # whatever waits for it
        self.fails_at = None
        self.takes = lambda name: None

    @property
    def idle(self):
        return self.alive and not self.in_transaction

    def _step(self, name):
        self.log.append(f"{name} {self.shard}")
        self.takes(name)
        if self.fails_at == name:
            raise psycopg2.errors.UniqueViolation(f"{name} failed")

    def check(self):
        self._step("check")
        return Checked(self.wrote)

    def commit(self, before="", *, decides=False):
        self.in_transaction = False  # as psycopg2 says, whether it succeeds or not
        self._step("commit")

    def roll_back(self):
        self._step("rollback")
        self.in_transaction = False

    def discard(self):
        self.log.append(f"close {self.shard}")
        self.alive = False


class Killed(BaseException):
    pass


class NotedSession(Session):
    """Notes how each of its steps is run; not even a fake clock times them out."""

    killed_at = None
    killed_by = Killed

    def run(self, calls, timeout, **options):
        self.allowed = [*getattr(self, "allowed", ()), timeout.left_s]
        self.options = [*getattr(self, "options", ()), options]
        outcome = super().run(calls, UNLIMITED, **options)
        if len(self.allowed) == self.killed_at:
            raise self.killed_by("from outside")
        return outcome


@pytest.fixture(autouse=True)
def check(monkeypatch):
    monkeypatch.setattr(messages, "check", FakePhysical.check)


@pytest.fixture
def log():
    return []


@pytest.fixture
def three(log):
    return [FakePhysical(f"s{number}", log) for number in range(3)]


@pytest.fixture
def session(three):
    return NotedSession(three, {}, [shard.shard for shard in three], 5.0)


@pytest.fixture
def transaction(session):
    transaction = Transaction(session)
    transaction.wrote = True
    return transaction


def test_writers_are_found_by_what_their_servers_say(session, transaction, three, log):
    three[0].wrote = three[2].wrote = False
    commit_all(session, transaction, UNLIMITED)
    assert sorted(log[:3]) == ["check s0", "check s1", "check s2"]
    assert log[3] == "commit s1"
    assert sorted(log[4:]) == ["commit s0", "commit s2"]
    # All must answer the check; what is committed is waited for, wherever.
    told = [(options["tolerant"], options["cancellable"]) for options in session.options]
    assert told == [(False, True), (True, False), (True, False)]


def test_check_that_fails_is_raised_when_all_is_rolled_back(session, transaction, three, log):
    three[1].fails_at = "check"
    with pytest.raises(errors.IntegrityError, match="shard s1: check failed") as caught:
        commit_all(session, transaction, UNLIMITED)
    assert caught.value.shard == "s1"
    assert sorted(log[-3:]) == ["rollback s0", "rollback s1", "rollback s2"]
    options = session.options[-1]
    assert (options["tolerant"], options["cancellable"]) == (True, False)


def test_commit_that_fails_on_some_tells_what_each_shard_did(session, transaction, three):
    three[1].fails_at = "commit"
    with pytest.raises(errors.PartialCommitError, match="committed on s0, s2 and not") as caught:
        commit_all(session, transaction, UNLIMITED)
    assert caught.value.committed == ("s0", "s2")
    assert "commit failed" in str(caught.value.failures["s1"])


def test_what_is_half_done_is_told_to_the_log(session, transaction, three, caplog):
    session.killed_at = 2
    three[1].takes = lambda name: name == "commit" and three[1].discard()
    with caplog.at_level(logging.CRITICAL, "greenshard"), pytest.raises(Killed):
        commit_all(session, transaction, UNLIMITED)
    assert "not known to be, committed on ['s1']" in caplog.text


def test_kill_while_shards_that_were_read_commit_is_not_lost(session, transaction, three):
    three[0].wrote = three[2].wrote = False
    session.killed_at = 3
    with pytest.raises(Killed):
        commit_all(session, transaction, UNLIMITED)


def test_exception_of_a_timeout_while_shards_that_were_read_commit_is_not_lost(
    session, transaction, three
):
    three[0].wrote = three[2].wrote = False
    session.killed_at, session.killed_by = 3, ValueError
    with pytest.raises(ValueError, match="from outside"):
        commit_all(session, transaction, UNLIMITED)


@pytest.mark.parametrize("killed_by", [Killed, gevent.Timeout])
def test_kill_comes_before_what_is_in_doubt_and_a_timeout_does_not(session, three, killed_by):
    def steps():
        yield Commit(("s0",))
        return in_doubt

    in_doubt = errors.TransactionInDoubt("nobody knows")
    session.killed_at, session.killed_by = 1, killed_by
    conductor = Conductor(session, dict, UNLIMITED)
    with pytest.raises(Killed if killed_by is Killed else errors.TransactionInDoubt) as caught:
        conductor.carry_out(steps())
    assert in_doubt in (caught.value, caught.value.__context__)


@pytest.fixture
def clock(monkeypatch):
    """What the time is; moved on by `takes` of a shard."""

    class Clock:
        now = 100.0

        @classmethod
        def monotonic(cls):
            return cls.now

    monkeypatch.setattr(deadline, "time", Clock)
    return Clock


@pytest.mark.parametrize(("seconds", "allowed"), [(0.75, [1.0, 0.25, 0.25]), (1.5, [1.0, 0.0])])
def test_steps_of_a_commit_share_one_timeout(session, transaction, three, clock, seconds, allowed):
    def move(name):
        clock.now += seconds if name == "check" else 0.0

    three[0].takes = move
    three[0].wrote = three[2].wrote = False
    try:
        commit_all(session, transaction, Deadline(1.0))
    except errors.QueryTimeout:
        assert seconds > 1.0
    assert session.allowed == allowed


def test_rollback_that_fails_costs_that_connection_and_is_no_error(
    session, transaction, three, log
):
    three[1].fails_at = "rollback"
    roll_back_all(session, transaction, UNLIMITED)
    assert log[-1] == "close s1"
    assert [shard.alive for shard in three] == [True, False, True]


@pytest.mark.parametrize("end", [commit_all, roll_back_all])
def test_end_with_no_shard_left_is_an_error(session, transaction, three, end):
    for shard in three:
        shard.alive = False
    with pytest.raises(errors.InterfaceError, match="3 of 3 shards failed"):
        end(session, transaction, UNLIMITED)
