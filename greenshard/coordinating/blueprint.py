"""What there is to be on the coordinator, as SQL. Pure.

Of each shard a foreign server and a schema, both called ``greenshard_`` and its name; in the schema
the shard's stamp, and its part of each sharded table. Of each table one of its own name and schema:

    CREATE TABLE "public"."orders" ("id" bigint NOT NULL, ...) PARTITION BY HASH ("id")
    CREATE FOREIGN TABLE "greenshard_s0"."public.orders" PARTITION OF "public"."orders"
        FOR VALUES WITH (modulus 2, remainder 0) SERVER "greenshard_s0"
        OPTIONS (schema_name 'public', table_name 'orders')

Where a shard is no one partition (three shards, 256 slots; lists, ranges), the table is one from
which the shards' parts inherit: all are read then, whatever the key. A reference table is a foreign
table on the first shard, a table on one shard on that.

Nothing can be written through it: the servers are not ``updatable``, a table of which parts inherit
takes no rows of its own, and the role that reads has no other right, and transactions that read.

Names without a schema are pg_catalog's: it runs with that for a search path.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from greenshard.cluster import Cluster
from greenshard.links.coordinator import STAMP, server_of
from greenshard.links.description import Name
from greenshard.links.put_together import filled, is_put_together, layout
from greenshard.sql.nodes import quoted

#: The comment on what was made here: nothing else is changed or dropped.
MARK = "made by greenshard coordinator"
#: NAMEDATALEN - 1 bytes.
LONGEST_NAME = 63
#: Of all servers. Rows come in such pages; the shards plan their parts, and are asked at the same
#: time.
SERVER_OPTIONS: Mapping[str, str] = {
    "async_capable": "true",
    "fetch_size": "1000",
    "truncatable": "false",
    "updatable": "false",
    "use_remote_estimate": "true",
}
#: Of the role that reads, in this database: parts of one shard are joined and grouped there.
READER_SETTINGS: Mapping[str, str] = {
    "default_transaction_read_only": "on",
    "enable_partitionwise_aggregate": "on",
    "enable_partitionwise_join": "on",
}
#: Nobody shall read passwords in the server's log or statistics: superusers set these.
UNLOGGED = (
    "SET LOCAL log_statement = none",
    "SET LOCAL log_min_duration_statement = -1",
    "SET LOCAL log_min_duration_sample = -1",
    "SET LOCAL log_min_error_statement = panic",
    "SET LOCAL log_duration = off",
    "SET LOCAL debug_print_parse = off",
    "SET LOCAL pg_stat_statements.track_utility = off",
)
_STAMP_COLUMNS = (
    "cluster pg_catalog.text, name pg_catalog.text, position pg_catalog.int4, "
    "shards pg_catalog.int4, slots pg_catalog.int4, id pg_catalog.text"
)


@dataclass(frozen=True, slots=True)
class Wanted:
    """A table that there is to be.

    Attributes:
        name: Its schema and name.
        columns: Each with its type, collation and NOT NULL, as DDL.
        facts: What the first shard that has it says of it, with the columns that are filled on all.
    """

    name: Name
    columns: Sequence[str]
    facts: Mapping[str, Any]

    @property
    def sql(self) -> str:
        """Its name as SQL."""
        return ".".join(map(quoted, self.name))


def wanted(name: Name, of: Iterable[Mapping[str, Any]]) -> Wanted:
    """A table as the shards have it, all with the same columns."""
    first, *others = of
    full = filled(first).intersection(*map(filled, others))
    columns = [[c, type_, c in full, *rest] for c, type_, _, *rest in first["columns"]]
    made = [
        f"{quoted(column)} {type_}{f' COLLATE {collation}' if collation else ''}"
        f"{' NOT NULL' if not_null else ''}"
        for column, type_, not_null, collation, *_ in columns
    ]
    return Wanted(name, made, {**first, "columns": columns})


def is_made(cluster: Cluster, table: Wanted, its: Mapping[str, Any]) -> bool:
    """Whether a table is there as it is to be."""
    same = its["columns"] == table.facts["columns"]
    return same and is_put_together(
        layout(cluster, table.name, table.facts), cluster, table.name, its
    )


def table_made(cluster: Cluster, table: Wanted) -> Iterator[str]:
    """What makes a table."""
    put = layout(cluster, table.name, table.facts)
    columns = ", ".join(table.columns)
    if put.kind == "f":
        (shard,) = put.bounds
        yield f"CREATE FOREIGN TABLE {table.sql} ({columns}) {_source(shard, table.name)}"
        return
    if put.kind == "p":
        declared = cluster.table(*table.name)
        key = quoted(getattr(declared, "column", ""))
        yield f"CREATE TABLE {table.sql} ({columns}) PARTITION BY HASH ({key})"
    else:
        # Who may write to it anyhow must not put rows here that no shard has.
        own = 'CONSTRAINT "rows are on the shards" CHECK (false) NO INHERIT'
        yield f"CREATE TABLE {table.sql} ({', '.join([*table.columns, own])})"
    yield f"COMMENT ON TABLE {table.sql} IS '{MARK}'"
    for shard, bound in put.bounds.items():
        child = f"CREATE FOREIGN TABLE {quoted(server_of(shard))}.{quoted(part_name(table.name))}"
        whose = (
            f"() INHERITS ({table.sql})" if bound is None else f"PARTITION OF {table.sql} {bound}"
        )
        yield f"{child} {whose} {_source(shard, table.name)}"


def part_name(name: Name) -> str:
    """What a shard's part of a table is called.

    >>> part_name(("public", "orders"))
    'public.orders'
    """
    full = ".".join(name)
    if len(full.encode()) <= LONGEST_NAME:
        return full
    # Cut off by PostgreSQL, two might be one.
    return f"{full.encode()[:40].decode(errors='ignore')}.{sha256(full.encode()).hexdigest()[:16]}"


def _source(shard: str, name: Name) -> str:
    schema, table = map(_literal, name)
    options = f"OPTIONS (schema_name {schema}, table_name {table})"
    return f"SERVER {quoted(server_of(shard))} {options}"


def server_made(shard: str, options: Mapping[str, str]) -> Iterator[str]:
    """What makes a shard's server, and what belongs to it."""
    server = quoted(server_of(shard))
    listed = ", ".join(f"{name} {_literal(text)}" for name, text in options.items())
    yield f"CREATE SERVER {server} FOREIGN DATA WRAPPER postgres_fdw OPTIONS ({listed})"
    yield f"COMMENT ON SERVER {server} IS '{MARK}'"


