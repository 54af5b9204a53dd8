"""Two shards, and one database with all rows to compare with."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import greenshard
from greenshard.testing import Shards
from tests.postgres.psql import run

Databases = tuple[greenshard.Cluster, str]


@contextlib.contextmanager
def compared(
    servers: Shards, tables: Mapping[str, Any], schema: str, **declared: Any
) -> Iterator[Databases]:
    """Make them.

    Args:
        servers: Where.
        tables: The cluster's.
        schema: What is run on each of the three.
        declared: What else the cluster declares.

    Yields:
        The cluster, and the DSN of the one database.
    """
    with servers.databases() as dsns, servers.databases() as others:
        shards = {"s0": dsns["s0"], "s1": dsns["s1"]}
        for dsn in (*shards.values(), others["s0"]):
            run(dsn, schema)
        yield greenshard.Cluster(shards, tables, **declared), others["s0"]


def insert(databases: Databases, key_type: str, scripts: Mapping[int, str]) -> None:
    """Run a script for each shard key, on the key's shard and in the one database."""
    cluster, whole = databases
    found: dict[str, list[str]] = {whole: []}
    for key, script in scripts.items():
        shard = cluster.placement.shards_for(key, key_type, cluster.names)
        found.setdefault(cluster.shards[shard].primary, []).append(script)
        found[whole].append(script)
    for dsn, several in found.items():
        run(dsn, *several)
