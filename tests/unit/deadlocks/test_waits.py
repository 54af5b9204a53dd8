"""Which statements are reported, and when: the timer's ticks are made by hand."""

from __future__ import annotations

import gc
import threading
import weakref

import pytest

from greenshard import _green
from greenshard.deadlocks import waits
from greenshard.deadlocks.waits import Waits


class Session:
    def __init__(self):
        self.thread = _green.thread_id()


class Calls:
    pass


class Timer:
    def __init__(self, seconds, function):
        self.seconds, self._function, self.open = seconds, function, True

    def tick(self, times=1):
        for _ in range(times):
            self._function()

    def close(self):
        self.open = False


@pytest.fixture
def timers(monkeypatch):
    timers = []

    def every(seconds, function):
        timers.append(Timer(seconds, function))
        return timers[-1]

    monkeypatch.setattr(waits._green, "every", every)
    return timers


@pytest.fixture
def reported(monkeypatch):
    reported = []
    monkeypatch.setattr(waits, "report", lambda session, calls, *_: reported.append(calls))
    return reported


@pytest.fixture
def running(timers):
    return Waits({}, 4.0)


def test_statement_is_reported_when_it_has_taken_long_and_again(running, timers, reported):
    calls = Calls()
    running.began(Session(), calls)
    (timer,) = timers
    assert timer.seconds == 0.5
    timer.tick(8)  # the first may have come at once
    assert reported == []
    timer.tick()
    assert reported == [calls]
    timer.tick(7)
    assert reported == [calls]
    timer.tick(10)
    assert reported == [calls, calls, calls]


def test_short_ones_are_not_reported_and_the_timer_ends(running, timers, reported):
    session = Session()
    for _ in range(20):
        running.began(session, Calls())
        timers[0].tick()
        running.ended(session)
    assert len(timers) == 1
    timers[0].tick()
    assert not timers[0].open
    running.began(session, Calls())
    assert len(timers) == 2
    assert reported == []


def test_calls_that_have_ended_are_not_kept(running, timers, reported):
    session, calls = Session(), Calls()
    running.began(session, calls)
    timers[0].tick(3)
    running.ended(session)
    gone = weakref.ref(calls)
    del calls
    gc.collect()
    assert gone() is None


def test_each_thread_looks_after_its_own(running, timers, reported):
    def run():
        running.began(Session(), calls)
        timers[-1].tick(10)

    calls = Calls()
    running.began(Session(), Calls())
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert len(timers) == 2
    assert reported == [calls]


def test_fork_leaves_what_runs_to_the_parent(running, timers, reported):
    running.began(Session(), Calls())
    waits._forked()
    mine = Calls()
    running.began(Session(), mine)
    timers[-1].tick(9)
    assert reported == [mine]
