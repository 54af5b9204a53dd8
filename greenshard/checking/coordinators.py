"""Compares the coordinator with the shards: does it have their tables, and answer as they would?"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

from greenshard import errors
from greenshard.checking.findings import Finding
from greenshard.checking.probe import first_line, unreached
from greenshard.checking.tables import label
from greenshard.cluster import Cluster, TableName
from greenshard.cluster.model import COORDINATOR
from greenshard.connection import Connection
from greenshard.coordinating.existing import faults, tables_of
from greenshard.coordinating.looking import (
    describe_shards,
    exchanged,
    read_condition,
    reader_of,
)
from greenshard.dbapi import connect
from greenshard.links.coordinator import MAKE, NOT_MADE
from greenshard.links.description import unlike_code, unlike_databases

#: Where statements mostly look for names.
_PATH = ("public",)
_CONNECT_TIMEOUT_S = 10.0


def check_coordinator(conn: Connection, cluster: Cluster) -> Iterator[Finding]:
    """What is wrong with the coordinator; nothing, if none is declared.

    Args:
        conn: A connection to all shards as a union; not in a transaction.
        cluster: The declaration.

    Switches: yes.
    """
    if cluster.coordinator is None:
        return
    if unreached(conn):
        yield Finding("unchecked", "the coordinator is compared with all shards, or not at all")
        return
    try:
        shards = {COORDINATOR: cluster.coordinator}
        with closing(connect(shards, connect_timeout=_CONNECT_TIMEOUT_S)) as there:
            yield from _compared(conn, there, cluster)
    except errors.Error as error:
        hint = f". {MAKE}" if error.pgcode in NOT_MADE else ""
        yield Finding("unchecked", f"the coordinator cannot be asked: {first_line(error)}{hint}")


def _compared(conn: Connection, there: Connection, cluster: Cluster) -> Iterator[Finding]:
    described, stamps = describe_shards(conn, cluster)
    condition = read_condition(there, cluster, reader_of(cluster))
    there.rollback()
    first = described[cluster.names[0]]
    for what in (
        *unlike_databases(first, condition.described),
        *unlike_code(first, condition.described, _PATH),
    ):
        yield Finding("coordinator", f"the coordinator: {what}")
    reader = condition.facts["reader"]
    if reader is not None and (reader["super"] or reader["bypass"]):
        yield Finding("coordinator", "the role that reads there is a superuser, or as good as one")
    tables = tables_of(cluster, described)
    wrong = [*faults(cluster, condition, tables)]
    for name, what in wrong:
        yield Finding("coordinator", what, None if name is None else label(TableName(*name)))
    if all(name is not None for name, _ in wrong):
        what = "what the coordinator reads as this shard is another database"
        for shard in exchanged(there, cluster, stamps):
            yield Finding("coordinator", what, shards=(shard,))
