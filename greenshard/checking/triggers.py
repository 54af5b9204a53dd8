"""What shards run beside statements, and what functions they have: by the planner's catalogs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from difflib import get_close_matches

from greenshard.checking.findings import Finding, listed
from greenshard.checking.probe import reached
from greenshard.cluster import Cluster, TableName
from greenshard.connection import Connection
from greenshard.executor.knowledge.catalog_queries import load_catalog
from greenshard.links.deadline import UNLIMITED
from greenshard.planner.analysis.consequences import Consequences
from greenshard.planner.catalog import Catalog
from greenshard.planner.code import SYSTEM_SCHEMAS


def read_catalogs(conn: Connection, cluster: Cluster) -> dict[str, Catalog]:
    """The catalog of each shard that can be asked, as the planner knows it.

    Args:
        conn: A connection to all shards, not in a transaction.
        cluster: What is declared.

    Switches: yes.
    """
    session = conn._session  # its own catalog is what plans go by
    with session.taken():
        # Of each: a trigger that one shard alone has is told with that shard's name.
        functions = cluster.functions
        return {s: load_catalog(session, [s], UNLIMITED, functions) for s in reached(conn)}


def missing_functions(cluster: Cluster, catalogs: Mapping[str, Catalog]) -> Iterator[Finding]:
    """The functions that are declared and that a shard does not have."""
    for function in cluster.functions:
        without = [s for s, catalog in catalogs.items() if function.text not in catalog.declared]
        if not without:
            continue
        there = {
            name
            for catalog in catalogs.values()
            for name, found in catalog.functions.items()
            if any(each.schema not in SYSTEM_SCHEMAS and each.kind == "f" for each in found)
        }
        message = f"the declared function {function.text} is not there"
        near = get_close_matches(function.name, sorted(there), 1)
        if near and near[0] != function.name:
            message += f"; there is {near[0]}"
        elif near:
            message += "; there is one of that name, in another schema or with other arguments"
        yield Finding("functions", message, shards=tuple(without))


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
