"""Which parts on other shards belong to a statement, and how even the shards are."""

from __future__ import annotations

from dataclasses import replace

import pytest

from greenshard.watching.shard_status import Running, ShardStatus, Status

ONE = Running("s0", 1, "app", "shop", None, "active", 9.0, 5.0, None, "SELECT ?")


def status(*running, **facts):
    shards = dict.fromkeys(("s0", "s1", *(each.shard for each in running)))
    return Status(
        tuple(
            ShardStatus(shard, running=tuple(r for r in running if r.shard == shard), **facts)
            for shard in shards
        ),
        ("orders",),
    )


def test_of_several_that_are_alike_the_nearest_is_a_part():
    far = replace(ONE, shard="s1", pid=2, statement_s=4.2)
    near = replace(ONE, shard="s1", pid=3, statement_s=5.1)
    assert status(ONE, far, near).parts_of(ONE) == [ONE, near]


@pytest.mark.parametrize(
    "change",
    [
        {"shard": "s0"},
        {"user": "other"},
        {"application": "other"},
        {"client": "10.0.0.1"},
        {"sql": "SELECT now()"},
        {"state": "idle in transaction"},
        {"statement_s": 7.1},
    ],
)
def test_what_differs_is_no_part(change):
    other = replace(ONE, **{"shard": "s1", "pid": 2, **change})
    assert status(ONE, other).parts_of(ONE) == [ONE]


def test_skew_is_the_fullest_shards_share():
    shards = [ShardStatus(f"s{n}", rows={"orders": rows}) for n, rows in enumerate((30, 10, 20))]
    assert Status(tuple(shards), ("orders",)).skew("orders") == 1.5
    assert Status(tuple(shards)).skew("orders") is None  # a reference table
    down = ShardStatus("s3", why="gone")
    assert Status((*shards, down), ("orders",)).skew("orders") is None
    empty = ShardStatus("s0", rows={"orders": 0})
    assert Status((empty,), ("orders",)).skew("orders") is None
