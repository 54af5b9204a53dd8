"""A materialized view over reference tables needs no declaration, and is the first shard's."""

from __future__ import annotations

import contextlib

import psycopg2
import pytest

import greenshard
from tests.postgres.one_database.conftest import TABLES

SCHEMA = """
CREATE VIEW named AS SELECT id, name FROM nation WHERE name IS NOT NULL;
CREATE MATERIALIZED VIEW kept AS SELECT id, upper(name) AS name FROM named;
CREATE MATERIALIZED VIEW kept_twice AS SELECT max(id) AS id, count(*) AS n FROM kept;
CREATE VIEW shown AS SELECT k.id, k.name, t.n FROM kept k, kept_twice t;
CREATE VIEW shown_again AS SELECT name, n FROM shown WHERE id > 1;
CREATE MATERIALIZED VIEW of_orders AS SELECT count(*) AS n FROM orders;
CREATE MATERIALIZED VIEW of_catalog AS SELECT count(*) AS n FROM pg_class;
CREATE TABLE apart (id int); CREATE MATERIALIZED VIEW of_apart AS SELECT id FROM apart;
"""
READ = [
    "SELECT * FROM kept ORDER BY id", "SELECT * FROM kept_twice", "SELECT * FROM shown ORDER BY id",
    "SELECT * FROM shown_again ORDER BY name",
    "SELECT n.name, k.name FROM nation n LEFT JOIN kept k USING (id) ORDER BY n.id",
    "SELECT (SELECT n FROM kept_twice), name FROM named ORDER BY 2",
    "WITH k AS (SELECT * FROM kept) SELECT count(*) FROM k", "SELECT name FROM kept WHERE id = 2",
]  # fmt: skip
CONFLICT = "INSERT INTO nation VALUES (1, 'x') ON CONFLICT (id) DO UPDATE"
#: Of each, the code and what the error names.
REFUSED = [
    ("SELECT * FROM orders JOIN kept ON kept.id = customer", "GS409", "kept"),
    ("SELECT * FROM orders JOIN kept ON kept.id = customer WHERE orders.id = 7", "GS409", "kept"),
    ("SELECT id FROM orders WHERE customer IN (SELECT n FROM shown_again)", "GS409", "kept"),
    ("SELECT * FROM of_orders", "GS409", "of_orders"),
    ("SELECT * FROM of_catalog", "GS409", "of_catalog"),
    ("SELECT * FROM of_apart", "GS409", "of_apart"),
    ("UPDATE orders SET note = (SELECT n::text FROM kept_twice)", "GS409", "kept_twice"),
]
#: What the first shard writes for all.
WRITES = [
    "UPDATE nation SET name = k.name || 'x' FROM kept k WHERE k.id = nation.id",
    "DELETE FROM nation WHERE id IN (SELECT id FROM shown)",
    f"{CONFLICT} SET name = (SELECT max(name) FROM kept)",
]


@pytest.fixture(scope="module")
def cluster(shop):
    for dsn in [*shop.dsns.values(), shop.single]:
        with contextlib.closing(psycopg2.connect(dsn)) as conn, conn, conn.cursor() as cur:
            cur.execute(SCHEMA)
    return shop.cluster


@pytest.fixture
def conn(cluster):
    with contextlib.closing(greenshard.connect(cluster)) as connection:
        yield connection


def test_they_are_read_without_a_declaration(same):
    for query in READ:
        same(query, strategy="reference")


def test_they_are_not_read_by_each_shard_for_itself(conn):
    cur = conn.cursor()
    for statement, code, named in REFUSED:
        with pytest.raises(greenshard.errors.NotSupportedError, match=named) as caught:
            cur.execute(statement)
        assert caught.value.code == code, statement
        assert caught.value.hint, statement


def test_the_first_shard_writes_by_them_for_all(conn):
    cur = conn.cursor()
    for statement in WRITES:
        assert "strategy: mirror" in conn.explain(statement)
        cur.execute(statement)
        assert cur.rowcount > 0
        copies = []
        for shard in conn.shards:
            with conn.on(shard):
                cur.execute("SELECT id, name FROM nation ORDER BY id")
                copies.append(cur.fetchall())
        assert copies[1:] == copies[:-1], statement
        conn.rollback()


