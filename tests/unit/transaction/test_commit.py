from __future__ import annotations

import psycopg2
import pytest
from psycopg2.extensions import (
    TRANSACTION_STATUS_IDLE,
    TRANSACTION_STATUS_INERROR,
    TRANSACTION_STATUS_INTRANS,
)

from greenshard import errors
from greenshard.links import deadline
from greenshard.links.deadline import Deadline, seconds_left
from greenshard.links.session import Session
from greenshard.transaction import commit


class FakeShard:
    """A peer of `Physical`, of psycopg2's connection and of the server behind them."""

    worker = None

    def __init__(self, shard, log, *, wrote=True, opened=True):
        self.shard = shard
        self.raw = self
        self.alive = True
        self.transaction_status = TRANSACTION_STATUS_INTRANS if opened else TRANSACTION_STATUS_IDLE
        self.wrote = wrote
        self.fails_at = None
        self.takes = lambda name: None
        self._log = log

    @property
    def in_transaction(self):
        return self.transaction_status != TRANSACTION_STATUS_IDLE

    def step(self, name):
        self._log.append(f"{name} {self.shard}")
        self.takes(name)
        if self.fails_at == name:
            self.transaction_status = TRANSACTION_STATUS_INERROR
            raise psycopg2.errors.UniqueViolation(f"{name} failed")

    def discard(self):
        self._log.append(f"discard {self.shard}")
        self.alive = False

    def cancel_while(self, running):
        pass


class FakeConnections:
    """Stands for psycopg2's connection class: its methods by name."""

    @staticmethod
    def commit(raw):
        raw.step("commit")
        raw.transaction_status = TRANSACTION_STATUS_IDLE

    @staticmethod
    def rollback(raw):
        raw.step("rollback")
        raw.transaction_status = TRANSACTION_STATUS_IDLE


class FakeCursor:
    def __init__(self, raw):
        self._raw = raw

    def execute(self, query):
        assert "SET CONSTRAINTS ALL IMMEDIATE" in query
        self._raw.step("check")

    def fetchone(self):
        return (self._raw.wrote,)


@pytest.fixture(autouse=True)
def fakes(monkeypatch):
    monkeypatch.setattr(commit, "RawConnection", FakeConnections)
    monkeypatch.setattr(commit, "RawCursor", FakeCursor)


@pytest.fixture
def log():
    return []


def session_of(*shards):
    return Session(shards, {}, [shard.shard for shard in shards], 5.0)


@pytest.fixture
def three(log):
    return [FakeShard(f"s{number}", log) for number in range(3)]


def test_nothing_open_is_nothing_to_commit(log):
    commit.commit_all(session_of(FakeShard("s0", log, opened=False)), None, wrote=True)
    assert log == []


def test_reading_needs_no_check(three, log):
    commit.commit_all(session_of(*three), None, wrote=False)
    assert sorted(log) == ["commit s0", "commit s1", "commit s2"]


def test_one_shard_needs_no_check(three, log):
    for shard in three[1:]:
        shard.transaction_status = TRANSACTION_STATUS_IDLE
    commit.commit_all(session_of(*three), None, wrote=True)
    assert log == ["commit s0"]


def test_constraints_are_checked_everywhere_before_anything_is_committed(three, log):
    commit.commit_all(session_of(*three), None, wrote=True)
    assert sorted(log[:3]) == ["check s0", "check s1", "check s2"]
    assert sorted(log[3:]) == ["commit s0", "commit s1", "commit s2"]


def test_check_that_fails_rolls_back_everywhere(three, log):
    three[1].fails_at = "check"
    with pytest.raises(errors.IntegrityError, match="check failed") as caught:
        commit.commit_all(session_of(*three), None, wrote=True)
    assert caught.value.shard == "s1"
    assert not [line for line in log if line.startswith("commit")]
    assert sorted(log[-3:]) == ["rollback s0", "rollback s1", "rollback s2"]


def test_the_only_writer_commits_first_and_alone(three, log):
    three[0].wrote = three[2].wrote = False
    commit.commit_all(session_of(*three), None, wrote=True)
    assert log[3] == "commit s1"
    assert sorted(log[4:]) == ["commit s0", "commit s2"]


