"""What a thread makes of what it sees: nobody gives way for what it has seen once."""

from __future__ import annotations

import gevent
import psycopg2
import pytest

from greenshard import errors
from greenshard.deadlocks import watcher
from greenshard.deadlocks.graph import Backend, Mark, View, Wait, Waiter
from greenshard.deadlocks.observer import Member
from greenshard.deadlocks.watcher import Waiting
from greenshard.links.physical import Identity

HERE = Identity("now", 5, False, "{public}", 0)
OTHER = Waiter("another process", 1)


class Calls:
    """The calls of a statement of ours."""

    def __init__(self):
        self.jobs, self.over, self.deadlock, self.cancelled = (), False, None, 0

    def cancel(self):
        self.cancelled += 1


class Servers:
    """Ours waits on s0 for the other one, which waits on s1 for ours."""

    def __init__(self, dsns, process):
        self.process, self.since, self.other_began = process, "1", 5
        self.names = {process}
        self.locked, self.closes = True, True

    def waiting(self, members):
        return {Backend("s0", 11)} if self.locked else set()

    def look(self, marked):
        def marks(ours, other):
            told = [Mark(Waiter(self.process, n), ours, 10) for n in marked]
            return (*told, Mark(OTHER, other, self.other_began))

        waits = (Wait(22, self.since, (21,)),) if self.closes else ()
        return {
            "s0": View((Wait(11, "1", (12,)),), marks(11, 12)),
            "s1": View(waits, marks(21, 22)),
        }

    def unmark(self):
        self.unmarked = True


class Clock:
    now = 100.0

    def monotonic(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(watcher, "time", clock)
    return clock


@pytest.fixture
def looking(monkeypatch, clock):
    monkeypatch.setattr(watcher, "Observer", Servers)
    monkeypatch.setattr(Waiting, "running", lambda waiting: list(waiting.members))
    return watcher._Looking({}, 2.0)


@pytest.fixture
def calls():
    return Calls()


@pytest.fixture
def ours(calls):
    members = (Member(Backend("s0", 11), HERE, 8), Member(Backend("s1", 21), HERE, 9))
    return [Waiting(7, calls, members)]


def look(looking, ours, times=1):
    for _ in range(times):
        pause_s = looking.look(ours)
        gevent.sleep(0)
    return pause_s


def test_second_look_with_the_same_waits_lets_the_youngest_give_way(looking, ours, calls):
    assert look(looking, ours) == pytest.approx(0.2)
    assert calls.deadlock is None
    look(looking, ours)
    assert calls.cancelled == 1
    error = calls.deadlock
    assert isinstance(error, (psycopg2.errors.DeadlockDetected, errors.OperationalError))
    assert (error.pgcode, error.code, error.shard) == ("40P01", "GS508", "s0")
    assert str(error) == (
        "deadlock over s0, s1; this transaction is rolled back on all shards [GS508]\n"
        "DETAIL:\n"
        "  s0: this transaction (process 11) waits for transaction 2 (process 12)\n"
        "  s1: transaction 2 (process 22) waits for this transaction (process 21)\n"
        "HINT:  Run the transaction again, as greenshard.retry and Pool.run do."
    )
    look(looking, ours, 3)
    assert calls.cancelled == 1


def test_waits_that_differ_are_no_deadlock(looking, ours, calls):
    for since in ("1", "2", "1", "2"):
        looking._observer.since = since
        look(looking, ours)
    assert calls.deadlock is None


def test_cycle_that_was_gone_between_is_seen_anew(looking, ours, calls):
    for closes in (True, False, True):
        looking._observer.closes = closes
        pause_s = look(looking, ours)
    assert calls.deadlock is None
    looking._observer.locked = False  # as if it computed meanwhile
    assert look(looking, ours) == pytest.approx(1.0)
    looking._observer.locked = True
    assert look(looking, ours) == pause_s
    assert calls.deadlock is None


def test_elder_gives_way_only_if_the_younger_does_not(looking, ours, calls, clock):
    looking._observer.other_began = 20
    look(looking, ours, 5)
    clock.now += 3.9
    look(looking, ours)
    assert calls.deadlock is None
    clock.now += 0.2
    look(looking, ours)
    assert calls.cancelled == 1


def test_statement_that_has_ended_is_left_alone(looking, ours, calls):
    look(looking, ours)
    calls.over = True
    look(looking, ours)
    assert (calls.deadlock, calls.cancelled) == (None, 0)
