"""The steps by which several shards that wrote commit together; see `protocol`."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass

from greenshard import errors
from greenshard.transaction.actions import (
    Action,
    Answers,
    Checked,
    Close,
    Commit,
    Finish,
    Leave,
    Note,
    Prepare,
    RollBack,
    Settle,
    Shards,
    States,
    Steps,
    TwoPhase,
    Warn,
)
from greenshard.transaction.rolling_back import close_open, out_of_time, those, undo
from greenshard.transaction.state import TO_BE_ENDED, State

#: SQLSTATE of PREPARE TRANSACTION for what cannot be prepared.
_NOT_SUPPORTED = "0A000"
#: Of what PREPARE TRANSACTION alone finds out, by SQLSTATE.
_HINTS = {
    "53200": "Raise max_prepared_transactions on that server, or see whether `greenshard recover` "
    "finds transactions that nobody has finished.",
    "55000": "Set max_prepared_transactions on that server to as many as max_connections.",
}


_APART = (
    "Let the statements that use temporary tables, LISTEN, NOTIFY, cursors WITH HOLD or exported "
    "snapshots be a transaction of their own; or, with two_phase=False, the shards commit one "
    "after the other."
)
_NOTIFIES = (
    "What LISTEN and NOTIFY do, also pg_notify() in a trigger, can be committed on one shard of "
    "several at most. Let the trigger write a row, for a program that reads it and notifies; or "
    "let the rows of each shard be a transaction of their own; or, with two_phase=False, the "
    "shards commit one after the other."
)


@dataclass(frozen=True, slots=True)
class _Parts:
    """Who does what.

    Attributes:
        decides: The shard whose COMMIT decides.
        others: Those that have written, too, and are prepared.
        first: Those that have only read, and must not fail when it is decided.
        last: The others that have only read: their locks are kept until it is decided.
        noted: Whether the decision has been taken down with the check.
        gid: The transaction's name.
    """

    decides: str
    others: Shards
    first: Shards
    last: Shards
    noted: bool
    gid: str


_Outcome = tuple[States, BaseException | None]


def commit_together(
    two_phase: TwoPhase,
    anchor: str,
    states: States,
    checked: Mapping[str, Checked],
    timeout_s: float | None,
) -> Steps:
    """Commit on several shards that wrote, all of which have answered `Check`.

    Args:
        two_phase: What it needs.
        anchor: The shard that was to take down the decision, if it wrote.
        states: How it stands on all of them.
        checked: What they answered.
        timeout_s: What all actions may take, for messages.
    """
    writers = tuple(shard for shard, each in checked.items() if each.wrote)
    holding = tuple(shard for shard in writers if checked[shard].holds)
    if len(holding) > 1:
        named = ", ".join(f"{checked[shard].holds} on {shard}" for shard in holding)
        return (yield from undo(states, _cannot_prepare(f"it has used {named}")))
    # What cannot be prepared is not prepared: that shard decides.
    decides = holding[0] if holding else anchor if anchor in writers else writers[0]
    parts = _Parts(
        decides,
        tuple(shard for shard in writers if shard != decides),
        tuple(shard for shard, each in checked.items() if not each.wrote and each.serializable),
        tuple(shard for shard, each in checked.items() if not (each.wrote or each.serializable)),
        decides == anchor and anchor in writers,
        two_phase.gid(decides).decision,
    )
    states, error = yield from _prepare(parts, states, timeout_s)
    if error is None:
        states, error = yield from _decide(parts)
        if isinstance(error, errors.TransactionInDoubt):
            # And nothing else: what is prepared may have to be committed.
            yield from _let_go(parts.last, states)
            return error
    if error is not None:
        return (yield from _undo_prepared(states, parts, error))
    return (yield from _finish(parts))


def _prepare(
    parts: _Parts, states: States, timeout_s: float | None
) -> Generator[Action, Answers, _Outcome]:
    """Prepare all but the one that decides; returns why it must be undone, if it must."""
    if not parts.noted:
        answers = yield Note(parts.decides)
        states = answers.states
        if (error := _failed(answers, timeout_s)) is not None:
            return states, error
    answers = yield Prepare(parts.others, parts.first, parts.decides)
    return answers.states, _failed(answers, timeout_s)


def _decide(parts: _Parts) -> Generator[Action, Answers, _Outcome]:
    """Let the shard that decides commit; returns why it has not, or that nobody can tell."""
    decides = parts.decides
    answers = yield Commit((decides,), decides=True)
    if decides in answers.done:
        return answers.states, None
    error = answers.failures.get(decides, answers.error)
    assert error is not None  # noqa: S101  # it says why it is not done
    if answers.states[decides] is not State.LOST:
        return answers.states, error
    settled = yield Settle(decides)
    if decides not in settled.done:
        yield Leave(parts.others)
        yield Warn((decides, *parts.others))
        return settled.states, _in_doubt(parts.gid, (), {decides: error})
    if settled.done[decides]:
        return settled.states, None
    if isinstance(error, errors.Error):
        errors.note_undone(error)
    return settled.states, error


def _let_go(readers: Shards, states: States) -> Generator[Action, Answers, None]:
    """End the transaction where it has only read."""
    opened = tuple(shard for shard in readers if states[shard] in TO_BE_ENDED)
    if opened:
        answers = yield RollBack(opened)
        yield from close_open(opened, answers)


def _finish(parts: _Parts) -> Steps:
    """Let the others commit what they have prepared. It is committed, whatever comes now."""
    answers = yield Commit((*parts.others, *parts.last))
    # Who has only read has nothing to lose.
    yield from close_open(parts.last, answers)
    left = tuple(shard for shard in parts.others if shard not in answers.done)
    if not left:
        return None
    finished = yield Finish(left, parts.decides, committed=True)
    # Else their connections would end it once more, in the place of what they begin next.
    yield Leave(left)
    left = tuple(shard for shard in left if shard not in finished.done)
    if not left:
        return None
    yield Warn(left)
    committed = (parts.decides, *(shard for shard in parts.others if shard not in left))
    why = answers.error or errors.OperationalError("no answer to COMMIT PREPARED")
    failures = {shard: answers.failures.get(shard, why) for shard in left}
    return _in_doubt(parts.gid, committed, failures)


def _failed(answers: Answers, timeout_s: float | None) -> BaseException | None:
    """Why all that is not committed yet must be undone; None if it goes on."""
    if answers.error is None and answers.late:
        return out_of_time(timeout_s)
    return answers.error


def _undo_prepared(states: States, parts: _Parts, error: BaseException) -> Steps:
    """Roll back where nothing is decided: what is prepared, too, and what may be."""
    asked = those(states, *TO_BE_ENDED)
    answers = yield RollBack(asked)
    # Not only `failures`: where nothing succeeds, there is an error instead. A connection that kept
    # what is prepared would take it for the transaction that the program commits next.
    failed = tuple(shard for shard in asked if shard not in answers.done)
    if failed:
        yield Close(failed)
    # A connection that was lost, now or before: its server may have prepared the transaction.
    left = tuple(s for s in parts.others if s in failed or states[s] is State.LOST)
    if left:
        # What cannot be asked now, recovery ends: there is no decision.
        yield Finish(left, parts.decides, committed=False)
    arrived = answers.error
    return _told(error) if arrived is None or isinstance(arrived, Exception) else arrived


def _told(error: BaseException) -> BaseException:
    """The error of PREPARE TRANSACTION, with the way out."""
    if not isinstance(error, errors.Error) or error.pgcode is None:
        return error
    if error.pgcode == _NOT_SUPPORTED:
        # Keywords are the same in each language that a server may speak.
        hint = _NOTIFIES if "NOTIFY" in str(error) else _APART
        told = _cannot_prepare(" ".join(str(error).split()), hint)
        told.failures, told.__cause__ = error.failures, error
        return told
    if error.pgcode in _HINTS:
        errors.give_hint(error, _HINTS[error.pgcode])
    return error


def _cannot_prepare(what: str, hint: str = _APART) -> errors.Error:
    return errors.refused(
        f"several shards cannot commit the transaction together, and it is rolled back on all of "
        f"them: {what}",
        code="GS505",
        hint=hint,
    )


def _in_doubt(
    gid: str, committed: Shards, failures: Mapping[str, BaseException]
) -> errors.TransactionInDoubt:
    lines = "".join(f"\n  {name}: {' '.join(str(e).split())}" for name, e in failures.items())
    if committed:
        told = f"the transaction is committed, but {', '.join(failures)} could not be told so yet"
    else:
        told = "whether the transaction is committed, on all shards or on none, cannot be told yet"
    error = errors.TransactionInDoubt(
        f"{told} ({gid}):{lines}\n",
        code="GS504",
        hint="Do not repeat it. `greenshard recover` finishes it; greenshard.outcome() tells what "
        "has become of it.",
    )
    error.gid, error.committed, error.failures = gid, committed, dict(failures)
    return error
