"""Placements that are partitions of PostgreSQL's too, a whole shard in each.

    four shards, 256 slots:  s1 has the slots 1, 5, 9, ...  FOR VALUES WITH (MODULUS 4, REMAINDER 1)

A slot is a partition of its own anywhere. But several partitions cannot be the same table of a
shard: it has the rows of all its slots, and each partition would show all of them. So a shard must
be one partition, which it is where its slots are what one modulus and remainder say.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from greenshard.cluster.model import Cluster, Reference, Single, Table
from greenshard.cluster.placement import Placement
from greenshard.cluster.slots import Hash


class HashPartition(NamedTuple):
    """One of PostgreSQL's hash partitions."""

    modulus: int
    remainder: int


def hash_partitions(
    placement: Placement, shards: Sequence[str]
) -> Mapping[str, HashPartition] | None:
    """The partition that each shard is, of those with slots; None if some are no single one.

    Args:
        placement: A table's.
        shards: All shards, in order.

    >>> hash_partitions(Hash(slots=6), ("s0", "s1", "s2"))["s1"]
    HashPartition(modulus=3, remainder=1)
    >>> hash_partitions(Hash(slots=256), ("s0", "s1", "s2"))
    """
    if not isinstance(placement, Hash):
        return None
    count = len(shards)
    if placement.assignment is None:
        if placement.slots % count:
            return None
        return {shard: HashPartition(count, at) for at, shard in enumerate(shards)}
    slots: dict[str, list[int]] = {}
    for slot in range(placement.slots):
        slots.setdefault(placement.assignment[slot], []).append(slot)
    found = {shard: _residue(placement.slots, own) for shard, own in slots.items()}
    partitions = {shard: one for shard, one in found.items() if one is not None}
    moduli = sorted(one.modulus for one in partitions.values())
    # "Every modulus must be a factor of the next larger modulus" (CREATE TABLE).
    if len(partitions) < len(found) or any(high % low for low, high in pairwise(moduli)):
        return None
    return partitions


def _residue(count: int, slots: Sequence[int]) -> HashPartition | None:
    """The partition of some slots, in ascending order, among so many; None if it is not one."""
    modulus, left = divmod(count, len(slots))
    first = slots[0]
    alike = all(slot == first + at * modulus for at, slot in enumerate(slots))
    return HashPartition(modulus, first) if alike and not left else None


@dataclass(frozen=True, slots=True)
class Layout:
    """What stands for a table where the rows of all shards are read from one place.

    Attributes:
        kind: As in ``pg_class.relkind``: "f" a foreign table, of one shard; "p" a table that is
            partitioned by the hash of its shard key; "r" one from which foreign tables inherit.
        bounds: For each shard that it reads the bounds of the partition, as PostgreSQL writes them;
            None of what is no partition.
    """

    kind: str
    bounds: Mapping[str, str | None]


def layout_of(cluster: Cluster, declared: Table, *, deterministic: bool) -> Layout:
    """How a table is put together of what the shards have.

    Args:
        cluster: The declaration.
        declared: What it says of the table.
        deterministic: Whether values of the shard key that are equal are the same bytes.
    """
    if isinstance(declared, Reference):
        return Layout("f", {cluster.names[0]: None})
    if isinstance(declared, Single):
        return Layout("f", {declared.on: None})
    found = None
    if deterministic:
        found = hash_partitions(cluster.placement_of(declared), cluster.names)
    if found is None:
        return Layout("r", dict.fromkeys(cluster.names))
    bounds = {
        shard: f"FOR VALUES WITH (modulus {one.modulus}, remainder {one.remainder})"
        for shard, one in found.items()
    }
    return Layout("p", bounds)
