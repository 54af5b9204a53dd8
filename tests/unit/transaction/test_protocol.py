"""Which steps follow which answers; no connection takes part."""

from __future__ import annotations

import psycopg2
import pytest

from greenshard import errors
from greenshard.transaction import protocol
from greenshard.transaction.actions import (
    Answers,
    Check,
    Checked,
    Close,
    Commit,
    RollBack,
    Warn,
)
from greenshard.transaction.rolling_back import roll_back
from greenshard.transaction.state import State

THREE = ("s0", "s1", "s2")
UNTOUCHED, OPEN, FAILED, OVER, LOST, PREPARED = State


class Killed(BaseException):
    """Stands for what arrives from outside."""


def states(*each):
    return {f"s{number}": state for number, state in enumerate(each)}


ALL_OPEN = states(OPEN, OPEN, OPEN)
NONE_OPEN = states(UNTOUCHED, UNTOUCHED, UNTOUCHED)


class Steps:
    """Steps, and what they come to."""

    def __init__(self, steps):
        self._steps = steps
        self.action = next(steps)
        self.ended, self.error = False, None

    def answer(self, now=NONE_OPEN, **answers):
        try:
            self.action = self._steps.send(Answers(now, **answers))
        except StopIteration as end:
            self.ended, self.error = True, end.value
        return None if self.ended else self.action


def commit(at_first=ALL_OPEN, *, wrote=True, several=True):
    return Steps(protocol.commit(at_first, wrote=wrote, several=several, timeout_s=1.0))


def wrote(*shards):
    """What a check answers where these shards wrote."""
    return {"now": ALL_OPEN, "done": {shard: Checked(shard in shards) for shard in THREE}}


def done(*shards):
    return {"done": dict.fromkeys(shards)}


@pytest.mark.parametrize("wrote", [True, False])
def test_nothing_open_is_nothing_to_commit(wrote):
    steps = commit({}, wrote=wrote)
    assert steps.action == Commit((), unchecked=wrote)  # which lets the others have their turn
    assert steps.answer({}) is None
    assert steps.error is None


def test_reading_needs_no_check():
    steps = commit(wrote=False)
    assert steps.action == Commit(THREE)
    assert steps.answer(**done(*THREE)) is None
    assert steps.error is None


@pytest.mark.parametrize("state", [OPEN, OVER])
def test_one_shard_needs_no_check(state):
    steps = commit(states(UNTOUCHED, state, UNTOUCHED))
    assert steps.action == Commit(("s1",), unchecked=True)
    assert steps.answer(**done("s1")) is None
    assert steps.error is None


@pytest.mark.parametrize("writers", [THREE, ("s0", "s2"), ()])
def test_constraints_are_checked_everywhere_before_anything_is_committed(writers):
    steps = commit(states(OPEN, OVER, OPEN))
    assert steps.action == Check(THREE)
    assert steps.answer(**wrote(*writers)) == Commit(THREE)
    assert steps.answer(**done(*THREE)) is None
    assert steps.error is None


def test_the_only_writer_commits_first_and_alone():
    steps = commit()
    assert steps.answer(**wrote("s1")) == Commit(("s1",))
    assert steps.answer(states(OPEN, UNTOUCHED, OPEN), **done("s1")) == Commit(("s0", "s2"))
    assert steps.answer(**done("s0", "s2")) is None
    assert steps.error is None


def test_two_shards_are_several():
    steps = commit(states(OPEN, OPEN))
    assert steps.action == Check(("s0", "s1"))


@pytest.mark.parametrize("error", [errors.IntegrityError("violated"), Killed()])
def test_check_that_fails_rolls_back_everywhere(error):
    steps = commit()
    now = states(OPEN, FAILED, LOST)
    assert steps.answer(now, error=error) == RollBack(("s0", "s1"))
    assert steps.answer(**done("s0", "s1")) is None
    assert steps.error is error


def test_what_fails_in_a_check_is_told_though_time_is_up_too():
    steps = commit()
    error = errors.IntegrityError("violated")
    steps.answer(states(OPEN, FAILED, OPEN), error=error, late=True)
    steps.answer(**done(*THREE))
    assert steps.error is error


def test_checks_that_take_all_the_time_leave_nothing_committed():
    steps = commit()
    assert steps.answer(**wrote("s0"), late=True) == RollBack(THREE)
    assert steps.answer(**done(*THREE)) is None
    assert isinstance(steps.error, errors.QueryTimeout)
    assert steps.error.code == "GS301"
    assert "took all of 1 s" in str(steps.error)


@pytest.mark.parametrize("late", [True, False])
def test_commit_that_was_late_but_done_is_done(late):
    steps = commit(wrote=False)
    assert steps.answer(**done(*THREE), late=late) is None
    assert steps.error is None


