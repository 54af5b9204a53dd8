from __future__ import annotations

import time
import weakref

import gevent
import pytest
from gevent.exceptions import BlockingSwitchOutError
from hypothesis import given, settings
from hypothesis import strategies as st
from psycogreen.gevent import gevent_wait_callback
from psycopg2.errors import InFailedSqlTransaction, QueryCanceled
from psycopg2.extensions import get_wait_callback, set_wait_callback

from greenshard import _driver
from greenshard.links import fanout as fanout_module
from greenshard.links.fanout import End, FanOut, Job
from tests.unit.links.fake_shard import FakeShard

LONG_S = 20.0
#: Waited out beside a deaf shard; in it the others must be done, also on a busy machine.
GRACE_S = 0.3


def fan_out(shards, **options):
    return FanOut([shard.job() for shard in shards], **{"grace_s": LONG_S, **options})


def ends(fanout):
    return [job.end for job in fanout.jobs]


def assert_nothing_left(fanout):
    assert not any(job.running for job in fanout.jobs)
    assert not fanout._cancels
    assert not any(job.greenlet is gevent.getcurrent() for job in fanout.jobs)
    greenlets = [job.greenlet for job in fanout.jobs if job.greenlet is not None]
    assert all(greenlet.dead or greenlet.parked for greenlet in greenlets)
    assert not _driver.keepers


@pytest.fixture(autouse=True, scope="module")
def waits_can_be_kept():
    _driver.make_cooperative()
    assert _driver.can_keep()


@pytest.fixture
def three():
    return [FakeShard(f"s{number}") for number in range(3)]


@pytest.fixture(autouse=True)
def nothing_printed(capfd):
    yield
    assert capfd.readouterr().err == ""


def test_all_calls_run_at_the_same_time_and_give_their_results(three):
    def answer_when_all_have_started(shard):
        for other in three:
            other.started.wait()
        return shard.name

    jobs = [shard.job(lambda s=shard: s.started.set() or answer_when_all_have_started(s))
            for shard in three]  # fmt: skip
    fanout = FanOut(jobs, LONG_S)
    fanout.run(LONG_S)
    assert ends(fanout) == [End.DONE] * 3
    assert [job.result for job in jobs] == ["s0", "s1", "s2"]
    assert all(job.seconds >= 0 and job.error is None for job in jobs)
    assert [shard.cancels for shard in three] == [0, 0, 0]


def test_also_one_call_runs_in_a_greenlet_of_its_own():
    shard = FakeShard("s0")
    job = shard.job(gevent.getcurrent)
    FanOut([job], LONG_S).run(None)
    assert job.result is not gevent.getcurrent()
    assert job.result is job.greenlet


@pytest.mark.parametrize("failing", [0, 1, 2])
def test_first_failure_cancels_the_others(three, failing):
    fanout = fan_out(three)
    error = ValueError("no")
    three[failing].answer(error)
    fanout.run(None)
    assert fanout.jobs[failing].end is End.FAILED
    assert fanout.jobs[failing].error is error
    others = [job.end for job in fanout.jobs if job.error is not error]
    assert others == [End.CANCELLED] * 2
    assert all(shard.cancels for shard in three if shard is not three[failing])
    assert all(shard.open for shard in three)
    assert_nothing_left(fanout)


def test_tolerant_lets_the_others_go_on(three):
    fanout = fan_out(three, tolerant=True)
    three[0].answer(ValueError("no"))
    gevent.spawn_later(0.01, three[1].answer)
    gevent.spawn_later(0.02, three[2].answer)
    fanout.run(LONG_S)
    assert ends(fanout) == [End.FAILED, End.DONE, End.DONE]
    assert [shard.cancels for shard in three] == [0, 0, 0]


@pytest.mark.parametrize("tolerant", [False, True])
def test_time_up_cancels_what_runs_and_keeps_the_connections(three, tolerant):
    fanout = fan_out(three, tolerant=tolerant)
    three[1].answer()
    fanout.run(0.01)
    assert ends(fanout) == [End.CANCELLED, End.DONE, End.CANCELLED]
    assert fanout.jobs[1].result == "answer of s1"
    assert all(shard.open for shard in three)
    assert_nothing_left(fanout)


