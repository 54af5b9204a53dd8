"""The protocol of commits and of recovery, in every order in which things can happen and fail."""

from __future__ import annotations

import pytest

from greenshard.transaction import protocol
from greenshard.transaction.actions import Answers, Check, Commit, Prepare, RollBack, Settle
from tests.protocol.model import COMMITTED, NOTHING, Faults, Left, Model

ONE, TWO = Left(all=1), Left(all=2)
PAIR, TRIPLE = (True, True), (True, True, True)


@pytest.mark.parametrize(
    ("writers", "recoverers", "left"),
    [
        (PAIR, 1, TWO),
        (PAIR, 2, ONE),
        (TRIPLE, 0, TWO),
        (TRIPLE, 1, ONE),
        # A shard that has only read; and the one that was to decide has only read.
        ((True, True, False), 1, ONE),
        ((False, True, True), 1, ONE),
        # One writer alone.
        ((True, False), 1, TWO),
        ((False, True), 1, TWO),
    ],
)
def test_nothing_that_happens_leaves_a_transaction_half_done(writers, recoverers, left):
    model = Model(writers, recoverers=recoverers, left=left, in_order=len(writers) > 2)
    assert model.search() > 500


@pytest.mark.parametrize("writers", [PAIR, TRIPLE, (False, True, True)])
def test_recovery_undoes_no_commit_that_nothing_has_disturbed(writers):
    seen = set()
    model = Model(writers, recoverers=2, left=NOTHING, in_order=True)
    model.search(lambda world: seen.add(world.said))
    assert seen == {None, COMMITTED}


# What must be found ---------------------------------------------------------------------------


def prepares_early(states, **_):
    """PREPARE is sent before all shards have answered the check."""
    anchor, *others = states
    yield Prepare(tuple(others), (), anchor)
    checked = yield Check((anchor,), anchor)
    if checked.error is not None:
        yield RollBack(tuple(states))
        return checked.error
    yield Commit((anchor,), decides=True)
    yield Commit(tuple(others))
    return None


def finishes_early(states, **_):
    """COMMIT PREPARED is sent before the anchor has decided."""
    anchor, *others = states
    yield Check(tuple(states), anchor)
    yield Prepare(tuple(others), (), anchor)
    yield Commit(tuple(others))
    yield Commit((anchor,), decides=True)


def gives_up(states, **options):
    """A COMMIT of the anchor whose answer is lost is taken for rolled back."""
    steps = protocol.commit(states, **options)
    action, answers = next(steps), Answers(states)
    try:
        while True:
            if isinstance(action, Settle):
                answers = Answers(answers.states, {action.anchor: False})
            else:
                answers = yield action
            action = steps.send(answers)
    except StopIteration as end:
        return end.value


@pytest.mark.parametrize(
    ("faults", "left", "found"),
    [
        (Faults(recovery="rolls back"), ONE, "half applied"),
        (Faults(recovery="only looks"), NOTHING, "half applied"),
        (Faults(removes_early=True), ONE, "half applied"),
        (Faults(tag=True), ONE, "half applied"),
        (Faults(commit=finishes_early), ONE, "half applied"),
        (Faults(commit=gives_up), ONE, "half applied|reported rolled back, and applied"),
    ],
)
def test_fault_in_the_protocol_is_found(faults, left, found):
    with pytest.raises(AssertionError, match=found):
        Model(PAIR, left=left, faults=faults).search()


def test_prepare_before_all_have_answered_lets_recovery_undo_what_nothing_has_disturbed():
    seen = set()
    model = Model(PAIR, left=NOTHING, faults=Faults(commit=prepares_early))
    model.search(lambda world: seen.add(world.said))
    assert seen - {None, COMMITTED}
