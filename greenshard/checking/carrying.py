"""Carries rows from one shard to another: both are held in a transaction, whose tables are locked.

A row travels as the text of the whole row, written and read under the same settings on both
shards, so that each value arrives as it was. Nobody writes to the tables meanwhile; reading goes
on. What is fired by rows that are written is not fired: it was, when the row was written first.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from greenshard import errors
from greenshard._driver import ours
from greenshard.checking.probe import VALUES, escaped, is_about_the_table, reason
from greenshard.checking.structure import Table, Trigger
from greenshard.checking.tables import sql_of
from greenshard.cluster import TableName
from greenshard.connection import Connection
from greenshard.executor.strategies.travelling import (
    letters,
    parameter,
    receiving,
    sending,
    travelling,
)
from greenshard.links.session_settings import applying
from greenshard.merge.arrays import array_text

#: How long a lock is waited for: who waits for a table keeps all others from writing to it.
LOCK_TIMEOUT = "5s"
# lock_not_available, deadlock_detected: tables are in use, and the shard is well.
_BUSY = frozenset({"55P03", "40P01"})
#: Rows are carried up to so many characters at a time, or one row.
CHUNK_CHARACTERS = 1_000_000
CHUNK_ROWS = 1_000

_SETTINGS: Mapping[str, str] = {
    **VALUES,
    "xmloption": "content",
    "check_function_bodies": "off",
    "lock_timeout": LOCK_TIMEOUT,
    "statement_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
}

#: A row that is deleted for good on the source must not be lost on the target, by a crash of a
#: server that promises less than usual.
_DURABLE = """
pg_catalog.set_config('synchronous_commit', CASE
    WHEN pg_catalog.current_setting('synchronous_commit') OPERATOR(pg_catalog.=) 'remote_apply'
    THEN 'remote_apply' ELSE 'on' END, true)
