"""Moves rows that are on another shard than the one that their key belongs on.

The keys of such rows are looked for first, and kept in a file: they may be many. Then the rows of
some keys at a time are moved, in one transaction on both shards::

    on the target   INSERT, parents before children
    on the source   DELETE, children before parents
    COMMIT on the target, then on the source

Of tables that foreign keys connect, all rows of a key are moved or none: so parents and children
stay together. A row that is on the target already is deleted; where another one has its primary
key there, or it cannot be inserted, it is left alone.
"""

from __future__ import annotations

import json
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import IO, Any

from greenshard import errors
from greenshard._driver import ours
from greenshard.checking.carrying import Address, Carrier, chunks, concerns_rows, referencing
from greenshard.checking.findings import Repair
from greenshard.checking.journal import note
from greenshard.checking.probe import escaped, reason, transaction
from greenshard.checking.rows import Key, strangers
from greenshard.checking.structure import Table, joined
from greenshard.checking.tables import label, sql_of
from greenshard.cluster import Placement
from greenshard.connection import Connection
from greenshard.merge.arrays import array_text

#: So many keys are moved in a transaction, or as many as have so many rows.
BATCH_KEYS, BATCH_ROWS = 2_000, 10_000
_PAGE = 1_000
_CONFLICT = "{} has another row with that key"


@dataclass
class Misplaced:
    """The rows of some tables that are not where they belong.

    Attributes:
        tables: Those, parents before children; their placement is the same.
        repairs: What is to be done, by table, source and target.
        keys: For each source a file with the keys, their targets and numbers of rows.
    """

    tables: Sequence[Table]
    repairs: dict[tuple[str, str, str], Repair] = field(default_factory=dict)
    keys: dict[str, IO[str]] = field(default_factory=dict)


def find(
    conn: Connection,
    tables: Sequence[Table],
    placement: Placement,
    on_table: Callable[[str], None],
    files: ExitStack,
) -> Misplaced:
    """Look for rows that are not where they belong.

    Args:
        conn: A connection to all shards; not in a transaction.
        tables: Where to look; foreign keys connect them.
        placement: Theirs, in the encoding of the databases.
        on_table: Called with the name of each table before it is read.
        files: Closes the files in the end.

    Raises:
        errors.DatabaseError: A table cannot be read.

    Switches: yes. Cost: reads the tables, one shard after the other.
    """
    found = Misplaced(tables)
    for table in tables:
        on_table(table.label)
        key = Key(table.rows, table.key, table.base)
        for source in conn.shards:
            for text, target, rows in strangers(conn, key, placement, source, conn.shards):
                repair = found.repairs.setdefault(
                    (table.label, source, target or ""),
                    Repair("move", table.label, source, target or "", 0),
                )
                repair.rows += rows
                if target is None:
                    repair.leave("the placement does not tell where they belong", rows)
                    continue
                if source not in found.keys:
                    file = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115
                    found.keys[source] = files.enter_context(file)
                found.keys[source].write(json.dumps([target, text, rows]) + "\n")
    return found


def move(conn: Connection, misplaced: Misplaced, on_rows: Callable[[str, int], None]) -> None:
    """Move rows to where they belong, and write into `Misplaced.repairs` what was done.

    Args:
        conn: A connection to all shards; not in a transaction.
        misplaced: The rows.
        on_rows: Called with a table and how many rows of it are done, again and again.

    Raises:
        errors.OperationalError: A shard is gone. What was committed stays; see `Carrier.commit`.

    Switches: yes.
    """
    for source, target, keys in _batches(misplaced):
        _Batch(conn, misplaced, source, target).move(keys)
        on_rows(misplaced.tables[0].label, sum(r.deleted for r in misplaced.repairs.values()))


