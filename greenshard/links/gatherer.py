"""The connection that gathers: a second one to a shard's database, opened when first needed.

It is not the shard's own, because a transaction that touched a temporary table cannot be prepared,
and because its transaction ends with each statement; with each named cursor, if that has rows left
there. In between it has none and holds nothing; so a pool lends its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import Any

from greenshard import errors
from greenshard._driver import (
    DriverError,
    Dsn,
    InvalidParameterValue,
    RawConnection,
    RawCursor,
)
from greenshard.links.asking_bearings import ask_bearings
from greenshard.links.deadline import Deadline, within
from greenshard.links.fanout import Job
from greenshard.links.opening import failed_opening, open_all
from greenshard.links.physical import Physical, autocommit, client_encoding
from greenshard.links.quoting import check_usual
from greenshard.links.renewal import make_new
from greenshard.links.session import Loan, Session
from greenshard.links.session_settings import Settings, joining
from greenshard.planner.place import Place, Role

#: The rows that are gathered are held in memory up to this, instead of being written to a file.
_TEMP_BUFFERS = "SET temp_buffers = '64MB';"
#: What a server says where the role may not make temporary tables.
INSUFFICIENT_PRIVILEGE = "42501"


@dataclass(slots=True, eq=False)
class Gatherer:
    """A connection that gathers, while it is held.

    Attributes:
        place: Where it is, in `Session.beside`.
        physical: The connection.
        loan: How a pool gets it back; None if it is the session's own.
        used_up: Whether the statement may leave something in its session: not all of that goes
            with the transaction.
        joining: What its transaction must begin with to see what the session's own sees, if that
            is a snapshot over all shards.
    """

    place: Place
    physical: Physical
    loan: Loan | None = None
    used_up: bool = False
    joining: Settings = ()


@contextmanager
def gatherer(
    session: Session, shard: str, connect_timeout_s: float | None, timeout: Deadline
) -> Iterator[Gatherer]:
    """The connection that gathers at a shard, for one statement; longer, if `Session.kept` has it.

    Raises:
        errors.Error: There is none: it cannot be opened, or all of the pool's are in use. Or it
            reads literals otherwise than the planner.

    Switches: if it must be opened or waited for, or the session's encoding has changed.
    """
    own = session.physical(shard)
    held = _hold(session, own, connect_timeout_s, timeout)
    with holding(session, held, own, timeout):
        if session.exported is not None:
            held.joining = joining(session.exported[shard])
        yield held


@contextmanager
def holding(session: Session, held: Gatherer, own: Physical, timeout: Deadline) -> Iterator[None]:
    """Let go of the connection in the end, unless `Session.kept` has it.

    Args:
        session: Its session.
        held: The connection.
        own: A shard's own, as which it reads texts.
        timeout: What it may take to make it do so.

    Raises:
        errors.NotSupportedError: It reads literals otherwise.

    Switches: yes.
    """
    # What arrives from outside must not wait for the server; after an error of ours the server
    # answers.
    at_once = True
    try:
        _read_alike(session, held, own, timeout)
        yield
        at_once = False
    except errors.Error:
        at_once = False
        raise
    finally:
        if at_once or held.place not in session.kept:
            let_go(session, held, at_once=at_once)


def _read_alike(session: Session, held: Gatherer, own: Physical, timeout: Deadline) -> None:
    """Let the connection read texts as a shard's own does.

    Raises:
        errors.NotSupportedError: It reads literals otherwise.

    Switches: if the session's encoding has changed.
    """
    encoding = client_encoding.read(own.raw)
    # A pool's may have served a session with another one.
    if client_encoding.read(held.physical.raw) != encoding:
        call = partial(RawConnection.set_client_encoding, held.physical.raw, encoding)
        session.run({}, timeout, beside={held.place: call})
    check_usual((held.physical,))


def let_go(session: Session, held: Gatherer, *, at_once: bool) -> None:
    """End its transaction; a pool's goes back.

    Args:
        session: Its session.
        held: The connection.
        at_once: Without waiting for the server: then it is closed.

    Switches: unless `at_once`, or if a pool closes it.
    """
    session.kept.discard(held.place)
    try:
        end(session, held, at_once=at_once)
        if held.used_up:
            _renew(session, held, at_once=at_once)
    finally:
        if held.loan is not None:
            session.beside.pop(held.place, None)
            held.loan.give_back()
        elif held.place.number > 1 or held.place.role is Role.COORDINATING:
            # Few sessions need several: the first stays.
            session.beside.pop(held.place, None)
            held.physical.discard()


def _hold(
    session: Session, own: Physical, connect_timeout_s: float | None, timeout: Deadline
) -> Gatherer:
    """The session's own connection, kept until the session ends; or one that a pool lends."""
    places = (Place(own.shard, Role.GATHERING, number) for number in count(1))
    # A named cursor with rows left has the first one.
    place = next(each for each in places if each not in session.kept)
    if session.source is not None:
        loan = session.source.lend(own.shard, timeout, has_one=bool(session.kept))
        loan.physical.beside = place
        session.beside[place] = loan.physical
        return Gatherer(place, loan.physical, loan)
    physical = session.beside.get(place)
    if physical is None or not physical.alive:
        return opened(session, place, own.dsn, connect_timeout_s, timeout)
    return Gatherer(place, physical)


