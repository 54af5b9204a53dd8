"""What shards run beside statements: triggers, and tables that inherit from one another."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping

from greenshard.checking.findings import Finding, listed
from greenshard.cluster import Cluster, TableName
from greenshard.connection import Connection
from greenshard.executor.knowledge.catalog_queries import load_catalog
from greenshard.links.deadline import UNLIMITED
from greenshard.planner.analysis.consequences import Consequences
from greenshard.planner.catalog import Catalog


def read_catalogs(conn: Connection) -> dict[str, Catalog]:
    """Each shard's catalog, as the planner knows it.

    Args:
        conn: A connection to all shards, not in a transaction.

    Switches: yes.
    """
    session = conn._session  # its own catalog is what plans go by
    with session.taken():
        # Of each: a trigger that one shard alone has is told with that shard's name.
        return {shard: load_catalog(session, [shard], UNLIMITED) for shard in conn.shards}


def refused_triggers(cluster: Cluster, catalogs: Mapping[str, Catalog]) -> Iterator[str]:
    """A note about each trigger for which writes are refused, as long as it is not declared."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    for shard, catalog in catalogs.items():
        consequences = Consequences(cluster, catalog)
        for table in catalog.besides:
            if cluster.table(*table) is not None:
                for problem in consequences.harmful_triggers(table):
                    found[f"writes are refused: {problem.reason}"].append(shard)
    for reason, shards in found.items():
        yield reason if len(shards) == len(catalogs) else f"{reason} (on {listed(shards)})"


def wrong_relatives(
    table: str, name: TableName, cluster: Cluster, catalogs: Mapping[str, Catalog]
) -> Iterator[Finding]:
    """Tables that one inherits from, and whose rows are declared to lie otherwise."""
    shards: defaultdict[str, list[str]] = defaultdict(list)
    for shard, catalog in catalogs.items():
        other = catalog.inheritance.declared_otherwise((name.schema or "", name.name), cluster)
        if other is not None:
            shards[".".join(other)].append(shard)
    for other_name, those in shards.items():
        message = f"{other_name} inherits from it, or it from that, and is declared otherwise"
        yield Finding("tables", message, table, tuple(those))