@pytest.mark.parametrize(
    ("state", "open_ones"), [(FAILED, THREE), (LOST, ("s0", "s1"))], ids=["failed", "lost"]
)
def test_broken_transaction_is_rolled_back_on_all_shards_and_says_so(state, open_ones):
    steps = commit(states(OPEN, OPEN, state))
    assert steps.action == RollBack(open_ones)
    assert steps.answer(**done(*open_ones)) is None
    error = steps.error
    assert isinstance(error, errors.InternalError)
    assert isinstance(error, psycopg2.errors.InFailedSqlTransaction)
    assert (error.code, error.pgcode) == ("GS501", "25P02")
    assert str(error) == (
        "the transaction has failed on s2 and cannot be committed; "
        "it is rolled back on all shards [GS501]\n"
        "HINT:  After catching the error of a statement, call rollback(), or go back to a "
        "savepoint."
    )


def test_all_that_broke_is_told_first_what_was_lost():
    steps = commit(states(FAILED, OPEN, LOST))
    steps.answer(**done("s0", "s1"))
    assert "has failed on s2, s0 and cannot" in str(steps.error)


@pytest.mark.parametrize("options", [{"wrote": False}, {"several": False}])
def test_failed_transaction_that_wrote_nothing_or_is_one_servers_goes_to_the_server(options):
    steps = commit(states(FAILED), **options)
    assert steps.action == Commit(("s0",), unchecked="wrote" not in options)
    assert steps.answer(states(UNTOUCHED), **done("s0")) is None
    assert steps.error is None


def test_only_writer_that_fails_is_no_partial_commit():
    steps = commit()
    steps.answer(**wrote("s1"))
    error = errors.IntegrityError("violated")
    now = states(OPEN, UNTOUCHED, OPEN)
    assert steps.answer(now, error=error) == RollBack(("s0", "s2"))
    assert steps.answer(**done("s0", "s2")) is None
    assert steps.error is error
    assert error.hint is None


def test_commit_whose_answer_was_lost_is_told_to_be_in_doubt():
    steps = commit()
    steps.answer(**wrote("s1"))
    error = errors.OperationalError("gone")
    assert steps.answer(states(OPEN, LOST, OPEN), error=error) == RollBack(("s0", "s2"))
    steps.answer(**done("s0", "s2"))
    assert "It may be committed on s1, or not" in str(steps.error)
    assert "s0" not in str(steps.error)


@pytest.mark.parametrize("writers", [("s0", "s2"), THREE])
def test_commit_of_several_writers_whose_answers_were_all_lost_is_in_doubt(writers):
    steps = commit()
    steps.answer(**wrote(*writers))
    error = errors.OperationalError("gone")
    steps.answer(states(LOST, LOST, LOST), error=error)
    steps.answer(states(LOST, LOST, LOST))
    assert steps.error is error
    assert "It may be committed on s0, s1, s2, or not" in str(error)


@pytest.mark.parametrize("all_lost", [True, False])
def test_shards_that_were_only_read_have_nothing_to_lose(all_lost):
    steps = commit()
    steps.answer(**wrote("s1"))
    assert steps.answer(states(OPEN, UNTOUCHED, OPEN), **done("s1")) == Commit(("s0", "s2"))
    gone = errors.OperationalError("gone")
    if all_lost:
        assert steps.answer(states(LOST, UNTOUCHED, LOST), error=gone) == Close(("s0", "s2"))
    else:
        told = {"s0": gone}
        now = states(OPEN, UNTOUCHED, UNTOUCHED)
        assert steps.answer(now, **done("s2"), failures=told) == Close(("s0",))
    assert steps.answer() is None
    assert steps.error is None


def test_serializable_shards_that_were_only_read_commit_before_the_writer():
    steps = commit()
    told = {s: Checked(s == "s1", serializable=True) for s in THREE}
    assert steps.answer(done=told) == Commit(("s0", "s2"))
    assert steps.answer(states(UNTOUCHED, OPEN, UNTOUCHED), **done("s0", "s2")) == Commit(("s1",))
    assert steps.answer(NONE_OPEN, **done("s1")) is None
    assert steps.error is None


@pytest.mark.parametrize("alone", [True, False])
def test_serializable_shard_that_cannot_commit_what_was_read_undoes_all(alone):
    steps = commit()
    steps.answer(done={s: Checked(s == "s1", serializable=True) for s in THREE})
    error = errors.OperationalError("could not serialize")
    now = states(UNTOUCHED, OPEN, UNTOUCHED)
    failed = {"error": error} if alone else {**done("s2"), "failures": {"s0": error}}
    assert steps.answer(now, **failed) == RollBack(("s1",))
    assert steps.answer(NONE_OPEN, **done("s1")) is None
    assert steps.error is error


