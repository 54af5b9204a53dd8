"""Three shards with a few rows, and what their connections tell a listener."""

from __future__ import annotations

import contextlib

import psycopg2
import pytest

import greenshard
from tests.initialised import initialised

TABLES = {
    "orders": greenshard.Sharded("id"),
    "items": greenshard.Sharded("order_id"),
    "nation": greenshard.Reference(),
}


@pytest.fixture(scope="module")
def cluster(greenshard_shards):
    with greenshard_shards.databases() as first, greenshard_shards.databases() as second:
        dsns = {"s0": first["s0"], "s1": first["s1"], "s2": second["s0"]}
        for dsn in dsns.values():
            with contextlib.closing(psycopg2.connect(dsn)) as conn, conn, conn.cursor() as cur:
                cur.execute(
                    "CREATE TABLE orders (id bigint PRIMARY KEY, total numeric);"
                    "CREATE TABLE items (order_id bigint, n int, word text);"
                    "CREATE TABLE nation (id int PRIMARY KEY, name text)"
                )
        cluster = initialised(greenshard.Cluster(dsns, TABLES))
        with contextlib.closing(greenshard.connect(cluster)) as conn, conn, conn.cursor() as cur:
            numbers = [(n,) for n in range(30)]
            cur.executemany("INSERT INTO orders VALUES (%s, 1.5)", numbers)
            cur.executemany("INSERT INTO items VALUES (%s, 1, 'word')", numbers)
            cur.execute("INSERT INTO nation VALUES (1, 'Peru')")
        yield cluster


@pytest.fixture
def dsns(cluster):
    return {name: shard.primary for name, shard in cluster.shards.items()}


class Heard(list):
    """A listener that keeps what it is told."""

    def __call__(self, event):
        self.append(event)

    def one(self):
        """The only event since the last look."""
        (event,) = self
        self.clear()
        return event


@pytest.fixture
def heard():
    return Heard()


@pytest.fixture
def conn(cluster, heard):
    """A connection that knows the cluster's tables already."""
    with contextlib.closing(greenshard.connect(cluster, on_event=heard)) as connection:
        connection.cursor().execute("SELECT id FROM orders")
        heard.clear()
        yield connection


@pytest.fixture
def union(dsns, heard):
    with contextlib.closing(greenshard.connect(dsns, on_event=heard)) as connection:
        yield connection