def server_changed(
    shard: str, options: Mapping[str, str], found: Mapping[str, str]
) -> Iterator[str]:
    """What gives a server other options than were found."""
    changes = [f"DROP {name}" for name in found if name not in options]
    for name, text in options.items():
        if found.get(name) != text:
            changes.append(f"{'SET' if name in found else 'ADD'} {name} {_literal(text)}")
    if changes:
        yield f"ALTER SERVER {quoted(server_of(shard))} OPTIONS ({', '.join(changes)})"


def stamp_made(shard: str) -> Iterator[str]:
    """What makes the schema of a shard, and in it the stamp."""
    schema = quoted(server_of(shard))
    yield f"CREATE SCHEMA {schema}"
    yield f"COMMENT ON SCHEMA {schema} IS '{MARK}'"
    source = _source(shard, ("greenshard", "shard"))
    yield f"CREATE FOREIGN TABLE {schema}.{STAMP} ({_STAMP_COLUMNS}) {source}"


def mapping_made(shard: str, user: str, secret: bool) -> str:
    """What tells the coordinator who it is on a shard, with a placeholder for each option's text.

    Args:
        shard: The shard.
        user: Whose statements these are on the coordinator, as SQL.
        secret: Whether there is a password; else whoever runs the coordinator's server is
            trusted by the shard.
    """
    proof = "password %s" if secret else "password_required 'false'"
    return (
        f"DROP USER MAPPING IF EXISTS FOR {user} SERVER {quoted(server_of(shard))};"
        f" CREATE USER MAPPING FOR {user} SERVER {quoted(server_of(shard))}"
        f" OPTIONS (user %s, {proof})"
    )


def reader_made(reader: str) -> Iterator[str]:
    """What makes the role that reads."""
    yield f"CREATE ROLE {quoted(reader)} LOGIN"
    yield f"COMMENT ON ROLE {quoted(reader)} IS '{MARK}'"


def reader_set(reader: str, database: str) -> Iterator[str]:
    """What makes the role's transactions only read, and plan as is best for foreign tables."""
    for name, text in READER_SETTINGS.items():
        yield f"ALTER ROLE {quoted(reader)} IN DATABASE {quoted(database)} SET {name} = {text}"


def granted(reader: str, shards: Iterable[str], tables: Iterable[Wanted]) -> Iterator[str]:
    """What lets the role read, and no more: who may use the servers sees passwords."""
    to = quoted(reader)
    schemas = {server_of(shard) for shard in shards} | {table.name[0] for table in tables}
    yield f"GRANT USAGE ON SCHEMA {', '.join(map(quoted, sorted(schemas)))} TO {to}"
    stamps = [f"{quoted(server_of(shard))}.{STAMP}" for shard in shards]
    named = ", ".join([*stamps, *(table.sql for table in tables)])
    yield f"GRANT SELECT ON {named} TO {to}"


def analyzed(cluster: Cluster, table: Wanted) -> str:
    """What lets the coordinator know how many rows and values there are."""
    put = layout(cluster, table.name, table.facts)
    parts = [f"{quoted(server_of(shard))}.{quoted(part_name(table.name))}" for shard in put.bounds]
    return f"ANALYZE {', '.join([table.sql, *(parts if put.kind != 'f' else ())])}"


def _literal(text: str) -> str:
    """A text as a constant, whatever ``standard_conforming_strings`` is."""
    doubled = text.replace("'", "''")
    return f"E'{doubled}'".replace("\\", "\\\\") if "\\" in text else f"'{doubled}'"
