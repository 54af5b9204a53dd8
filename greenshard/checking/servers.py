"""Compares the shards' servers: versions, encodings, collations, settings that change answers."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from greenshard._driver import ours
from greenshard.checking.findings import Finding, differing
from greenshard.checking.probe import SHARD, reached, transaction
from greenshard.connection import Connection
from greenshard.merge.arrays import array_text

# They change what a statement means, or how its answer is written.
SETTINGS = [
    "TimeZone",
    "IntervalStyle",
    "default_text_search_config",
    "lc_monetary",
    "lc_numeric",
    "lc_time",
    "search_path",
    "standard_conforming_strings",
]

_PROVIDERS = {"b": "builtin", "c": "libc", "i": "icu"}

# Whatever the search path, for that is one of the settings.
# pg_database as a whole: which columns tell of collations differs from version to version.
_FACTS = f"""
SELECT {SHARD}, pg_catalog.current_setting('server_version'),
    pg_catalog.current_setting('server_version_num')::int,
    pg_catalog.pg_encoding_to_char(encoding)::pg_catalog.text,
    pg_catalog.to_jsonb(d)::pg_catalog.text, {{actual_version}}, (
        SELECT pg_catalog.jsonb_object_agg(name, setting) FROM pg_catalog.pg_settings
        WHERE name OPERATOR(pg_catalog.=) ANY (%s::pg_catalog.text[]))::pg_catalog.text
FROM pg_catalog.pg_database AS d
WHERE datname OPERATOR(pg_catalog.=) pg_catalog.current_database()
"""
_ACTUAL_VERSION = "pg_catalog.pg_database_collation_actual_version(oid)"


@dataclass(frozen=True)
class Server:
    """What is compared of a server and its database.

    Attributes:
        version: As in "18.1".
        number: As in 180001.
        encoding: Of the database.
        collation: Its provider and locales.
        collation_version: Of the collation: as it was when the database was made.
        actual_version: And as the server's library has it now; None if that is not known.
        settings: The values of `SETTINGS`.
    """

    version: str
    number: int
    encoding: str
    collation: str
    collation_version: str | None
    actual_version: str | None
    settings: Mapping[str, str]

    def __str__(self) -> str:
        return f"PostgreSQL {self.version}, {self.encoding}, {self.collation}"


def read_servers(conn: Connection) -> dict[str, Server]:
    """Read the facts of each shard's server.

    Switches: yes.
    """
    # The function is there from PostgreSQL 15 on.
    known = conn.server_version >= 150000
    facts = _FACTS.format(actual_version=_ACTUAL_VERSION if known else "NULL::pg_catalog.text")
    with transaction(conn, reached(conn), settings={}) as cursor:
        cursor.execute(facts, (ours(array_text(SETTINGS)),))
        return {row[0]: server_of(*row[1:]) for row in cursor.fetchall()}


def server_of(
    version: str, number: int, encoding: str, database: str, actual: str | None, settings: str
) -> Server:
    """Make a `Server` of what was read; `database` is its row of pg_database as JSON."""
    row = json.loads(database)
    return Server(
        version.partition(" ")[0],
        number,
        encoding,
        _collation(row),
        row.get("datcollversion"),
        actual,
        json.loads(settings),
    )


def _collation(row: Mapping[str, Any]) -> str:
    provider = _PROVIDERS.get(row.get("datlocprovider", "c"), "unknown")
    # datlocale from version 17 on, daticulocale in 15 and 16, neither before.
    own = row.get("datlocale") or row.get("daticulocale")
    libc = f"{row['datcollate']} and {row['datctype']}"
    if row["datcollate"] == row["datctype"]:
        libc = row["datcollate"]
    if own is None:
        return f"{provider} collation {libc}"
    rules = f" with rules {row['daticurules']!r}" if row.get("daticurules") else ""
    return f"{provider} collation {own}{rules} ({libc})"


def compare_servers(servers: Mapping[str, Server]) -> Iterator[Finding]:
    """What differs among the servers, or is wrong on one."""
    compared = {
        "major versions": {s: f"PostgreSQL {one.number // 10000}" for s, one in servers.items()},
        "encodings": {s: one.encoding for s, one in servers.items()},
        "collations": {s: one.collation for s, one in servers.items()},
        "collations' versions": {s: _version(one) for s, one in servers.items()},
    }
    for name in SETTINGS:
        compared[f"settings of {name}"] = {
            s: repr(one.settings.get(name)) for s, one in servers.items()
        }
    for what, values in compared.items():
        if difference := differing(values):
            yield Finding("servers", f"the {what} differ: {difference}")
    for shard, one in servers.items():
        if None not in (one.collation_version, one.actual_version) and (
            one.collation_version != one.actual_version
        ):
            yield Finding(
                "servers",
                f"the database was made with version {one.collation_version} of its collation, and "
                f"the server's library now has {one.actual_version}: rebuild what depends on it, "
                "then ALTER DATABASE ... REFRESH COLLATION VERSION",
                shards=(shard,),
            )


def _version(server: Server) -> str:
    # What sorts is the library's version now, whatever the database was made with.
    return server.actual_version or server.collation_version or "no version"


def minor_versions(servers: Mapping[str, Server]) -> str | None:
    """A note about servers that differ in the minor version only, or None."""
    if len({server.number // 10000 for server in servers.values()}) > 1:
        return None
    difference = differing({shard: one.version for shard, one in servers.items()})
    return difference and f"the minor versions differ: {difference}"
