"""What must be known of tables before rows of theirs are moved: columns, keys, triggers, rules."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from greenshard.checking.probe import SHARD, transaction
from greenshard.checking.tables import Relation, label, sql_of
from greenshard.cluster import TableName
from greenshard.connection import Connection
from greenshard.sql.nodes import quoted

#: Names are quoted by the server. A unique key is the primary key, or else one without NULLs.
#: A trigger is not one that belongs to a constraint (but CONSTRAINT TRIGGER); on a partition its
#: copies go with that of the partitioned table.
_STRUCTURE = f"""
SELECT {SHARD}, n.nspname::text, c.relname::text, json_build_object(
    'columns', (
        SELECT json_agg(json_build_array(quote_ident(attname), attidentity) ORDER BY attnum)
        FROM pg_attribute
        WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped AND attgenerated = ''),
    'unique', (
        SELECT json_agg(quote_ident(attname) ORDER BY k.n)
        FROM (
            SELECT indrelid, indkey::int2[] AS keys, indnkeyatts FROM pg_index
            WHERE indrelid = c.oid AND indisunique AND indisvalid
                AND indpred IS NULL AND indexprs IS NULL AND (indisprimary OR indimmediate)
                AND NOT EXISTS (
                    SELECT FROM pg_attribute WHERE attrelid = indrelid AND NOT attnotnull
                        AND attnum = ANY ((indkey::int2[])[0:indnkeyatts - 1]))
            ORDER BY indisprimary DESC, indexrelid LIMIT 1) AS i
        CROSS JOIN LATERAL unnest(keys) WITH ORDINALITY AS k (attnum, n)
        JOIN pg_attribute AS a ON attrelid = indrelid AND a.attnum = k.attnum
        WHERE k.n <= indnkeyatts),
    'triggers', (
        SELECT json_agg(json_build_array(
            t.tgrelid::regclass::text, quote_ident(t.tgname), t.tgenabled, EXISTS (
                SELECT FROM pg_trigger AS copy
                WHERE copy.tgparentid = t.oid AND copy.tgenabled <> t.tgenabled)))
        FROM pg_trigger AS t LEFT JOIN pg_constraint AS k ON k.oid = t.tgconstraint
        WHERE (t.tgrelid = c.oid
                OR t.tgrelid IN (SELECT relid FROM pg_partition_tree(c.oid) WHERE c.relkind = 'p'))
            AND t.tgparentid = 0 AND coalesce(k.contype = 't', NOT t.tgisinternal)
            AND t.tgenabled <> 'D' AND t.tgtype & 28 <> 0),
    'rules', (
        SELECT json_agg(rulename) FROM pg_rewrite
        WHERE ev_class = c.oid AND ev_type <> '1' AND ev_enabled <> 'D'),
    'references', (
        SELECT json_agg(json_build_array(pn.nspname, pc.relname))
        FROM pg_constraint AS k JOIN pg_class AS pc ON pc.oid = confrelid
        JOIN pg_namespace AS pn ON pn.oid = pc.relnamespace
        WHERE conrelid = c.oid AND contype = 'f'),
    'referenced', (
        SELECT json_agg(json_build_array(cn.nspname, cc.relname, (
                SELECT json_agg(quote_ident(attname) ORDER BY n)
                FROM unnest(conkey) WITH ORDINALITY AS u (attnum, n)
                JOIN pg_attribute AS a ON attrelid = conrelid AND a.attnum = u.attnum), (
                SELECT json_agg(quote_ident(attname) ORDER BY n)
                FROM unnest(confkey) WITH ORDINALITY AS u (attnum, n)
                JOIN pg_attribute AS a ON attrelid = confrelid AND a.attnum = u.attnum), (
                SELECT json_agg(
                    format('OPERATOR(%I.%s)', opn.nspname, oprname) ORDER BY u.n)
                FROM unnest(conpfeqop) WITH ORDINALITY AS u (oid, n)
                JOIN pg_operator AS o ON o.oid = u.oid
                JOIN pg_namespace AS opn ON opn.oid = oprnamespace)))
        FROM pg_constraint AS k JOIN pg_class AS cc ON cc.oid = conrelid
        JOIN pg_namespace AS cn ON cn.oid = cc.relnamespace
        WHERE confrelid = c.oid AND contype = 'f' AND conparentid = 0)
)::text
FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition
    AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