def test_time_up_at_once_still_ends_every_call(three):
    fanout = fan_out(three)
    fanout.run(0)
    assert set(ends(fanout)) == {End.CANCELLED}
    assert_nothing_left(fanout)


def test_server_that_does_not_answer_the_cancel_loses_its_connection(three):
    three[2].deaf = True
    fanout = fan_out(three, grace_s=GRACE_S)
    fanout.run(0.01)
    assert ends(fanout) == [End.CANCELLED, End.CANCELLED, End.LOST]
    assert [shard.open for shard in three] == [True, True, False]
    assert three[2].cancels > 1
    assert_nothing_left(fanout)


def test_call_that_finishes_although_it_was_to_be_cancelled_is_done(three):
    for shard in three:
        shard.deaf = True
    fanout = fan_out(three)
    gevent.spawn_later(0.03, lambda: [shard.answer() for shard in three])
    fanout.run(0.01)
    assert ends(fanout) == [End.DONE] * 3
    assert all(shard.open for shard in three)


def test_call_that_fails_by_itself_while_it_is_to_be_cancelled_has_failed(three):
    for shard in three:
        shard.deaf = True
    fanout = fan_out(three)
    gevent.spawn_later(0.03, lambda: [shard.answer(ValueError("no")) for shard in three])
    fanout.run(0.01)
    assert ends(fanout) == [End.FAILED] * 3


def test_call_whose_transaction_was_ended_by_the_cancel_is_cancelled(three):
    """The cancel has hit a question that nobody waited for, and the call came after it."""
    three[1].deaf = True
    fanout = fan_out(three)
    three[0].answer(ValueError("no"))
    aborted = InFailedSqlTransaction("current transaction is aborted")
    gevent.spawn_later(0.03, lambda: three[1].answer(aborted))
    fanout.run(None)
    assert ends(fanout) == [End.FAILED, End.CANCELLED, End.CANCELLED]


def test_transaction_that_was_aborted_before_is_a_failure(three):
    fanout = fan_out(three)
    three[0].answer(InFailedSqlTransaction("current transaction is aborted"))
    fanout.run(None)
    assert ends(fanout) == [End.FAILED, End.CANCELLED, End.CANCELLED]


def test_cancel_by_somebody_else_on_the_server_is_a_failure(three):
    fanout = fan_out(three)
    three[0].answer(QueryCanceled("canceling statement due to statement timeout"))
    fanout.run(None)
    assert ends(fanout) == [End.FAILED, End.CANCELLED, End.CANCELLED]


def test_what_may_not_be_cancelled_is_waited_for(three):
    fanout = fan_out(three, tolerant=True, cancellable=False)
    gevent.spawn_later(0.03, lambda: [shard.answer() for shard in three])
    fanout.run(0.01)
    assert ends(fanout) == [End.DONE] * 3
    assert [shard.cancels for shard in three] == [0, 0, 0]


def test_what_may_not_be_cancelled_is_given_up_after_the_grace_time(three):
    fanout = fan_out(three, cancellable=False, grace_s=0.02)
    three[0].answer()
    fanout.run(0.01)
    assert ends(fanout) == [End.DONE, End.LOST, End.LOST]
    assert [shard.open for shard in three] == [True, False, False]


def run_in_greenlet(fanout, timeout_s=None):
    def run():
        try:
            fanout.run(timeout_s)
        except BaseException as exc:
            return exc

    caller = gevent.spawn(run)
    gevent.idle()
    return caller


def test_timeout_of_gevent_around_the_call_arrives_after_all_has_ended(three):
    fanout = fan_out(three)
    with pytest.raises(gevent.Timeout) as caught, gevent.Timeout(0.01) as expected:
        fanout.run(None)
    assert caught.value is expected
    assert ends(fanout) == [End.CANCELLED] * 3
    assert all(shard.open for shard in three)
    assert_nothing_left(fanout)


def test_kill_of_the_caller_cancels_everything_and_arrives(three):
    fanout = fan_out(three)
    caller = run_in_greenlet(fanout)
    caller.kill()
    assert isinstance(caller.value, gevent.GreenletExit)
    assert ends(fanout) == [End.CANCELLED] * 3
    assert all(shard.open for shard in three)
    assert_nothing_left(fanout)


