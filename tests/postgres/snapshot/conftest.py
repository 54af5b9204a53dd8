"""Three shards with a bank on them: databases on the two servers of the session."""

from __future__ import annotations

import contextlib
import random

import psycopg2
import pytest

import greenshard
from tests.postgres.snapshot.bank import Teller, cluster_of, fill


@pytest.fixture(scope="module")
def dsns(greenshard_shards):
    with greenshard_shards.databases() as first, greenshard_shards.databases() as second:
        dsns = {"s0": first["s0"], "s1": first["s1"], "s2": second["s0"]}
        greenshard.init(cluster_of(dsns))
        fill(dsns)
        yield dsns


@pytest.fixture
def cluster(dsns):
    return cluster_of(dsns)


@pytest.fixture
def conn(cluster):
    with contextlib.closing(greenshard.connect(cluster)) as connection:
        yield connection


@pytest.fixture
def teller(dsns):
    """Who moves money while a test reads."""
    with contextlib.closing(Teller(dsns, random.Random(1))) as teller:
        yield teller


@pytest.fixture
def plain(dsns):
    """psycopg2's own connections to the shards' databases, in autocommit mode, by shard name."""
    with contextlib.ExitStack() as opened:
        connections = {}
        for name, dsn in dsns.items():
            connections[name] = opened.enter_context(contextlib.closing(psycopg2.connect(dsn)))
            connections[name].autocommit = True
        yield connections


@pytest.fixture
def locks(plain):
    """Ask which locks there are on the barriers."""

    def ask():
        found = []
        for shard, connection in plain.items():
            with connection.cursor() as cur:
                cur.execute(
                    "SELECT mode FROM pg_locks WHERE relation = 'greenshard.barrier'::regclass"
                    " AND database = (SELECT oid FROM pg_database"
                    " WHERE datname = current_database())"
                )
                found += [(shard, mode) for (mode,) in cur.fetchall()]
        return found

    return ask
