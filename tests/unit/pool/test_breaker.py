from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from greenshard.pool.breaker import Breaker
from greenshard.pool.policy import Policy

POLICY = Policy(first_pause_s=1.0, longest_pause_s=8.0, patience_s=2.0)


def breaker_of(jitter=0.0):
    return Breaker(POLICY, lambda: jitter)


def fall(breaker, now, who="x"):
    assert breaker.admits(who, now)
    assert breaker.failed(who, now, "refused")


def test_everybody_may_try_while_the_shard_is_up():
    breaker = breaker_of()
    assert all(breaker.admits(who, 0.0) for who in "abc")
    assert (breaker.down, breaker.probing, breaker.reason) == (False, False, "")


def test_nobody_may_try_after_a_failure_until_the_pause_is_over():
    breaker = breaker_of()
    fall(breaker, 5.0)
    assert breaker.down
    assert (breaker.since, breaker.reason, breaker.retry_at) == (5.0, "refused", 6.0)
    assert not breaker.admits("a", 5.9)


def test_one_at_a_time_may_try_after_the_pause():
    breaker = breaker_of()
    fall(breaker, 0.0)
    assert breaker.probe_is_due(1.0)
    assert breaker.admits("a", 1.0)
    assert breaker.probing
    assert not breaker.probe_is_due(1.0)
    assert not breaker.admits("b", 100.0)


def test_a_probe_that_succeeds_lets_everybody_try():
    breaker = breaker_of()
    fall(breaker, 0.0)
    breaker.admits("a", 1.0)
    breaker.succeeded()
    assert (breaker.down, breaker.reason) == (False, "")
    assert all(breaker.admits(who, 1.0) for who in "abc")


def test_pauses_grow_up_to_the_longest():
    breaker = breaker_of()
    fall(breaker, 0.0)
    pauses = []
    for _ in range(6):
        now = breaker.retry_at
        fall(breaker, now)
        pauses.append(breaker.retry_at - now)
    assert pauses == [2.0, 4.0, 8.0, 8.0, 8.0, 8.0]
    assert breaker.since == 0.0


def test_pauses_start_anew_after_a_success():
    breaker = breaker_of()
    fall(breaker, 0.0)
    fall(breaker, 1.0)
    breaker.succeeded()
    fall(breaker, 10.0)
    assert breaker.retry_at == 11.0


def test_a_pause_is_shortened_by_chance():
    breaker = breaker_of(jitter=1.0)
    fall(breaker, 0.0)
    assert breaker.retry_at == pytest.approx(0.8)


def test_many_tries_that_fail_together_are_one_failure():
    breaker = breaker_of()
    assert all(breaker.admits(who, 0.0) for who in range(20))
    assert [breaker.failed(who, 0.1, "refused") for who in range(20)] == [True] + 19 * [False]
    assert breaker.retry_at == pytest.approx(1.1)


def test_a_failure_of_before_the_shard_came_up_says_nothing():
    breaker = breaker_of()
    breaker.admits("old", 0.0)
    breaker.admits("new", 1.0)
    breaker.succeeded()
    assert not breaker.failed("old", 1.1, "timeout")
    assert not breaker.down


def test_a_success_of_before_the_shard_went_down_counts():
    breaker = breaker_of()
    breaker.admits("old", 0.0)
    fall(breaker, 0.1)
    breaker.succeeded()
    assert not breaker.down


def test_a_shard_that_does_not_answer_is_down():
    breaker = breaker_of()
    assert breaker.admits("a", 0.0)
    assert breaker.admits("b", 1.9)
    assert not breaker.admits("c", 2.0)
    assert (breaker.since, breaker.reason) == (2.0, "no answer within 2 s")


def test_a_probe_is_not_judged_by_whoever_asks_beside_it():
    breaker = breaker_of()
    fall(breaker, 0.0)
    breaker.admits("a", 1.0)
    breaker.look(50.0)
    assert (breaker.reason, breaker.probing) == ("refused", True)


def test_a_try_given_up_soon_says_nothing():
    breaker = breaker_of()
    breaker.admits("a", 0.0)
    breaker.abandoned("a", 1.9)
    assert not breaker.down


def test_giving_up_what_was_not_begun_says_nothing():
    breaker = breaker_of()
    breaker.abandoned("a", 9.0)
    assert not breaker.down


def test_a_try_given_up_late_says_that_there_was_no_answer():
    breaker = breaker_of()
    breaker.admits("a", 0.0)
    breaker.abandoned("a", 2.0)
    assert breaker.down


def test_a_probe_given_up_soon_lets_another_follow():
    breaker = breaker_of()
    fall(breaker, 0.0)
    breaker.admits("a", 1.0)
    breaker.abandoned("a", 1.5)
    assert breaker.admits("b", 1.5)


class BreakerMachine(RuleBasedStateMachine):
    """Tries that begin and end in any order."""

    @initialize(jitter=st.floats(0, 1))
    def begin(self, jitter):
        self.breaker = breaker_of(jitter)
        self.now = 0.0
        self.tries = []
        self.probes = set()
        self.count = 0

    @rule(seconds=st.sampled_from([0.0, 0.1, 1.0, 2.0, 10.0]))
    def wait(self, seconds):
        self.now += seconds

    @rule()
    def attempt(self):
        due = self.breaker.probe_is_due(self.now)
        self.count += 1
        if self.breaker.admits(self.count, self.now):
            self.tries.append(self.count)
            if self.breaker.down:
                assert due
                self.probes.add(self.count)

    @precondition(lambda self: self.tries)
    @rule(data=st.data(), how=st.sampled_from(["succeeded", "failed", "abandoned"]))
    def end(self, data, how):
        who = data.draw(st.sampled_from(self.tries))
        self.tries.remove(who)
        if how == "succeeded":
            self.breaker.succeeded()
            assert not self.breaker.down
            self.probes.clear()
        elif how == "failed":
            self.breaker.failed(who, self.now, "refused")
        else:
            self.breaker.abandoned(who, self.now)
        self.probes.discard(who)

    @invariant()
    def there_is_one_probe_at_most(self):
        assert len(self.probes) <= 1
        assert self.breaker.probing == bool(self.probes)

    @invariant()
    def it_is_tried_again_soon_enough(self):
        if self.breaker.down and not self.breaker.probing:
            assert self.breaker.retry_at <= self.now + POLICY.longest_pause_s

    @invariant()
    def it_is_not_tried_too_soon(self):
        if self.breaker.down:
            assert self.breaker.retry_at >= self.breaker.since + 0.8 * POLICY.first_pause_s

    @invariant()
    def a_reason_is_told_while_it_is_down(self):
        assert bool(self.breaker.reason) == self.breaker.down


TestBreakerMachine = BreakerMachine.TestCase
TestBreakerMachine.settings = settings(max_examples=50, stateful_step_count=30, deadline=None)