def _batches(misplaced: Misplaced) -> Iterator[tuple[str, str, list[str | None]]]:
    for source, file in misplaced.keys.items():
        file.seek(0)
        # A dict: children have the keys of their parents.
        keys: defaultdict[str, dict[str | None, None]] = defaultdict(dict)
        rows: defaultdict[str, int] = defaultdict(int)
        for line in file:
            target, text, count = json.loads(line)
            keys[target][text] = None
            rows[target] += count
            if len(keys[target]) >= BATCH_KEYS or rows[target] >= BATCH_ROWS:
                yield source, target, list(keys.pop(target))
                del rows[target]
        for target, left in keys.items():
            yield source, target, list(left)


class _Left(Exception):
    """Some keys must be left alone: the others are moved without them."""

    def __init__(self, keys: dict[str | None, str]) -> None:
        super().__init__()
        self.keys = keys


class _Batch:
    """The rows of some keys, from one shard to another."""

    def __init__(self, conn: Connection, misplaced: Misplaced, source: str, target: str) -> None:
        self._conn, self._carrier = conn, Carrier(conn, source, target)
        self._source, self._target = self._shards = (source, target)
        self._tables = misplaced.tables
        self._repairs = misplaced.repairs
        # A table that references itself has parents and children, too.
        self._together = len(self._tables) > 1 or any(
            key.child == table.name for table in self._tables for key in table.at[source].referenced
        )

    def move(self, keys: list[str | None]) -> None:
        """Move what can be moved. Switches: yes."""
        left: dict[str | None, str] = {}
        while keys:
            done = {t.label: Repair("move", t.label, *self._shards, 0) for t in self._tables}
            try:
                self._attempt(keys, done)
            except _Left as those:
                left |= those.keys
                keys = [key for key in keys if key not in those.keys]
            except errors.DatabaseError as error:
                if not concerns_rows(error):
                    raise
                left |= dict.fromkeys(keys, reason(error))
                keys = []
            else:
                self._count(done.values())
                keys = []
        for why in dict.fromkeys(left.values()):
            self._leave([key for key, each in left.items() if each == why], why)

    def _attempt(self, keys: list[str | None], done: Mapping[str, Repair]) -> None:
        """Move all rows of some keys, or none.

        Raises:
            _Left: Some must be left alone.
        """
        carrier, left = self._carrier, dict[str | None, str]()
        with carrier.holding(self._tables, referencing(self._tables, self._source)):
            self._check_referenced(keys)
            for table in self._tables:
                for page in self._pages(table, keys):
                    for chunk in chunks(list(page)):
                        failed = self._carry(table, chunk, done[table.label])
                        # The first reason is the one: without the parent, children fail.
                        left = {page[address]: why for address, why in failed.items()} | left
            if self._together:
                if left:
                    raise _Left(left)
                for table in reversed(self._tables):
                    self._delete(table, keys, done[table.label])
            carrier.commit(self._tables)

    def _carry(
        self, table: Table, addresses: Sequence[Address], done: Repair
    ) -> dict[Address, str]:
        """Insert rows at the target; why some must be left alone."""
        carrier = self._carrier
        texts = carrier.texts(self._source, table, addresses)
        there = carrier.matches(table, texts)
        failed = {n: _CONFLICT.format(self._target) for n, t in there.items() if t != texts[n]}
        fresh = [n for n in range(len(texts)) if n not in there]
        refused = carrier.insert(table, [texts[n] for n in fresh]) if fresh else {}
        failed |= {fresh[n]: why for n, why in refused.items()}
        inserted = [addresses[n] for n in fresh if n not in failed]
        done.inserted += len(inserted)
        done.rows += len(texts) - len(failed)
        if inserted and not table.at[self._target].unique:
            note(carrier, table, inserted)
        if not self._together:
            gone = [each for n, each in enumerate(addresses) if n not in failed]
            done.deleted += carrier.delete(self._source, table, gone)
            for why in failed.values():
                done.leave(why)
        return {addresses[n]: why for n, why in failed.items()}

    def _pages(self, table: Table, keys: list[str | None]) -> Iterator[dict[Address, str | None]]:
        """Where the rows of some keys are, and the key of each."""
        among, values = self._among(table, keys)
        text = (
            "SELECT tableoid::text, ctid::text,"
            " octet_length(t.*::text), xmin::text,"
            f" t.{escaped(table.key)}::text FROM {escaped(table.rows)} AS t"
            f" WHERE {among}"
        )
        for page in self._carrier.pages(self._source, text, values, _PAGE):
            yield {Address(*place): key for *place, key in page}

    def _delete(self, table: Table, keys: list[str | None], done: Repair) -> None:
        """Delete the rows of some keys at the source: those that were carried, and no others."""
        among, values = self._among(table, keys)
        text = f"DELETE FROM {escaped(table.rows)} AS t WHERE {among}"
        done.deleted += self._carrier.run(self._source, text, values)
        if done.deleted != done.rows:
            raise errors.InternalError(
                f"{done.rows} rows were to be deleted, and {done.deleted} were"
            )

    def _check_referenced(self, keys: list[str | None]) -> None:
        """Refuse keys whose rows are referenced by others that stay: those would be deleted, too.

        Raises:
            _Left: There are some.
        """
        own = {table.name: table for table in self._tables}
        left: dict[str | None, str] = {}
        for table in self._tables:
            among, values = self._among(table, keys)
            for key in table.at[self._source].referenced:
                same = escaped(joined(key, "c", "t"))
                given, stays = values, "true"
                if child := own.get(key.child):
                    moves, more = self._among(child, keys, "c", hashed=True)
                    given, stays = [*values, *more], f"({moves}) IS NOT TRUE"
                found = self._carrier.rows(
                    self._source,
                    f"SELECT DISTINCT t.{escaped(table.key)}::text"
                    f" FROM {escaped(table.rows)} AS t"
                    f" JOIN {escaped(sql_of(key.child))} AS c ON {same}"
                    f" WHERE ({among}) AND {stays}",
                    given,
                )
                why = f"rows of {label(key.child)} reference them and stay on {self._source}"
                left |= {text: why for (text,) in found}
        if left:
            raise _Left(left)

    def _among(
        self, table: Table, keys: list[str | None], alias: str = "t", *, hashed: bool = False
    ) -> tuple[str, list[Any]]:
        """Whether a row has one of some keys.

        Args:
            table: Its table.
            keys: The keys.
            alias: The table's.
            hashed: Not by an index, but for many rows: ANY would look at all keys for each row.
        """
        key = f"{alias}.{escaped(table.key)}"
        null = f" OR {key} IS NULL" if None in keys else ""
        given = array_text([each for each in keys if each is not None])
        array = f"%s::{escaped(table.key_type)}[]"
        one_of = f"IN (SELECT unnest({array}))" if hashed else f"= ANY ({array})"
        return f"({key} {one_of}{null})", [ours(given)]

    def _count(self, done: Iterable[Repair]) -> None:
        """Add up what was done."""
        for each in done:
            if each.deleted or each.left:
                repair = self._repair(each.table)
                repair.inserted += each.inserted
                repair.deleted += each.deleted
                for why, rows in each.left.items():
                    repair.leave(why, rows)

    def _leave(self, keys: list[str | None], why: str) -> None:
        """Count the rows of some keys that are left alone."""
        for table in self._tables:
            among, values = self._among(table, keys)
            text = f"SELECT count(*) FROM {escaped(table.rows)} AS t WHERE {among}"
            with transaction(self._conn, [self._source]) as cursor:
                cursor.execute(text, values)
                ((rows,),) = cursor.fetchall()
            if rows:
                self._repair(table.label).leave(why, rows)

    def _repair(self, table: str) -> Repair:
        # Rows may have come since they were looked for.
        new = Repair("move", table, *self._shards, 0)
        return self._repairs.setdefault((table, *self._shards), new)
