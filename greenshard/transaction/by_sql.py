"""Ends transactions that SQL ends, or that are a statement's own: psycopg2 knows nothing of it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import suppress
from functools import partial

from greenshard import errors
from greenshard._driver import RawCursor
from greenshard.links.beginning import executing
from greenshard.links.deadline import Deadline, within
from greenshard.links.fanout import Job
from greenshard.links.physical import Physical, rolled_back
from greenshard.links.session import Session
from greenshard.sql.ending import EndKind
from greenshard.transaction import messages, protocol
from greenshard.transaction.carrying_out import Call, CommitCall, Conductor
from greenshard.transaction.commit import note_writes, refuse_in_tpc, two_phase_of, undoing
from greenshard.transaction.rolling_back import roll_back
from greenshard.transaction.state import State, Transaction


def end_by_sql(
    session: Session,
    transaction: Transaction,
    end: EndKind,
    shards: Collection[str],
    execute: Call,
    timeout: Deadline,
    noted: list[Job] | None = None,
    *,
    chains: bool = False,
) -> None:
    """End the transaction as the methods do, but by SQL: for psycopg2 it then has not ended.

    Until commit() or rollback(), psycopg2 begins no other, and each statement commits by itself.

    Args:
        session: The connections; the caller has `taken` it.
        transaction: Theirs.
        end: How it shall end.
        shards: Where, if nothing is in the way: a transaction that has failed anywhere is rolled
            back everywhere instead of being committed.
        execute: Executes the statement for it on a connection.
        timeout: See `commit_all`.
        noted: See `Session.run`.
        chains: Whether the statement begins another one at once. So it does where the transaction
            has failed and is rolled back instead; not where it is COMMIT that fails.

    Raises:
        errors.Error: See `Connection.commit`, `Connection.rollback`.

    Switches: yes.
    """
    session.check_alive()
    refuse_in_tpc(session, "COMMIT or ROLLBACK as a statement")
    states = transaction.at_servers()
    there = {shard: state for shard, state in states.items() if shard in shards}
    commit: CommitCall = partial(_execute_commit, execute)
    undo: Call = _by_rollback
    two_phase, modes = None, dict[str, str]()
    back = partial(end_by_sql, session, transaction, EndKind.ROLLBACK, tuple(states), _by_rollback)
    if end is EndKind.ROLLBACK:
        states, undo = there, execute
        steps = roll_back(states)
    else:
        with undoing(lambda: back(within(session.grace_s))):
            note_writes(session, transaction, states, timeout)
        # COMMIT on some shards only, with conn.on: the others are none of its business, unless the
        # whole has failed.
        if not (transaction.wrote and protocol.is_broken(states)):
            states = there
        elif chains:
            undo = partial(_by_sql, "ROLLBACK AND CHAIN")
        with undoing(lambda: back(within(session.grace_s))):
            two_phase = two_phase_of(session, transaction, states, timeout)
            if chains and two_phase is not None and two_phase.lacks is None:
                # COMMIT PREPARED begins no other transaction.
                modes = _modes(session, states, timeout)
        steps = protocol.commit(
            states,
            wrote=transaction.wrote,
            several=True,
            timeout_s=timeout.timeout_s,
            two_phase=two_phase,
        )
    now = partial(transaction.states_at_servers, states)
    Conductor(session, now, timeout, two_phase, commit, undo, noted).carry_out(steps)
    _begin_anew(session, modes)


def _modes(session: Session, states: Mapping[str, State], timeout: Deadline) -> dict[str, str]:
    """How the transaction was begun on each shard; of one that has failed it is not asked."""
    physicals = session.physicals
    opened = [shard for shard, state in states.items() if state is State.OPEN]
    calls = {shard: partial(messages.modes, physicals[shard]) for shard in opened}
    return {s: str(job.result) for s, job in session.run(calls, timeout).jobs.items()}


def _begin_anew(session: Session, modes: Mapping[str, str]) -> None:
    """Begin a transaction on those shards where ``AND CHAIN`` has begun none.

    The one before is committed, whatever becomes of this one: a shard that cannot begin it loses
    its connection, of which the next statement tells.
    """
    calls = {
        shard: partial(_by_sql, f"BEGIN {how}", session.physicals[shard])
        for shard, how in modes.items()
        if session.physicals[shard].alive and session.physicals[shard].idle
    }
    if not calls:
        return
    try:
        with suppress(errors.Error):
            session.run(calls, within(session.grace_s), tolerant=True)
    finally:
        for shard in calls:
            if session.physicals[shard].alive and session.physicals[shard].idle:
                session.physicals[shard].discard()


def begin_alone(
    session: Session, shards: Collection[str], timeout: Deadline, begin: str = "BEGIN"
) -> None:
    """Begin a transaction of one statement's own, where each commits by itself.

    Args:
        session: The connections; the caller has `taken` it.
        shards: Where.
        timeout: What it may take.
        begin: The statement for it.

    Switches: yes. Cost: one round trip.
    """
    # A write that goes to several shards in autocommit mode, and must not be done on some of them
    # only.
    calls = {shard: partial(_by_sql, begin, session.physicals[shard]) for shard in shards}
    session.run(calls, timeout)


def end_alone(
    session: Session,
    transaction: Transaction,
    shards: Collection[str],
    end: EndKind,
    timeout: Deadline,
) -> None:
    """End a transaction of one statement's own, wherever it has begun.

    Args:
        session: The connections; the caller has `taken` it.
        transaction: Theirs.
        shards: Where it was to begin.
        end: How it shall end.
        timeout: See `commit_all`.

    Raises:
        errors.Error: See `Connection.commit`.

    Switches: yes. Cost: to commit, four round trips where several have written, else two.
    """
    states = transaction.states_at_servers(shards)
    two_phase = None
    if end is EndKind.COMMIT:
        back = partial(end_alone, session, transaction, shards, EndKind.ROLLBACK)
        with undoing(lambda: back(within(session.grace_s))):
            two_phase = two_phase_of(session, transaction, states, timeout)
        steps = protocol.commit(
            states, wrote=True, several=True, timeout_s=timeout.timeout_s, two_phase=two_phase
        )
    else:
        steps = roll_back(states)
    now = partial(transaction.states_at_servers, shards)
    commit: CommitCall = partial(_execute_commit, partial(_by_sql, "COMMIT"))
    Conductor(session, now, timeout, two_phase, commit, _by_rollback).carry_out(steps)


def _by_sql(text: str, physical: Physical) -> None:
    executing(physical, RawCursor(physical.raw), text)()


_by_rollback: Call = partial(_by_sql, "ROLLBACK")


def _execute_commit(execute: Call, physical: Physical, before: str, *, decides: bool) -> None:
    if before:
        messages.lock(physical)
    if decides and physical.failed:
        _by_rollback(physical)
        raise rolled_back(physical.shard)
    execute(physical)
