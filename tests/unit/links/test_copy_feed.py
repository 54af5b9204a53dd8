from __future__ import annotations

import io
import random
from functools import partial

import gevent
import pytest

from greenshard.links import copy_feed
from greenshard.links.copy_feed import Feed, Turns

SHARDS = ("s0", "s1", "s2")


@pytest.mark.parametrize("seed", range(5))
def test_each_shard_gets_its_rows_whoever_is_slow(monkeypatch, seed):
    monkeypatch.setattr(copy_feed, "LARGEST_BYTES", 20)
    monkeypatch.setattr(copy_feed, "PIECE_BYTES", 5)
    chance = random.Random(seed)
    data = bytes(chance.randrange(3) for _ in range(2_000))
    got = dict.fromkeys(SHARDS, 0)

    def split(piece):
        return {shard: bytes([n]) * piece.count(n) for n, shard in enumerate(SHARDS)}

    feed = Feed(partial(io.BytesIO(data).read, 3), split, SHARDS)

    def load(shard):
        read = feed.of(shard)
        while piece := read():
            got[shard] += len(piece)
            if chance.random() < 0.3:
                gevent.sleep(0)

    with gevent.Timeout(10):
        gevent.joinall([gevent.spawn(load, shard) for shard in SHARDS], raise_error=True)
    assert got == {shard: data.count(n) for n, shard in enumerate(SHARDS)}


def test_who_fails_to_read_leaves_the_others_waiting():
    """They are stopped then; none goes on in the midst of a row."""

    def fail():
        raise LookupError

    feed = Feed(fail, dict, SHARDS)
    with pytest.raises(LookupError):
        feed.of("s0")()
    with gevent.Timeout(0.01, False):
        feed.of("s1")()
        raise AssertionError("read on")


def test_shards_write_in_their_turn():
    written = []
    turns = Turns(written.append, SHARDS, dict.fromkeys(SHARDS, b"".join))

    def unload(shard, pause_s):
        for rows in ([shard.encode(), b"+"], [shard.encode()], []):
            gevent.sleep(pause_s)
            turns.of(shard)(rows)

    paces = zip(SHARDS, (0.002, 0, 0.001), strict=True)
    gevent.joinall([gevent.spawn(unload, *each) for each in paces], raise_error=True)
    assert written == [b"s0+", b"s0", b"s1+", b"s1", b"s2+", b"s2"]
