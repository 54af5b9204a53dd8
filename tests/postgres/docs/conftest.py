"""The shop of docs/one-database.rst, over two shards and in one database."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

import psycopg2
import pytest

import greenshard
from greenshard.cluster import Cluster
from greenshard.testing import Shards
from tests.postgres.docs.page import blocks

MORE_SCHEMA = """
CREATE TABLE audit (what text);
CREATE TABLE parts (id int, PRIMARY KEY (id)) PARTITION BY HASH (id);
CREATE TABLE parts_all PARTITION OF parts FOR VALUES WITH (MODULUS 1, REMAINDER 0);
CREATE VIEW big AS SELECT id, amount FROM orders WHERE amount > 100;
CREATE MATERIALIZED VIEW cheap AS SELECT code FROM products WHERE price < 5;
CREATE FUNCTION doubled(n int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT n * 2';
CREATE FUNCTION orders_count() RETURNS bigint STABLE LANGUAGE sql AS 'SELECT count(*) FROM orders';
CREATE FUNCTION orders_seen() RETURNS bigint STABLE LANGUAGE plpgsql
    AS 'BEGIN RETURN (SELECT count(*) FROM orders); END';
CREATE FUNCTION lines(of int) RETURNS bigint LANGUAGE sql
    AS 'SELECT count(*) FROM items WHERE order_id = of';
CREATE PROCEDURE tidy() LANGUAGE plpgsql AS 'BEGIN DELETE FROM items; END';
CREATE SEQUENCE tickets
"""
HERE_ONLY = "CREATE TABLE jobs (id serial PRIMARY KEY, what text)"
ORDERS = [
    (number, ("ada", "bob", "eve", "zoë")[number % 4], f"{number * 10}.50", f"2024-{number:02}-01")
    for number in range(1, 13)
]
ITEMS = [(number, line, "abc"[line], number) for number in range(1, 13) for line in range(3)]
PRODUCTS = [("a", "apple", "0.50"), ("b", "bread", "3.20"), ("c", "cake", "14.00")]


@dataclass
class Shop:
    """The cluster of the page, and a database with all its rows.

    Attributes:
        path: of cluster.toml.
        cluster: the same, with further tables.
        single: the connection string of the database.
    """

    path: Path
    cluster: Cluster
    single: str


@pytest.fixture(scope="module")
def shop(greenshard_shards: Shards, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    (schema,) = blocks("sql")
    declaration, *_ = blocks("toml")
    with ExitStack() as stack:
        dsns = stack.enter_context(greenshard_shards.databases())
        single, *_ = stack.enter_context(greenshard_shards.databases()).values()
        for dsn in [*dsns.values(), single]:
            with closing(psycopg2.connect(dsn)) as conn, conn, conn.cursor() as cursor:
                cursor.execute(schema + MORE_SCHEMA)
        path = tmp_path_factory.mktemp("shop") / "cluster.toml"
        for number, dsn in enumerate(dsns.values()):
            declaration = declaration.replace(f'"dbname=shop_{number}"', f'"{dsn}"')
        path.write_text(declaration)
        everything = path.with_name("everything.toml")
        more = 'parts = { shard_key = "id" }\njobs = { on = "s0" }\n'
        everything.write_text(declaration + more)
        cluster = Cluster.from_toml(everything)
        greenshard.init(cluster)
        for place in (cluster, single):
            fill(place)
        yield Shop(path, cluster, single)


def fill(place: Cluster | str) -> None:
    with closing(greenshard.connect(place)) as conn:
        cursor = conn.cursor()
        cursor.executemany("INSERT INTO orders VALUES (%s, %s, %s, %s)", ORDERS)
        cursor.executemany("INSERT INTO items VALUES (%s, %s, %s, %s)", ITEMS)
        cursor.executemany("INSERT INTO products VALUES (%s, %s, %s)", PRODUCTS)
        cursor.execute(HERE_ONLY)
        cursor.execute("REFRESH MATERIALIZED VIEW cheap")
        conn.commit()


@pytest.fixture
def conn(shop: Shop) -> Iterator[greenshard.Connection]:
    with closing(greenshard.connect(shop.cluster)) as connection:
        yield connection
