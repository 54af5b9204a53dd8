"""How a transaction over several shards ends: which steps follow which answers.

A commit over several shards that may have written goes in steps, so that what can fail does so
before anything is committed::

    each shard        SET CONSTRAINTS ALL IMMEDIATE     deferred constraints fail here
                      SELECT pg_current_xact_id_if_assigned() IS NOT NULL     did it write?
    the one writer    COMMIT                            fails alone: the others are rolled back
    who only read     COMMIT                            they have nothing to lose

If several shards wrote, one of them, the *anchor*, decides for all of them (two-phase commit)::

    the anchor        INSERT of the decision            with the check, in its open transaction
    the other writers PREPARE TRANSACTION               fails: all are rolled back
    the anchor        COMMIT                            from here on it is committed
    the other writers COMMIT PREPARED                   now, or by whoever recovers
    who only read     COMMIT

Who has only read keeps its locks (of tables, advisory ones) until the others are committed, as on
one PostgreSQL. But where the transaction is serializable, its COMMIT may fail: then it goes first,
before the one writer or beside PREPARE.

All have answered the check before anything is prepared: who recovers a part that is prepared looks
for the decision on the anchor, and must find it or whoever is about to make it. Where the answer to
the anchor's COMMIT is lost, the anchor is asked as recovery asks it (`Settle`).

Without the second phase (`two_phase` is None) the commits of several writers go out at once and are
not cancelled any more. Between them is the moment in which a crash leaves the transaction committed
on some shards only, which can be told (`errors.PartialCommitError`) but not prevented.

The steps are generators that know no connection: each yields an action, is sent the `Answers` to
it, and returns what is to be raised in the end. `commit` carries them out.

Source: PostgreSQL manual, SET CONSTRAINTS, PREPARE TRANSACTION; 9.27.9 "Transaction ID and Snapshot
Information Functions".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from greenshard import errors
from greenshard.transaction.actions import (
    Answers,
    Check,
    Checked,
    Commit,
    Shards,
    States,
    Steps,
    TwoPhase,
    Warn,
)
from greenshard.transaction.rolling_back import close_open, out_of_time, those, undo
from greenshard.transaction.state import TO_BE_ENDED, State
from greenshard.transaction.two_phase import commit_together


def commit(
    states: States,
    *,
    wrote: bool,
    several: bool,
    timeout_s: float | None,
    two_phase: TwoPhase | None = None,
) -> Steps:
    """Commit everywhere, or tell where not.

    Args:
        states: The shards that it was open on, with how it stands there.
        wrote: Whether a statement of it may have written.
        several: Whether the connection has several shards. Over one, the server decides alone, as
            for psycopg2.
        timeout_s: What all actions may take, for messages.
        two_phase: What a second phase needs; None if shards commit one by one.
    """
    # To PostgreSQL, COMMIT of a failed transaction is a ROLLBACK without an error: the other shards
    # would commit their part.
    if several and wrote and (broken := _broken(states)):
        return (yield from undo(states, _cannot_commit(broken)))
    opened = those(states, *TO_BE_ENDED)
    # One shard decides alone; where nothing was written, nothing can be half done.
    if not wrote or len(opened) < 2:
        return (yield from _commit(opened, wrote=wrote, unchecked=wrote))
    anchor = None if two_phase is None else two_phase.anchor(opened)
    answers = yield Check(opened, anchor)
    error = answers.error
    # The last moment at which all can still be rolled back.
    if error is None and answers.late:
        error = out_of_time(timeout_s)
    if error is not None:
        return (yield from undo(answers.states, error))
    checked = {shard: each for shard in opened if isinstance(each := answers.done[shard], Checked)}
    writers = tuple(shard for shard in opened if checked[shard].wrote)
    if len(writers) > 1 and two_phase is not None and two_phase.lacks is not None:
        return (yield from undo(answers.states, two_phase.lacks))
    if len(writers) > 1 and two_phase is not None and anchor is not None:
        steps = commit_together(two_phase, anchor, answers.states, checked, timeout_s)
        return (yield from steps)
    return (yield from _commit_checked(checked))


def commit_what_was_read(states: States, written: set[str]) -> Steps:
    """Commit on the shards that have not written, though no statement seems to write.

    What a function does that a SELECT calls, only the server sees.

    Args:
        states: How it stands on all shards.
        written: Where to put those that have written; it is open on them.
    """
    opened = those(states, State.OPEN)
    answers = yield Commit(opened, unless_written=True)
    if (failed := _why_not_all(answers, len(states))) is not None:
        return (yield from undo(answers.states, failed))
    written.update(shard for shard in opened if answers.done[shard])
    return None


def _why_not_all(answers: Answers, count: int) -> BaseException | None:
    """Why some shards have not committed what they have only read; nothing is half done by it."""
    if answers.error is not None or not answers.failures:
        return answers.error
    return errors.from_shards(answers.failures, count)


def _commit_checked(checked: Mapping[str, Checked]) -> Steps:
    """Commit one by one, or where one has written or none.

    Args:
        checked: What the shards have answered.
    """
    writers = tuple(shard for shard, each in checked.items() if each.wrote)
    if len(writers) != 1:
        # With no writer (an UPDATE that found no row), nothing can be in doubt.
        return (yield from _commit(tuple(checked), wrote=bool(writers)))
    first = tuple(s for s, each in checked.items() if each.serializable and s not in writers)
    if first:
        answers = yield Commit(first)
        if (failed := _why_not_all(answers, len(answers.states))) is not None:
            return (yield from undo(answers.states, failed))
    error = yield from _commit(writers, wrote=True)
    if error is not None:
        return error
    # Their locks were kept until here. They have nothing to lose.
    last = tuple(shard for shard in checked if shard not in (*writers, *first))
    if not last:
        return None
    answers = yield Commit(last)
    yield from close_open(last, answers)
    return None


def _commit(shards: Shards, *, wrote: bool, unchecked: bool = False) -> Steps:
    """Commit on some shards.

    Args:
        shards: Where.
        wrote: Whether something was written there.
        unchecked: See `Commit`.
    """
    answers = yield Commit(shards, unchecked=unchecked)
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
        return (yield from undo(answers.states, answers.error))
    # On others it is committed: an error of these shards alone would be taken for "nothing was
    # done".
    if answers.failures:
        error = _partly_committed(tuple(answers.done), answers.failures)
        return (yield from undo(answers.states, error))
    return None


def is_broken(states: States) -> bool:
    """Whether COMMIT could not do what it says: on one of the shards the server rolls back."""
    return bool(_broken(states))


def _broken(states: States) -> Shards:
    # Lost ones too: their servers roll back.
    return those(states, State.LOST) + those(states, State.FAILED)


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
