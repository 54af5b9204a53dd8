"""The barrier on one shard: a table that each commit locks, and each snapshot over all shards.

`greenshard init` makes it. Nothing is ever in it. Of these statements none takes a snapshot but
``SELECT``: what the transaction sees is decided there, not where it begins.

Source: PostgreSQL manual, 13.3.1 "Table-Level Locks" (SHARE conflicts with ROW EXCLUSIVE, and not
with itself); SET TRANSACTION; 9.28.5 "Snapshot Synchronization Functions".
"""

from __future__ import annotations

import json
import time
from typing import Any

from greenshard._driver import DriverError, own_cursor
from greenshard.links.outside import read_outside, understood, value
from greenshard.links.physical import Physical, autocommit, begins_by_itself
from greenshard.transaction.snapshot_protocol import Holder

#: What LOCK raises when it has waited as long as it may.
_NOT_AVAILABLE = "55P03"
#: Seconds that a server waits for the reader beyond what other shards may take to get the lock: a
#: process that hangs must not hold up all commits.
_IDLE_S = 2.0

_KIND = "ISOLATION LEVEL REPEATABLE READ READ ONLY"
_SAVEPOINT = '"greenshard: barrier"'
_LOCK = (
    f"SAVEPOINT {_SAVEPOINT};"
    # The rights are those of who has connected, as for commits; the role comes back.
    " SET LOCAL ROLE NONE;"
    " SET LOCAL idle_in_transaction_session_timeout = {idle_ms};"
    " SET LOCAL lock_timeout = {wait_ms};"
    " LOCK TABLE greenshard.barrier IN SHARE MODE"
)
#: The settings go, too. A savepoint that was kept would be in the way of an export.
_RELEASE = f"ROLLBACK TO SAVEPOINT {_SAVEPOINT}; RELEASE SAVEPOINT {_SAVEPOINT}"
_FREEZE = f"SELECT; {_RELEASE}"
_EXPORT = "SELECT pg_catalog.convert_to(pg_catalog.pg_export_snapshot(), 'UTF8')"

#: Of a prepared transaction a lock has no process; that on its own number tells which it is.
_HOLDERS = """
SELECT pg_catalog.convert_to(coalesce(pg_catalog.json_agg(pg_catalog.json_build_array(
    held.pid,
    coalesce(prepared.gid, activity.application_name, ''),
    EXTRACT(EPOCH FROM pg_catalog.clock_timestamp()
        OPERATOR(pg_catalog.-) coalesce(prepared.prepared, activity.xact_start))
)), '[]')::pg_catalog.text, 'UTF8')
FROM pg_catalog.pg_locks AS held
LEFT JOIN pg_catalog.pg_stat_activity AS activity ON activity.pid OPERATOR(pg_catalog.=) held.pid
LEFT JOIN pg_catalog.pg_locks AS number
    ON held.pid IS NULL AND number.pid IS NULL
    AND number.locktype OPERATOR(pg_catalog.=) 'transactionid'
    AND number.virtualtransaction OPERATOR(pg_catalog.=) held.virtualtransaction
LEFT JOIN pg_catalog.pg_prepared_xacts AS prepared
    ON prepared.transaction OPERATOR(pg_catalog.=) number.transactionid
WHERE held.granted
    AND held.mode OPERATOR(pg_catalog.<>) %(beside)s
    AND held.relation OPERATOR(pg_catalog.=)
        pg_catalog.to_regclass('greenshard.barrier')::pg_catalog.oid
    AND held.database OPERATOR(pg_catalog.=) (
        SELECT oid FROM pg_catalog.pg_database
        WHERE datname OPERATOR(pg_catalog.=) pg_catalog.current_database())
"""


def lock(physical: Physical, wait_s: float) -> bool:
    """Begin a transaction that only reads, and lock the barrier; whether that could be done.

    Args:
        physical: The connection, on which none is open.
        wait_s: How long to wait for it.

    Raises:
        DriverError: There is no barrier, or it may not be locked.

    Switches: yes. Cost: one round trip; two if psycopg2 must begin the transaction.
    """
    wait_ms = max(1, round(1000 * wait_s))
    idle_ms = wait_ms + round(1000 * _IDLE_S)
    try:
        _begin(physical, _LOCK.format(wait_ms=wait_ms, idle_ms=idle_ms))
    except DriverError as error:
        if error.pgcode != _NOT_AVAILABLE:
            raise
        return False
    return True


def begin_alone(physical: Physical) -> None:
    """Begin a transaction that only reads, and take its snapshot: the shard is the only one.

    Switches: yes. Cost: see `lock`.
    """
    _begin(physical, "SELECT")


def freeze(physical: Physical, *, exports: bool) -> str:
    """Take the transaction's snapshot, and unlock the barrier.

    Args:
        physical: The connection, which has it locked.
        exports: Whether other sessions are to join.

    Returns:
        What they join it by; empty if they are not to.

    Switches: yes. Cost: one round trip.
    """
    cursor = own_cursor(physical.raw)
    cursor.execute(f"{_FREEZE}; {_EXPORT}" if exports else _FREEZE)
    if not exports:
        return ""
    with understood(physical.shard):
        row: Any = cursor.fetchone()
        return bytes(row[0]).decode()


def holders(physical: Physical, *, commits: bool = False) -> tuple[Holder, ...]:
    """Who keeps the barrier from being locked, of a shard on which no transaction is open.

    Args:
        physical: The connection.
        commits: Whether it is to be locked as commits do it; else, as snapshots do.

    Switches: yes. Cost: one round trip.
    """
    beside = {"beside": "RowExclusiveLock" if commits else "ShareLock"}
    found = read_outside(physical, lambda one: value(one, _HOLDERS, beside))
    with understood(physical.shard):
        return tuple(Holder(physical.shard, *each) for each in json.loads(bytes(found)))


def _begin(physical: Physical, text: str) -> None:
    """Begin a transaction that only reads, with a statement."""
    raw = physical.raw
    # A transaction that psycopg2 takes for open is what all else here knows how to end: so also in
    # autocommit mode, which `Snapshots` sets again.
    if autocommit.read(raw) and not physical.entered:
        autocommit.write(raw, False)
    cursor = own_cursor(raw)
    if physical.entered or physical.given or not begins_by_itself(raw):
        cursor.execute(f"SET TRANSACTION {_KIND}; {text}")
        return
    autocommit.write(raw, True)
    physical.begun, physical.begun_at = True, time.monotonic()
    cursor.execute(f"BEGIN {_KIND}; {text}")
