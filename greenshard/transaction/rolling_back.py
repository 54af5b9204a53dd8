"""The steps that undo a transaction."""

from __future__ import annotations

from collections.abc import Generator

from greenshard import errors
from greenshard.transaction.actions import (
    Action,
    Answers,
    Close,
    RollBack,
    Shards,
    States,
    Steps,
)
from greenshard.transaction.state import TO_BE_ENDED, State


def roll_back(states: States) -> Steps:
    """Roll back everywhere. A shard that cannot be asked loses its connection.

    Args:
        states: The shards that it was open on, with how it stands there.
    """
    answers = yield RollBack(those(states, *TO_BE_ENDED))
    if answers.failures:
        yield Close(tuple(answers.failures))
    return answers.error


def close_open(shards: Shards, answers: Answers) -> Generator[Action, Answers, None]:
    """Close the connections on which something that was to end has not: their servers roll back.

    Args:
        shards: Where it was to end.
        answers: What they have said. Where it has ended something may be open nevertheless, which
            ``COMMIT AND CHAIN`` has begun.
    """
    left = tuple(
        shard
        for shard in shards
        if shard not in answers.done and answers.states[shard] is not State.UNTOUCHED
    )
    if left:
        yield Close(left)


def undo(states: States, error: BaseException) -> Steps:
    """Roll back because of an error, which is told even if that cannot be done either.

    It says why the transaction ended, and maybe that it is in doubt. But what arrives from outside
    meanwhile (a kill) must not be lost.
    """
    arrived = yield from roll_back(states)
    return error if arrived is None or isinstance(arrived, Exception) else arrived


def those(states: States, *wanted: State) -> Shards:
    """The shards on which it stands so."""
    return tuple([shard for shard, state in states.items() if state in wanted])


def out_of_time(timeout_s: float | None) -> errors.QueryTimeout:
    """The error if all that may be undone must be, because time is up."""
    return errors.QueryTimeout(
        f"the checks before COMMIT took all of {timeout_s:g} s; "
        "the transaction is rolled back on all shards",
        code="GS301",
        hint="Raise the timeout, or look at what deferred constraints and triggers do.",
    )
