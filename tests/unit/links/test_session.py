from __future__ import annotations

import threading

import gevent
import psycopg2
import pytest

from greenshard import errors
from greenshard.links.deadline import UNLIMITED, within
from greenshard.links.session import Session
from greenshard.planner.place import Place, Role


class FakePhysical:
    """A peer of `Physical` that has no server."""

    worker = late = None

    def __init__(self, shard, *, in_transaction=False):
        self.shard = shard
        self.alive, self.raw = True, object()
        self.in_transaction = in_transaction

    def cancel_while(self, running):
        while running():
            self.cancelled.set()
            gevent.sleep(0)

    def discard(self):
        self.alive = False

    def hang(self):
        self.cancelled = gevent.event.Event()
        self.cancelled.wait()
        raise psycopg2.errors.QueryCanceled("canceling statement due to user request")


def session_of(*physicals, missing=None):
    missing = missing or {}
    shards = sorted([*(p.shard for p in physicals), *missing])
    return Session(physicals, missing, shards, 20.0)


@pytest.fixture
def two():
    return [FakePhysical("s0"), FakePhysical("s1")]


def fail(error):
    def call():
        raise error

    return call


def test_run_gives_each_shards_result_in_shard_order(two):
    outcome = session_of(*two).run({"s0": lambda: 1, "s1": lambda: 2}, UNLIMITED)
    assert [(name, job.result) for name, job in outcome.jobs.items()] == [("s0", 1), ("s1", 2)]
    assert outcome.failures == {}


def test_run_without_calls_does_nothing(two):
    assert session_of(*two).run({}, UNLIMITED).jobs == {}


def test_failure_of_one_shard_is_raised_with_its_name(two):
    session = session_of(*two)
    with pytest.raises(errors.ProgrammingError, match="shard s1: no") as caught:
        session.run(
            {"s0": two[0].hang, "s1": fail(psycopg2.errors.UndefinedTable("no"))}, UNLIMITED
        )
    assert isinstance(caught.value, psycopg2.errors.UndefinedTable)
    assert caught.value.shard == "s1"
    assert not session.running


def test_failures_of_several_shards_are_all_held(two):
    both = {name: fail(psycopg2.errors.UndefinedTable(name)) for name in ("s0", "s1")}
    with pytest.raises(errors.FanoutError) as caught:
        session_of(*two).run(both, UNLIMITED, tolerant=True)
    assert list(caught.value.failures) == ["s0", "s1"]


def test_tolerated_failure_is_given_beside_the_results(two):
    error = psycopg2.OperationalError("no")
    outcome = session_of(*two).run({"s0": fail(error), "s1": lambda: 2}, UNLIMITED, tolerant=True)
    assert list(outcome.jobs) == ["s1"]
    assert outcome.failures == {"s0": error}


def test_time_up_names_the_shards_that_are_late(two):
    with pytest.raises(errors.QueryTimeout, match=r"no answer from s1 within 0\.01 s") as caught:
        session_of(*two).run({"s0": lambda: 1, "s1": two[1].hang}, within(0.01))
    assert (caught.value.code, caught.value.shard) == ("GS301", "s1")
    with pytest.raises(errors.QueryTimeout, match="no answer from s0, s1 within") as caught:
        session_of(*two).run({"s0": two[0].hang, "s1": two[1].hang}, within(0.01))
    assert caught.value.shard is None


def test_tolerated_lateness_is_a_failure_of_that_shard(two):
    outcome = session_of(*two).run(
        {"s0": lambda: 1, "s1": two[1].hang}, within(0.01), tolerant=True
    )
    assert list(outcome.jobs) == ["s0"]
    assert isinstance(outcome.failures["s1"], errors.QueryTimeout)


def test_all_late_is_a_timeout_also_where_failures_are_tolerated(two):
    with pytest.raises(errors.QueryTimeout, match="s0, s1"):
        session_of(*two).run({"s0": two[0].hang, "s1": two[1].hang}, within(0.01), tolerant=True)


def test_shard_whose_connection_is_gone_is_not_called(two):
    two[1].alive = False
    session = session_of(*two)
    called = []
    with pytest.raises(errors.InterfaceError, match="the connection to shard s1 is gone"):
        session.run({"s0": lambda: called.append(0), "s1": lambda: called.append(1)}, UNLIMITED)
    assert called == []
    outcome = session.run({"s0": lambda: 1, "s1": lambda: 2}, UNLIMITED, tolerant=True)
    assert list(outcome.jobs) == ["s0"]
    assert outcome.failures["s1"].code == "GS203"
    assert session.broken == ["s1"]


