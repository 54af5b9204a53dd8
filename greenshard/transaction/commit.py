"""Commit or roll back on all shards.

A commit over several shards that may have written goes in steps, so that what can fail does so
before anything is committed::

    each shard      SET CONSTRAINTS ALL IMMEDIATE       deferred constraints fail here
                    SELECT pg_current_xact_id_if_assigned() IS NOT NULL      did it write?
    the one writer  COMMIT                              fails alone: the others are rolled back
    the others      COMMIT

If several shards wrote, their commits go out at once and are not cancelled any more. Between them
is the moment in which a crash leaves the transaction committed on some shards only: without a
two-phase commit that can be told (`errors.PartialCommitError`) but not prevented.

Source: PostgreSQL manual, SET CONSTRAINTS; 9.27.9 "Transaction ID and Snapshot Information
Functions".
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from functools import partial

from greenshard import errors
from greenshard._driver import (
    TRANSACTION_FAILED,
    InFailedSqlTransaction,
    RawConnection,
    RawCursor,
)
from greenshard.links.deadline import Timeout, seconds_allowed, seconds_left
from greenshard.links.physical import Physical
from greenshard.links.session import Session
from greenshard.sql.first_words import commits

logger = logging.getLogger("greenshard")

_CHECK = (
    "SET CONSTRAINTS ALL IMMEDIATE; SELECT pg_catalog.pg_current_xact_id_if_assigned() IS NOT NULL"
)


def commit_all(session: Session, timeout: Timeout, *, wrote: bool) -> None:
    """Commit on every shard that has a transaction open.

    Args:
        timeout: What all steps together may take. To end what did not end in time takes the
            session's grace time at most, once more.
        wrote: Whether a statement of the transaction may have written.

    Raises:
        errors.Error: See `Connection.commit`.

    Switches: yes.
    """
    session.check_alive()
    opened = [physical for physical in session.alive if physical.in_transaction]
    lost = session.bury()
    several = len(session.shards) > 1
    failed = [p.shard for p in opened if p.transaction_status == TRANSACTION_FAILED]
    if several and wrote and (failed or lost):
        rollback_all(session, timeout)
        raise _cannot_commit([*lost, *failed])
    if not (wrote and len(opened) > 1):
        _commit(session, opened, timeout, wrote=wrote)
        return
    writers = _check(session, opened, timeout)
    if seconds_left(timeout) == 0:
        rollback_all(session, timeout)
        raise _out_of_time(timeout)
    if len(writers) == 1:
        _commit(session, writers, timeout, wrote=True)
        opened.remove(writers[0])
    _commit(session, opened, timeout, wrote=len(writers) > 1)


def rollback_all(session: Session, timeout: Timeout) -> None:
    """Roll back on every shard that has a transaction open.

    A shard that cannot be asked loses its connection, which rolls back too.

    Raises:
        errors.Error: No shard is left.

    Switches: yes.
    """
    session.check_alive()
    session.bury()
    calls = {
        physical.shard: partial(RawConnection.rollback, physical.raw)
        for physical in session.alive
        if physical.in_transaction
    }
    outcome = session.run(calls, timeout, tolerant=len(session.physicals) > 1, cancellable=False)
    for shard in outcome.failures:
        session.physicals[shard].discard()


def refuse_commit(text: str) -> None:
    """Refuse to end a transaction by SQL while it has failed on some shards only.

    COMMIT would commit it on the others.

    Raises:
        errors.InternalError: `text` would.
    """
    if commits(text):
        raise _cannot_commit([])


def _check(session: Session, opened: Sequence[Physical], timeout: Timeout) -> list[Physical]:
    """Let fail what can; returns the shards that wrote."""
    cursors = {physical.shard: RawCursor(physical.raw) for physical in opened}
    try:
        session.run({s: partial(c.execute, _CHECK) for s, c in cursors.items()}, timeout)
    except BaseException:
        rollback_all(session, timeout)
        raise
    return [p for p in opened if cursors[p.shard].fetchone() == (True,)]


def _commit(session: Session, opened: Sequence[Physical], timeout: Timeout, *, wrote: bool) -> None:
    calls = {p.shard: partial(RawConnection.commit, p.raw) for p in opened}
    try:
        outcome = session.run(calls, timeout, tolerant=True, cancellable=False)
    except BaseException as exc:
        # By now every COMMIT has ended, or lost its connection.
        lost = [p.shard for p in opened if not p.alive]
        if wrote and lost and isinstance(exc, errors.Error):
            errors.note_doubt(exc, lost)
        left = [p.shard for p in opened if not p.alive or p.in_transaction]
        if left and len(left) < len(opened):
            logger.critical("a transaction was not, or not known to be, committed on %s", left)
        rollback_all(session, timeout)
        raise
    if outcome.failures:
        rollback_all(session, timeout)
        raise _partly_committed(tuple(outcome.jobs), outcome.failures)


def _out_of_time(timeout: Timeout) -> errors.QueryTimeout:
    return errors.QueryTimeout(
        f"the checks before COMMIT took all of {seconds_allowed(timeout):g} s; "
        "the transaction is rolled back on all shards",
        code="GS301",
        hint="Raise the timeout, or look at what deferred constraints and triggers do.",
    )


def _cannot_commit(shards: Sequence[str]) -> BaseException:
    where = f" on {', '.join(shards)}" if shards else ""
    origin = InFailedSqlTransaction(
        f"the transaction has failed{where} and cannot be committed; "
        "it is rolled back on all shards [GS501]\n"
        "HINT:  Let the error of the statement reach the code that would commit."
    )
    error = errors.from_driver(origin)
    error.code = "GS501"
    return error


def _partly_committed(
    committed: tuple[str, ...], failures: Mapping[str, BaseException]
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
