"""Compares what tables accept and compute: constraints, unique indexes, defaults, triggers, rules.

What one shard refuses another must not accept, and what one computes another must, too. And what
each shard sees to by itself is no rule for all of them: a unique index without the shard key.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from greenshard.checking.findings import Finding
from greenshard.checking.probe import SHARD, reached, transaction
from greenshard.checking.tables import label
from greenshard.cluster import Cluster, Sharded, Single, TableName
from greenshard.connection import Connection

#: What there is of each kind, without its name where that makes no difference; then the columns of
#: constraints and indexes.
_DEFINITIONS = f"""
SELECT {SHARD}, n.nspname::text, c.relname::text, x.kind, x.definition, x.columns
FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
CROSS JOIN LATERAL (
    SELECT CASE contype WHEN 'p' THEN 'primary key' WHEN 'u' THEN 'unique constraint'
            WHEN 'f' THEN 'foreign key' WHEN 'c' THEN 'check' ELSE 'exclusion constraint' END,
        pg_get_constraintdef(k.oid), ARRAY(
            SELECT attname::text FROM pg_attribute
            WHERE attrelid = c.oid AND attnum = ANY (conkey))
    FROM pg_constraint AS k
    WHERE conrelid = c.oid AND contype IN ('p', 'u', 'f', 'c', 'x')
    UNION ALL
    SELECT 'unique index', regexp_replace(pg_get_indexdef(indexrelid), '^.*? USING ', ''), ARRAY(
        SELECT attname::text FROM pg_attribute
        WHERE attrelid = c.oid AND attnum = ANY ((indkey::int2[])[0:indnkeyatts - 1]))
    FROM pg_index
    WHERE indrelid = c.oid AND indisunique
        AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid)
    UNION ALL
    SELECT CASE attgenerated WHEN '' THEN 'default' ELSE 'generated column' END,
        format('%I: %s', attname, pg_get_expr(adbin, adrelid)), '{{}}'
    FROM pg_attrdef JOIN pg_attribute ON attrelid = adrelid AND attnum = adnum
    WHERE adrelid = c.oid
    UNION ALL
    SELECT 'identity', format('%I %s', attname, attidentity), '{{}}'
    FROM pg_attribute WHERE attrelid = c.oid AND attidentity <> ''
    UNION ALL
    SELECT 'trigger', concat(pg_get_triggerdef(t.oid), CASE tgenabled
        WHEN 'D' THEN ' (disabled)' WHEN 'O' THEN '' ELSE ' (also in replicas)' END), '{{}}'
    FROM pg_trigger AS t WHERE tgrelid = c.oid AND NOT tgisinternal
    UNION ALL
    SELECT 'rule', pg_get_ruledef(r.oid), '{{}}'
    FROM pg_rewrite AS r WHERE ev_class = c.oid AND c.relkind IN ('r', 'p')
) AS x (kind, definition, columns)
WHERE c.relkind IN ('r', 'p', 'f') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
ORDER BY n.nspname, c.relname, x.kind, x.definition
"""

_UNIQUE = frozenset({"primary key", "unique constraint", "unique index"})


@dataclass
class Definition:
    """What a table has on some shards.

    Attributes:
        columns: Those of a constraint or an index.
        shards: Where it is.
    """

    columns: frozenset[str]
    shards: list[str] = field(default_factory=list)


Definitions = Mapping[tuple[TableName, str, str], Definition]
"""By table, kind and text."""


def read_definitions(conn: Connection) -> Definitions:
    """Read what there is.

    Switches: yes.
    """
    found: dict[tuple[TableName, str, str], Definition] = {}
    with transaction(conn, reached(conn)) as cursor:
        cursor.execute(_DEFINITIONS)
        for shard, schema, name, kind, text, columns in cursor.fetchall():
            key = (TableName(schema, name), kind, text)
            found.setdefault(key, Definition(frozenset(columns))).shards.append(shard)
    return found


def compare_definitions(
    definitions: Definitions,
    cluster: Cluster,
    there: Mapping[TableName, Sequence[str]],
) -> Iterator[Finding]:
    """What is not on every shard that has the table.

    Args:
        definitions: As read.
        cluster: What is declared; other tables are not looked at.
        there: On which shards each table is.
    """
    for (name, kind, text), definition in definitions.items():
        declared = cluster.table(name.schema, name.name)
        # What only one shard is to have is compared with nothing.
        if declared is None or isinstance(declared, Single):
            continue
        without = tuple(s for s in there.get(name, ()) if s not in definition.shards)
        if without:
            what = f"the {kind} {text} is not there"
            yield Finding("definitions", what, label(name), without)


def each_for_itself(definitions: Definitions, cluster: Cluster) -> Iterator[str]:
    """Notes on what holds on each shard of a sharded table, and not over all of them."""
    for (name, kind, text), definition in definitions.items():
        declared = cluster.table(name.schema, name.name)
        if kind not in _UNIQUE or not isinstance(declared, Sharded):
            continue
        if declared.column not in definition.columns:
            yield (
                f"{label(name)}: the {kind} {text} lacks the shard key {declared.column}: the same "
                "values can be on several shards"
            )