def test_call_on_a_further_connection_is_told_from_the_shards_own(two):
    session, place, further = session_of(*two), Place("s0", Role.GATHERING), FakePhysical("s0")
    session.beside[place] = further
    outcome = session.run({"s0": lambda: 1}, UNLIMITED, beside={place: lambda: 2})
    assert {shard: job.result for shard, job in outcome.jobs.items()} == {"s0": 1}
    assert {place: job.result for place, job in outcome.beside.items()} == {place: 2}
    fails = fail(psycopg2.errors.DivisionByZero("division by zero"))
    with pytest.raises(errors.DataError, match=r"shard s0 \(gathering\): division") as caught:
        session.run({"s0": two[0].hang}, UNLIMITED, beside={place: fails})
    assert caught.value.shard == "s0"
    with pytest.raises(errors.QueryTimeout, match=r"no answer from s0 \(gathering\)") as caught:
        session.run({"s0": lambda: 1}, within(0.01), beside={place: further.hang})
    assert caught.value.shard == "s0"
    with pytest.raises(errors.FanoutError) as caught:
        session.run({"s0": fails}, UNLIMITED, beside={place: fails}, tolerant=True)
    assert list(caught.value.failures) == ["s0", "s0 (gathering)"]
    further.alive = False
    with pytest.raises(errors.InterfaceError, match=r"to shard s0 \(gathering\) is gone") as caught:
        session.run({}, UNLIMITED, beside={place: lambda: 2})
    assert caught.value.shard == "s0"


def test_shard_that_could_not_be_opened_fails_with_the_reason(two):
    reason = psycopg2.OperationalError("refused")
    session = session_of(two[0], missing={"s1": reason})
    with pytest.raises(errors.OperationalError, match="shard s1: refused"):
        session.run({"s1": lambda: 1}, UNLIMITED)
    with pytest.raises(errors.OperationalError, match="refused"):
        session.physical("s1")
    assert session.run({"s0": int, "s1": int}, UNLIMITED, tolerant=True).failures == {"s1": reason}


def test_with_no_shard_left_everything_is_refused(two):
    for physical in two:
        physical.alive = False
    with pytest.raises(errors.FanoutError, match="gone"):
        session_of(*two).check_alive()


def take(session, log, name):
    try:
        with session.taken():
            log.append(name)
    except errors.ProgrammingError as exc:
        log.append(exc.code)


def test_second_greenlet_is_refused_while_the_first_is_at_it(two):
    session = session_of(*two)
    log = []
    with session.taken():
        gevent.spawn(take, session, log, "second").join()
    gevent.spawn(take, session, log, "third").join()
    assert log == ["GS302", "third"]


def test_other_threads_wait_for_their_turn(two):
    session = session_of(*two)
    log = []
    threads = [threading.Thread(target=take, args=(session, log, n)) for n in range(3)]
    with session.taken():
        for number, thread in enumerate(threads, 1):
            thread.start()
            while len(session._queue) < number:
                gevent.sleep(0.001)
        gevent.sleep(0.01)
        log.append("first")
    for thread in threads:
        thread.join()
    assert log == ["first", 0, 1, 2]


def test_session_is_free_again_after_an_error(two):
    session = session_of(*two)
    with pytest.raises(ZeroDivisionError), session.taken():
        raise ZeroDivisionError
    with session.taken():
        pass


def test_another_process_may_not_use_it(two, monkeypatch):
    session = session_of(*two)
    monkeypatch.setattr("greenshard.links.session.getpid", lambda: -1)
    for use in (session.check, session.check_process, session.cancel, session.taken().__enter__):
        with pytest.raises(errors.InterfaceError, match="opened in process") as caught:
            use()
        assert caught.value.code == "GS303"


def test_closed_session_says_so(two):
    session = session_of(*two)
    session.closed = True
    with pytest.raises(psycopg2.InterfaceError, match="connection already closed"):
        session.check()


def test_cancel_reaches_what_runs_and_nothing_else(two):
    session = session_of(*two)
    session.cancel()

    def run():
        with session.taken(), pytest.raises(psycopg2.errors.QueryCanceled):
            session.run({"s0": two[0].hang, "s1": int}, UNLIMITED)

    running = gevent.spawn(run)
    gevent.idle()
    assert session.running
    session.cancel()
    running.get(timeout=20)
    assert not session.running
