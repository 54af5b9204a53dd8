"""Compares the tables: there on every shard, with the same columns and a fitting shard key."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

from greenshard.checking.findings import Finding, differing, listed
from greenshard.checking.probe import SHARD, reached, transaction
from greenshard.cluster import Cluster, Hash, Sharded, Single, TableName
from greenshard.cluster.encodings import codec_of
from greenshard.connection import Connection
from greenshard.initializing.schema import SCHEMA
from greenshard.sql.nodes import quoted
from greenshard.sql.types import Trait, names_with

_KINDS = {"v": "a view", "m": "a materialized view", "f": "a foreign table"}

_COLUMNS = f"""
SELECT {SHARD}, nspname::text, relname::text, relkind::text, attname::text,
    format_type(atttypid, atttypmod), (
        WITH RECURSIVE base AS (
            SELECT typname, typtype, typbasetype FROM pg_type WHERE oid = atttypid
            UNION ALL
            SELECT t.typname, t.typtype, t.typbasetype
            FROM base JOIN pg_type AS t ON base.typtype = 'd' AND t.oid = base.typbasetype)
        SELECT typname::text FROM base WHERE typtype <> 'd'),
    CASE WHEN collprovider <> 'd'
        THEN concat_ws(
            ' version ', attcollation::regcollation, pg_collation_actual_version(attcollation))
    END,
    coalesce(collisdeterministic, true), attnotnull, relispartition
FROM pg_class AS c
JOIN pg_namespace AS n ON n.oid = relnamespace
LEFT JOIN pg_attribute AS a ON attrelid = c.oid AND attnum > 0 AND NOT attisdropped
LEFT JOIN pg_collation AS col ON col.oid = attcollation
WHERE relkind IN ('r', 'p', 'v', 'm', 'f')
    AND nspname !~ '^pg_' AND nspname <> 'information_schema'
ORDER BY nspname, relname, attnum
"""


@dataclass(frozen=True)
class Column:
    """A column as one shard has it.

    Attributes:
        name: Its name.
        type: Its type with its modifier, as SQL.
        base: ``pg_type.typname`` of its type, or of a domain's base type.
        collation: Its collation and that one's version, if it is not the database's.
        deterministic: Whether texts that are equal are the same bytes.
        not_null: Whether it is declared so.
    """

    name: str
    type: str
    base: str
    collation: str | None
    deterministic: bool
    not_null: bool

    def __str__(self) -> str:
        collation = f" COLLATE {self.collation}" if self.collation else ""
        return f"{self.type}{collation}{' NOT NULL' if self.not_null else ''}"


@dataclass(frozen=True)
class Relation:
    """A table, view or foreign table as one shard has it."""

    kind: str
    columns: tuple[Column, ...]

    @property
    def is_table(self) -> bool:
        """Whether it is a table, partitioned or not."""
        return self.kind in "rp"

    def column(self, name: str) -> Column | None:
        """The column of that name."""
        return next((column for column in self.columns if column.name == name), None)


Relations = Mapping[TableName, Mapping[str, Relation]]
"""Of each table, what each shard that has it has."""


def read_relations(conn: Connection, cluster: Cluster | None = None) -> Relations:
    """Read every relation outside of the system's schemas; of partitions, those a cluster declares.

    Switches: yes.
    """
    found: dict[TableName, dict[str, Relation]] = {}
    with transaction(conn, reached(conn)) as cursor:
        cursor.execute(_COLUMNS)
        for shard, schema, name, kind, *facts, partition in cursor.fetchall():
            if partition and (cluster is None or cluster.table(schema, name) is None):
                continue
            relation = found.setdefault(TableName(schema, name), {})
            known = relation.setdefault(shard, Relation(kind, ()))
            # A table may have no columns at all.
            if facts[0] is not None:
                relation[shard] = Relation(kind, (*known.columns, Column(*facts)))
    return found


def label(name: TableName) -> str:
    """A table's name for people."""
    return str(TableName(None, name.name) if name.schema == "public" else name)


def sql_of(name: TableName) -> str:
    """A table as SQL."""
    return ".".join(quoted(part) for part in (name.schema, name.name) if part is not None)


def declared_relations(cluster: Cluster, relations: Relations) -> Relations:
    """The relations that the cluster declares."""
    return {
        name: shards
        for name, shards in relations.items()
        if cluster.table(name.schema, name.name) is not None
    }


def missing_tables(
    cluster: Cluster, relations: Relations, down: Collection[str]
) -> Iterator[Finding]:
    """Declared tables that no shard has, but for those of shards that cannot be asked."""
    there = {str(name) for name in relations} | {
        str(TableName(None, name.name)) for name in relations
    }
    for text, table in cluster.tables.items():
        if text not in there and not (isinstance(table, Single) and table.on in down):
            yield Finding("tables", "no shard has this table", text)


def undeclared(relations: Relations, cluster: Cluster) -> str | None:
    """A note about tables that are not declared, or None."""
    names = [
        label(name)
        for name, shards in relations.items()
        if cluster.table(name.schema, name.name) is None
        and name.schema != SCHEMA
        and any(relation.is_table for relation in shards.values())
    ]
    return f"not declared: {listed(names)}" if names else None


def compare_relation(
    table: str, found: Mapping[str, Relation], shards: Iterable[str]
) -> Iterator[Finding]:
    """What differs among the shards in one table."""
    if missing := tuple(shard for shard in shards if shard not in found):
        yield Finding("tables", "the table is missing", table, missing)
    for kind, what in _KINDS.items():
        if those := tuple(shard for shard, relation in found.items() if relation.kind == kind):
            yield Finding("tables", f"is {what}, not a table", table, those)
    names = dict.fromkeys(c.name for relation in found.values() for c in relation.columns)
    for name in names:
        described = {shard: _described(relation, name) for shard, relation in found.items()}
        if difference := differing(described):
            yield Finding("columns", f"column {name} differs: {difference}", table)
    # Where one is missing, that is said already. The order counts for SELECT * and INSERT without a
    # list.
    if all(len(relation.columns) == len(names) for relation in found.values()):
        orders = {s: listed(c.name for c in relation.columns) for s, relation in found.items()}
        if difference := differing(orders):
            yield Finding("columns", f"the columns' order differs: {difference}", table)


def _described(relation: Relation, name: str) -> str:
    column = relation.column(name)
    return "missing" if column is None else str(column)


def check_shard_key(
    cluster: Cluster,
    table: str,
    declared: Sharded,
    found: Mapping[str, Relation],
    encodings: Mapping[str, str],
) -> Iterator[Finding]:
    """Why rows cannot be placed by a table's shard key, one finding for each kind of reason."""
    placement = cluster.placement_of(declared)
    reasons: dict[str, list[str]] = {}
    for shard, relation in found.items():
        column = relation.column(declared.column)
        if column is None:
            why = f"there is no column {declared.column}, the shard key"
        elif objection := placement.objection(column.base):
            why = f"{declared.column}: {objection}"
        elif not column.deterministic:
            why = f"{declared.column} has a collation under which texts that differ can be equal"
        elif (
            isinstance(placement, Hash)
            and column.base in _TEXTS
            and codec_of(encodings[shard]) == "ascii"
        ):
            why = f"{declared.column}: in {encodings[shard]}, only keys in ASCII can be placed"
        else:
            continue
        reasons.setdefault(why, []).append(shard)
    for why, shards in reasons.items():
        yield Finding("shard key", why, table, tuple(shards))


_TEXTS = names_with(Trait.COLLATED)