def test_second_kill_does_not_interrupt_the_clean_up(three):
    three[0].slow_to_cancel = 0.02
    fanout = fan_out(three)
    caller = run_in_greenlet(fanout)
    for _ in range(4):
        caller.kill(block=False)
        gevent.sleep(0.002)
    caller.join(LONG_S)
    assert isinstance(caller.value, gevent.GreenletExit)
    assert ends(fanout) == [End.CANCELLED] * 3
    assert_nothing_left(fanout)


def test_answer_is_lost_when_its_cancel_does_not_end_in_time(three):
    """The connection must be closed, and then what it gave cannot be read."""
    three[0].cancel_while = lambda running: (three[0].answer(), gevent.sleep(LONG_S))
    fanout = fan_out(three, grace_s=GRACE_S)
    fanout.run(0.01)
    assert ends(fanout) == [End.LOST, End.CANCELLED, End.CANCELLED]
    assert [shard.open for shard in three] == [False, True, True]


def test_kill_wins_over_a_timeout_whichever_comes_first(three):
    class Stop(BaseException):
        pass

    for first, second in [(gevent.Timeout(), Stop()), (Stop(), gevent.Timeout())]:
        shard = FakeShard("s0", deaf=True)
        fanout = fan_out([shard])
        caller = run_in_greenlet(fanout)
        caller.kill(first, block=False)
        gevent.sleep(0.002)
        caller.kill(second, block=False)
        gevent.sleep(0.002)
        shard.answer()
        caller.join(LONG_S)
        assert isinstance(caller.value, Stop)


def test_kill_during_the_grace_time_of_a_deaf_server_still_closes_it(three):
    three[1].deaf = True
    fanout = fan_out(three, grace_s=GRACE_S)
    caller = run_in_greenlet(fanout, 0.005)
    gevent.sleep(0.02)
    caller.kill(block=False)
    caller.join(LONG_S)
    assert isinstance(caller.value, gevent.GreenletExit)
    assert ends(fanout) == [End.CANCELLED, End.LOST, End.CANCELLED]
    assert not three[1].open


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, gevent.GreenletExit, MemoryError])
def test_whatever_a_call_raises_is_its_error_and_nothing_is_printed(three, error):
    fanout = fan_out(three)
    three[1].answer(error("raised in the call"))
    fanout.run(None)
    assert fanout.jobs[1].end is End.FAILED
    assert isinstance(fanout.jobs[1].error, error)
    assert_nothing_left(fanout)


def test_cancel_from_another_greenlet_lets_the_calls_fail(three):
    fanout = fan_out(three)
    caller = run_in_greenlet(fanout)
    fanout.cancel()
    caller.join(LONG_S)
    assert caller.value is None
    # The caller of `run` did not want this end: to it, the calls failed.
    assert fanout.jobs[0].end is End.FAILED
    assert isinstance(fanout.jobs[0].error, QueryCanceled)
    assert_nothing_left(fanout)


def test_run_does_not_return_while_a_cancel_request_is_under_way():
    # It could hit the next statement on that connection.
    shard = FakeShard("s0", slow_to_cancel=0.03)
    fanout = fan_out([shard])
    caller = run_in_greenlet(fanout)
    canceller = gevent.spawn(fanout.cancel)
    shard.started.wait()
    caller.join(LONG_S)
    assert canceller.ready() or not fanout._cancels
    assert shard.open


def test_cancel_request_that_does_not_end_costs_the_connection(monkeypatch):
    monkeypatch.setattr(fanout_module, "LAST_WAIT_S", 0.05)
    shard = FakeShard("s0", slow_to_cancel=LONG_S)
    fanout = fan_out([shard], grace_s=0.02)
    caller = run_in_greenlet(fanout)
    canceller = gevent.spawn(fanout.cancel)
    caller.join(LONG_S)
    assert not fanout.jobs[0].running
    assert not shard.open
    canceller.kill()


