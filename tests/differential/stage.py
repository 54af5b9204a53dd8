"""The databases for the kinds of `kinds`: one that holds every row, and the shards of a cluster."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

import psycopg2

import greenshard
from greenshard.cluster import Cluster, Hash, Sharded
from greenshard.testing import Shards
from tests.differential import databases
from tests.differential.kinds import Kind, kinds
from tests.initialised import initialised

SHARD_COUNT = 3
_SHARDS = tuple(f"s{number}" for number in range(SHARD_COUNT))
ENCODINGS = ("UTF8", "LATIN1")
_ROLES = ("ends_owner", "ends_clerk", "ends_guest")

#: A table's name, the text of its key, and its row.
Content = tuple[str, str | None, str]

_KEY_TYPE = """
    SELECT b.typname
    FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
        JOIN pg_type b ON b.oid = coalesce(nullif(t.typbasetype, 0), t.oid)
    WHERE a.attrelid = %s::regclass AND a.attname = %s
"""


@dataclass(frozen=True)
class Stage:
    """The databases of one encoding.

    Each kind has a schema of its own there, for an operator or a cast is met by whoever looks for
    one.

    Attributes:
        dsns: The connection strings: "one" is the database with every row, the others are shards;
            a second set for kinds that are apart.
        encoding: Of all of them.
        types: The names of the types that the databases made, by OID: each database has its own.
        key_types: The type of each sharded table's key.
    """

    dsns: Mapping[bool, Mapping[str, str]]
    encoding: str
    types: dict[int, str]
    key_types: dict[str, str]

    def cluster(self, kind: Kind) -> Cluster:
        """The shards as a cluster with the tables of one kind."""
        shards = {name: self.dsn(kind, name) for name in _SHARDS}
        return Cluster(shards, kind.tables, Hash())

    def dsn(self, kind: Kind, name: str) -> str:
        """The connection string of a database, for a session that looks at a kind's schema."""
        dsn = self.dsns[kind.apart][name]
        return psycopg2.extensions.make_dsn(dsn, options=f"-c search_path={kind.name},public")

    def shard_of(self, table: str, key: str | None) -> str | None:
        """The shard that a row belongs on, by the text of its key."""
        type_name = self.key_types[table]
        value: Any = int(key) if key is not None and type_name.startswith("int") else key
        placement = Hash().in_encoding(self.encoding)
        return placement.shards_for(value, type_name, _SHARDS)


def make(shards: Shards, encoding: str, seed: object) -> Stage:
    """New databases, with the rows of all kinds."""
    sets = {
        apart: {name: f"kinds_{encoding}_{apart}_{name}".lower() for name in ("one", *_SHARDS)}
        for apart in (False, True)
    }
    dsns = {
        apart: {name: shards[0].dsn_of(database) for name, database in names.items()}
        for apart, names in sets.items()
    }
    stage = Stage(dsns, encoding, {}, {})
    databases.make_roles(shards[0].dsn, *_ROLES)
    locale = f"ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C'"
    for apart, names in sets.items():
        some = [kind for kind in kinds().values() if kind.apart is apart]
        for name, database in names.items():
            databases.create(shards[0].dsn, database, lambda _: locale)
            with contextlib.closing(psycopg2.connect(dsns[apart][name])) as conn, conn:
                _fill(stage, some, name, conn.cursor(), Random(f"{seed}/{name}"))
        initialised(stage.cluster(some[0]))
    return stage


def _fill(stage: Stage, some: Sequence[Kind], name: str, cur: Any, pick: Random) -> None:
    for kind in some:
        cur.execute(f"CREATE SCHEMA {kind.name}; GRANT USAGE ON SCHEMA {kind.name} TO PUBLIC")
        cur.execute(f"SET LOCAL search_path = {kind.name}, public")
        cur.execute(kind.schema)
        cur.execute(_QUIET)
        if name == "one":
            cur.execute(kind.rows)
            stage.key_types.update(_key_types(cur, kind))
        else:
            _copy(stage, kind, name, cur, pick)
        cur.execute(_LOUD)
    stage.types.update(databases.types_of(cur))


#: Nothing else is done for rows that are written: no trigger, no check of a foreign key.
_QUIET = "SET LOCAL session_replication_role = replica"
_LOUD = "SET LOCAL session_replication_role = origin"


def _key_types(cur: Any, kind: Kind) -> Iterator[tuple[str, str]]:
    for name, table in kind.tables.items():
        if isinstance(table, Sharded):
            cur.execute(_KEY_TYPE, (name, table.shard_key))
            yield name, cur.fetchone()[0]


def _copy(stage: Stage, kind: Kind, shard: str, cur: Any, pick: Random) -> None:
    """Give a shard its rows, those of reference tables in an order of its own."""
    with (
        contextlib.closing(psycopg2.connect(stage.dsn(kind, "one"))) as one,
        one.cursor() as source,
    ):
        for table, declared in kind.tables.items():
            columns = _columns(source, table)
            key = declared.shard_key if isinstance(declared, Sharded) else "NULL"
            source.execute(f"SELECT {key}::text, row_to_json({table})::text FROM ONLY {table}")
            rows = [
                row
                for key, row in source.fetchall()
                if not isinstance(declared, Sharded) or stage.shard_of(table, key) == shard
            ]
            if not isinstance(declared, Sharded):
                pick.shuffle(rows)
            cur.execute(
                f"INSERT INTO {table} ({columns}) OVERRIDING SYSTEM VALUE SELECT {columns}"
                f" FROM json_populate_recordset(NULL::{table}, %s)",
                (f"[{','.join(rows)}]",),
            )


def _columns(cur: Any, table: str) -> str:
    """The columns that are not computed."""
    cur.execute(
        "SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) FROM pg_attribute"
        " WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped AND attgenerated = ''",
        (table,),
    )
    return str(cur.fetchone()[0])


@contextlib.contextmanager
def opened(stage: Stage, kind: Kind, cluster: Cluster | None = None) -> Iterator[tuple[Any, Any]]:
    """A connection to the one database, and one to the cluster, maybe of others to it."""
    with (
        contextlib.closing(psycopg2.connect(stage.dsn(kind, "one"))) as one,
        contextlib.closing(
            greenshard.connect(cluster or stage.cluster(kind), timeout=60.0)
        ) as conn,
    ):
        yield one, conn


def contents(kind: Kind, conn: Any, present: Sequence[str]) -> list[Content]:
    """All rows of a kind's tables, as one connection sees them."""
    if not present:
        return []
    parts = [_of_table(name, kind.tables[name]) for name in present]
    with conn.cursor() as cur:
        cur.execute(" UNION ALL ".join(parts))
        return sorted(cur.fetchall(), key=repr)


def _of_table(name: str, declared: object) -> str:
    key = f"{name}.{declared.shard_key}::text" if isinstance(declared, Sharded) else "NULL::text"
    return f"SELECT '{name}', {key}, {name}::text FROM ONLY {name}"


def present_tables(kind: Kind, conn: Any) -> list[str]:
    """The kind's tables that there are: statements may have dropped some."""
    with conn.cursor() as cur:
        cur.execute(
            "SELECT n FROM unnest(%s) n WHERE to_regclass(n) IS NOT NULL", ([*kind.tables],)
        )
        return [name for (name,) in cur.fetchall()]
