"""Which steps follow which answers when several shards that wrote commit together."""

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
    Finish,
    Leave,
    Note,
    Prepare,
    RollBack,
    Settle,
    TwoPhase,
    Warn,
)
from greenshard.transaction.gids import Gid
from greenshard.transaction.state import State

THREE = ("s0", "s1", "s2")
UNTOUCHED, OPEN, FAILED, OVER, LOST, PREPARED = State
IDS = {"s0": "0" * 32, "s1": "1" * 32, "s2": "2" * 32}
DECISION = Gid("c" * 32, IDS["s0"], "f" * 32).decision


def states(*each):
    return {f"s{number}": state for number, state in enumerate(each)}


ALL_OPEN = states(OPEN, OPEN, OPEN)
#: The anchor is s0.
ALL_READY = states(OPEN, PREPARED, PREPARED)
DECIDED = states(UNTOUCHED, PREPARED, PREPARED)
ALL_DONE = states(UNTOUCHED, UNTOUCHED, UNTOUCHED)


class Steps:
    """Steps, and what they come to."""

    def __init__(self, writers=(), lacks=None):
        two_phase = TwoPhase("c" * 32, IDS, "f" * 32, writers, lacks)
        self._steps = protocol.commit(
            ALL_OPEN, wrote=True, several=True, timeout_s=1.0, two_phase=two_phase
        )
        self.action = next(self._steps)
        self.ended, self.error = False, None

    def answer(self, now=ALL_DONE, *done, **answers):
        results = answers.pop("results", dict.fromkeys(done))
        try:
            self.action = self._steps.send(Answers(now, results, **answers))
        except StopIteration as end:
            self.action, self.ended, self.error = None, True, end.value
        return self.action

    def check(self, *writers, holds=()):
        told = {s: Checked(s in writers, dict(holds).get(s)) for s in THREE}
        return self.answer(ALL_OPEN, results=told)


@pytest.fixture
def prepared():
    """All three have written, and all but s0 are prepared."""
    steps = Steps()
    steps.check(*THREE)
    steps.answer(ALL_READY, "s1", "s2")
    return steps


@pytest.fixture
def decided(prepared):
    prepared.answer(DECIDED, "s0")
    return prepared


def test_all_that_wrote_commit_together():
    steps = Steps()
    assert steps.action == Check(THREE, "s0")
    assert steps.check(*THREE) == Prepare(("s1", "s2"), (), "s0")
    assert steps.answer(ALL_READY, "s1", "s2") == Commit(("s0",), decides=True)
    assert steps.answer(DECIDED, "s0") == Commit(("s1", "s2"))
    assert steps.answer(ALL_DONE, "s1", "s2") is None
    assert steps.error is None


def test_who_is_known_to_have_written_decides():
    steps = Steps(writers={"s2", "s1"})
    assert steps.action == Check(THREE, "s1")
    assert steps.check("s1", "s2") == Prepare(("s2",), (), "s1")


def test_who_has_not_written_does_not_decide():
    steps = Steps()
    assert steps.check("s1", "s2") == Note("s1")
    assert steps.answer(ALL_OPEN, "s1") == Prepare(("s2",), (), "s1")


def test_locks_of_who_has_only_read_are_kept_until_it_is_decided():
    steps = Steps(writers={"s1"})
    steps.check("s1", "s2")
    steps.answer(states(OPEN, OPEN, PREPARED), "s2")
    assert steps.answer(states(OPEN, UNTOUCHED, PREPARED), "s1") == Commit(("s2", "s0"))
    assert steps.answer(ALL_DONE, "s2", "s0") is None
    assert steps.error is None


def test_who_has_only_read_and_is_lost_in_the_end_is_no_news():
    steps = Steps(writers={"s1"})
    steps.check("s1", "s2")
    steps.answer(states(OPEN, OPEN, PREPARED), "s2")
    steps.answer(states(OPEN, UNTOUCHED, PREPARED), "s1")
    assert steps.answer(states(LOST, UNTOUCHED, UNTOUCHED), "s2") == Close(("s0",))
    assert steps.answer(ALL_DONE) is None
    assert steps.error is None


def test_serializable_shard_that_has_only_read_commits_before_it_is_decided():
    steps = Steps(writers={"s1"})
    told = {s: Checked(s != "s0", serializable=True) for s in THREE}
    assert steps.answer(ALL_OPEN, results=told) == Prepare(("s2",), ("s0",), "s1")
    steps.answer(states(UNTOUCHED, OPEN, PREPARED), "s0", "s2")
    assert steps.answer(states(UNTOUCHED, UNTOUCHED, PREPARED), "s1") == Commit(("s2",))


