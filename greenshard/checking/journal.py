"""What a repair that was interrupted has left: rows without a unique key on two shards.

Rows are committed on the shard where they belong first, and then deleted where they were. Of a
table with a unique key the rows themselves tell what was begun: the same row is on both. Equal rows
without one may be two. So the transaction that inserts them writes down which they are, and by
which transaction they are to be deleted; of that the server tells whether it was committed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from greenshard import _green, errors
from greenshard._driver import ours
from greenshard.checking.carrying import IN_PLACE, Address, Carrier, by_table
from greenshard.checking.findings import Repair
from greenshard.checking.probe import escaped, transaction
from greenshard.checking.structure import Table
from greenshard.checking.tables import label
from greenshard.cluster import TableName
from greenshard.connection import Connection
from greenshard.initializing.schema import SCHEMA
from greenshard.links.deadline import within
from greenshard.merge.arrays import array_text

_JOURNAL = f"{SCHEMA}.moving"
_MADE = (
    f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}",
    f"""CREATE TABLE IF NOT EXISTS {_JOURNAL} (source pg_catalog.text, xid pg_catalog.xid8,
        schema pg_catalog.text, name pg_catalog.text, rows pg_catalog.text[])""",
)
#: Any number that no one else takes: two repairs at a time would see what the other has begun.
_LOCK = 7_206_173_014
#: Seconds that the session of one that has ended has to end, too; and between two looks.
_ENDING_S, _PAUSE_S = 2.0, 0.05


@dataclass(frozen=True, slots=True)
class _Entry:
    """Rows that one transaction has inserted on `target`, and another one was to delete.

    Attributes:
        source, target: The shards.
        xid: Of the transaction on the source.
        rows: The rows there by their table, in the order in which they were inserted.
    """

    source: str
    target: str
    xid: str
    rows: list[tuple[TableName, list[Address]]] = field(default_factory=list)


def _locked(conn: Connection, shard: str) -> bool:
    with transaction(conn, [shard]) as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s)", (_LOCK,))
        ((got,),) = cursor.fetchall()
    return bool(got)


def alone(conn: Connection) -> None:
    """See to it that no other repair runs, until the connection is closed.

    Raises:
        errors.ProgrammingError: One does.

    Switches: yes.
    """
    timeout = within(_ENDING_S)
    for shard in conn.shards:
        # One that has just ended may be a session on the server still.
        while not (got := _locked(conn, shard)) and timeout.left_s:
            _green.sleep(_PAUSE_S)
        if not got:
            raise errors.ProgrammingError(
                f"another repair is under way on shard {shard}",
                code="GS111",
                shard=shard,
                hint="Let it end. If its process is gone, its session on the server ends soon.",
            )


def note(carrier: Carrier, table: Table, addresses: Sequence[Address]) -> None:
    """Write down that rows were inserted on the target and are to be deleted on the source.

    Switches: yes.
    """
    ((there,),) = carrier.rows(carrier.target, f"SELECT to_regclass('{_JOURNAL}') IS NOT NULL")
    for statement in () if there else _MADE:
        carrier.run(carrier.target, statement)
    rows = [f"{each.oid} {each.version} {each.ctid}" for each in addresses]
    values = (carrier.source, _own_xid(carrier), table.name.schema, table.name.name)
    carrier.run(
        carrier.target,
        f"INSERT INTO {_JOURNAL} SELECT %s, %s::xid8, %s, %s, %s::text[]",
        [*map(ours, values), ours(array_text(rows))],
    )


def _own_xid(carrier: Carrier) -> str:
    ((xid,),) = carrier.rows(carrier.source, "SELECT pg_current_xact_id()::text")
    return str(xid)


def settle(conn: Connection, tables: Mapping[TableName, Table]) -> list[Repair]:
    """Finish what an interrupted repair has begun, and forget what is done.

    Args:
        conn: A connection to all shards; not in a transaction.
        tables: The declared ones.

    Returns:
        What was finished.

    Raises:
        errors.Error: It cannot be finished: rows were changed since. Nothing is done.

    Switches: yes.
    """
    finished: list[Repair] = []
    for entry in _entries(conn):
        if _status(conn, entry) != "committed":
            finished += _finish(conn, entry, tables)
        carrier = Carrier(conn, entry.source, entry.target)
        with carrier.holding([]):
            carrier.run(
                entry.target,
                f"DELETE FROM {_JOURNAL} WHERE source = %s AND xid = %s::xid8",
                [ours(entry.source), ours(entry.xid)],
            )
            carrier.commit([])
    return finished


def _entries(conn: Connection) -> list[_Entry]:
    found: dict[tuple[str, str, str], _Entry] = {}
    for shard in conn.shards:
        with transaction(conn, [shard]) as cursor:
            cursor.execute(f"SELECT to_regclass('{_JOURNAL}') IS NOT NULL")
            if cursor.fetchall() != [(True,)]:
                continue
            cursor.execute(
                f"SELECT source, xid::text, schema, name, rows FROM {_JOURNAL} ORDER BY ctid"
            )
            for source, xid, schema, name, rows in cursor.fetchall():
                entry = found.setdefault((source, shard, xid), _Entry(source, shard, xid))
                places = [
                    Address(oid, ctid, version=version)
                    for oid, version, ctid in (row.split(" ") for row in rows)
                ]
                entry.rows.append((TableName(schema, name), places))
    return list(found.values())


def _status(conn: Connection, entry: _Entry) -> str | None:
    """What became of the transaction that was to delete the rows; None if it is long ago."""
    if entry.source not in conn.shards:
        raise _unsettled(entry, f"{entry.source} is not declared any more")
    with transaction(conn, [entry.source]) as cursor:
        cursor.execute("SELECT pg_xact_status(%s::xid8)", (ours(entry.xid),))
        ((status,),) = cursor.fetchall()
    if status == "in progress":
        raise _unsettled(entry, "its transaction there has not ended yet")
    return None if status is None else str(status)


def _finish(conn: Connection, entry: _Entry, tables: Mapping[TableName, Table]) -> Iterator[Repair]:
    """Delete the rows where they were."""
    names = list(dict.fromkeys(name for name, _ in entry.rows))
    if lost := [name for name in names if name not in tables]:
        raise _unsettled(entry, f"{lost[0]} is not declared any more")
    those = [tables[name] for name in names]
    deleted = dict.fromkeys(names, 0)
    carrier = Carrier(conn, entry.source, entry.target)
    with carrier.holding(those):
        # Those that reference others were inserted after them.
        for name, addresses in reversed(entry.rows):
            _check_unchanged(carrier, entry, tables[name], addresses)
            deleted[name] += carrier.delete(entry.source, tables[name], addresses)
        # A process that dies now leaves an entry that tells of this transaction.
        carrier.run(
            entry.target,
            f"UPDATE {_JOURNAL} SET xid = %s::xid8 WHERE xid = %s::xid8 AND source = %s",
            [ours(_own_xid(carrier)), ours(entry.xid), ours(entry.source)],
        )
        carrier.commit(those)
    for table in those:
        count = deleted[table.name]
        yield Repair("move", table.label, entry.source, entry.target, count, deleted=count)


def _check_unchanged(
    carrier: Carrier, entry: _Entry, table: Table, addresses: Sequence[Address]
) -> None:
    """Refuse rows that were changed since, or are gone: nobody knows which one is right."""
    text = (
        "SELECT tableoid::text, ctid::text, xmin::text"
        f" FROM {escaped(table.rows)} AS t WHERE {IN_PLACE}"
    )
    there = {
        tuple(row)
        for places in by_table(addresses)
        for row in carrier.rows(entry.source, text, places)
    }
    changed = sum((each.oid, each.ctid, each.version) not in there for each in addresses)
    if changed:
        raise _unsettled(entry, f"{changed} of them were changed there since")


def _unsettled(entry: _Entry, why: str) -> errors.ProgrammingError:
    count = sum(len(addresses) for _, addresses in entry.rows)
    tables = ", ".join(dict.fromkeys(label(name) for name, _ in entry.rows))
    return errors.ProgrammingError(
        f"a repair was interrupted when {count} rows of {tables} were copied from {entry.source} "
        f"to {entry.target} and not deleted yet: {why}",
        code="GS111",
        shard=entry.target,
        hint=f"Delete on one shard what is there twice, and on {entry.target} the lines of "
        f"{_JOURNAL} with xid {entry.xid}.",
    )
