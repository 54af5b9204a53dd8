"""Asks the shards and the coordinator what there is: for who makes it, and for who checks it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from greenshard._driver import Dsn, UndefinedColumn, UndefinedTable, ours
from greenshard.cluster import Cluster
from greenshard.cluster.model import COORDINATOR
from greenshard.connection import Connection
from greenshard.coordinating.existing import FACTS, Condition, declared_tables, read_facts
from greenshard.links.coordinator import own_stamp, stamps_there
from greenshard.links.deadline import UNLIMITED
from greenshard.links.description import Described, describe
from greenshard.links.look import Stamp
from greenshard.links.outside import read_outside
from greenshard.links.physical import Physical

#: Who reads, if neither the command nor the declaration says so.
READER = "greenshard_reader"


def reader_of(cluster: Cluster) -> str:
    """The role that reads: the user of the declared coordinator."""
    if cluster.coordinator is None:
        return READER
    return Dsn(cluster.coordinator).public.get("user", READER)


def describe_shards(
    conn: Connection, cluster: Cluster
) -> tuple[dict[str, Described], dict[str, Stamp | None]]:
    """What each shard says of itself and of the declared tables, and its stamp.

    Args:
        conn: A connection to all shards as a union.
        cluster: The declaration.

    Switches: yes.
    """
    session, tables = conn._session, declared_tables(cluster)
    with session.taken():
        calls = {
            physical.shard: partial(read_outside, physical, partial(_shard, tables=tables))
            for physical in session.alive
        }
        jobs: Any = session.run(calls, UNLIMITED).jobs
    described = {shard: job.result[0] for shard, job in jobs.items()}
    return described, {shard: job.result[1] for shard, job in jobs.items()}


def _shard(
    physical: Physical, tables: Iterable[tuple[str | None, str]]
) -> tuple[Described, Stamp | None]:
    described = describe(physical, tables)
    stamp = None
    # There is none, or one that an earlier version has made.
    with suppress(UndefinedTable, UndefinedColumn):
        stamp = own_stamp(physical)
    return described, stamp


def read_condition(conn: Connection, cluster: Cluster, reader: str) -> Condition:
    """What there is on the coordinator.

    Args:
        conn: A connection to it, named "coordinator".
        cluster: The declaration.
        reader: The role that reads.

    Switches: yes.
    """
    session = conn._session
    with session.taken():
        call: Any = partial(describe, session.physical(COORDINATOR), declared_tables(cluster))
        job: Any = session.run({COORDINATOR: call}, UNLIMITED).jobs[COORDINATOR]
    with conn.cursor() as cursor:
        cursor.execute(FACTS, {"reader": ours(reader)})
        row: Any = cursor.fetchone()
    return Condition(read_facts(row[0]), job.result)


def exchanged(
    conn: Connection, cluster: Cluster, stamps: Mapping[str, Stamp | None]
) -> Sequence[str]:
    """The shards as which the coordinator reads other databases.

    Args:
        conn: As for `read_condition`.
        cluster: The declaration.
        stamps: The shards' own.

    Switches: yes.
    """
    session = conn._session
    with session.taken():
        call: Any = partial(stamps_there, session.physical(COORDINATOR), cluster.names)
        job: Any = session.run({COORDINATOR: call}, UNLIMITED).jobs[COORDINATOR]
    found = []
    for shard in cluster.names:
        own, its = stamps.get(shard), job.result.get(shard)
        if own is None or its is None or (own.cluster, own.id) != (its.cluster, its.id):
            found.append(shard)
    return found