"""


IN_PLACE = "t.tableoid = %s::oid AND t.ctid = ANY (%s::tid[])"
"""Whether a row of a table, called t, is in one of some places; see `by_table`."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a row is on its shard, as long as its table is locked.

    Attributes:
        oid: The table's or partition's.
        ctid: The place in it.
        size: How many bytes it has as text.
        version: Its xmin: nobody has changed it since, if it is still the same.
    """

    oid: str
    ctid: str
    size: int = 0
    version: str = ""


class Carrier:
    """Two shards that are held in a transaction, to carry rows between them.

    Args:
        conn: A connection to the shards; not in a transaction.
        source, target: The shards.
        copies: Whether nothing is written on the source.
    """

    def __init__(self, conn: Connection, source: str, target: str, *, copies: bool = False) -> None:
        self.source, self.target = source, target
        self._written = (target,) if copies else (target, source)
        self._deletes = self._written[-1]
        self._conn = conn
        self._encoding = travelling(conn._session.alive)

    @contextmanager
    def holding(self, tables: Sequence[Table], beside: Iterable[TableName] = ()) -> Iterator[None]:
        """Lock tables on both shards, and disable what rows would fire; rolled back at the end.

        Args:
            tables: Whose rows are carried.
            beside: Others that must not be written to meanwhile, where rows are deleted.

        Raises:
            errors.DatabaseError: A lock cannot be had in time, or rights are missing.

        Switches: yes.
        """
        try:
            # In shard order, as everybody: two who wait for each other would wait in vain.
            for shard in sorted((self.source, self.target), key=self._conn.shards.index):
                self._begin(shard)
                self._hold(shard, tables, beside)
            yield
        finally:
            self._conn.rollback()

    @contextmanager
    def reading(self) -> Iterator[None]:
        """A transaction on both shards that only reads. Switches: yes."""
        try:
            for shard in (self.source, self.target):
                self._begin(shard)
            yield
        finally:
            self._conn.rollback()

    def _begin(self, shard: str) -> None:
        # The snapshot of a stricter level would be older than the lock.
        self.run(shard, "SET TRANSACTION ISOLATION LEVEL READ COMMITTED, READ WRITE")
        statement, words = applying(tuple(_SETTINGS.items()))
        self.rows(shard, f"{statement}, {_DURABLE}", [ours(word) for word in words])

    def _hold(self, shard: str, tables: Sequence[Table], beside: Iterable[TableName]) -> None:
        self.run(shard, "SET CONSTRAINTS ALL IMMEDIATE")
        own = [table.name for table in tables]
        others = [name for name in beside if name not in own] if shard == self._deletes else []
        for name in (*own, *others):
            self.run(shard, f"LOCK TABLE {sql_of(name)} IN SHARE ROW EXCLUSIVE MODE")
        for trigger in _triggers(shard, tables) if shard in self._written else ():
            self.run(shard, f"ALTER TABLE {trigger.table} DISABLE TRIGGER {trigger.name}")

    def commit(self, tables: Sequence[Table]) -> None:
        """Commit on the target, and then on the source.

        A process that dies in between leaves rows on both: they are seen twice until a repair
        finishes what was begun. The other way round they would be lost.

        Raises:
            errors.Error: If the commit on the target fails, nothing is done.

        Switches: yes.
        """
        for shard in self._written:
            for trigger in _triggers(shard, tables):
                enable = "ENABLE ALWAYS" if trigger.always else "ENABLE"
                self.run(shard, f"ALTER TABLE {trigger.table} {enable} TRIGGER {trigger.name}")
        self.run(self.target, "COMMIT")
        self._conn.commit()

    def run(self, shard: str, text: str, parameters: Sequence[Any] = ()) -> int:
        """Execute SQL on a shard; how many rows it was about. Switches: yes."""
        with self._conn.on(shard).cursor() as cursor:
            cursor.execute(*_sent(text, parameters))
            return cursor.rowcount

    def rows(self, shard: str, text: str, parameters: Sequence[Any] = ()) -> list[Any]:
        """The rows of a query on a shard. Switches: yes."""
        with self._conn.on(shard).cursor() as cursor:
            cursor.execute(*_sent(text, parameters))
            return cursor.fetchall()

    def pages(
        self, shard: str, text: str, parameters: Sequence[Any], most: int
    ) -> Iterator[list[Any]]:
        """The rows of a query on a shard, so many at a time. Switches: yes."""
        with self._conn.on(shard).cursor("greenshard_rows") as cursor:
            cursor.execute(*_sent(text, parameters))
            while page := cursor.fetchmany(most):
                yield page

    def texts(self, shard: str, table: Table, addresses: Sequence[Address]) -> list[str]:
        """Rows as text, in the order of their addresses. Switches: yes."""
        row = sending("t.*::text", self._encoding)
        found: dict[tuple[str, str], str] = {}
        for places in by_table(addresses):
            for oid, ctid, text in self.rows(
                shard,
                f"SELECT tableoid::text, ctid::text, {row} FROM {escaped(table.rows)} AS t"
                f" WHERE {IN_PLACE}",
                places,
            ):
                found[oid, ctid] = letters(text)
        return [found[each.oid, each.ctid] for each in addresses]

    def matches(self, table: Table, texts: Sequence[str]) -> dict[int, str]:
        """Of rows that the target has already, by its unique key: by their number, what is there.

        Switches: yes.
        """
        unique = table.at[self.target].unique
        if not unique or not texts:
            return {}
        same = " AND ".join(f"t.{name} = (given.r).{name}" for name in map(escaped, unique))
        found = self.rows(
            self.target,
            f"SELECT given.n, {sending('t.*::text', self._encoding)}"
            f" FROM (SELECT n, g::{escaped(table.sql)} AS r FROM {self._given}"
            f" WITH ORDINALITY AS g (g, n) OFFSET 0) AS given"
            f" JOIN {escaped(table.rows)} AS t ON {same}",
            [self._parameter(texts)],
        )
        return {number - 1: letters(text) for number, text in found}

    def insert(self, table: Table, texts: Sequence[str]) -> dict[int, str]:
        """Insert rows at the target.

        Returns:
            For each that cannot be inserted, by its number, why not.

        Switches: yes.
        """
        return self._each(texts, self._inserting(table))

    def update(self, table: Table, texts: Sequence[str]) -> dict[int, str]:
        """Change rows of the target to these, by its unique key; see `insert`."""
        structure = table.at[self.target]
        names = [escaped(n) for n in structure.changeable if n not in structure.unique]
        same = " AND ".join(
            f"t.{name} = (given.r).{name}" for name in map(escaped, structure.unique)
        )
        changes = ", ".join(f"{name} = (given.r).{name}" for name in names)
        text = f"UPDATE {escaped(table.rows)} AS t SET {changes} FROM {self._made(table)}"
        return self._each(texts, f"{text} WHERE {same}")

    def delete(self, shard: str, table: Table, addresses: Sequence[Address]) -> int:
        """Delete rows; how many there were. Switches: yes."""
        return sum(
            self.run(shard, f"DELETE FROM {escaped(table.rows)} AS t WHERE {IN_PLACE}", places)
            for places in by_table(addresses)
        )

    def _inserting(self, table: Table) -> str:
        names = [escaped(name) for name in table.at[self.target].columns]
        values = ", ".join(f"(given.r).{name}" for name in names)
        # The values of identity columns are the row's, and no new ones.
        return (
            f"INSERT INTO {escaped(table.sql)} ({', '.join(names)}) OVERRIDING SYSTEM VALUE"
            f" SELECT {values} FROM {self._made(table)}"
        )

    def _made(self, table: Table) -> str:
        """Rows of a table's type, of texts. OFFSET 0: else each is read once for each column."""
        return f"(SELECT g::{escaped(table.sql)} AS r FROM {self._given} AS g OFFSET 0) AS given"

    @property
    def _given(self) -> str:
        return f"unnest({receiving(self._encoding)}::text[])"

    def _parameter(self, texts: Sequence[str]) -> Any:
        return parameter(array_text(texts), self._encoding)

    def _each(self, texts: Sequence[str], statement: str) -> dict[int, str]:
        """Execute for all rows at once; if that fails, for each, so that only some fail."""
        self.run(self.target, "SAVEPOINT greenshard_row")
        try:
            count = self.run(self.target, statement, [self._parameter(texts)])
            if count != len(texts):
                # A type whose values are equal by an operator of its own.
                raise errors.InternalError(
                    f"{len(texts)} rows of {self.target} were to be written, and {count} were"
                )
        except (errors.IntegrityError, errors.DataError) as error:
            self.run(self.target, "ROLLBACK TO SAVEPOINT greenshard_row")
            if len(texts) == 1:
                return {0: reason(error)}
        else:
            self.run(self.target, "RELEASE SAVEPOINT greenshard_row")
            return {}
        return {
            number: why
            for number, text in enumerate(texts)
            for why in self._each([text], statement).values()
        }