def opened(
    session: Session, place: Place, dsn: Dsn, connect_timeout_s: float | None, timeout: Deadline
) -> Gatherer:
    """A new connection that gathers; its session's bearings are known then.

    Raises:
        errors.Error: It cannot be opened.

    Switches: yes.
    """
    physical = Physical.second(place, dsn)
    _open(physical, connect_timeout_s, timeout.left_s)
    session.beside[place] = physical
    try:
        session.run({}, timeout, beside={place: partial(prepare, physical)})
    except BaseException:
        del session.beside[place]
        physical.discard()
        raise
    return Gatherer(place, physical)


def _open(physical: Physical, *timeouts: float | None) -> None:
    limits = [seconds for seconds in timeouts if seconds is not None]
    failures = open_all([physical], min(limits, default=None))
    if failures:
        raise failed_opening(failures, 2)


def prepare(physical: Physical) -> None:
    """Make a new connection one that gathers; its session's bearings are known then.

    Switches: yes. Cost: one round trip.
    """
    autocommit.write(physical.raw, True)
    try:
        ask_bearings(physical, before=_TEMP_BUFFERS)
    except InvalidParameterValue:
        # Behind a pooler, others may have used temporary tables in the session: it is too late.
        ask_bearings(physical)


def execute(
    session: Session,
    held: Gatherer,
    call: Callable[[RawCursor], Any],
    timeout: Deadline,
    noted: list[Job] | None = None,
) -> Any:
    """Run statements on it; returns what the call does.

    Switches: yes.
    """
    calls = {held.place: partial(call, RawCursor(held.physical.raw))}
    return session.run({}, timeout, noted=noted, beside=calls).beside[held.place].result


def _renew(session: Session, held: Gatherer, *, at_once: bool) -> None:
    """Make its session as good as new, or close it.

    Switches: unless `at_once`.
    """
    physical = held.physical

    def renew() -> None:
        make_new(physical.raw)
        prepare(physical)

    try:
        if at_once:
            physical.discard()
        elif physical.alive:
            session.run({}, within(session.grace_s), beside={held.place: renew})
    except DriverError:
        physical.discard()
    except BaseException:
        physical.discard()
        raise


def end(session: Session, held: Gatherer, *, at_once: bool) -> None:
    """End its transaction, and with it all that was gathered.

    Args:
        session: Its session.
        held: The connection.
        at_once: Without waiting for the server: then it is closed.

    Switches: unless `at_once`.
    """
    physical = held.physical
    if not physical.alive or physical.idle:
        return
    try:
        if not at_once:
            execute(
                session, held, lambda cursor: cursor.execute("ROLLBACK"), within(session.grace_s)
            )
    except DriverError:
        at_once = True
    finally:
        if at_once or not physical.idle:
            physical.discard()