def test_what_cannot_be_prepared_decides():
    steps = Steps()
    assert steps.check(*THREE, holds={"s2": "temporary tables"}) == Note("s2")
    assert steps.answer(ALL_OPEN, "s2") == Prepare(("s0", "s1"), (), "s2")
    steps = Steps()
    assert steps.check(*THREE, holds={"s0": "temporary tables"}) == Prepare(("s1", "s2"), (), "s0")


def test_two_that_cannot_be_prepared_are_rolled_back():
    steps = Steps()
    held = {"s1": "temporary tables", "s2": "a cursor WITH HOLD"}
    assert steps.check(*THREE, holds=held) == RollBack(THREE)
    steps.answer(ALL_DONE, *THREE)
    assert (steps.error.code, steps.ended) == ("GS505", True)
    assert "temporary tables on s1, a cursor WITH HOLD on s2" in str(steps.error)


def test_one_writer_commits_alone_and_first():
    steps = Steps()
    assert steps.check("s1") == Commit(("s1",))
    assert steps.answer(states(OPEN, UNTOUCHED, OPEN), "s1") == Commit(("s0", "s2"))


def test_shards_that_cannot_commit_together_are_rolled_back():
    lacks = errors.refused("they cannot", code="GS503")
    steps = Steps(lacks=lacks)
    assert steps.action == Check(THREE, None)
    assert steps.check("s0", "s1") == RollBack(THREE)
    steps.answer(ALL_DONE, *THREE)
    assert steps.error is lacks


def test_one_writer_may_commit_where_shards_cannot_commit_together():
    steps = Steps(lacks=errors.refused("they cannot", code="GS503"))
    assert steps.check("s2") == Commit(("s2",))


@pytest.mark.parametrize("answers", [{"error": errors.OperationalError("no")}, {"late": True}])
def test_decision_that_cannot_be_taken_down_undoes_all(answers):
    steps = Steps()
    steps.check("s1", "s2")
    assert steps.answer(ALL_OPEN, **answers) == RollBack(THREE)
    steps.answer(ALL_DONE, *THREE)
    assert isinstance(steps.error, errors.OperationalError)


@pytest.mark.parametrize("answers", [{"error": errors.OperationalError("no")}, {"late": True}])
def test_shard_that_cannot_prepare_undoes_all(answers):
    steps = Steps()
    steps.check(*THREE)
    now = states(OPEN, UNTOUCHED, PREPARED)
    assert steps.answer(now, "s2", **answers) == RollBack(("s0", "s2"))
    assert steps.answer(ALL_DONE, "s0", "s2") is None
    assert isinstance(steps.error, errors.OperationalError)


def test_shard_that_is_lost_while_it_prepares_is_asked_anew():
    steps = Steps()
    steps.check(*THREE)
    error = errors.OperationalError("gone")
    assert steps.answer(states(OPEN, LOST, PREPARED), "s2", error=error) == RollBack(("s0", "s2"))
    now = states(UNTOUCHED, LOST, UNTOUCHED)
    assert steps.answer(now, "s0", "s2") == Finish(("s1",), "s0", committed=False)
    # If it does not answer, there is no decision for whoever recovers it.
    assert steps.answer(now) is None
    assert steps.error is error


def test_prepared_shard_that_does_not_roll_back_is_asked_anew():
    steps = Steps()
    steps.check(*THREE)
    error = errors.OperationalError("no")
    steps.answer(states(OPEN, PREPARED, UNTOUCHED), "s1", error=error)
    # Nothing succeeded: then there are no `failures`, but an error.
    late = {"error": errors.QueryTimeout("late")}
    assert steps.answer(states(OPEN, PREPARED, UNTOUCHED), **late) == Close(("s0", "s1"))
    assert steps.answer(states(LOST, LOST, UNTOUCHED)) == Finish(("s1",), "s0", committed=False)


@pytest.mark.parametrize(
    ("sqlstate", "code"), [("0A000", "GS505"), ("53200", None), ("55000", None), ("40001", None)]
)
def test_error_of_prepare_tells_the_way_out(sqlstate, code):
    steps = Steps()
    steps.check(*THREE)
    error = errors.refused("cannot PREPARE", pgcode=sqlstate)
    steps.answer(states(OPEN, UNTOUCHED, UNTOUCHED), error=error)
    steps.answer(ALL_DONE, "s0")
    assert steps.error.code == code
    assert "cannot PREPARE" in str(steps.error)
    assert (steps.error.hint is None) is (sqlstate == "40001")


