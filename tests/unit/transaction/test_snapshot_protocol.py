"""Which steps follow which answers when a moment over all shards is looked for."""

from __future__ import annotations

from dataclasses import replace

from greenshard.transaction.gids import Gid, new_transaction
from greenshard.transaction.snapshot_protocol import (
    FIRST_PAUSE_S,
    FIRST_WAIT_S,
    LONGEST_PAUSE_S,
    LONGEST_WAIT_S,
    NEXT_WAIT_S,
    Answers,
    Freeze,
    Holder,
    LetGo,
    Lock,
    Pause,
    Recover,
    take,
)

COMMITS = Holder("s1", 42, "app", 0.25)
NAME = Gid("c" * 32, "0" * 32, new_transaction(1e9)).prepared("1" * 32)
IN_DOUBT = Holder("s1", None, NAME, 12.0)


class Attempt:
    """The steps of one reader, by a clock that only the actions move."""

    def __init__(self, limit_s=5.0, uneven=lambda: 1.0):
        self._steps = take(limit_s, uneven)
        self.left_s = limit_s
        self.action = next(self._steps)
        self.actions = [self.action]
        self.ended, self.error = False, None

    def answer(self, **answers):
        spent_s = getattr(self.action, "wait_s", 0.0) + getattr(self.action, "seconds", 0.0)
        self.left_s = max(0.0, self.left_s - spent_s)
        try:
            self.action = self._steps.send(Answers(self.left_s, **answers))
            self.actions.append(self.action)
        except StopIteration as end:
            self.ended, self.error = True, end.value
        return None if self.ended else self.action

    def run_against(self, holder):
        """Never get the lock; returns all actions."""
        while not self.ended:
            if isinstance(self.action, Lock):
                self.answer(missed=("s1",))
            elif isinstance(self.action, LetGo):
                self.answer(holders=(holder,))
            elif isinstance(self.action, Recover):
                self.answer(told="recovery has run")
            else:
                self.answer()
        return self.actions


def test_all_have_the_lock_at_once():
    attempt = Attempt()
    assert attempt.action == Lock(FIRST_WAIT_S)
    assert attempt.answer() == Freeze()
    attempt.answer()
    assert attempt.ended
    assert attempt.error is None


def test_nothing_is_frozen_before_all_have_the_lock():
    attempt = Attempt()
    assert attempt.answer(missed=("s1", "s2")) == LetGo(("s1", "s2"))
    assert isinstance(attempt.answer(holders=(COMMITS,)), Pause)
    assert attempt.answer() == Lock(NEXT_WAIT_S)
    assert attempt.answer() == Freeze()


def test_slow_commits_are_waited_for_longer_and_have_half_of_the_time():
    actions = Attempt(limit_s=20.0).run_against(COMMITS)
    waits = [each.wait_s for each in actions if isinstance(each, Lock)]
    pauses = [each.seconds for each in actions if isinstance(each, Pause)]
    assert waits[:-1] == sorted(waits[:-1])
    assert max(waits) == LONGEST_WAIT_S
    assert pauses[0] == FIRST_PAUSE_S
    assert pauses[-1] == LONGEST_PAUSE_S
    assert sum(pauses) > 0.45 * 20
    assert not any(isinstance(each, Recover) for each in actions)


def test_time_that_is_up_tells_who_is_in_the_way():
    attempt = Attempt(limit_s=0.2)
    attempt.run_against(COMMITS)
    assert attempt.left_s >= 0
    text = str(attempt.error)
    assert attempt.error.code == "GS506"
    assert "within 0.2 s" in text
    assert "s1: process 42 (app) has the barrier, in a transaction begun 0.2 s ago" in text
    assert "pg_stat_activity" in attempt.error.hint


def test_the_first_wait_is_no_longer_than_the_limit():
    assert Attempt(limit_s=0.012).action == Lock(0.006)


def test_a_server_that_tells_nothing_of_it():
    attempt = Attempt(limit_s=0.01)
    attempt.answer(missed=("s1",))
    attempt.answer()
    assert str(attempt.error).startswith("no snapshot over all shards within 0.01 s [GS506]")
    attempt = Attempt(limit_s=0.01)
    attempt.answer(missed=("s1",))
    attempt.answer(holders=(Holder("s1", 7, "", None),))
    assert "process 7 has the barrier, in a transaction\n" in str(attempt.error)


def test_what_has_been_prepared_for_long_is_recovered():
    attempt = Attempt()
    attempt.answer(missed=("s1",))
    # A commit may be under way.
    assert isinstance(attempt.answer(holders=(replace(IN_DOUBT, seconds=0.1),)), Pause)
    attempt.answer()
    attempt.answer(missed=("s1",))
    assert attempt.answer(holders=(IN_DOUBT,)) == Recover()
    assert isinstance(attempt.answer(told="it was finished"), Pause)
    # Commits are not held up longer because of what nobody ends; nor is it tried again.
    assert attempt.answer() == Lock(NEXT_WAIT_S)
    attempt.answer(missed=("s1",))
    assert isinstance(attempt.answer(holders=(IN_DOUBT,)), Pause)
    assert attempt.answer() == Lock(NEXT_WAIT_S)
    assert attempt.answer() == Freeze()


def test_other_transactions_that_are_prepared_one_after_the_other_are_commits():
    attempt = Attempt(limit_s=2.0)
    number = 0
    while not attempt.ended:
        number += 1
        if isinstance(attempt.action, Lock):
            attempt.answer(missed=("s1",))
        elif isinstance(attempt.action, LetGo):
            attempt.answer(holders=(Holder("s1", None, f"greenshard_{number}", 0.001),))
        else:
            attempt.answer()
    assert not any(isinstance(each, Recover) for each in attempt.actions)


def test_what_stays_in_doubt_is_told_with_what_recovery_said():
    attempt = Attempt(limit_s=1.0)
    attempt.run_against(IN_DOUBT)
    text = str(attempt.error)
    assert f"s1: transaction {NAME} has the barrier, prepared 12.0 s ago\n" in text
    assert "recovery has run" in text
    assert "greenshard recover" in attempt.error.hint


def test_what_a_foreign_coordinator_has_prepared_is_its_own_business():
    attempt = Attempt(limit_s=1.0)
    actions = attempt.run_against(replace(IN_DOUBT, name="1_Zg==_Yg==.s1"))
    assert Recover() not in actions
    assert "transaction 1_Zg==_Yg==.s1 has the barrier, prepared 12.0 s ago" in str(attempt.error)
    assert "tpc_recover() lists it" in attempt.error.hint


def test_readers_that_have_met_do_not_go_on_in_step():
    uneven = iter([0.5, 1.5])
    attempt = Attempt(uneven=lambda: next(uneven))
    attempt.answer(missed=("s0",))
    assert attempt.answer() == Pause(0.5 * FIRST_PAUSE_S)