def test_only_writer_that_fails_is_no_partial_commit(three, log):
    three[0].wrote = three[2].wrote = False
    three[1].fails_at = "commit"
    with pytest.raises(psycopg2.errors.UniqueViolation) as caught:
        commit.commit_all(session_of(*three), None, wrote=True)
    assert not isinstance(caught.value, errors.PartialCommitError)
    assert "commit s0" not in log
    assert not any(shard.alive and shard.in_transaction for shard in three)


def test_commit_that_fails_on_one_of_several_writers_tells_who_has_committed(three, log):
    three[1].fails_at = "commit"
    with pytest.raises(errors.PartialCommitError, match="committed on s0, s2 and not") as caught:
        commit.commit_all(session_of(*three), None, wrote=True)
    error = caught.value
    assert error.committed == ("s0", "s2")
    assert list(error.failures) == ["s1"]
    assert error.code == "GS502"
    assert "s1: commit failed" in str(error)
    assert not any(shard.alive and shard.in_transaction for shard in three)


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


class TimedSession(Session):
    """Notes how many seconds each of its steps gets; not even a fake clock times them out."""

    def run(self, calls, timeout, **options):
        self.allowed = [*getattr(self, "allowed", ()), seconds_left(timeout)]
        return super().run(calls, None, **options)


def timed_session(three, clock, takes):
    def move(name):
        clock.now += takes.get(name, 0.0)

    three[0].takes = move
    return TimedSession(three, {}, [shard.shard for shard in three], 5.0)


def test_steps_of_a_commit_share_one_timeout(three, clock):
    three[0].wrote = three[2].wrote = False
    session = timed_session(three, clock, {"check": 0.75})
    commit.commit_all(session, Deadline(1.0), wrote=True)
    assert session.allowed == [1.0, 0.25, 0.25]


def test_checks_that_take_all_the_time_leave_nothing_committed(three, clock, log):
    session = timed_session(three, clock, {"check": 1.5})
    with pytest.raises(errors.QueryTimeout, match="took all of 1 s") as caught:
        commit.commit_all(session, Deadline(1.0), wrote=True)
    assert caught.value.code == "GS301"
    assert sorted(log[3:]) == ["rollback s0", "rollback s1", "rollback s2"]
    assert not any(shard.in_transaction for shard in three)


def test_failed_transaction_is_rolled_back_on_all_shards_and_says_so(three, log):
    three[2].transaction_status = TRANSACTION_STATUS_INERROR
    with pytest.raises(errors.InternalError, match="has failed on s2") as caught:
        commit.commit_all(session_of(*three), None, wrote=True)
    assert isinstance(caught.value, psycopg2.errors.InFailedSqlTransaction)
    assert caught.value.code == "GS501"
    assert sorted(log) == ["rollback s0", "rollback s1", "rollback s2"]


def test_transaction_that_lost_a_shard_is_not_committed_on_the_others(three, log):
    three[0].alive = False
    with pytest.raises(errors.InternalError, match="has failed on s0"):
        commit.commit_all(session_of(*three), None, wrote=True)
    assert sorted(log) == ["rollback s1", "rollback s2"]


def test_rollback_that_fails_costs_that_connection_and_is_no_error(three, log):
    three[1].fails_at = "rollback"
    commit.rollback_all(session_of(*three), None)
    assert log[-1] == "discard s1"
    assert [shard.alive for shard in three] == [True, False, True]


def test_rollback_with_no_shard_left_is_an_error(three, log):
    for shard in three:
        shard.alive = False
    with pytest.raises(psycopg2.InterfaceError):
        commit.rollback_all(session_of(*three), None)


@pytest.mark.parametrize(
    "text",
    ["COMMIT", " commit;", "END", "end transaction", "PREPARE TRANSACTION 'x'", ";;COMMIT WORK",
     "/* note */ COMMIT", "-- note\nCOMMIT"],
)  # fmt: skip
def test_ending_a_failed_transaction_by_sql_is_refused(text):
    with pytest.raises(errors.InternalError, match="cannot be committed"):
        commit.refuse_commit(text)


@pytest.mark.parametrize("text", ["ROLLBACK", "SELECT 1", "PREPARE p AS SELECT 1", "committed", ""])
def test_other_statements_are_left_to_the_servers(text):
    commit.refuse_commit(text)