@pytest.mark.parametrize("error", [errors.OperationalError("gone"), Killed()])
def test_commit_of_what_was_only_read_leaves_no_doubt(error):
    steps = commit(wrote=False)
    lost = states(LOST, LOST, LOST)
    assert steps.answer(lost, error=error) == RollBack(())
    assert steps.answer(lost) is None
    assert steps.error is error
    assert "committed" not in str(error)


def test_commit_that_fails_on_one_of_several_writers_tells_who_has_committed():
    steps = commit()
    steps.answer(**wrote(*THREE))
    gone = errors.OperationalError("gone\naway")
    now = states(UNTOUCHED, LOST, UNTOUCHED)
    assert steps.answer(now, **done("s0", "s2"), failures={"s1": gone}) == RollBack(())
    assert steps.answer(now) is None
    error = steps.error
    assert isinstance(error, errors.PartialCommitError)
    assert (error.code, error.committed, error.failures) == ("GS502", ("s0", "s2"), {"s1": gone})
    assert "is committed on s0, s2 and not, or not known to be, on:\n  s1: gone away" in str(error)


def test_kill_between_commits_is_told_to_the_log_if_some_are_committed():
    steps = commit()
    steps.answer(**wrote(*THREE))
    killed = Killed()
    now = states(UNTOUCHED, LOST, OPEN)
    assert steps.answer(now, error=killed) == Warn(("s1", "s2"))
    assert steps.answer(now) == RollBack(("s2",))
    assert steps.answer(states(UNTOUCHED, LOST, UNTOUCHED), **done("s2")) is None
    assert steps.error is killed


@pytest.mark.parametrize("now", [NONE_OPEN, states(LOST, LOST, LOST)])
def test_kill_after_all_or_none_is_not_told_to_the_log(now):
    steps = commit()
    steps.answer(**wrote(*THREE))
    assert isinstance(steps.answer(now, error=Killed()), RollBack)


def what_was_read(at_first=ALL_OPEN):
    written = set()
    return Steps(protocol.commit_what_was_read(at_first, written)), written


def test_what_was_only_read_is_committed_and_who_has_written_goes_on():
    steps, written = what_was_read(states(OPEN, OPEN, FAILED))
    assert steps.action == Commit(("s0", "s1"), unless_written=True)
    assert steps.answer(done={"s0": False, "s1": True}) is None
    assert (steps.error, written) == (None, {"s1"})


@pytest.mark.parametrize("alone", [True, False])
def test_shard_that_cannot_tell_whether_it_has_written_undoes_the_others(alone):
    steps, written = what_was_read()
    gone = psycopg2.OperationalError("gone")
    told = {"error": errors.from_driver(gone, "s1")} if alone else {"failures": {"s1": gone}}
    now = states(UNTOUCHED, LOST, OPEN)
    assert steps.answer(now, done={"s0": False, "s2": True}, **told) == RollBack(("s2",))
    assert steps.answer(NONE_OPEN, **done("s2")) is None
    assert isinstance(steps.error, errors.OperationalError)
    assert (steps.error.shard, written) == ("s1", set())
    assert not isinstance(steps.error, errors.PartialCommitError)


def test_rollback_is_sent_where_there_is_something_to_end():
    steps = Steps(roll_back({**states(OPEN, FAILED, OVER, LOST), "s9": UNTOUCHED}))
    assert steps.action == RollBack(THREE)
    assert steps.answer(**done(*THREE)) is None
    assert steps.error is None


def test_rollback_that_fails_costs_that_connection_and_is_no_error():
    steps = Steps(roll_back(ALL_OPEN))
    failures = {"s1": errors.OperationalError("gone")}
    assert steps.answer(**done("s0", "s2"), failures=failures) == Close(("s1",))
    assert steps.answer() is None
    assert steps.error is None


def test_rollback_that_no_shard_answers_is_an_error():
    steps = Steps(roll_back(ALL_OPEN))
    error = errors.OperationalError("gone")
    assert steps.answer(states(LOST, LOST, LOST), error=error) is None
    assert steps.error is error


def test_rollback_that_the_driver_refuses_leaves_the_transaction_as_it_is():
    steps = Steps(roll_back(states(OPEN)))
    error = errors.ProgrammingError("rollback cannot be used during a two-phase transaction")
    assert steps.answer(states(OPEN), error=error) is None
    assert steps.error is error


def test_why_a_transaction_ended_is_told_although_it_could_not_be_rolled_back():
    steps = commit()
    first = errors.IntegrityError("violated")
    assert steps.answer(states(FAILED, LOST, LOST), error=first) == RollBack(("s0",))
    later = errors.OperationalError("gone")
    steps.answer(states(LOST, LOST, LOST), error=later)
    assert steps.error is first


def test_kill_that_arrives_while_a_failed_commit_is_rolled_back_is_not_lost():
    steps = commit()
    steps.answer(ALL_OPEN, error=errors.IntegrityError("violated"))
    killed = Killed()
    steps.answer(error=killed)
    assert steps.error is killed
