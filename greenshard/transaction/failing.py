"""An error that no shard has raised fails the transaction, as it would on one PostgreSQL.

The planner knows that a table does not exist, or that a text cannot be parsed, before anything is
sent; another session finds out while it combines rows that a division is by zero. Whoever swallows
such an error must not commit what PostgreSQL would not. That the transaction has failed is not
noted here: the servers are let know it, so that they tell whatever is asked of it then, and
ROLLBACK TO a savepoint brings it back.
"""

from __future__ import annotations

from contextlib import suppress
from functools import partial

from greenshard import errors
from greenshard._driver import DriverError, RawCursor
from greenshard.links.beginning import executing
from greenshard.links.deadline import within
from greenshard.links.physical import Physical
from greenshard.links.session import Session
from greenshard.transaction.state import State, Transaction, state_at_server

#: There is no such savepoint. The servers log the name.
_FAILING = 'ROLLBACK TO SAVEPOINT "greenshard: a statement failed before it was sent"'


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
    if error.pgcode is None or getattr(error, "code", None) == "GS501":
        return
    fail_open(session, transaction)


def fail_open(session: Session, transaction: Transaction) -> None:
    """Let the transaction be failed where it is open.

    Args:
        session: The connections; the caller has `taken` it.
        transaction: Theirs.

    Switches, Cost: see `fail_all`.
    """
    there = session.alive
    # Failed already, or a connection is lost: then commit() will tell.
    if transaction.failed is not None or len(there) < len(session.physicals):
        return
    open_on = [p for p in there if state_at_server(p) is State.OPEN]
    # If no transaction has begun yet, psycopg2 would have begun one with this statement: one shard
    # is enough for that.
    failing = open_on or [p for p in there if p.would_begin][:1]
    calls = {physical.shard: partial(_fail, physical) for physical in failing}
    if calls:
        with suppress(errors.Error):  # a shard that cannot be told is lost
            session.run(calls, within(session.grace_s))


def _fail(physical: Physical) -> None:
    with suppress(DriverError):
        executing(physical, RawCursor(physical.raw), _FAILING)()