def test_it_is_always_the_first_shards(cluster, plain):
    """Refreshed elsewhere and not there, it does not change; refreshed by the cluster, it does."""
    query = "SELECT count(*) FROM kept"
    for connection in plain.values():
        connection.cursor().execute("INSERT INTO nation VALUES (77, 'Nowhere')")
    try:
        for shard in ("s1", "s2"):
            plain[shard].cursor().execute("REFRESH MATERIALIZED VIEW kept")
        for shard in ("s1", "s2"):
            with contextlib.closing(greenshard.connect(cluster)) as conn:
                cur = conn.cursor()
                with conn.on(shard):  # a transaction goes on where it has begun, but for this
                    cur.execute(query)
                    assert cur.fetchone() == (4,)
                cur.execute(query)
                assert cur.fetchone() == (3,)
        with contextlib.closing(greenshard.connect(cluster)) as conn:
            cur = conn.cursor()
            cur.execute("REFRESH MATERIALIZED VIEW kept")
            cur.execute(query)
            assert cur.fetchone() == (4,)
            conn.rollback()
            cur.execute(query)
            assert cur.fetchone() == (3,)
    finally:
        for connection in plain.values():
            connection.cursor().execute("DELETE FROM nation WHERE id = 77")
            connection.cursor().execute("REFRESH MATERIALIZED VIEW kept")


def test_one_that_is_declared_is_read_everywhere(cluster):
    tables = {**TABLES, "kept": greenshard.Reference()}
    with contextlib.closing(greenshard.connect(greenshard.Cluster(cluster.shards, tables))) as conn:
        cur = conn.cursor()
        cur.execute("SELECT count(*) FROM orders JOIN kept ON kept.id = customer")
        joined = cur.fetchone()
        cur.execute("SELECT count(*) FROM orders JOIN named n ON n.id = customer")
        assert cur.fetchone() == joined


# REFRESH ----------------------------------------------------------------------------------------

DECLARED = {
    "m_rows": (greenshard.Sharded("id"), "SELECT id, customer + 1 AS next FROM orders"),
    "m_grouped": (
        greenshard.Sharded("customer"),
        "SELECT customer, count(*) FROM orders GROUP BY 1",
    ),
    "m_ranked": (
        greenshard.Sharded("id"),
        "SELECT id, rank() OVER (ORDER BY customer) FROM orders",
    ),
    "m_counted": (greenshard.Reference(), "SELECT count(*) AS n FROM orders"),
    "m_names": (greenshard.Reference(), "SELECT name, count(*) AS n FROM nation GROUP BY name"),
    "m_chance": (greenshard.Reference(), "SELECT id, random() AS x FROM nation"),
    "m_timed": (greenshard.Sharded("id"), "SELECT id, now() AS at FROM orders"),
}
LOCAL = {"m_rows", "m_names"}


@pytest.fixture
def refreshed(cluster):
    tables = {**TABLES, **{name: declared for name, (declared, _) in DECLARED.items()}}
    other = greenshard.Cluster(cluster.shards, tables)
    for shard in cluster.shards.values():
        with contextlib.closing(psycopg2.connect(shard.primary)) as conn, conn:
            for name, (_, query) in DECLARED.items():
                conn.cursor().execute(f"CREATE MATERIALIZED VIEW {name} AS {query} WITH NO DATA")
    with contextlib.closing(greenshard.connect(other)) as conn:
        yield conn
    for shard in cluster.shards.values():
        with contextlib.closing(psycopg2.connect(shard.primary)) as conn, conn:
            for name in DECLARED:
                conn.cursor().execute(f"DROP MATERIALIZED VIEW {name}")


def test_what_each_shard_would_answer_for_itself_is_not_refreshed(refreshed, single):
    cur, one = refreshed.cursor(), single.cursor()
    for name in DECLARED:
        for text in (
            f"REFRESH MATERIALIZED VIEW {name}",
            f"SELECT 1; REFRESH MATERIALIZED VIEW {name}",
        ):
            if name in LOCAL:
                cur.execute(text)
                continue
            with pytest.raises(greenshard.NotSupportedError, match=name) as caught:
                cur.execute(text)
            assert caught.value.code == "GS415"
            refreshed.rollback()
        cur.execute(f"REFRESH MATERIALIZED VIEW {name} WITH NO DATA")
        refreshed.rollback()
    for name in LOCAL:
        cur.execute(f"REFRESH MATERIALIZED VIEW {name}")
        cur.execute(f"SELECT * FROM {name}")
        one.execute(DECLARED[name][1])
        assert sorted(cur.fetchall(), key=repr) == sorted(one.fetchall(), key=repr)
