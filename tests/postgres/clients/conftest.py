"""The same tables over one shard and over four, for programs that take psycopg2's connections."""

from __future__ import annotations

import contextlib

import pytest

import greenshard

TABLES = {
    "orders": greenshard.Sharded("id"),
    "frame": greenshard.Sharded("id"),
    "nation": greenshard.Reference(),
}
SCHEMA = """
    CREATE TABLE orders (id bigserial PRIMARY KEY, customer text NOT NULL, amount numeric(8,2));
    CREATE TABLE frame (id bigint, name text, amount double precision);
    CREATE TABLE nation (id serial PRIMARY KEY, name text);
"""


@pytest.fixture(scope="module", params=["one shard", "four shards"])
def shards(request, greenshard_shards):
    """What `greenshard.connect` takes: a connection string, or a cluster; with the tables."""
    with greenshard_shards.databases() as first, greenshard_shards.databases() as second:
        shards = first["s0"]
        if request.param == "four shards":
            dsns = [*first.values(), *second.values()]
            named = {f"s{number}": dsn for number, dsn in enumerate(dsns)}
            shards = greenshard.Cluster(named, TABLES)
            greenshard.init(shards)
        with contextlib.closing(greenshard.connect(shards)) as conn, conn:
            conn.cursor().execute(SCHEMA)
        yield shards


@pytest.fixture
def conn(shards):
    with contextlib.closing(greenshard.connect(shards)) as connection:
        yield connection
        connection.rollback()
        connection.cursor().execute("TRUNCATE orders, frame, nation RESTART IDENTITY")
        connection.commit()


@pytest.fixture
def engine(shards, conn):
    """SQLAlchemy's; its tables are emptied afterwards."""
    sqlalchemy = pytest.importorskip("sqlalchemy")
    made = sqlalchemy.create_engine(
        "postgresql+greenshard://", creator=lambda: greenshard.connect(shards)
    )
    yield made
    made.dispose()
