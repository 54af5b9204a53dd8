"""Whether the shards are initialised, and what keeps transactions over several from working."""

from __future__ import annotations

from collections.abc import Iterator

from greenshard.checking.findings import Finding, listed
from greenshard.checking.probe import reached, transaction
from greenshard.cluster import Cluster
from greenshard.connection import Connection
from greenshard.initializing.condition import Condition, Obstacle
from greenshard.initializing.initialization import read_conditions, read_stamps
from greenshard.initializing.schema import TABLES
from greenshard.links.look import Stamp, wrong_stamps

NOT_INITIALISED = (
    "the shards are not initialised for transactions that write on several: greenshard init"
)
"""The note on a cluster of which no shard is."""


def check_initialised(conn: Connection, cluster: Cluster) -> tuple[list[Finding], list[str]]:
    """What is wrong with what ``greenshard init`` has made, and notes if it has made nothing.

    Args:
        conn: A connection to all shards as a union; not in a transaction.
        cluster: The declaration.

    Switches: yes.
    """
    shards = reached(conn)
    with transaction(conn, shards):
        conditions = read_conditions(conn, cluster, shards)
        several = len(cluster.names) > 1
        obstacles = [each for found in conditions for each in found.obstacles(several)]
        # What somebody else has made may do anything to whoever reads it.
        planted = {each.shard for each in obstacles if each.planted}
        stamps = read_stamps(conn, [each for each in conditions if each.shard not in planted])
    findings = [_finding(each) for each in obstacles if each.planted]
    findings += [Finding("init", what, shards=(shard,)) for shard, what in _wrong(stamps, cluster)]
    those = {shard for shard, stamp in stamps.items() if stamp.id is not None}
    lacking = [each for each in obstacles if not each.planted]
    if those or planted:
        findings += _unlike(conditions, those | planted)
        findings += [_finding(each) for each in lacking if not each.of_rights]
        return findings, []
    if not several:
        return findings, []
    return findings, [NOT_INITIALISED, *(f"shard {each.shard}: {each.message}" for each in lacking)]


def _unlike(conditions: list[Condition], initialised: set[str]) -> Iterator[Finding]:
    """Shards that are not initialised where others are, or not any more."""
    others = tuple(each.shard for each in conditions if each.shard not in initialised)
    if others:
        yield Finding("init", "is not initialised, as others are: greenshard init", shards=others)
    for each in conditions:
        if each.shard in initialised and (gone := [n for n in TABLES if n not in each.tables]):
            what = f"of the schema greenshard, {listed(gone)} is gone: greenshard init"
            yield Finding("init", what, shards=(each.shard,))


def _wrong(stamps: dict[str, Stamp], cluster: Cluster) -> Iterator[tuple[str, str]]:
    in_order = {shard: stamps[shard] for shard in cluster.names if shard in stamps}
    return wrong_stamps(in_order, cluster)


def _finding(obstacle: Obstacle) -> Finding:
    return Finding("init", obstacle.message, shards=(obstacle.shard,))
