"""Makes the copies of reference tables alike: those on one shard as those on another one are.

The user names the shard whose copies are right. Rows are compared in buckets: each shard adds up
the hashes of a bucket's rows, and only of buckets that differ the rows are looked at, by two hashes
of each. What differs then is written in one transaction on the target, in which all is locked.

A row of a table with a unique key is changed in its place, so that rows which reference it stay.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from greenshard import errors
from greenshard.checking.carrying import (
    IN_PLACE,
    Address,
    Carrier,
    by_table,
    chunks,
    concerns_rows,
    referencing,
)
from greenshard.checking.findings import Repair
from greenshard.checking.probe import escaped, reason
from greenshard.checking.references import hash_of, read_contents
from greenshard.checking.structure import Table, families, joined
from greenshard.checking.tables import label, sql_of
from greenshard.connection import Connection

#: About so many rows are a bucket, whose hashes are held here.
BUCKET_ROWS = 2_000


@dataclass
class Copy:
    """Tables whose copies on one shard are not as those on another one.

    Attributes:
        tables: Those, parents before children.
        source, target: The shards.
        buckets: Of each table, how many there are.
        repairs: What is to be done, by table.
    """

    tables: Sequence[Table]
    source: str
    target: str
    buckets: Mapping[str, int]
    repairs: dict[str, Repair] = field(default_factory=dict)


@dataclass
class _Difference:
    """What differs in a bucket: rows of the source, but the deleted ones."""

    inserted: list[Address]
    updated: list[Address]
    deleted: list[Address]

    @property
    def rows(self) -> int:
        return len(self.inserted) + len(self.updated) + len(self.deleted)


class _Failed(Exception):
    """The rows cannot be written, and why."""


def find_copies(
    conn: Connection, tables: Sequence[Table], source: str, on_table: Callable[[str], None]
) -> Iterator[Copy]:
    """Look for copies that differ from those of one shard.

    Args:
        conn: A connection to all shards; not in a transaction.
        tables: Reference tables.
        source: The shard whose copies are right.
        on_table: Called with the name of each table before it is read.

    Raises:
        errors.DatabaseError: A table cannot be read.

    Switches: yes. Cost: reads the tables, on all shards at once; what differs again.
    """
    differing: defaultdict[str, list[Table]] = defaultdict(list)
    buckets = {}
    for table in tables:
        on_table(table.label)
        contents = read_contents(conn, table.rows, conn.shards)
        most = max(content.rows for content in contents.values())
        buckets[table.label] = 1 + most // BUCKET_ROWS
        for target, content in contents.items():
            if content != contents[source]:
                differing[target].append(table)
    for target in conn.shards:
        for family in families(differing[target]):
            copy = Copy(family, source, target, buckets)
            compared = _Copying(conn, copy)
            with compared.carrier.reading():
                for table in family:
                    rows = sum(each.rows for each in compared.differences(table))
                    copy.repairs[table.label] = Repair("copy", table.label, source, target, rows)
            yield copy


def copy_rows(conn: Connection, copy: Copy) -> None:
    """Make the copies alike, and write into `Copy.repairs` what was done.

    Raises:
        errors.OperationalError: A shard is gone. Nothing is done, or all.

    Switches: yes.
    """
    why = None
    # A row may be in the way of another one that is inserted, or be referenced by one that is
    # changed: one order or the other fits.
    for deletes_first in (True, False):
        try:
            _Copying(conn, copy).write(deletes_first)
        except _Failed as error:
            why = why or str(error)
        except errors.DatabaseError as error:
            if not concerns_rows(error):
                raise
            why = why or reason(error)
        else:
            return
        for repair in copy.repairs.values():
            repair.inserted = repair.updated = repair.deleted = 0
    for repair in copy.repairs.values():
        repair.leave(why or "", repair.rows)


class _Copying:
    """The rows of some tables, from one shard to another."""

    def __init__(self, conn: Connection, copy: Copy) -> None:
        self.carrier = Carrier(conn, copy.source, copy.target, copies=True)
        self._copy = copy

    def write(self, deletes_first: bool) -> None:
        """Write what differs.

        Raises:
            _Failed: It cannot be written; nothing is.
        """
        copy = self._copy
        with self.carrier.holding(copy.tables, referencing(copy.tables, copy.target)):
            for deletes in (deletes_first, not deletes_first):
                for table in reversed(copy.tables) if deletes else copy.tables:
                    # Computed anew for the second time: never are all that differ held here.
                    for each in self.differences(table):
                        if deletes:
                            self._delete(table, each.deleted)
                        else:
                            self._put(table, each)
            self.carrier.commit(copy.tables)

    def differences(self, table: Table) -> Iterator[_Difference]:
        """What differs, bucket by bucket."""
        sums = [self._sums(shard, table) for shard in (self._copy.source, self._copy.target)]
        for bucket in range(self._copy.buckets[table.label]):
            if sums[0].get(bucket) != sums[1].get(bucket):
                yield self._difference(table, bucket)

    def _sums(self, shard: str, table: Table) -> dict[int, tuple[int, str]]:
        found = self.carrier.rows(
            shard,
            f"SELECT {self._bucket(table)}, count(*), sum({hash_of('t.*')}::numeric)::text"
            f" FROM {table.rows} AS t GROUP BY 1",
        )
        return {bucket: (rows, checksum) for bucket, rows, checksum in found}

    def _bucket(self, table: Table) -> str:
        hashed = hash_of(self._identity(table))
        return f"abs(mod({hashed}, {self._copy.buckets[table.label]}))"

    def _identity(self, table: Table) -> str:
        """What tells a row from others: its unique key, or all of it."""
        unique = table.at[self._copy.target].unique
        return f"ROW({', '.join(f't.{name}' for name in unique)})" if unique else "t.*"

    def _difference(self, table: Table, bucket: int) -> _Difference:
        sides = [self._rows(shard, table, bucket) for shard in self._shards]
        result = _Difference([], [], [])
        for identity in dict.fromkeys([*sides[0], *sides[1]]):
            ours_, theirs = sides[0].get(identity, []), sides[1].get(identity, [])
            both = min(len(ours_), len(theirs))
            result.inserted += [address for _, address in ours_[both:]]
            result.deleted += [address for _, address in theirs[both:]]
            result.updated += [
                address
                for (one, address), (other, _) in zip(ours_[:both], theirs[:both], strict=True)
                if one != other
            ]
        return result

    @property
    def _shards(self) -> tuple[str, str]:
        return self._copy.source, self._copy.target

    def _rows(self, shard: str, table: Table, bucket: int) -> dict[str, list[tuple[str, Address]]]:
        """A bucket's rows by their identities; of each what all of it hashes to."""
        found: defaultdict[str, list[tuple[str, Address]]] = defaultdict(list)
        for identity, row, *place in self.carrier.rows(
            shard,
            f"SELECT {_hashes(self._identity(table))}, {_hashes('t.*')}, tableoid::text,"
            f" ctid::text, octet_length(t.*::text) FROM {table.rows} AS t"
            f" WHERE {self._bucket(table)} = {bucket}",
        ):
            found[identity].append((row, Address(*place)))
        return found

    def _delete(self, table: Table, addresses: list[Address]) -> None:
        if addresses:
            self._check_referenced(table, addresses)
            deleted = self.carrier.delete(self._copy.target, table, addresses)
            self._copy.repairs[table.label].deleted += deleted

    def _check_referenced(self, table: Table, addresses: list[Address]) -> None:
        """Refuse to delete what other rows reference: these could be deleted with it."""
        for key in table.at[self._copy.target].referenced:
            text = escaped(
                f"SELECT FROM {table.rows} AS t JOIN {sql_of(key.child)} AS c"
                f" ON {joined(key, 'c', 't')}"
            )
            for places in by_table(addresses):
                if self.carrier.rows(self._copy.target, f"{text} WHERE {IN_PLACE} LIMIT 1", places):
                    source, target = self._shards
                    raise _Failed(
                        f"rows of {label(key.child)} on {target} reference some that {source} does "
                        "not have"
                    )

    def _put(self, table: Table, difference: _Difference) -> None:
        carrier, repair = self.carrier, self._copy.repairs[table.label]
        structure = table.at[self._copy.target]
        for key in structure.referenced if difference.updated else ():
            if not set(key.referenced) <= set(structure.unique):
                raise _Failed(f"{label(key.child)} references columns that would be changed")
        for chunk in chunks(difference.updated):
            self._check(carrier.update(table, carrier.texts(self._copy.source, table, chunk)))
            repair.updated += len(chunk)
        for chunk in chunks(difference.inserted):
            self._check(carrier.insert(table, carrier.texts(self._copy.source, table, chunk)))
            repair.inserted += len(chunk)

    def _check(self, failed: Mapping[int, str]) -> None:
        for why in failed.values():
            raise _Failed(why)


def _hashes(of: str) -> str:
    """Two hashes: what is alike in both is taken for the same."""
    return f"concat({hash_of(of)}, ' ', {hash_of(of, 1)})"
