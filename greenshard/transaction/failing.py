"""An error fails the transaction as a whole, as it would on one PostgreSQL.

*No shard has raised it.* The planner knows that a table does not exist, or that a text cannot be
parsed, before anything is sent; another session finds out while it combines rows that a division is
by zero. Whoever swallows such an error must not commit what PostgreSQL would not. That the
transaction has failed is not noted here: the servers are let know it, so that they tell whatever is
asked of it then, and ROLLBACK TO a savepoint brings it back.

*One shard has raised it*, or was stopped, and the others know nothing of it. Before anything that
goes to all of them is sent, they are let be failed, too (`fail_rest`). Else they would do what that
one refuses, and ROLLBACK TO would take the shards back to different points::

    savepoint b; update ...; insert ...     23505 on s1
    savepoint b                             25P02 on s1; the others would set it anew
    rollback to b; commit                   and keep the update, which s1 has undone

What goes to one shard is sent to the one that has failed. ROLLBACK, which is what follows most
often, needs none of this.

*A savepoint was set, or released, on some shards only*, because the statement was stopped: nobody
can tell it there from an older one of that name. Such a transaction must end
(`savepoints_alike`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import partial

from greenshard import errors
from greenshard._driver import DriverError, RawCursor
from greenshard.links.beginning import executing
from greenshard.links.deadline import within
from greenshard.links.physical import Physical
from greenshard.links.session import Session
from greenshard.transaction.state import State, Transaction, state_at_server

#: There is no such savepoint. The servers log the name.
_FAILING = 'ROLLBACK TO SAVEPOINT "greenshard: a statement failed, maybe elsewhere"'
#: What sets savepoints, or ends them.
_SAVEPOINTS = re.compile(r"\b(?:savepoint|release)\b", re.IGNORECASE | re.ASCII)
#: SQLSTATEs of what is stopped: no resources, cancelled. A timeout of ours has none.
_STOPPED = ("53", "57")


def fail_all(session: Session, transaction: Transaction, error: DriverError) -> None:
    """Let the transaction be failed after an error, if it is PostgreSQL's own.

    Refusals of greenshard's have no SQLSTATE: after them it goes on. So it does where the server
    that failed has it no more: its connection is lost, or it has ended with the statement.

    Args:
        session: The connections; the caller has `taken` it.
        transaction: Theirs.
        error: What the statement has raised.

    Switches: if it must be failed. Cost: then one round trip.
    """
    # GS501: the transaction was rolled back with that error, and there is nothing to fail.
    code = getattr(error, "code", None)
    if code == "GS508":
        _undo_open(session)
    elif error.pgcode is not None and code != "GS501":
        fail_open(session, transaction)


def _undo_open(session: Session) -> None:
    """Roll a transaction back where it is open, and let it be failed there.

    After a deadlock all its locks must go at once, on all shards: others wait for them. Where there
    are savepoints, an error alone would keep those from before. But the program must learn that it
    is over: the next statement must not begin another one, which lacks what was done in this.
    """
    states = {p.shard: state_at_server(p) for p in session.alive}
    calls = {
        shard: partial(_undo, session.physicals[shard])
        for shard, state in states.items()
        if state in {State.OPEN, State.FAILED}
    }
    if calls:
        with suppress(errors.Error):  # a shard that cannot be told loses its connection
            session.run(calls, within(session.grace_s))


def _undo(physical: Physical) -> None:
    with suppress(DriverError), physical.beginning_nothing():
        RawCursor(physical.raw).execute(f"ROLLBACK; BEGIN; {_FAILING}")


def fail_open(session: Session, transaction: Transaction) -> None:
    """Let the transaction be failed where it is open.

    Args:
        session: The connections; the caller has `taken` it.
        transaction: Theirs.

    Switches, Cost: see `fail_all`.
    """
    there = session.alive
    # Failed already: see `fail_rest`. Or a connection is lost: then commit() will tell.
    if transaction.failed is not None or len(there) < len(session.physicals):
        return
    open_on = [p for p in there if state_at_server(p) is State.OPEN]
    # If no transaction has begun yet, psycopg2 would have begun one with this statement: one shard
    # is enough for that.
    failing = open_on or [p for p in there if p.would_begin][:1]
    _fail_on(session, failing)


def fail_rest(session: Session, shards: Iterable[str]) -> None:
    """Let a transaction that has failed on one of some shards be failed on all of them.

    Not when the error comes: a kill may not wait for it, and ROLLBACK needs none of it.

    Args:
        session: The connections; the caller has `taken` it.
        shards: Where something is about to be run that must not be done where it has not failed.

    Switches: if it has failed. Cost: then one round trip; else 0.3 us for each shard.
    """
    there = _alive(session, shards)
    if any(physical.failed for physical in there):
        # One that joins only now must not begin its transaction with what the others refuse.
        _fail_on(session, (p for p in there if state_at_server(p) is State.OPEN or p.would_begin))


@contextmanager
def savepoints_alike(session: Session, shards: Iterable[str], text: str) -> Iterator[None]:
    """Give up a transaction in which the block has set or ended savepoints on some shards only.

    Where the statement was stopped, the connection is closed: its transaction is lost, and cannot
    be committed.

    Args:
        session: The connections.
        shards: Where the block runs something.
        text: What it runs.
    """
    try:
        yield
    except BaseException as error:
        if _SAVEPOINTS.search(text) and _was_stopped(error):
            states = [(p, state_at_server(p)) for p in _alive(session, shards)]
            if any(state is State.OPEN for _, state in states):
                for physical, state in states:
                    if state is State.FAILED:
                        physical.discard()
        raise


def _alive(session: Session, shards: Iterable[str]) -> list[Physical]:
    physicals = session.physicals
    return [p for s in shards if (p := physicals.get(s)) is not None and p.alive]


def _was_stopped(error: BaseException) -> bool:
    pgcode = getattr(error, "pgcode", None)
    return pgcode is None or pgcode.startswith(_STOPPED)


def _fail_on(session: Session, physicals: Iterable[Physical]) -> None:
    calls = {physical.shard: partial(_fail, physical) for physical in physicals}
    if calls:
        with suppress(errors.Error):  # a shard that cannot be told is lost
            session.run(calls, within(session.grace_s))


def _fail(physical: Physical) -> None:
    with suppress(DriverError):
        executing(physical, RawCursor(physical.raw), _FAILING)()