def test_cancel_of_what_has_ended_does_nothing(three):
    fanout = fan_out(three)
    for shard in three:
        shard.answer()
    fanout.run(None)
    fanout.cancel()
    assert [shard.cancels for shard in three] == [0, 0, 0]


def test_jobs_without_a_connection_can_be_fanned_out_too():
    job = Job("s0", gevent.sleep)
    FanOut([job], LONG_S).run(None)
    assert job.end is End.DONE


SHARDS = st.lists(st.sampled_from(["answers", "fails", "hangs", "deaf"]), min_size=1, max_size=4)
TIMEOUTS = st.sampled_from([None, 0, 0.003])
OUTSIDE = st.lists(st.sampled_from(["kill", "timeout", "cancel"]), max_size=3)


@settings(max_examples=60, deadline=None)
@given(SHARDS, OUTSIDE, st.booleans(), st.booleans(), st.booleans(), TIMEOUTS)
def test_whatever_happens_every_call_has_ended(
    kinds, outside, tolerant, cancellable, here, timeout_s
):
    shards = [FakeShard(f"s{i}", deaf=kind == "deaf") for i, kind in enumerate(kinds)]
    options = {"tolerant": tolerant, "cancellable": cancellable, "here": here}
    fanout = fan_out(shards, grace_s=0.01, **options)
    for shard, kind in zip(shards, kinds, strict=True):
        if kind in {"answers", "fails"}:
            gevent.spawn(shard.answer, ValueError("no") if kind == "fails" else None)
    caller = run_in_greenlet(fanout, timeout_s)
    cancellers = []
    for event in [*outside, "kill"]:
        if event == "cancel":
            cancellers.append(gevent.spawn(fanout.cancel))
        else:
            error = gevent.GreenletExit() if event == "kill" else gevent.Timeout()
            caller.kill(error, block=False)
        gevent.sleep(0)
    caller.join(LONG_S)
    gevent.killall(cancellers)
    assert caller.ready()
    assert_nothing_left(fanout)
    for job, shard in zip(fanout.jobs, shards, strict=True):
        assert (job.end is End.LOST) <= (not shard.open)


def test_shard_keeps_its_greenlet_from_one_statement_to_the_next(three):
    greenlets = []
    for _ in range(3):
        fanout = FanOut([shard.job(gevent.getcurrent) for shard in three], LONG_S)
        fanout.run(LONG_S)
        greenlets.append([job.result for job in fanout.jobs])
    assert greenlets[0] == greenlets[1] == greenlets[2]
    assert len(set(greenlets[0])) == 3


def test_greenlet_that_was_stopped_is_not_used_again():
    shard = FakeShard("s0", deaf=True)
    fan_out([shard], grace_s=0.02).run(0.01)
    stopped = shard.worker
    assert stopped.dead
    job = shard.job(gevent.getcurrent)
    FanOut([job], LONG_S).run(LONG_S)
    assert job.end is End.DONE
    assert job.result is not stopped


def test_parked_greenlet_ends_with_its_last_reference(three):
    FanOut([shard.job() for shard in three[:1]], 0.01).run(0.01)
    parked = three[1]
    FanOut([parked.job(gevent.getcurrent)], LONG_S).run(LONG_S)
    gone = weakref.ref(parked.worker)
    parked.worker = None
    assert gone() is None


def test_a_single_call_may_run_in_the_caller_s_greenlet():
    job = FakeShard("s0").job(gevent.getcurrent)
    FanOut([job], LONG_S, here=True).run(LONG_S)
    assert job.result is gevent.getcurrent()
    assert (job.end, job.greenlet) == (End.DONE, None)


@pytest.mark.parametrize("arriving", [gevent.GreenletExit, gevent.Timeout, KeyboardInterrupt])
def test_what_arrives_while_a_call_runs_here_is_raised_when_it_has_been_cancelled(arriving):
    shard = FakeShard("s0")
    fanout = fan_out([shard], here=True)
    caller = gevent.spawn(capture, fanout, None)
    shard.started.wait(LONG_S)
    gevent.get_hub().loop.run_callback(caller.throw, arriving())
    assert isinstance(caller.get(timeout=LONG_S), arriving)
    assert ends(fanout) == [End.CANCELLED]
    assert (shard.cancels, shard.open) == (1, True)
    assert_nothing_left(fanout)


