"""PEP 249's two-phase commit over several shards, which are one resource of a foreign coordinator.

Each shard takes part by psycopg2's own methods, under a name of its own, which a server has one
space of for all its databases::

    tpc_begin(xid)      on all shards
    tpc_prepare()       PREPARE TRANSACTION '<the shard's id>.<xid>'
    tpc_commit()        COMMIT PREPARED

The coordinator decides, not a shard. Who finds a transaction with ``tpc_recover()`` that is
prepared, or committed, on some shards only ends it by ``tpc_commit(xid)`` or ``tpc_rollback(xid)``:
that is done on all shards that have it.

``tpc_commit()`` without ``tpc_prepare()`` is the end of a transaction that no coordinator knows of:
it is committed like any other, and recovered like any other.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from typing import Any

from greenshard import _green, errors
from greenshard._driver import STATUS_PREPARED, DriverError, RawConnection, Xid
from greenshard.links.deadline import Deadline, within
from greenshard.links.fanout import Job
from greenshard.links.members import why_not
from greenshard.links.physical import NO_SUCH_OBJECT, Physical, status
from greenshard.links.session import Session
from greenshard.transaction import asking_apart, messages, recovery
from greenshard.transaction.admission import known_members
from greenshard.transaction.commit import commit_all
from greenshard.transaction.state import Transaction
from greenshard.transaction.verdict import Ending

#: PostgreSQL's limit of the name of what is prepared, in bytes; and what ours adds.
_LONGEST, _ADDED = 199, 33
#: Seconds between two attempts to roll back what a lost session may prepare yet.
_LOOK_S = 0.05


def begin(session: Session, xid: Any, timeout: Deadline) -> None:
    """Begin the transaction on all shards.

    Args:
        session: The connections; the caller has `taken` it.
        xid: An `Xid`, or its text.
        timeout: What it may take.

    Raises:
        errors.ProgrammingError: A transaction is open already, or `xid` is too long.
        errors.NotSupportedError: The shards cannot commit together (GS503).

    Switches: yes. Cost: one round trip.
    """
    names = _names(session, str(xid), timeout)
    if any(physical.in_transaction or not physical.idle for physical in session.alive):
        raise errors.ProgrammingError("tpc_begin cannot be used inside a transaction")
    calls = {
        shard: partial(RawConnection.tpc_begin, session.physicals[shard].raw, name)
        for shard, name in names.items()
    }
    session.tpc_names = names
    for physical in session.alive:
        physical.in_tpc = True
    try:
        session.run(calls, timeout)
    except BaseException:
        _undo(session)
        raise


def prepare(session: Session, timeout: Deadline) -> None:
    """Prepare it on all shards; if one cannot, it is rolled back on all.

    A shard whose answer is lost with its connection is asked over another one, for the grace time
    at most: what it has prepared nevertheless, and cannot be rolled back then, stays until
    ``tpc_rollback(xid)``.

    Args, Raises, Switches: see `end`. Cost: three round trips, after SET ROLE four.
    """
    physicals = session.physicals
    shards, names = session.shards, session.tpc_names
    begun: list[Job] = []
    try:
        # Else psycopg2 says that there is none.
        if names:
            ready = {
                shard: partial(_make_ready, physicals[shard], name.partition(".")[0])
                for shard, name in names.items()
            }
            session.run(ready, timeout)
        calls = {
            shard: partial(RawConnection.tpc_prepare, physicals[shard].raw) for shard in shards
        }
        session.run(calls, timeout, noted=begun)
    except BaseException:
        _undo(session)
        _undo_lost(session, {job.shard: names[job.shard] for job in begun if names})
        raise


def _make_ready(physical: Physical, shard_id: str) -> None:
    """Let a shard be ready to prepare what is its own who has begun it, as with psycopg2."""
    role = physical.role()
    messages.ready(physical, shard_id, None, ())
    if role != "none":
        physical.set_role(role, local=True)


def end(session: Session, timeout: Deadline, *, transaction: Transaction, committed: bool) -> None:
    """Commit it, or roll it back, on all shards, prepared or not.

    Args:
        session: The connections; the caller has `taken` it.
        timeout: What it may take.
        transaction: Theirs.
        committed: Whether it is to be committed.

    Raises:
        errors.Error: A shard could not; what is prepared there stays until ``tpc_commit(xid)``.

    Switches: yes. Cost: one round trip; see `commit_all` if it is not prepared.
    """
    method = RawConnection.tpc_commit if committed else RawConnection.tpc_rollback
    raws = {shard: session.physicals[shard].raw for shard in session.shards}
    try:
        # psycopg2 would have each shard commit by itself.
        if committed and session.tpc_names and not any(map(_is_prepared, raws.values())):
            session.tpc_names = {}
            commit_all(session, transaction, timeout)
            return
        calls = {shard: partial(method, raw) for shard, raw in raws.items()}
        session.run(calls, timeout, cancellable=False)
    finally:
        leave(session)


def leave(session: Session) -> None:
    """Let the next transaction be one of the usual kind."""
    session.tpc_names = {}
    for physical in session.physicals.values():
        physical.in_tpc = False


def _is_prepared(raw: RawConnection) -> bool:
    return not raw.closed and bool(status.read(raw) == STATUS_PREPARED)


def end_recovered(session: Session, xid: Any, timeout: Deadline, *, committed: bool) -> None:
    """Commit, or roll back, what somebody has prepared, on those shards that still have it.

    Args:
        xid: An `Xid`, or its text.
        session, timeout, committed: See `end`.

    Raises:
        errors.ProgrammingError: No shard has it (psycopg2's ``UndefinedObject``).

    Switches: yes. Cost: one round trip.
    """
    method = RawConnection.tpc_commit if committed else RawConnection.tpc_rollback
    names = _names(session, str(xid), timeout)
    calls = {
        shard: partial(_end_there, method, session.physicals[shard], name)
        for shard, name in names.items()
    }
    found = session.run(calls, timeout, cancellable=False).jobs
    missing = [job.result for job in found.values() if job.result is not None]
    if len(missing) == len(names):
        error: Any = missing[0]
        raise errors.from_driver(error)


def _end_there(method: Any, physical: Physical, name: str) -> DriverError | None:
    """Returns the error if the shard does not have it."""
    try:
        method(physical.raw, name)
    except DriverError as error:
        if error.pgcode != NO_SUCH_OBJECT:
            raise
        return error
    return None


def recover(session: Session, timeout: Deadline) -> list[Xid]:
    """What is prepared on any shard, each transaction once.

    Args, Raises, Switches: see `end`. Cost: one round trip.
    """
    names = _names(session, "", timeout)
    calls = {
        shard: partial(RawConnection.tpc_recover, session.physicals[shard].raw)
        for shard in session.shards
    }
    found: dict[str, None] = {}
    for shard, job in session.run(calls, timeout).jobs.items():
        pending: Any = job.result
        for xid in pending:
            text = str(xid)
            if text.startswith(names[shard]):
                found[text.removeprefix(names[shard])] = None
    read: Any = Xid.from_string  # without types
    return [read(text) for text in found]


def _names(session: Session, text: str, timeout: Deadline) -> Mapping[str, str]:
    """What the transaction is called on each shard."""
    if len(text.encode()) + _ADDED > _LONGEST:
        raise errors.ProgrammingError(
            f"the transaction's id may have {_LONGEST - _ADDED} bytes over several shards",
            code="GS104",
        )
    session.reach(session.shards, timeout)
    known = known_members(session, session.shards, timeout)
    if (lacks := why_not(known)) is not None:
        raise lacks
    # The id comes first: psycopg2 reads the text of an `Xid` again, and leaves out what is behind.
    return {shard: f"{member.id}.{text}" for shard, member in known.items()}


def _undo(session: Session) -> None:
    """Roll back wherever the transaction has begun, as far as that can be done."""
    calls = {
        shard: partial(RawConnection.tpc_rollback, physical.raw)
        for shard, physical in session.physicals.items()
        if physical.alive and physical.in_transaction
    }
    leave(session)
    with suppress(errors.Error):
        session.run(calls, within(session.grace_s), tolerant=True, cancellable=False)


def _undo_lost(session: Session, names: Mapping[str, str]) -> None:
    """Roll back what was perhaps prepared on shards that were lost with the answer.

    Args:
        session: The connections.
        names: What it is called there.

    Switches: if there are such.
    """
    dsns = {s: session.physicals[s].dsn for s in names if not session.physicals[s].alive}
    if dsns:
        undo = partial(_roll_back_late, names, within(session.grace_s / 2))
        asking_apart.ask(dsns, undo, within(session.grace_s))


def _roll_back_late(names: Mapping[str, str], timeout: Deadline, shard: str, physical: Any) -> None:
    # The session that was lost may be at it still.
    while recovery.finish(physical, names[shard], committed=False) is not Ending.DONE:
        if timeout.left_s == 0:
            break
        _green.sleep(_LOOK_S)
