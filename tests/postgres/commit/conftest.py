"""Three shards that commit together, and what is left on their servers."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field

import psycopg2
import pytest

import greenshard
from greenshard import Cluster, Reference, Sharded

TABLES = {"t": Sharded("k"), "r": Reference()}
SCHEMA = """
CREATE TABLE t (k int PRIMARY KEY, c int DEFAULT 0 CHECK (c < 1000));
CREATE TABLE r (id int PRIMARY KEY, n int);
"""


def run(dsn, *texts):
    """Run statements, each by itself; returns the last one's rows."""
    with contextlib.closing(psycopg2.connect(dsn)) as conn, conn.cursor() as cursor:
        conn.autocommit = True
        for text in texts:
            cursor.execute(text)
        return cursor.fetchall() if cursor.description else None


@dataclass(frozen=True)
class World:
    """Shards in databases of their own.

    Attributes:
        dsns: By name.
        keys: By shard, a key whose row is there.
    """

    dsns: dict[str, str]
    cluster: Cluster = field(init=False)
    keys: dict[str, int] = field(init=False)

    def __post_init__(self):
        object.__setattr__(self, "cluster", Cluster(self.dsns, TABLES))
        keys = {}
        for key in range(100):
            home = self.cluster.placement.shards_for(key, "int4", self.cluster.names)
            keys.setdefault(home, key)
        object.__setattr__(self, "keys", keys)

    def fill(self):
        for shard, dsn in self.dsns.items():
            run(dsn, SCHEMA, f"INSERT INTO t VALUES ({self.keys[shard]})")

    @contextlib.contextmanager
    def connect(self, **options):
        with contextlib.closing(greenshard.connect(self.cluster, **options)) as conn:
            yield conn

    def everywhere(self, query):
        """The rows of a query on each shard."""
        return {shard: run(dsn, query) for shard, dsn in self.dsns.items()}

    def values(self):
        """What `c` is on each shard."""
        return {s: [c for (c,) in rows] for s, rows in self.everywhere("SELECT c FROM t").items()}

    def left(self):
        """What is prepared, by shard; and who is in a transaction still."""
        found = self.everywhere(
            "SELECT gid FROM pg_prepared_xacts WHERE database = current_database() UNION ALL"
            " SELECT query FROM pg_stat_activity WHERE state LIKE 'idle in%'"
            " AND datname = current_database()"
        )
        return {shard: rows for shard, rows in found.items() if rows}

    def decisions(self):
        query = "SELECT gid FROM greenshard.decision WHERE committed"
        return [gid for rows in self.everywhere(query).values() for (gid,) in rows]


@pytest.fixture
def bare(greenshard_shards):
    """Shards on which ``init`` has not been run."""
    with greenshard_shards.databases() as first, greenshard_shards.databases() as second:
        world = World({"s0": first["s0"], "s1": first["s1"], "s2": second["s0"]})
        world.fill()
        yield world
        # Nothing is prepared, and nobody is in a transaction (of a test that has not failed).
        assert world.left() == {}


@pytest.fixture
def world(bare):
    greenshard.init(bare.cluster)
    return bare


@pytest.fixture
def conn(world):
    with world.connect() as conn:
        yield conn
