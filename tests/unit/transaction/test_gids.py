"""Names of transactions over several shards."""

from __future__ import annotations

import time

from greenshard.transaction.gids import Gid, new_transaction, read

CLUSTER, ANCHOR, SHARD = "c" * 32, "a" * 32, "5" * 32


def test_name_is_read_as_it_was_made() -> None:
    gid = Gid(CLUSTER, ANCHOR, new_transaction(time.time()))
    assert read(gid.decision) == (gid, None)
    assert read(gid.prepared(SHARD)) == (gid, SHARD)


def test_name_is_short_enough_for_postgresql() -> None:
    assert len(Gid(CLUSTER, ANCHOR, new_transaction(time.time())).prepared(SHARD)) < 200


def test_name_tells_when_it_was_made() -> None:
    before = time.time() - 0.001
    made_at = Gid(CLUSTER, ANCHOR, new_transaction(time.time())).made_at
    assert before <= made_at <= time.time()


def test_no_two_names_are_alike() -> None:
    assert len({new_transaction(time.time()) for _ in range(1000)}) == 1000


def test_names_of_others_are_not_ours() -> None:
    gid = Gid(CLUSTER, ANCHOR, new_transaction(time.time()))
    others = [
        "",
        "x",
        gid.decision[:-1],
        gid.decision + "0",
        gid.prepared("s1"),
        gid.decision + "\n",
    ]
    others += [gid.decision.upper(), "citus_" + gid.decision, f" {gid.decision}"]
    assert [read(text) for text in others] == [None] * len(others)
