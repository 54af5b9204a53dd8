"""One server with many databases: one that holds every row, and the shards of several clusters."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random

import psycopg2

from greenshard.cluster import Cluster, Hash, Range, Reference, Sharded
from greenshard.testing import Shards
from tests.differential import rows, schema
from tests.differential.rows import Row
from tests.differential.schema import Table
from tests.initialised import initialised

SHARD_COUNTS = (1, 2, 4)
COLLATIONS = ("C", "words")

_LOCALE = "en_US.UTF-8"
_ICU = "LOCALE_PROVIDER icu ICU_LOCALE 'en-US' LOCALE 'C'"
#: Without these, rows come in another order; jit would then cost much.
_OTHER_PLANS = ("enable_hashjoin", "enable_hashagg", "enable_seqscan", "enable_nestloop", "jit")


@dataclass(frozen=True)
class Databases:
    """The databases of one collation.

    Attributes:
        one: The connection string of the database with every row.
        other: That of one with the same rows in another order, and other plans.
        clusters: By its number of shards, each cluster.
        types: The names of the types that the databases made, by OID: each database has its own.
    """

    one: str
    other: str
    clusters: Mapping[int, Cluster]
    types: Mapping[int, str]


class NoCollationError(Exception):
    """This server cannot sort text but by its bytes."""


@contextlib.contextmanager
def server() -> Iterator[Shards]:
    """One server, which finds the locale that it may need."""
    with tempfile.TemporaryDirectory() as directory:
        before = os.environ.get("LOCPATH")
        if _compile_locale(Path(directory)):
            os.environ["LOCPATH"] = directory
        try:
            with Shards(1, settings={"max_connections": 200}) as shards:
                yield shards
        finally:
            os.environ.pop("LOCPATH", None)
            if before is not None:
                os.environ["LOCPATH"] = before


def _compile_locale(directory: Path) -> bool:
    """Make a locale that sorts text by words, for a server without ICU: few machines have one."""
    localedef = shutil.which("localedef")
    if localedef is None or not Path("/usr/share/i18n/locales/en_US").exists():
        return False
    command = [localedef, "-i", "en_US", "-f", "UTF-8", str(directory / _LOCALE)]
    made = subprocess.run(command, check=False, capture_output=True).returncode == 0
    for path in (directory, *directory.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    return made


def make(shards: Shards, collation: str, seed: object) -> Databases:
    """New databases, with random rows.

    Raises:
        NoCollationError: The server does not have this collation.
    """
    pick = Random(f"{seed}/rows")
    made = rows.make(pick)
    clusters = {count: _cluster(shards, collation, count) for count in SHARD_COUNTS}
    made["device"] = _leaving_a_shard_empty(made["device"], clusters[max(SHARD_COUNTS)])
    one, other = (f"{collation}_{name}".lower() for name in ("one", "other"))
    parts = {one: made, other: {name: _shuffled(pick, some) for name, some in made.items()}}
    for count, cluster in clusters.items():
        for name in cluster.names:
            parts[_database(collation, count, name)] = {
                # In another order everywhere: what a server chooses must not be chosen by each.
                table.name: _shuffled(pick, _of_shard(cluster, table, name, made[table.name]))
                for table in schema.TABLES
            }
    types: dict[int, str] = {}
    make_roles(shards[0].dsn, schema.READER)
    for number, (database, part) in enumerate(parts.items()):
        create(shards[0].dsn, database, partial(_locale, collation))
        types |= _fill(shards[0].dsn_of(database), part, gaps=number % 2 == 0)
    for cluster in clusters.values():
        initialised(cluster)
    dsns = [shards[0].dsn_of(database) for database in (one, other)]
    with contextlib.closing(psycopg2.connect(dsns[1])) as conn, conn, conn.cursor() as cur:
        for setting in _OTHER_PLANS:
            cur.execute(f"ALTER DATABASE {other} SET {setting} = off")
    return Databases(*dsns, clusters, types)


def _shuffled(pick: Random, some: Sequence[Row]) -> list[Row]:
    return pick.sample(some, len(some))


def _database(collation: str, count: int, name: str) -> str:
    return f"{collation}_{count}_{name}".lower()


def _cluster(shards: Shards, collation: str, count: int) -> Cluster:
    names = [f"s{number}" for number in range(count)]
    tables = {table.name: _declared(table, names) for table in schema.TABLES}
    return Cluster(
        shards={name: shards[0].dsn_of(_database(collation, count, name)) for name in names},
        tables=tables,
        placement=Hash(),
    )


def _declared(table: Table, names: Sequence[str]) -> Sharded | Reference:
    """A table's declaration; equal keys of badges and of accounts are mostly on two shards."""
    if table.shard_key is None:
        return Reference()
    if table is not schema.BADGE:
        return Sharded(table.shard_key)
    bounds = [(3, names[-1]), (42, names[0]), (50, names[len(names) // 2])]
    return Sharded(table.shard_key, Range(bounds, names[-1]))


def shard_of(cluster: Cluster, table: Table, row: Row) -> str | None:
    """The shard of a sharded table's row."""
    field = next(field for field in table.fields if field.name == table.shard_key)
    value = row[table.fields.index(field)]
    declared = cluster.table("public", table.name)
    assert isinstance(declared, Sharded)
    return cluster.placement_of(declared).shards_for(value, field.type, cluster.names)


def _of_shard(cluster: Cluster, table: Table, name: str, made: Sequence[Row]) -> list[Row]:
    if table.shard_key is None:
        return list(made)
    return [row for row in made if shard_of(cluster, table, row) == name]


def _leaving_a_shard_empty(devices: Sequence[Row], cluster: Cluster) -> list[Row]:
    last = cluster.names[-1]
    return [row for row in devices if shard_of(cluster, schema.DEVICE, row) != last]


def make_roles(dsn: str, *roles: str) -> None:
    """Make roles, which are the server's, not a database's: they may be there."""
    with contextlib.closing(psycopg2.connect(dsn)) as conn, conn.cursor() as cur:
        conn.autocommit = True
        for role in roles:
            with contextlib.suppress(psycopg2.errors.DuplicateObject):
                cur.execute(f"CREATE ROLE {role}")


def create(dsn: str, database: str, locale: Callable[[psycopg2.extensions.cursor], str]) -> None:
    """Make a database in which no statement takes long.

    Args:
        dsn: Of its server.
        database: Its name.
        locale: Gives its encoding and collation, for a session of the server.
    """
    with contextlib.closing(psycopg2.connect(dsn)) as conn, conn.cursor() as cur:
        conn.autocommit = True
        cur.execute(f"CREATE DATABASE {database} TEMPLATE template0 {locale(cur)}")
        cur.execute(f"ALTER DATABASE {database} SET statement_timeout = '10s'")


def types_of(cur: psycopg2.extensions.cursor) -> dict[int, str]:
    """The names of the types that a database has made, by OID."""
    cur.execute("SELECT oid::int8, typname FROM pg_type WHERE oid >= 16384")
    return dict(cur.fetchall())


def _locale(collation: str, cur: psycopg2.extensions.cursor) -> str:
    if collation == "C":
        return "LOCALE 'C'"
    if _has_icu(cur):
        return _ICU
    if "LOCPATH" in os.environ:
        return f"LOCALE '{_LOCALE}'"
    raise NoCollationError("this PostgreSQL has no ICU, and this machine no locale but C")


def _words(cur: psycopg2.extensions.cursor) -> str:
    """What a collation is made from that sorts text by words, if there can be one."""
    if _has_icu(cur):
        return "(PROVIDER = icu, LOCALE = 'en-US')"
    return f"(LOCALE = '{_LOCALE if 'LOCPATH' in os.environ else 'C'}')"


def _has_icu(cur: psycopg2.extensions.cursor) -> bool:
    cur.execute("SELECT EXISTS (SELECT FROM pg_collation WHERE collname = 'en-US-x-icu')")
    return cur.fetchone() == (True,)


def _fill(dsn: str, made: Mapping[str, Sequence[Row]], *, gaps: bool) -> dict[int, str]:
    """Make the tables and their rows; returns the types that are new.

    Args:
        dsn: Where.
        made: The rows of each table.
        gaps: Whether the tables have had another column before: the numbers of their columns
            then differ.
    """
    with contextlib.closing(psycopg2.connect(dsn)) as conn, conn, conn.cursor() as cur:
        cur.execute("SELECT EXISTS (SELECT FROM pg_available_extensions WHERE name = 'citext')")
        caseless = cur.fetchone() == (True,)
        cur.execute(schema.ddl(gaps=gaps, words=_words(cur), caseless=caseless))
        for table in schema.TABLES:
            if made[table.name]:
                cur.execute(rows.insertion(table, made[table.name]))
        return types_of(cur)
