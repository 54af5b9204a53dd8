"""What the steps of a commit send to a shard, and what its answer says.

Each step is one message, so that it costs one round trip. All names are qualified: the program
chooses the search path, and may have tables and operators of these names.

Source: PostgreSQL manual, PREPARE TRANSACTION; 13.3.1 "Table-Level Locks".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from greenshard import errors
from greenshard._driver import DriverError, ours, own_cursor
from greenshard.links.physical import Physical
from greenshard.merge.arrays import array_text
from greenshard.transaction.actions import Checked

#: SQLSTATE for a shard that is another one than it was: object not in prerequisite state.
ANOTHER_SHARD = "55000"

#: Deferred constraints first, and as the role that the program has set. What comes then is done as
#: the one who has connected: a role that is set for the transaction alone would own what is
#: prepared, and the session could not end it any more.
_CONSTRAINTS = "SET CONSTRAINTS ALL IMMEDIATE; "
_FIRST = _CONSTRAINTS + "SET LOCAL ROLE NONE; SET LOCAL lock_timeout = '10s'; "
#: Each commit holds it until it is done on all shards: who has locked all of them against commits
#: sees each transaction on all shards or on none.
_BARRIER = "LOCK TABLE greenshard.barrier IN ROW EXCLUSIVE MODE; "
#: So long, at most, those who recover must wait for a coordinator that is frozen.
_BOUNDED = "SET LOCAL idle_in_transaction_session_timeout = '30s'; "
_DECISION = "INSERT INTO greenshard.decision (gid, committed, participants) SELECT %s, true, %s"
_NUMBERED = "pg_catalog.pg_current_xact_id_if_assigned() IS NOT NULL"
_ISOLATION = "pg_catalog.current_setting('transaction_isolation')"
_SERIALIZABLE = f"{_ISOLATION} OPERATOR(pg_catalog.=) 'serializable'"
#: A shard that has only read does not come to write by it.
_IF_IT_WROTE = f" WHERE {_NUMBERED}; "
#: Locks are held until the end. Whoever changes a table has one that keeps others from it, as we
#: have of our own.
_LOCKED = """EXISTS (SELECT FROM pg_catalog.pg_locks AS l
    JOIN pg_catalog.pg_class AS c ON c.oid OPERATOR(pg_catalog.=) l.relation
    WHERE l.pid OPERATOR(pg_catalog.=) pg_catalog.pg_backend_pid()"""
_CHANGES = f"""{_LOCKED} AND c.relkind OPERATOR(pg_catalog.<>) 'S'
    AND c.relpersistence OPERATOR(pg_catalog.<>) 't'
    AND NOT EXISTS (SELECT FROM pg_catalog.pg_namespace AS n
        WHERE n.oid OPERATOR(pg_catalog.=) c.relnamespace
        AND n.nspname OPERATOR(pg_catalog.=) 'greenshard')
    AND l.mode OPERATOR(pg_catalog.<>) ALL (
        ARRAY['AccessShareLock', 'RowShareLock']::pg_catalog.text[]))"""
_TEMPORARY = f"""pg_catalog.pg_my_temp_schema() OPERATOR(pg_catalog.<>) 0::pg_catalog.oid
    AND {_LOCKED} AND c.relpersistence OPERATOR(pg_catalog.=) 't')"""
#: All that is asked of each shard in each commit: of a view or a join more the server would be
#: longer at work than of the rest of the commit. What few transactions need is `_MORE`.
_TOLD = f"""SELECT {_NUMBERED}, {_ISOLATION}, s.id, pg_catalog.pg_my_temp_schema(),
    EXISTS (SELECT pg_catalog.pg_cursor()), pg_catalog.current_setting('synchronous_commit')
    FROM greenshard.shard AS s"""
#: So a decision, and what is prepared, is not lost with the server's memory.
_DURABLE = frozenset({"on", "remote_apply"})
#: Who has only written temporary tables has nothing that others could see, or miss. Temporary
#: tables that were dropped are not seen here; that they cannot be prepared, PREPARE says.
_MORE = f"""SELECT CASE WHEN {_TEMPORARY} THEN {_CHANGES} ELSE true END,
    CASE WHEN {_TEMPORARY} THEN 'temporary tables'
    WHEN EXISTS (SELECT FROM pg_catalog.pg_cursors AS c WHERE c.is_holdable
        AND c.creation_time OPERATOR(pg_catalog.>=) pg_catalog.now())
    THEN 'a cursor WITH HOLD' END"""
_BE_DURABLE = "SET LOCAL synchronous_commit = on; "
_REALLY = f"SELECT {_NUMBERED} AND {_CHANGES}, {_SERIALIZABLE}"
#: Fails if the transaction has written, and leaves it as it was then.
_READ_ONLY_SO_FAR = (
    'SAVEPOINT "greenshard: has it written?"; SELECT 1 OPERATOR(pg_catalog./)'
    " (pg_catalog.pg_current_xact_id_if_assigned() IS NULL)::pg_catalog.int4"
)
_GO_ON = (
    'ROLLBACK TO SAVEPOINT "greenshard: has it written?"; '
    'RELEASE SAVEPOINT "greenshard: has it written?"'
)
#: SQLSTATE: division by zero.
_BY_ZERO = "22012"
#: What goes before the COMMIT of a shard that commits alone.
BEFORE_COMMIT = _FIRST + _BARRIER


def check(physical: Physical) -> Checked:
    """Check a shard whose commit is not part of a second phase. Switches, Cost: see `ready`."""
    return _checked(physical, f"{_CONSTRAINTS}SELECT {_NUMBERED}, {_SERIALIZABLE}")


def check_rows(physical: Physical) -> Checked:
    """Check a shard that cannot take part in a second phase: has it really written?

    A sequence that counts on, a row that is locked and a temporary table give the transaction a
    number too, but none of them can be half done. It takes longer than `ready`.

    Switches: yes. Cost: one round trip.
    """
    return _checked(physical, _CONSTRAINTS + _REALLY)


def has_written(physical: Physical, *, rows: bool) -> bool:
    """Whether a shard has written anything.

    Args:
        physical: Its connection.
        rows: Whether temporary tables do not count, also dropped ones.

    Switches: yes. Cost: one round trip.
    """
    with physical.beginning_nothing():
        return bool(_row(physical, _REALLY if rows else f"SELECT {_NUMBERED}")[0])


def commit_unless_written(physical: Physical) -> bool:
    """Commit what has only read; whether it has written: then it is open still.

    A function that is called in a SELECT may write, or a view's, and no text shows it.

    Switches: yes. Cost: one round trip, as of a COMMIT; if it has written, or if psycopg2 has begun
    the transaction, two.
    """
    if not physical.begun and physical.in_transaction:
        written = has_written(physical, rows=False)
        if not written:
            physical.commit()
        return written
    cursor = own_cursor(physical.raw)
    with physical.beginning_nothing():
        try:
            cursor.execute(f"{_READ_ONLY_SO_FAR}; COMMIT")
        except DriverError as error:
            if error.pgcode != _BY_ZERO or not physical.failed:
                raise
            cursor.execute(_GO_ON)
            return True
        finally:
            if physical.begun and (physical.idle or not physical.alive):
                physical.leave_to_psycopg2()
    return False


def _checked(physical: Physical, text: str) -> Checked:
    row = _row(physical, text)
    return Checked(wrote=bool(row[0]), serializable=bool(row[1]))


def _row(physical: Physical, text: str, given: Sequence[Any] | None = None) -> Any:
    """The row that a message gives in the end; None if there is none."""
    cursor = own_cursor(physical.raw)
    cursor.execute(text, given)
    return cursor.fetchone()


def ready(
    physical: Physical, shard_id: str, decision: str | None, participants: Sequence[str]
) -> Checked:
    """Check a shard, and let it hold the barrier.

    Args:
        physical: Its connection.
        shard_id: Its id, which it must have still: recovery looks for it.
        decision: The decision to be taken down if it has written; None on all shards but one.
        participants: The ids of the others.

    Switches: yes. Cost: one round trip; one more where it has written, and the session has, or had,
    temporary objects, has a cursor open, or has set ``synchronous_commit`` to less than ``on``.
    """
    text, given = _FIRST + _BARRIER, None
    if decision is not None:
        text += _BOUNDED + _DECISION + _IF_IT_WROTE
        given = _given(decision, participants)
    row = _row(physical, text + _TOLD, given)
    if row is None or row[2] != shard_id:
        raise errors.refused(
            "the database is not the one that it was when this process first asked it: "
            "`greenshard init` has given it another id, or the server is another one",
            code="GS110",
            pgcode=ANOTHER_SHARD,
            hint="Run the transaction again: the shards are asked anew.",
        )
    wrote, isolation, _, temporary_schema, has_cursors, synchronous = row
    holds = None
    if wrote and (temporary_schema or has_cursors or synchronous not in _DURABLE):
        wrote, holds = _row(physical, _BE_DURABLE * (synchronous not in _DURABLE) + _MORE)
    return Checked(wrote=bool(wrote), holds=holds, serializable=isolation == "serializable")


def note(physical: Physical, decision: str, participants: Sequence[str]) -> None:
    """Let a shard that is ready, and has written, take down the decision.

    Switches: yes. Cost: one round trip.
    """
    cursor = own_cursor(physical.raw)
    cursor.execute(_BOUNDED + _DECISION, _given(decision, participants))


def _given(decision: str, participants: Sequence[str]) -> tuple[Any, Any]:
    # However the program has texts and lists written: recovery looks for just these.
    return ours(decision), ours(array_text(participants))


def lock(physical: Physical) -> None:
    """Let a shard hold the barrier whose COMMIT comes alone. Switches: yes."""
    own_cursor(physical.raw).execute(BEFORE_COMMIT)


#: As BEGIN takes them.
_MODES = """SELECT pg_catalog.concat('ISOLATION LEVEL ',
    pg_catalog.current_setting('transaction_isolation'),
    CASE WHEN pg_catalog.current_setting('transaction_read_only')::pg_catalog.bool
        THEN ', READ ONLY' ELSE ', READ WRITE' END,
    CASE WHEN pg_catalog.current_setting('transaction_deferrable')::pg_catalog.bool
        THEN ', DEFERRABLE' ELSE ', NOT DEFERRABLE' END)"""


def modes(physical: Physical) -> str:
    """How a shard's transaction was begun: what ``AND CHAIN`` begins the next one with.

    Switches: yes. Cost: one round trip.
    """
    return str(_row(physical, _MODES)[0])