def chunks(addresses: Sequence[Address]) -> Iterator[list[Address]]:
    """Addresses of rows that may be carried at the same time."""
    chunk: list[Address] = []
    size = 0
    for each in addresses:
        if chunk and (size + each.size > CHUNK_CHARACTERS or len(chunk) >= CHUNK_ROWS):
            yield chunk
            chunk, size = [], 0
        chunk.append(each)
        size += each.size
    if chunk:
        yield chunk


def concerns_rows(error: errors.DatabaseError) -> bool:
    """Whether an error is of the rows that are carried, so that the others can still be."""
    return is_about_the_table(error) or error.pgcode in _BUSY


def objection(table: Table) -> str | None:
    """Why rows of a table cannot be carried; None if they can."""
    for shard, structure in table.at.items():
        if structure.rules:
            return f"it has the rule {structure.rules[0]} on {shard}, which rewrites what is done"
        if uneven := [trigger.name for trigger in structure.triggers if trigger.uneven]:
            return f"trigger {uneven[0]} is not enabled alike on its partitions on {shard}"
    return None


def referencing(tables: Iterable[Table], shard: str) -> list[TableName]:
    """The tables whose foreign keys reference some tables on a shard."""
    keys = (key for table in tables for key in table.at[shard].referenced)
    return list(dict.fromkeys(key.child for key in keys))


def _triggers(shard: str, tables: Iterable[Table]) -> list[Trigger]:
    return [trigger for table in tables for trigger in table.at[shard].triggers]


def by_table(addresses: Sequence[Address]) -> Iterator[list[Any]]:
    """For each table or partition the parameters of `IN_PLACE`."""
    ordered = sorted(addresses, key=lambda each: each.oid)
    for oid, group in groupby(ordered, key=lambda each: each.oid):
        yield [ours(oid), ours(array_text([each.ctid for each in group]))]


def _sent(text: str, parameters: Sequence[Any]) -> tuple[Any, ...]:
    return (text, parameters) if parameters else (text,)
