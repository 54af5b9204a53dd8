from __future__ import annotations

import time

import gevent
import pytest

from greenshard.links import hedge
from greenshard.links.deadline import within
from greenshard.links.fanout import End, Job
from greenshard.links.hedge import Hedge
from tests.unit.links.fake_shard import FakeShard

LONG_S = 20.0


@pytest.fixture(autouse=True)
def at_once(monkeypatch, capfd):
    monkeypatch.setattr(hedge, "APART_S", 0.01)
    yield
    assert capfd.readouterr().err == ""


@pytest.fixture
def three():
    return [FakeShard(name, says=name) for name in ("s0", "s1", "s2")]


def hedged(shards, grace_s=LONG_S):
    return Hedge((shard.job() for shard in shards), grace_s)


def settled(*shards):
    """Until nothing is left of what was not waited for."""
    end = time.monotonic() + LONG_S
    while any(shard.late for shard in shards):
        assert time.monotonic() < end
        gevent.sleep(0.001)


def test_one_that_answers_is_enough(three):
    three[0].answer()
    assert hedged(three).run(within(LONG_S)).result == "s0"
    assert [shard.started.is_set() for shard in three] == [True, False, False]
    assert [shard.cancels for shard in three] == [0, 0, 0]
    assert three[0].late is None


def test_next_one_is_asked_when_the_first_says_nothing(three):
    three[1].answer()
    winner = hedged(three).run(within(LONG_S))
    assert winner.result == "s1"
    assert not three[2].started.is_set()
    assert three[0].late is not None
    assert three[0].cancels == 0
    three[0].answer()
    settled(*three)
    assert three[0].open


def test_first_may_still_be_the_first_to_answer(three):
    gevent.spawn(lambda: three[2].started.wait() and three[0].answer())
    assert hedged(three).run(within(LONG_S)).result == "s0"
    for shard in three:
        shard.answer()
    settled(*three)


def test_next_one_is_asked_at_once_when_the_first_fails(three, monkeypatch):
    monkeypatch.setattr(hedge, "APART_S", LONG_S)
    three[0].answer(ValueError("no"))
    three[1].answer()
    started = time.monotonic()
    assert hedged(three).run(within(LONG_S)).result == "s1"
    assert time.monotonic() - started < LONG_S / 2
    assert three[0].late is None


def test_all_are_asked_and_waited_for_as_long_as_they_answer_soon(three):
    three[2].answer()
    aside = hedged(three)
    aside.begin_all()
    started = time.monotonic()
    aside.wait_soon()
    assert time.monotonic() - started < LONG_S / 2
    assert [job.end for job in aside.jobs] == [None, None, End.DONE]
    assert [shard.late is None for shard in three] == [False, False, True]
    for shard in three:
        shard.answer()
    settled(*three)


def test_all_have_ended_when_all_fail(three):
    for shard in three:
        shard.answer(ValueError(shard.name))
    run = hedged(three)
    assert run.run(within(LONG_S)) is None
    assert [job.end for job in run.jobs] == [End.FAILED] * 3


@pytest.mark.parametrize("deaf", [False, True])
def test_all_have_ended_when_time_is_up(three, deaf):
    for shard in three:
        shard.deaf = deaf
    run = hedged(three, grace_s=0.05 if deaf else LONG_S)
    assert run.run(within(0.05)) is None
    # On a busy machine time may be up before it is the third one's turn.
    assert {job.end for job in run.jobs} == {End.LOST if deaf else End.CANCELLED}
    assert not any(shard.late for shard in three)


def test_all_have_ended_when_the_caller_is_killed(three):
    run = hedged(three)
    caller = gevent.spawn(run.run, within(LONG_S))
    three[2].started.wait()
    caller.kill()
    assert [job.end for job in run.jobs] == [End.CANCELLED] * 3
    assert not any(shard.late for shard in three)


def test_cancel_ends_it(three):
    run = hedged(three)
    caller = gevent.spawn(run.run, within(LONG_S))
    three[0].started.wait()
    run.cancel()
    assert caller.get() is None
    assert {job.end for job in run.jobs} == {End.FAILED}


def test_connecting_that_is_not_needed_has_ended():
    ended = []

    def connect():
        try:
            gevent.sleep(LONG_S)
        finally:
            ended.append("s0")

    run = Hedge(iter([Job("s0", connect), Job("s1", lambda: "s1")]), LONG_S)
    assert run.run(within(LONG_S)).result == "s1"
    assert ended == ["s0"]
