"""Placements as PostgreSQL's partitions: a shard is one of them, or none is made."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenshard.cluster import Cluster, Hash, List, Range, Reference, Sharded, Single, Unknown
from greenshard.cluster.partitions import HashPartition, hash_partitions, layout_of

NAMES = ("s0", "s1", "s2")
CLUSTER = Cluster({name: f"dbname={name}" for name in NAMES}, {}, Hash(slots=6))


def test_slots_that_are_a_multiple_of_the_shards() -> None:
    assert hash_partitions(Hash(slots=6), NAMES) == {
        "s0": HashPartition(3, 0),
        "s1": HashPartition(3, 1),
        "s2": HashPartition(3, 2),
    }


@pytest.mark.parametrize(
    "placement",
    [
        Hash(slots=256),  # s0 has the slots 0, 3, ..., 255: one more than the others
        Hash(4, {0: "s0", 1: "s0", 2: "s1", 3: "s2"}),
        Hash(6, {0: "s0", 3: "s0", 2: "s1", 4: "s1", 1: "s2", 5: "s2"}),
        # Each is one, but 2 is no factor of 3.
        Hash(6, dict.fromkeys((0, 2, 4), "s0") | {1: "s1", 3: "s1"} | {5: "s2"}),
        List({1: "s0"}),
        Range([(3, "s0")], "s1"),
        Unknown("x"),
    ],
)
def test_no_single_partition(placement: Hash) -> None:
    assert hash_partitions(placement, NAMES) is None


def test_slots_of_a_shard_that_was_split() -> None:
    placement = Hash(4, {0: "s0", 2: "s2", 1: "s1", 3: "s1"})
    assert hash_partitions(placement, NAMES) == {
        "s0": HashPartition(4, 0),
        "s1": HashPartition(2, 1),
        "s2": HashPartition(4, 2),
    }


@given(st.lists(st.sampled_from(NAMES), min_size=1, max_size=24))
def test_partitions_are_where_the_rows_are(shards: list[str]) -> None:
    """Each hash value is of the partition of its shard and of no other; all are taken."""
    placement = Hash(len(shards), dict(enumerate(shards)))
    found = hash_partitions(placement, NAMES)
    if found is None:
        return
    assert found.keys() == set(shards)
    for hashed in range(3 * len(shards)):
        where = [s for s, one in found.items() if hashed % one.modulus == one.remainder]
        assert where == [shards[hashed % len(shards)]]
    assert sum(Fraction(1, one.modulus) for one in found.values()) == 1


def test_layouts() -> None:
    layouts = {
        name: layout_of(CLUSTER, declared, deterministic=True)
        for name, declared in {
            "hash": Sharded("id"),
            "list": Sharded("id", List({1: "s0"})),
            "reference": Reference(),
            "single": Single("s2"),
        }.items()
    }
    assert {name: one.kind for name, one in layouts.items()} == {
        "hash": "p", "list": "r", "reference": "f", "single": "f"
    }  # fmt: skip
    assert layouts["hash"].bounds["s1"] == "FOR VALUES WITH (modulus 3, remainder 1)"
    assert layouts["list"].bounds == dict.fromkeys(NAMES)
    assert list(layouts["reference"].bounds) == ["s0"]
    assert list(layouts["single"].bounds) == ["s2"]


def test_texts_that_are_equal_and_not_the_same_bytes_are_in_no_partition() -> None:
    assert layout_of(CLUSTER, Sharded("id"), deterministic=False).kind == "r"
