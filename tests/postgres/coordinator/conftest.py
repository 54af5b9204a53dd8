"""A shop on two shards, the same rows in one database, and a database for the coordinator."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

import psycopg2
import pytest
from psycopg2.extensions import make_dsn

import greenshard
from greenshard.cluster import Range
from greenshard.coordinating import set_up
from tests.postgres.psql import run

TYPES = """
CREATE SCHEMA "Far"; CREATE SCHEMA app;
CREATE TYPE mood AS ENUM ('sad', 'ok', 'glad');
CREATE TYPE app.pair AS (a int, b text COLLATE "C");
CREATE DOMAIN app.amount AS numeric(12, 2) CHECK (VALUE > -1000);
"""
SCHEMA = f"""
{TYPES}
CREATE TABLE orders (
    id bigint PRIMARY KEY, customer int, total app.amount NOT NULL, note text, feeling mood,
    both_of app.pair, tags text[], span interval,
    twice numeric GENERATED ALWAYS AS (total * 2) STORED);
CREATE TABLE items (
    order_id int, n int, word text COLLATE "C", weight float8, PRIMARY KEY (order_id, n));
CREATE TABLE "Far"."Odd ""Table" ("The Key" text PRIMARY KEY, "select" int, "a%b" text);
CREATE TABLE nation (id int PRIMARY KEY, name text);
CREATE TABLE zones (zone int, n int);
CREATE TABLE app.settings (name text PRIMARY KEY, value text);
CREATE VIEW dear AS SELECT id, customer, total FROM orders WHERE total > 20;
CREATE FUNCTION twice(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1 * 2';
"""
ROWS = """
INSERT INTO orders
SELECT g, CASE WHEN g % 11 > 0 THEN g % 7 END, g * 1.25,
    (ARRAY['é', 'B%s%%', NULL, 'b"c'])[g % 4 + 1],
    (ARRAY['sad', 'ok', 'glad', NULL]::mood[])[g % 4 + 1], ROW(g % 3, 'x')::app.pair,
    ARRAY['x', NULL, g::text], make_interval(months => g % 5, days => g)
FROM generate_series(1, 60) AS g;
INSERT INTO items
SELECT g, n, chr(97 + (g + n) % 5), g / 7.0
FROM generate_series(1, 60) AS g, generate_series(1, g % 4) AS n;
INSERT INTO "Far"."Odd ""Table" SELECT 'k' || g, g, 'a%b' FROM generate_series(1, 20) AS g;
INSERT INTO nation SELECT g, 'n' || g FROM generate_series(1, 9) AS g;
INSERT INTO zones SELECT g % 10, g FROM generate_series(1, 40) AS g;
INSERT INTO app.settings VALUES ('a', 'b'), ('c', NULL);
"""
TABLES = {
    "orders": greenshard.Sharded("id"),
    "items": greenshard.Sharded("order_id"),
    '"Far"."Odd ""Table"': greenshard.Sharded('"The Key"'),
    "nation": greenshard.Reference(),
    "zones": greenshard.Sharded("zone", Range([(3, "s0"), (6, "s1")], "s0")),
    "app.settings": greenshard.Single("s1"),
}
#: Of each sharded table its key, and that one's type as a placement calls it.
KEYS = {
    "orders": ("id", "int8"), "items": ("order_id", "int4"),
    '"Far"."Odd ""Table"': ('"The Key"', "text"), "zones": ("zone", "int4"),
}  # fmt: skip


@dataclass(frozen=True)
class Shop:
    """The cluster, whose coordinator is declared; and where that is, for whoever makes it."""

    cluster: greenshard.Cluster
    single: str
    admin: str

    @property
    def reader(self):
        return self.cluster.coordinator

    @property
    def dsns(self):
        return {name: shard.primary for name, shard in self.cluster.shards.items()}


def rows(dsn, query, *args):
    with contextlib.closing(psycopg2.connect(dsn)) as conn, conn.cursor() as cur:
        cur.execute(query, *args)
        return cur.fetchall()


def spread(shop):
    """Leave each shard with the rows that belong there."""
    for name, dsn in shop.dsns.items():
        run(dsn, SCHEMA, ROWS)
        with contextlib.closing(psycopg2.connect(dsn)) as conn, conn, conn.cursor() as cur:
            for table, (key, type_name) in KEYS.items():
                placement = shop.cluster.placement_of(TABLES[table])
                cur.execute(f"SELECT DISTINCT {key} FROM {table}")
                others = [
                    value
                    for (value,) in cur.fetchall()
                    if placement.shards_for(value, type_name, shop.cluster.names) != name
                ]
                cur.execute(f"DELETE FROM {table} WHERE {key} = ANY(%s)", (others,))
            if name == "s0":
                cur.execute("DROP TABLE app.settings")


@pytest.fixture(scope="module")
def shop(greenshard_shards):
    """Filled, initialised, and with a coordinator."""
    with greenshard_shards.databases() as first, greenshard_shards.databases() as second:
        name = psycopg2.extensions.parse_dsn(second["s0"])["dbname"]
        reader = make_dsn(second["s0"], user=f"reader_{name}")
        cluster = greenshard.Cluster(first, TABLES, coordinator=reader)
        shop = Shop(cluster, second["s1"], second["s0"])
        run(shop.single, SCHEMA, ROWS)
        spread(shop)
        greenshard.init(cluster)
        run(shop.admin, TYPES)
        set_up(cluster, shop.admin)
        yield shop
        with contextlib.closing(psycopg2.connect(shop.admin)) as conn, conn, conn.cursor() as cur:
            cur.execute(f"DROP OWNED BY reader_{name}; DROP ROLE reader_{name}")


@pytest.fixture
def conn(shop):
    """A connection that may gather nothing."""
    with contextlib.closing(greenshard.connect(shop.cluster, gather_limit=0)) as connection:
        yield connection


@pytest.fixture
def single(shop):
    """psycopg2's own connection to the database that holds every row."""
    with contextlib.closing(psycopg2.connect(shop.single)) as connection:
        yield connection