def test_time_that_is_up_cancels_a_call_that_runs_here():
    shard = FakeShard("s0")
    fanout = fan_out([shard], here=True)
    fanout.run(0.01)
    assert ends(fanout) == [End.CANCELLED]
    assert (shard.cancels, shard.open) == (1, True)
    assert_nothing_left(fanout)


def test_time_of_a_call_here_begins_when_it_begins():
    shard = FakeShard("s0")
    fanout = fan_out([shard], here=True)

    def answer():
        gevent.sleep(0)
        gevent.sleep(0.01)
        shard.answer()

    gevent.spawn(answer)
    time.sleep(0.2)  # the loop's clock knows nothing of it
    fanout.run(0.2)
    assert ends(fanout) == [End.DONE]


def test_a_call_here_that_does_not_end_costs_the_connection_and_nothing_else():
    shard = FakeShard("s0", deaf=True)
    fanout = fan_out([shard], grace_s=0.01, here=True)
    fanout.run(0.01)
    assert ends(fanout) == [End.LOST]
    assert not shard.open
    assert_nothing_left(fanout)
    gevent.sleep(0.01)  # nothing more arrives


def test_cancel_from_another_thread_reaches_a_call_that_runs_here():
    shard = FakeShard("s0")
    fanout = fan_out([shard], here=True)
    gevent.spawn(gevent.get_hub().threadpool.spawn, fanout.cancel)
    fanout.run(LONG_S)
    assert ends(fanout) == [End.FAILED]
    assert isinstance(fanout.jobs[0].error, QueryCanceled)
    assert_nothing_left(fanout)


def test_cancel_that_comes_before_a_call_here_begins_cancels_it():
    fanout = fan_out([FakeShard("s0")], here=True)
    gevent.spawn(fanout.cancel)
    gevent.sleep(0)
    fanout.run(LONG_S)
    assert isinstance(fanout.jobs[0].error, QueryCanceled)
    assert_nothing_left(fanout)


def test_rollback_here_is_sent_though_there_is_no_time():
    shard = FakeShard("s0")
    fanout = fan_out([shard], here=True, cancellable=False)
    gevent.spawn(shard.answer)
    fanout.run(0)
    assert ends(fanout) == [End.DONE]


def test_call_here_ends_though_much_arrives_before_stopping_it_could_begin():
    shard = FakeShard("s0")
    fanout = fan_out([shard], here=True)
    caller = gevent.spawn(capture, fanout, None)
    shard.started.wait(LONG_S)
    for _ in range(20):
        gevent.get_hub().loop.run_callback(caller.throw, gevent.GreenletExit)
    assert isinstance(caller.get(timeout=LONG_S), gevent.GreenletExit)
    assert ends(fanout) == [End.CANCELLED]
    assert shard.open


def test_call_here_in_the_hub_which_cannot_wait_fails():
    fanout, raised = fan_out([FakeShard("s0")], here=True), []
    gevent.get_hub().loop.run_callback(lambda: raised.append(capture(fanout, None)))
    gevent.idle()
    assert raised == [None]
    assert isinstance(fanout.jobs[0].error, BlockingSwitchOutError)


@pytest.mark.parametrize("callback", [None, gevent_wait_callback])
def test_callback_of_psycogreen_is_replaced(callback):
    try:
        set_wait_callback(callback)
        _driver.make_cooperative()
        assert _driver.can_keep()
    finally:
        set_wait_callback(None)
        _driver.make_cooperative()


def test_with_a_callback_of_the_program_s_own_a_single_call_has_a_greenlet_of_its_own():
    def callback(connection):
        """Is never called."""

    job = FakeShard("s0").job(gevent.getcurrent)
    try:
        set_wait_callback(callback)
        _driver.make_cooperative()
        FanOut([job], LONG_S, here=True).run(LONG_S)
        assert get_wait_callback() is callback
    finally:
        set_wait_callback(None)
        _driver.make_cooperative()
    assert job.result is job.greenlet is not gevent.getcurrent()


def capture(fanout, timeout_s):
    try:
        fanout.run(timeout_s)
    except BaseException as raised:
        return raised
    return None
