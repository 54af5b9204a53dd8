"""The databases of the random writes: one with every row, and the shards of three clusters.

Each holds, in the schema ``pristine``, the rows with which every block begins.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import psycopg2

from greenshard.cluster import Cluster, Hash, Reference, Sharded, Single
from greenshard.testing import Shard, Shards
from tests.differential import databases
from tests.differential.kinds import Kind, read
from tests.initialised import initialised

COUNTS = (1, 2, 4)
#: Of the databases' names: a server may have several sets.
_NUMBERS = itertools.count()
_KEY_TYPES = {"device": "text", "part": "text", "shift": "date", "log": "int8"}

_PRISTINE = """
    SELECT c.relname, string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum)
    FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
    WHERE a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
        AND c.relnamespace = 'public'::regnamespace AND c.relkind = 'r'
    GROUP BY 1 ORDER BY 1
"""
_SEQUENCES = """
    SELECT relname FROM pg_class
    WHERE relkind = 'S' AND relnamespace = 'public'::regnamespace ORDER BY 1
"""


@cache
def tables() -> Kind:
    """What is in `tables.sql`."""
    return read(Path(__file__).parent / "tables.sql")


@dataclass(frozen=True)
class Places:
    """The databases.

    Attributes:
        one: The connection string of the one with every row.
        clusters: By its number of shards, each cluster.
        sequences: The names of all sequences.
        types: The names of the types that the databases made, by OID: each database has its own.
        restoring: What gives a database the rows that it had.
    """

    one: str
    clusters: Mapping[int, Cluster]
    sequences: Sequence[str]
    types: Mapping[int, str]
    restoring: str


def shard_of(cluster: Cluster, table: str, key: str | None) -> str | None:
    """The shard that a row belongs on, by the text of its key."""
    declared = cluster.table("public", table)
    if isinstance(declared, Single):
        return declared.on
    type_name = _KEY_TYPES.get(table, "int4")
    value: Any = key
    if key is not None and type_name != "text":
        value = dt.date.fromisoformat(key) if type_name == "date" else int(key)
    return Hash().shards_for(value, type_name, cluster.names)


def make(shards: Shards, seed: object) -> Places:
    """New databases."""
    server, pick, number = shards[0], Random(f"{seed}/places"), next(_NUMBERS)
    one = _database(server, f"dml_{number}_one")
    with contextlib.closing(psycopg2.connect(one)) as conn, conn, conn.cursor() as cur:
        cur.execute(tables().schema)
        cur.execute(tables().rows)
        cur.execute(_PRISTINE)
        columns = dict(cur.fetchall())
        cur.execute(_SEQUENCES)
        sequences = [name for (name,) in cur.fetchall()]
        _keep(cur, columns)
        restoring = _restoring(cur, columns, sequences)
        types = databases.types_of(cur)
        clusters = {}
        for count in COUNTS:
            names = [f"s{number}" for number in range(count)]
            dsns = {}
            for name in names:
                dsns[name] = _database(server, f"dml_{number}_{count}_{name}")
            single = Single(names[-1])
            declared = {
                name: single if isinstance(each, Single) else each
                for name, each in tables().tables.items()
            }
            clusters[count] = Cluster(dsns, declared, Hash())
            for name, dsn in dsns.items():
                with contextlib.closing(psycopg2.connect(dsn)) as other, other:
                    _fill(cur, other.cursor(), clusters[count], name, columns, pick)
                    types |= databases.types_of(other.cursor())
            initialised(clusters[count])
    for dsn in (
        one,
        *(s.primary for cluster in clusters.values() for s in cluster.shards.values()),
    ):
        restore(dsn, restoring)
    return Places(one, clusters, sequences, types, restoring)


def _database(server: Shard, name: str) -> str:
    databases.create(server.dsn, name, lambda _: "LOCALE 'C'")
    return server.dsn_of(name)


def _keep(cur: Any, columns: Mapping[str, str]) -> None:
    cur.execute("CREATE SCHEMA pristine")
    for table in columns:
        cur.execute(f"CREATE TABLE pristine.{table} AS TABLE public.{table}")


def _fill(
    source: Any, cur: Any, cluster: Cluster, shard: str, columns: Mapping[str, str], pick: Random
) -> None:
    cur.execute(tables().schema)
    cur.execute("CREATE SCHEMA pristine")
    for table in columns:
        declared = tables().tables[table]
        key = declared.shard_key if isinstance(declared, Sharded) else "NULL"
        source.execute(f"SELECT {key}::text, row_to_json({table})::text FROM {table}")
        rows = [
            row
            for key, row in source.fetchall()
            if isinstance(declared, Reference) or shard_of(cluster, table, key) == shard
        ]
        # In another order everywhere: what a server chooses must not be chosen by each.
        pick.shuffle(rows)
        cur.execute(
            f"CREATE TABLE pristine.{table} AS"
            f" SELECT * FROM json_populate_recordset(NULL::public.{table}, %s)",
            (f"[{','.join(rows)}]",),
        )


def _restoring(cur: Any, columns: Mapping[str, str], sequences: Sequence[str]) -> str:
    parts = [f"TRUNCATE {', '.join(columns)}", "SET LOCAL session_replication_role = replica"]
    parts += [
        f"INSERT INTO {table} ({names}) OVERRIDING SYSTEM VALUE"
        f" SELECT {names} FROM pristine.{table}"
        for table, names in columns.items()
    ]
    for name in sequences:
        cur.execute(f"SELECT last_value, is_called FROM {name}")
        parts.append("SELECT setval('{}', {}, {})".format(name, *cur.fetchone()))
    return "; ".join(parts)


def restore(dsn: str, restoring: str) -> None:
    """Give a database the rows that it had at first."""
    with contextlib.closing(psycopg2.connect(dsn)) as conn, conn, conn.cursor() as cur:
        cur.execute(restoring)
