"""Repairs what a check of the rows finds: misplaced rows are moved, copies made alike.

What is to be done is found first; nothing is done unless the caller agrees.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial

from greenshard import errors
from greenshard.checking.carrying import objection
from greenshard.checking.copying import Copy, copy_rows, find_copies
from greenshard.checking.findings import Repair, differing
from greenshard.checking.journal import alone, settle
from greenshard.checking.moving import Misplaced, find, move
from greenshard.checking.probe import tolerating
from greenshard.checking.servers import read_servers
from greenshard.checking.structure import Table, families, read_structures
from greenshard.checking.tables import (
    check_shard_key,
    compare_relation,
    declared_relations,
    label,
    read_relations,
)
from greenshard.cluster import Cluster, Placement, Sharded, Single, TableName, Unknown
from greenshard.connection import Connection
from greenshard.sql.types import FAMILIES


@dataclass
class Repairs:
    """What is to be done, or was done.

    Attributes:
        steps: About which table and shard.
        skipped: Why other tables are left alone.
        done: Whether it was done.
    """

    steps: list[Repair] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    done: bool = False

    def skip(self, tables: Iterable[Table], why: str) -> None:
        """Leave tables alone that cannot be read."""
        self.skipped |= {table.label: f"cannot be read: {why}" for table in tables}


def repair(
    conn: Connection,
    cluster: Cluster,
    agree: Callable[[Repairs], bool],
    *,
    source: str | None = None,
    tables: Collection[str] = (),
    on_table: Callable[[str], None] = lambda _table: None,
) -> Repairs:
    """Move rows to the shards where they belong, and make copies of reference tables alike.

    Args:
        conn: A connection to all shards as a union, by their names; not in a transaction.
        cluster: The declaration.
        agree: Called with what is to be done, if anything is; it says whether to do it.
        source: The shard whose copies of reference tables are right; None leaves copies alone.
            Which one is right is not guessed.
        tables: Only these, by the names that reports show; empty: all.
        on_table: Called with what is worked at, in words.

    Raises:
        errors.ProgrammingError: Another repair runs, or what an interrupted one has begun cannot be
            finished.
        errors.Error: A shard is gone. What was done stays, and the next repair goes on.

    Switches: yes.

    Cost: reads the tables; then several round trips for each 2,000 keys.
    """
    alone(conn)
    found = _Tables(conn, cluster, tables)
    repairs = Repairs(skipped=found.skipped)
    copies: list[Copy] = []
    groups: list[Misplaced] = []
    if source is not None:
        for references in families(found.references):
            with tolerating(partial(repairs.skip, references)):
                copies += find_copies(conn, references, source, on_table)
    with ExitStack() as files:
        for placement, family in found.families():
            with tolerating(partial(repairs.skip, family)):
                groups.append(find(conn, family, placement, on_table, files))
        repairs.steps = _steps(copies, groups)
        if not repairs.steps or not agree(repairs):
            return repairs
        repairs.done = True
        settled = settle(conn, found.known)
        # What rows reference must be there before they come.
        for copy in copies:
            on_table(f"{copy.tables[0].label} on {copy.target}")
            copy_rows(conn, copy)
        for group in groups:
            move(conn, group, lambda table, rows: on_table(f"{table}, {rows:,} rows moved"))
        settle(conn, found.known)
    repairs.steps = settled + _steps(copies, groups)
    return repairs


def _steps(copies: Iterable[Copy], groups: Iterable[Misplaced]) -> list[Repair]:
    of_copies = [step for copy in copies for step in copy.repairs.values()]
    return of_copies + [step for group in groups for step in group.repairs.values()]


class _Tables:
    """The declared tables whose rows can be repaired, and why the others cannot."""

    def __init__(self, conn: Connection, cluster: Cluster, wanted: Collection[str]) -> None:
        self._cluster = cluster
        encodings = {s: server.encoding for s, server in read_servers(conn).items()}
        if difference := differing(encodings):
            raise errors.ProgrammingError(
                f"the encodings differ: {difference}",
                code="GS111",
                hint="Texts would not be the same bytes on another shard. Nothing is repaired.",
            )
        self._encoding = next(iter(encodings.values()))
        relations = declared_relations(cluster, read_relations(conn))
        structures = read_structures(conn, conn.shards)
        self.skipped: dict[str, str] = {}
        self.known: dict[TableName, Table] = {}
        for name, there in relations.items():
            if wanted and label(name) not in wanted:
                continue
            declared = cluster.table(name.schema, name.name)
            if isinstance(declared, Single):
                if wanted:
                    self.skipped[label(name)] = f"it is on {declared.on} alone"
                continue
            findings = list(compare_relation(label(name), there, conn.shards))
            key = ""
            if isinstance(declared, Sharded):
                key = declared.column
                findings += check_shard_key(cluster, label(name), declared, there, encodings)
            if findings:
                self.skipped[label(name)] = findings[0].message
                continue
            first = next(iter(there.values()))
            table = Table.of(name, key, first, structures[name])
            if why := objection(table):
                self.skipped[label(name)] = why
                continue
            self.known[name] = table
        if unknown := sorted(set(wanted) - {label(each) for each in relations}):
            raise errors.ProgrammingError(
                f"no declared table {unknown[0]} is on the shards", code="GS111"
            )

    @property
    def references(self) -> list[Table]:
        """The reference tables."""
        return [table for table in self.known.values() if not table.key]

    def families(self) -> Iterable[tuple[Placement, Sequence[Table]]]:
        """Sharded tables that are colocated and that foreign keys connect."""
        groups: dict[tuple[Placement, str], list[Table]] = {}
        for name, table in self.known.items():
            declared = self._cluster.table(name.schema, name.name)
            if isinstance(declared, Sharded):
                placement = self._cluster.placement_of(declared)
                if isinstance(placement, Unknown):
                    self.skipped[table.label] = "the rule of its placement is unknown"
                    continue
                kind = FAMILIES.get(table.base, table.base)
                groups.setdefault((placement, kind), []).append(table)
        for (placement, _), tables in groups.items():
            for family in families(tables):
                yield placement.in_encoding(self._encoding), family
