"""Cursors that SQL declares: DECLARE, FETCH, MOVE and CLOSE over several shards.

    the query runs on one shard     that server has the cursor; FETCH goes there as it is
    on several                      a named cursor of the connection stands for it, and FETCH takes
                                    the next rows from that: forward only

When its transaction ends, or is rolled back to before it, it ends as a named cursor does.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from greenshard import errors
from greenshard._driver import RawCursor, ours, own_cursor
from greenshard.executor.answers.answer import Answer, CountedAnswer, Stages
from greenshard.executor.answers.buffered import BufferedAnswer, BufferedRows
from greenshard.executor.answers.parts import Parts
from greenshard.executor.answers.portals import Portals, SqlCursor, duplicate
from greenshard.links.beginning import no_transaction
from greenshard.links.deadline import Deadline
from greenshard.links.outside import calls_outside
from greenshard.links.physical import Physical
from greenshard.links.session import Session
from greenshard.sql.declaring import ALL, Fetch
from greenshard.transaction.state import State, Transaction, state_at_server


def check_declaring(
    session: Session,
    transaction: Transaction,
    portals: Portals,
    name: str,
    timeout: Deadline,
    *,
    holds: bool,
) -> None:
    """Refuse a DECLARE of a cursor that is there, or outside of a transaction, but for WITH HOLD.

    Raises:
        errors.Error: As PostgreSQL does.

    Switches: if there may be one of the name.
    """
    begins = any(physical.would_begin for physical in session.alive) or not session.alive
    if not (holds or begins or transaction.is_open):
        raise no_transaction()
    portals.check_name(name)
    if name in portals.by_sql or name in portals.declared or name in portals.outlived:
        cursor = portals.by_sql.get(name)
        logical = None if cursor is None else cursor.logical
        # Of an answer that one server made, the portal tells: then it is over.
        over = logical is not None and logical._parts.portal is not None
        if over or not shards_with(session, name, timeout):
            portals.forget(name)
            return
        raise duplicate(name)


def shards_with(session: Session, name: str, timeout: Deadline) -> list[str]:
    """The shards whose sessions have a cursor of a name. Switches: yes."""
    asked = [p for p in session.alive if state_at_server(p) in {State.OPEN, State.UNTOUCHED}]
    calls = calls_outside(asked, partial(_has_cursor, name))
    found = session.run(calls, timeout).jobs if calls else {}
    return [shard for shard, job in found.items() if job.result]


def _has_cursor(name: str, physical: Physical) -> bool:
    cursor = own_cursor(physical.raw)
    ask = "SELECT FROM pg_catalog.pg_cursors WHERE name OPERATOR(pg_catalog.=) %s"
    cursor.execute(ask, (ours(name),))
    return cursor.rowcount > 0


def no_cursor(name: str) -> errors.Error:
    """PostgreSQL's error for a cursor that there is not."""
    return errors.refused(f'cursor "{name}" does not exist', pgcode="34000")


def named_for(parts: Parts, name: str, session: Session, *, holds: bool) -> Any:
    """A named cursor of the connection, for one that SQL declares over several shards.

    Raises:
        errors.NotSupportedError: There is none such.
    """
    # Not of one that is late: what it was asked in passing has switched autocommit on meanwhile.
    if not holds and any(p.autocommit for p in session.alive if p.late is None):
        raise errors.NotSupportedError(
            "DECLARE over several shards, in a transaction that SQL has begun",
            code="GS410",
            hint="Switch autocommit off: then the connection begins it. Or declare it WITH HOLD.",
        )
    connection = parts.logical.connection
    return connection.cursor(name, cursor_factory=RawCursor, withhold=holds)


def fetch(
    session: Session, parts: Parts, cursor: SqlCursor, wanted: Fetch, timeout: Deadline
) -> Answer:
    """The next rows of a cursor that a named cursor stands for.

    Args:
        session: The connections; the caller holds it.
        parts: Of the cursor that executes FETCH.
        cursor: What is fetched from.
        wanted: What is fetched.
        timeout: What it may take.

    Raises:
        errors.Error: A shard failed, or it would go backwards.

    Switches: yes.
    """
    logical = cursor.logical
    size, last = _steps(cursor, wanted)
    own: Parts = logical._parts
    own.fetch_timeout = timeout
    answer: Answer = logical._answer
    with session.lent():
        rows = answer.rows.fetchall() if size == ALL else answer.rows.fetchmany(size)
    cursor.at += len(rows)
    if last:  # one row is meant, or none
        rows = rows[-1:] if len(rows) == size else []
    if wanted.moves:
        return CountedAnswer(len(rows), f"MOVE {len(rows)}")
    shard = next(iter(own.made()), session.shards[0])
    return BufferedAnswer(
        BufferedRows([*map(tuple, rows)], partial(parts.shaping, None)),
        answer.description,
        shard,
        Stages(),
        f"FETCH {len(rows)}",
    )


def _steps(cursor: SqlCursor, wanted: Fetch) -> tuple[int, bool]:
    """How many rows forward, and whether only the last of them is meant.

    Raises:
        errors.NotSupportedError: It goes backwards, or stays.
    """
    count = wanted.count
    if wanted.direction == "ABSOLUTE":
        count -= cursor.at
    if count <= 0 or wanted.direction == "BACKWARD" or wanted.count < 0:
        what = "MOVE" if wanted.moves else "FETCH"
        raise errors.NotSupportedError(
            f"{what} that does not go forward, over several shards",
            code="GS410",
            hint="Fetch the rows in their order, and keep those that are needed again.",
        )
    return count, wanted.direction != "FORWARD"
