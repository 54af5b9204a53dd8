"""How a transaction over several shards ends: which steps follow which answers.

A commit over several shards that may have written goes in steps, so that what can fail does so
before anything is committed::

    each shard      SET CONSTRAINTS ALL IMMEDIATE       deferred constraints fail here
                    SELECT pg_current_xact_id_if_assigned() IS NOT NULL      did it write?
    the one writer  COMMIT                              fails alone: the others are rolled back
    the others      COMMIT

If several shards wrote, their commits go out at once and are not cancelled any more. Between them
is the moment in which a crash leaves the transaction committed on some shards only: without a
two-phase commit that can be told (`errors.PartialCommitError`) but not prevented.

The steps are generators that know no connection: each yields an action, is sent the `Answers` to
it, and returns what is to be raised in the end. `commit` carries them out.

Source: PostgreSQL manual, SET CONSTRAINTS; 9.27.9 "Transaction ID and Snapshot Information
Functions".
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field

from greenshard import errors
from greenshard.transaction.state import TO_BE_ENDED, State

Shards = tuple[str, ...]
States = Mapping[str, State]


@dataclass(frozen=True, slots=True)
class Check:
    """Let fail now what COMMIT would let fail, and ask who wrote. All shards must answer."""

    shards: Shards


@dataclass(frozen=True, slots=True)
class Commit:
    """COMMIT, on all shards at once. What was sent is not cancelled: it would be in doubt."""

    shards: Shards


@dataclass(frozen=True, slots=True)
class RollBack:
    """ROLLBACK, on all shards at once."""

    shards: Shards


@dataclass(frozen=True, slots=True)
class Close:
    """Close the connections: their servers then roll back, if they have not."""

    shards: Shards


@dataclass(frozen=True, slots=True)
class Warn:
    """Tell the log that the transaction is committed elsewhere, and not known to be on these."""

    shards: Shards


Action = Check | Commit | RollBack | Close | Warn


@dataclass(frozen=True, slots=True)
class Answers:
    """What came of an action.

    Attributes:
        states: How the transaction stands now, on each shard that it was open on.
        done: What each shard answered that did what it should; to `Check`, whether it has written.
        failures: Why the others did not, where that is no error of the whole action.
        error: Why the action failed as a whole; also what arrived from outside meanwhile.
        late: Whether the time for all actions together is up.
    """

    states: States
    done: Mapping[str, object] = field(default_factory=dict)
    failures: Mapping[str, BaseException] = field(default_factory=dict)
    error: BaseException | None = None
    late: bool = False


#: What carries the steps out: yields actions, is sent their answers; returns what is to be raised.
Steps = Generator[Action, Answers, BaseException | None]


def commit(states: States, *, wrote: bool, several: bool, timeout_s: float | None) -> Steps:
    """Commit everywhere, or tell where not.

    Args:
        states: The shards that it was open on, with how it stands there.
        wrote: Whether a statement of it may have written.
        several: Whether the connection has several shards. Over one, the server decides alone, as
            for psycopg2.
        timeout_s: What all actions may take, for messages.
    """
    # To PostgreSQL, COMMIT of a failed transaction is a ROLLBACK without an error: the other shards
    # would commit their part.
    if several and wrote and (broken := _broken(states)):
        return (yield from _undo(states, _cannot_commit(broken)))
    opened = _those(states, *TO_BE_ENDED)
    # One shard decides alone; where nothing was written, nothing can be half done.
    if not wrote or len(opened) < 2:
        return (yield from _commit(opened, wrote=wrote))
    answers = yield Check(opened)
    error = answers.error
    # The last moment at which all can still be rolled back.
    if error is None and answers.late:
        error = _out_of_time(timeout_s)
    if error is not None:
        return (yield from _undo(answers.states, error))
    writers = tuple(shard for shard in opened if answers.done[shard])
    # The writer first: if it fails, the others have nothing that would have to be undone.
    if len(writers) == 1:
        error = yield from _commit(writers, wrote=True)
        if error is not None:
            return error
        opened = tuple(shard for shard in opened if shard not in writers)
        return (yield from _commit(opened, wrote=False, before=writers))
    # With no writer (an UPDATE that found no row), nothing can be in doubt.
    return (yield from _commit(opened, wrote=bool(writers)))


def roll_back(states: States) -> Steps:
    """Roll back everywhere. A shard that cannot be asked loses its connection.

    Args:
        states: The shards that it was open on, with how it stands there.
    """
    answers = yield RollBack(_those(states, *TO_BE_ENDED))
    if answers.failures:
        yield Close(tuple(answers.failures))
    return answers.error


def _commit(shards: Shards, *, wrote: bool, before: Shards = ()) -> Steps:
    """Commit on some shards.

    Args:
        shards: Where.
        wrote: Whether something was written there.
        before: Where it is committed already. Whatever fails now, the caller must not take the
            transaction for undone, and repeat it.
    """
    answers = yield Commit(shards)
    if answers.error is not None:
        # By now every COMMIT has ended, or lost its connection.
        # The answer to COMMIT went with the connection: the server may have done it or not.
        lost = [shard for shard in shards if answers.states[shard] is State.LOST]
        if wrote and lost and isinstance(answers.error, errors.Error):
            errors.note_doubt(answers.error, lost)
        left = tuple(s for s in shards if answers.states[s] is not State.UNTOUCHED)
        # It is committed where nothing is open any more. The log tells where not, for what is
        # raised may be a kill, which does not.
        if left and len(left) < len(shards):
            yield Warn(left)
        if before and isinstance(answers.error, Exception):
            told = getattr(answers.error, "failures", None) or dict.fromkeys(shards, answers.error)
            return (yield from _undo(answers.states, _partly_committed(before, told)))
        return (yield from _undo(answers.states, answers.error))
    # On others it is committed: an error of these shards alone would be taken for "nothing was
    # done".
    if answers.failures:
        error = _partly_committed((*before, *answers.done), answers.failures)
        return (yield from _undo(answers.states, error))
    return None


def _undo(states: States, error: BaseException) -> Steps:
    """Roll back because of an error, which is told even if that cannot be done either.

    It says why the transaction ended, and maybe that it is in doubt. But what arrives from outside
    meanwhile (a kill) must not be lost.
    """
    arrived = yield from roll_back(states)
    return error if arrived is None or isinstance(arrived, Exception) else arrived


def is_broken(states: States) -> bool:
    """Whether COMMIT could not do what it says: on one of the shards the server rolls back."""
    return bool(_broken(states))


def _broken(states: States) -> Shards:
    # Lost ones too: their servers roll back.
    return _those(states, State.LOST) + _those(states, State.FAILED)


def _those(states: States, *wanted: State) -> Shards:
    return tuple([shard for shard, state in states.items() if state in wanted])


def _out_of_time(timeout_s: float | None) -> errors.QueryTimeout:
    return errors.QueryTimeout(
        f"the checks before COMMIT took all of {timeout_s:g} s; "
        "the transaction is rolled back on all shards",
        code="GS301",
        hint="Raise the timeout, or look at what deferred constraints and triggers do.",
    )


def _cannot_commit(shards: Sequence[str]) -> errors.Error:
    return errors.refused(
        f"the transaction has failed on {', '.join(shards)} and cannot be committed; "
        "it is rolled back on all shards",
        code="GS501",
        pgcode="25P02",
        hint="After catching the error of a statement, call rollback(), or go back to a savepoint.",
    )


def _partly_committed(
    committed: Shards, failures: Mapping[str, BaseException]
) -> errors.PartialCommitError:
    lines = "".join(f"\n  {name}: {' '.join(str(e).split())}" for name, e in failures.items())
    error = errors.PartialCommitError(
        f"the transaction is committed on {', '.join(committed)} and not, or not known to be, "
        f"on:{lines}\n",
        code="GS502",
        hint="Look on those shards whether its rows are there, and repair what is missing.",
    )
    error.committed, error.failures = committed, dict(failures)
    return error