def test_anchor_that_fails_to_commit_undoes_all(prepared):
    error = psycopg2.errors.SerializationFailure("no")
    now = states(UNTOUCHED, PREPARED, PREPARED)
    assert prepared.answer(now, error=error) == RollBack(("s1", "s2"))
    assert prepared.answer(ALL_DONE, "s1", "s2") is None
    assert prepared.error is error


def test_kill_after_the_decision_does_not_stop_it(prepared):
    class Killed(BaseException):
        pass

    assert prepared.answer(DECIDED, "s0", error=Killed()) == Commit(("s1", "s2"))
    assert prepared.answer(ALL_DONE, "s1", "s2", error=Killed()) is None
    assert prepared.error is None  # what arrived is raised by who carries the steps out


@pytest.mark.parametrize("told", ["failures", "error"])
def test_lost_answer_of_the_anchor_is_asked_for(prepared, told):
    gone = errors.OperationalError("gone")
    now = states(LOST, PREPARED, PREPARED)
    answers = {"error": gone} if told == "error" else {"failures": {"s0": gone}}
    assert prepared.answer(now, **answers) == Settle("s0")
    assert prepared.answer(now, results={"s0": True}) == Commit(("s1", "s2"))
    assert prepared.answer(now, "s1", "s2") is None
    assert prepared.error is None


def test_anchor_that_has_not_committed_undoes_all(prepared):
    gone = errors.OperationalError("gone")
    now = states(LOST, PREPARED, PREPARED)
    prepared.answer(now, error=gone)
    assert prepared.answer(now, results={"s0": False}) == RollBack(("s1", "s2"))
    assert prepared.answer(states(LOST, UNTOUCHED, UNTOUCHED), "s1", "s2") is None
    assert prepared.error is gone
    assert "rolled back on all shards" in str(gone)


def test_anchor_that_cannot_be_asked_leaves_the_transaction_in_doubt(prepared):
    now = states(LOST, PREPARED, PREPARED)
    gone = errors.OperationalError("gone")
    prepared.answer(now, error=gone)
    assert prepared.answer(now) == Leave(("s1", "s2"))
    assert prepared.answer(now) == Warn(THREE)
    assert prepared.answer(now) is None
    error = prepared.error
    assert isinstance(error, errors.TransactionInDoubt)
    assert (error.code, error.gid, error.committed) == ("GS504", DECISION, ())
    assert error.failures == {"s0": gone}
    assert "on all shards or on none, cannot be told yet" in str(error)


def test_who_has_only_read_is_let_go_if_nobody_knows_and_nothing_else_is():
    steps = Steps(writers={"s1"})
    steps.check("s1", "s2")
    steps.answer(states(OPEN, OPEN, PREPARED), "s2")
    now = states(OPEN, LOST, PREPARED)
    steps.answer(now, error=errors.OperationalError("gone"))
    assert steps.answer(now) == Leave(("s2",))
    assert steps.answer(now) == Warn(("s1", "s2"))
    assert steps.answer(now) == RollBack(("s0",))
    assert steps.answer(now) == Close(("s0",))
    assert steps.answer(now) is None
    assert isinstance(steps.error, errors.TransactionInDoubt)


def test_shard_that_cannot_be_told_is_told_anew(decided):
    gone = errors.OperationalError("gone")
    now = states(UNTOUCHED, UNTOUCHED, LOST)
    answers = {"failures": {"s2": gone}}
    assert decided.answer(now, "s1", **answers) == Finish(("s2",), "s0", committed=True)
    # Its connection must not take it for the next transaction.
    assert decided.answer(now, "s2") == Leave(("s2",))
    assert decided.answer(now) is None
    assert decided.error is None


@pytest.mark.parametrize("answers", [{"failures": {"s2": errors.InterfaceError("gone")}}, {}])
def test_shard_that_cannot_be_told_is_in_doubt(decided, answers):
    now = states(UNTOUCHED, UNTOUCHED, LOST)
    decided.answer(now, "s1", **answers)
    assert decided.answer(now) == Leave(("s2",))
    assert decided.answer(now) == Warn(("s2",))
    assert decided.answer(now) is None
    error = decided.error
    assert (error.gid, error.committed, set(error.failures)) == (DECISION, ("s0", "s1"), {"s2"})
    assert "the transaction is committed, but s2 could not be told" in str(error)
