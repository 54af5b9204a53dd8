"""Ends a transaction as the methods do; `protocol` says how, `carrying_out` does it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial

from greenshard import errors
from greenshard.links.deadline import Deadline, within
from greenshard.links.members import why_not
from greenshard.links.session import Session
from greenshard.transaction import messages, protocol
from greenshard.transaction.actions import TwoPhase
from greenshard.transaction.admission import known_members
from greenshard.transaction.carrying_out import Conductor
from greenshard.transaction.gids import new_transaction
from greenshard.transaction.rolling_back import roll_back
from greenshard.transaction.state import TO_BE_ENDED, State, Transaction


def commit_all(session: Session, transaction: Transaction, timeout: Deadline) -> None:
    """Commit on every shard that has a transaction open.

    Args:
        session: The connections; the caller has `taken` it.
        transaction: Theirs.
        timeout: What all steps together may take. To end what did not end in time takes the
            session's grace time at most, once more.

    Raises:
        errors.Error: See `Connection.commit`.

    Switches: yes.
    """
    session.check_alive()
    refuse_in_tpc(session, "commit")
    states = transaction.begun()
    with undoing(lambda: roll_back_all(session, transaction, within(session.grace_s))):
        if transaction.wrote_own:
            note_writes(session, transaction, states, timeout)
        elif _may_have_written_unseen(session, transaction, states):
            written: set[str] = set()
            reading = protocol.commit_what_was_read(states, written)
            now = partial(transaction.states, states)
            Conductor(session, now, timeout).carry_out(reading)
            transaction.wrote = bool(written)
            if not (states := transaction.begun()):
                return
        two_phase = two_phase_of(session, transaction, states, timeout)
    steps = protocol.commit(
        states,
        wrote=transaction.wrote,
        several=len(session.shards) > 1,
        timeout_s=timeout.timeout_s,
        two_phase=two_phase,
    )
    now = partial(transaction.states, states)
    Conductor(session, now, timeout, two_phase).carry_out(steps)


def _may_have_written_unseen(
    session: Session, transaction: Transaction, states: Mapping[str, State]
) -> bool:
    """Whether something may have been written on some shards that must not be half done."""
    there = [state for state in states.values() if state is not State.UNTOUCHED]
    return len(session.shards) > 1 and not transaction.wrote and len(there) > 1


def note_writes(
    session: Session, transaction: Transaction, states: Mapping[str, State], timeout: Deadline
) -> None:
    """Take note of what was written though no statement seems to write.

    Args:
        session: The connections; the caller has `taken` it.
        transaction: Theirs.
        states: How it stands on the shards.
        timeout: What it may take to ask them.

    Raises:
        errors.Error: A shard could not be asked, or time is up.

    Switches: if there may be such. Cost: then one round trip.
    """
    if _may_have_written_unseen(session, transaction, states):
        physicals = session.physicals
        opened = [shard for shard, state in states.items() if state is State.OPEN]
        has_written = partial(messages.has_written, rows=transaction.wrote_own)
        calls = {shard: partial(has_written, physicals[shard]) for shard in opened}
        jobs = session.run(calls, timeout).jobs if calls else {}
        transaction.wrote = any(job.result for job in jobs.values())


def refuse_in_tpc(session: Session, what: str) -> None:
    """Refuse what would end a transaction that `tpc_begin` has begun.

    Raises:
        errors.ProgrammingError: There is one.
    """
    if session.tpc_names:
        raise errors.ProgrammingError(f"{what} cannot be used during a two-phase transaction")


@contextmanager
def undoing(undo: Callable[[], None]) -> Iterator[None]:
    """Roll back if the block raises, and keep its error.

    Args:
        undo: Rolls back. That no shard is left to do so is no news.
    """
    try:
        yield
    except BaseException:
        with suppress(errors.Error):
            undo()
        raise


def two_phase_of(
    session: Session, transaction: Transaction, states: Mapping[str, State], timeout: Deadline
) -> TwoPhase | None:
    """What a commit needs to be one over several shards; None if shards commit one by one.

    Args:
        session: The connections; the caller has `taken` it.
        transaction: Theirs.
        states: The shards to commit on, with how it stands there.
        timeout: What it may take to ask them.

    Raises:
        errors.Error: A shard could not be asked, or time is up.

    Switches: where a shard must be asked.
    """
    if session.members is None or not transaction.wrote or protocol.is_broken(states):
        return None
    shards = [shard for shard, state in states.items() if state in TO_BE_ENDED]
    known = known_members(session, shards, timeout, anew=False)
    cluster = next((m.cluster for m in known.values() if m.cluster is not None), "")
    ids = {shard: member.id for shard, member in known.items() if member.id is not None}
    name = new_transaction(time.time()) if len(shards) > 1 else ""
    return TwoPhase(cluster, ids, name, transaction.writers, why_not(known))


def roll_back_all(session: Session, transaction: Transaction, timeout: Deadline) -> None:
    """Roll back on every shard that has a transaction open.

    A shard that cannot be asked loses its connection, which rolls back too.

    Raises:
        errors.Error: No shard is left.

    Switches: yes.
    """
    session.check_alive()
    refuse_in_tpc(session, "rollback")
    states = transaction.begun()
    steps = roll_back(states)
    Conductor(session, partial(transaction.states, states), timeout).carry_out(steps)
