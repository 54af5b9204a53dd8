"""Pools over three shards: databases on the two servers of the session, new for each module."""

from __future__ import annotations

import contextlib
import time

import psycopg2
import pytest

import greenshard

#: What the pools' sessions are called on their servers.
NAME = "pooled"


@pytest.fixture(scope="module")
def dsns(greenshard_shards):
    with greenshard_shards.databases() as first, greenshard_shards.databases() as second:
        yield {"s0": first["s0"], "s1": first["s1"], "s2": second["s0"]}


class Watch:
    """What the servers say of the pools' sessions."""

    def __init__(self, dsns):
        self._opened = {}
        self._dsns = dsns

    def ask(self, shard, sql, *args):
        if shard not in self._opened:
            self._opened[shard] = psycopg2.connect(self._dsns[shard])
            self._opened[shard].autocommit = True
        cursor = self._opened[shard].cursor()
        cursor.execute(sql, args)
        return cursor.fetchall()

    def sessions(self, shard):
        """Process ids and states of the pools' sessions in a shard's database."""
        return self.ask(
            shard,
            "SELECT pid, state FROM pg_stat_activity"
            " WHERE datname = current_database() AND application_name = %s",
            NAME,
        )

    def count(self, shard):
        return len(self.sessions(shard))

    def counts(self):
        return {shard: self.count(shard) for shard in self._dsns}

    def close(self):
        for connection in self._opened.values():
            connection.close()


@pytest.fixture
def watch(dsns):
    with contextlib.closing(Watch(dsns)) as watch:
        yield watch


@pytest.fixture
def make_pool(dsns, watch):
    """Makes pools; they are closed after the test, and then no session is left."""
    with contextlib.ExitStack() as pools:

        def make(shards=None, max_size=3, **arguments):
            pool = greenshard.Pool(
                shards or dsns, max_size, application_name=NAME, **{"timeout": 10.0, **arguments}
            )
            return pools.enter_context(pool)

        yield make
    eventually(lambda: watch.counts() == dict.fromkeys(dsns, 0))


@pytest.fixture
def pool(make_pool):
    return make_pool()


def eventually(condition, seconds=10.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.01)