"""


@dataclass(frozen=True, slots=True)
class Trigger:
    """A trigger of a table or of one of its partitions, that rows which are written would fire.

    Attributes:
        table, name: As SQL.
        always: Whether it is fired in replicas, too.
        uneven: Whether copies of it on partitions are enabled otherwise.
    """

    table: str
    name: str
    always: bool
    uneven: bool


@dataclass(frozen=True, slots=True)
class Referencing:
    """A foreign key that references a table.

    Attributes:
        child: The table that has it.
        columns, referenced: Its columns, and those that they reference, as SQL.
        operators: By which these are equal to those, as SQL.
    """

    child: TableName
    columns: tuple[str, ...]
    referenced: tuple[str, ...]
    operators: tuple[str, ...]


@dataclass(frozen=True)
class Structure:
    """A table as one shard has it.

    Attributes:
        columns: What is stored, as SQL; generated columns are not.
        changeable: Those of them that UPDATE may set: not GENERATED ALWAYS AS IDENTITY.
        unique: The columns of a key that no two rows have in common; empty if there is none.
        triggers: What is fired by rows that are written.
        rules: What rewrites statements of it.
        references: The tables that its foreign keys reference.
        referenced: The foreign keys that reference it.
    """

    columns: tuple[str, ...]
    changeable: tuple[str, ...]
    unique: tuple[str, ...]
    triggers: tuple[Trigger, ...]
    rules: tuple[str, ...]
    references: frozenset[TableName]
    referenced: tuple[Referencing, ...]

    @classmethod
    def of(cls, found: Mapping[str, Any]) -> Structure:
        """Make it of what was read."""
        columns = found["columns"] or ()
        return cls(
            tuple(name for name, _ in columns),
            tuple(name for name, identity in columns if identity != "a"),
            tuple(found["unique"] or ()),
            tuple(
                Trigger(table, name, enabled == "A", uneven)
                for table, name, enabled, uneven in found["triggers"] or ()
            ),
            tuple(found["rules"] or ()),
            frozenset(TableName(*each) for each in found["references"] or ()),
            tuple(
                Referencing(TableName(schema, name), *map(tuple, facts))
                for schema, name, *facts in found["referenced"] or ()
            ),
        )


@dataclass(frozen=True)
class Table:
    """A declared table whose rows may be moved.

    Attributes:
        name: Its name.
        key: The shard key as SQL; empty of a reference table.
        key_type: Its type as SQL; empty as `key` is, and so is `base`.
        base: ``pg_type.typname`` of that type, or of the base type of a domain.
        partitioned: Whether its rows are in partitions.
        at: How it is on each shard.
    """

    name: TableName
    key: str
    key_type: str
    base: str
    partitioned: bool
    at: Mapping[str, Structure]

    @classmethod
    def of(
        cls, name: TableName, key: str, relation: Relation, at: Mapping[str, Structure]
    ) -> Table:
        """Make it of what the shards have under a name; they have the same."""
        column = relation.column(key)
        of_key = (quoted(key), column.type, column.base) if column is not None else ("", "", "")
        return cls(name, *of_key, relation.kind == "p", at)

    @cached_property
    def sql(self) -> str:
        """The table as SQL."""
        return sql_of(self.name)

    @cached_property
    def rows(self) -> str:
        """Its own rows as SQL: those of tables that inherit from it are these tables' own."""
        return self.sql if self.partitioned else f"ONLY {self.sql}"

    @property
    def label(self) -> str:
        """Its name for people."""
        return label(self.name)


def joined(key: Referencing, child: str, parent: str) -> str:
    """Whether a row of a foreign key's table references one of the other table, by aliases."""
    parts = zip(key.referenced, key.operators, key.columns, strict=True)
    return " AND ".join(f"{parent}.{one} {same} {child}.{other}" for one, same, other in parts)


def read_structures(
    conn: Connection, shards: Sequence[str]
) -> dict[TableName, dict[str, Structure]]:
    """Read how every table is on each shard.

    Switches: yes.
    """
    found: dict[TableName, dict[str, Structure]] = {}
    with transaction(conn, shards) as cursor:
        cursor.execute(_STRUCTURE)
        for shard, schema, name, facts in cursor.fetchall():
            found.setdefault(TableName(schema, name), {})[shard] = Structure.of(json.loads(facts))
    return found


def families(tables: Iterable[Table]) -> list[list[Table]]:
    """Tables that foreign keys connect, together; in each, parents before children.

    Where they reference one another in a circle, the order within that is any.
    """
    left = {table.name: table for table in tables}
    parents = {
        name: {p for at in table.at.values() for p in at.references if p in left}
        for name, table in left.items()
    }
    found: list[list[Table]] = []
    while left:
        names = _connected(next(iter(left)), parents)
        ordered: list[Table] = []
        while names:
            placed = {table.name for table in ordered}
            ready = [n for n in sorted(names, key=str) if parents[n] - {n} <= placed]
            for name in ready or [min(names, key=str)]:
                ordered.append(left.pop(name))
                names.discard(name)
        found.append(ordered)
    return found


def _connected(name: TableName, parents: Mapping[TableName, set[TableName]]) -> set[TableName]:
    pending, seen = [name], {name}
    while pending:
        one = pending.pop()
        near = parents[one] | {child for child, those in parents.items() if one in those}
        pending += near - seen
        seen |= near
    return seen
