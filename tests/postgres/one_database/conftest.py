"""A small shop on three shards, and the same rows in one database to compare with."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

import psycopg2
import psycopg2.extras
import pytest

import greenshard

SCHEMA = """
CREATE TYPE mood AS ENUM ('sad', 'ok', 'glad');
CREATE TYPE pair AS (a int, b text);
CREATE TABLE orders (
    id bigint PRIMARY KEY, customer int, total numeric(12,2), note text, day date, tags text[],
    feeling mood, both_of pair, doc jsonb, weight float4, span interval);
CREATE TABLE items (
    order_id bigint, n int, price float8, word text COLLATE "C", PRIMARY KEY (order_id, n));
CREATE TABLE nation (id int PRIMARY KEY, name text);
CREATE TABLE blobs (id bigint PRIMARY KEY, body text, doc jsonb);
"""
ORDERS = [
    (
        n,
        n % 7 if n % 11 else None,
        None if n % 13 == 0 else n * 1.25,
        [f"é{n % 5}", None, 'b\\"c', "{x, 'y'}", "B%s%%"][n % 5],
        f"2020-01-{n % 28 + 1:02}",
        [[], ["x", None, 'q"'], None, [str(n), ""]][n % 4],
        ["sad", "ok", "glad", None][n % 4],
        f'({n % 3},"a,\\"{n % 2}")',
        psycopg2.extras.Json({"n": n % 3, "t": ["é", None]}),
        n / 3,
        f"{n % 5} months {n % 3} days",
    )
    for n in range(60)
]
ITEMS = [
    (n, line, n / 7 * line, "wxYz"[(n + line) % 4]) for n in range(60) for line in range(n % 4)
]
NATIONS = [(1, "Peru"), (2, "Chad"), (3, "Åland"), (4, None)]
#: Of `greenshard.executor.strategies.table_rows`: what makes few rows come in many batches.
SMALL_BATCHES = {
    "ONCE_VALUES": 0, "ONCE_ROWS": 0, "CHUNK_ROWS": 2, "SMALL_CHUNK_ROWS": 3,
    "BATCH_CHARACTERS": 60,
}  # fmt: skip
TABLES = {
    "orders": greenshard.Sharded("id"),
    "items": greenshard.Sharded("order_id"),
    "nation": greenshard.Reference(),
    "blobs": greenshard.Sharded("id"),
}


@dataclass(frozen=True)
class Shop:
    """The cluster, and the database that holds every row."""

    cluster: greenshard.Cluster
    single: str

    @property
    def dsns(self):
        return {name: shard.primary for name, shard in self.cluster.shards.items()}

    def shard_of(self, key):
        return self.cluster.placement.shards_for(key, "int8", self.cluster.names)


def insert(cursor, table, rows):
    psycopg2.extras.execute_values(cursor, f"INSERT INTO {table} VALUES %s", rows)


@pytest.fixture(scope="module")
def shop(greenshard_shards):
    """Three shards and a single database, on two servers; filled, and dropped after the module."""
    with greenshard_shards.databases() as first, greenshard_shards.databases() as second:
        dsns = {"s0": first["s0"], "s1": first["s1"], "s2": second["s0"]}
        shop = Shop(greenshard.Cluster(dsns, TABLES), second["s1"])
        for name, dsn in {**dsns, None: shop.single}.items():
            with contextlib.closing(psycopg2.connect(dsn)) as conn, conn, conn.cursor() as cur:
                cur.execute(SCHEMA)
                insert(cur, "nation", NATIONS)
                insert(cur, "orders", [r for r in ORDERS if name in (None, shop.shard_of(r[0]))])
                insert(cur, "items", [r for r in ITEMS if name in (None, shop.shard_of(r[0]))])
                cur.execute("ANALYZE")
        greenshard.init(shop.cluster)
        yield shop


@pytest.fixture
def conn(shop):
    with contextlib.closing(greenshard.connect(shop.cluster)) as connection:
        yield connection


@pytest.fixture
def single(shop):
    """psycopg2's own connection to the database that holds every row."""
    with contextlib.closing(psycopg2.connect(shop.single)) as connection:
        yield connection


@pytest.fixture
def plain(shop):
    """psycopg2's own connections to the shards' databases, in autocommit mode, by shard name."""
    with contextlib.ExitStack() as opened:
        connections = {}
        for name, dsn in shop.dsns.items():
            connections[name] = opened.enter_context(contextlib.closing(psycopg2.connect(dsn)))
            connections[name].autocommit = True
        yield connections


@pytest.fixture
def same(conn, single):
    """Check that a statement gives the same through the cluster as on the single database."""

    def check(statement, parameters=None, *, strategy, ordered=True, factory=None):
        ours = conn.cursor(cursor_factory=factory)
        theirs = single.cursor(cursor_factory=factory)
        if parameters is not None:
            assert f"strategy: {strategy}" in conn.explain(statement, parameters)
        else:
            assert f"strategy: {strategy}" in conn.explain(statement)
        ours.execute(statement, parameters)
        theirs.execute(statement, parameters)
        got, expected = ours.fetchall(), theirs.fetchall()
        if not ordered:
            got, expected = sorted(got, key=repr), sorted(expected, key=repr)
        assert got == expected
        assert [type(row).__name__ for row in got] == [type(row).__name__ for row in expected]
        assert list(map(repr, got)) == list(map(repr, expected))
        assert ours.rowcount == theirs.rowcount
        assert ours.statusmessage == theirs.statusmessage
        assert ours.query == theirs.query
        assert [column.name for column in ours.description] == [
            column.name for column in theirs.description
        ]
        assert [tuple(c) for c in ours.description if c.type_code < 16384] == [
            tuple(c) for c in theirs.description if c.type_code < 16384
        ]
        return ours

    return check
