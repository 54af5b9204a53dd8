"""The connection that gathers: a second one to a shard's database, opened when first needed.

It is not the shard's own, because a transaction that touched a temporary table cannot be prepared,
and because its transaction ends with each statement. In between it has none and holds nothing; so
a pool lends its own for one statement.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

from greenshard import errors
from greenshard._driver import (
    TRANSACTION_IDLE,
    Attribute,
    DriverError,
    InvalidParameterValue,
    RawConnection,
    RawCursor,
)
from greenshard.executor.deadline import Timeout, seconds_left
from greenshard.executor.fanout import Job
from greenshard.executor.opening import failed_opening, open_all
from greenshard.executor.physical import Physical, autocommit
from greenshard.executor.quoting import check_usual
from greenshard.executor.session import Session

_encoding = Attribute(RawConnection, "encoding")

#: The rows that are gathered are held in memory up to this, instead of being written to a file.
_TEMP_BUFFERS = "SET temp_buffers = '64MB'"


def name_of(shard: str) -> str:
    """What the connection that gathers at a shard is called; no shard is called so.

    >>> name_of("s0")
    's0 (gathering)'
    """
    return f"{shard} (gathering)"


@contextmanager
def gatherer(
    session: Session, shard: str, connect_timeout_s: float | None, timeout: Timeout
) -> Iterator[Physical]:
    """The connection that gathers at a shard, for one statement.

    Raises:
        errors.Error: There is none: it cannot be opened, or all of the pool's are in use. Or it
            reads literals otherwise than the planner.

    Switches: if it must be opened or waited for, or the session's encoding has changed.
    """
    own = session.physical(shard)
    with _second(session, own, connect_timeout_s, timeout) as physical:
        encoding = _encoding.read(own.raw)
        if _encoding.read(physical.raw) != encoding:
            call = partial(RawConnection.set_client_encoding, physical.raw, encoding)
            session.run({physical.shard: call}, timeout)
        check_usual((physical,))
        at_once = True
        try:
            yield physical
            at_once = False
        except errors.Error:
            at_once = False
            raise
        finally:
            end(session, physical, at_once=at_once)


@contextmanager
def _second(
    session: Session, own: Physical, connect_timeout_s: float | None, timeout: Timeout
) -> Iterator[Physical]:
    """The session's own connection, kept until the session ends; or one that a pool lends."""
    name = name_of(own.shard)
    if session.source is None:
        physical = session.beside.get(name)
        if physical is None or not physical.alive:
            physical = Physical.second(name, own)
            _open(physical, connect_timeout_s, seconds_left(timeout))
            session.beside[name] = physical
            session.run({name: partial(prepare, physical)}, timeout)
        yield physical
        return
    with session.source.gatherer(own.shard, timeout) as physical:
        session.beside[name] = physical
        try:
            yield physical
        finally:
            del session.beside[name]


def _open(physical: Physical, *timeouts: float | None) -> None:
    limits = [seconds for seconds in timeouts if seconds is not None]
    failures = open_all([physical], min(limits, default=None))
    if failures:
        raise failed_opening(failures, 2)


def prepare(physical: Physical) -> None:
    """Make a new connection one that gathers.

    Switches: yes. Cost: one round trip.
    """
    autocommit.write(physical.raw, True)
    # Behind a pooler, others may have used temporary tables in the session: then it is too late.
    with suppress(InvalidParameterValue):
        RawCursor(physical.raw).execute(_TEMP_BUFFERS)


def execute(
    session: Session,
    physical: Physical,
    call: Callable[[RawCursor], Any],
    timeout: Timeout,
    noted: list[Job] | None = None,
) -> Any:
    """Run statements on it; returns what the call does.

    Switches: yes.
    """
    cursor = RawCursor(physical.raw)
    outcome = session.run({physical.shard: partial(call, cursor)}, timeout, noted=noted)
    return outcome.jobs[physical.shard].result


def end(session: Session, physical: Physical, *, at_once: bool) -> None:
    """End its transaction, and with it all that was gathered.

    Args:
        session: Its session.
        physical: The connection.
        at_once: Without waiting for the server: then it is closed.

    Switches: unless `at_once`.
    """
    if not physical.alive or physical.transaction_status == TRANSACTION_IDLE:
        return
    try:
        if not at_once:
            execute(session, physical, lambda cursor: cursor.execute("ROLLBACK"), session.grace_s)
    except DriverError:
        at_once = True
    finally:
        if at_once or physical.transaction_status != TRANSACTION_IDLE:
            physical.discard()
