"""One declaration over several sets of databases: each is planned by its own tables."""

from __future__ import annotations

import contextlib

import psycopg2
import pytest

import greenshard
from greenshard import Cluster, Sharded
from tests.postgres.psql import run


@pytest.fixture
def cluster(greenshard_shards):
    """A cluster whose databases have the same names on all servers, so that one name names all."""
    names = ("tenant_a", "tenant_b")
    for shard in greenshard_shards:
        with contextlib.closing(psycopg2.connect(shard.dsn)) as conn, conn.cursor() as cur:
            conn.autocommit = True
            for name in names:
                cur.execute(f"CREATE DATABASE {name}")
        for name, columns in zip(names, ("id int, a int", "a text, id bigint"), strict=True):
            run(
                psycopg2.extensions.make_dsn(shard.dsn, dbname=name),
                f"CREATE TABLE t ({columns})",
                f"INSERT INTO t (id, a) VALUES (1, '{7 if name == 'tenant_a' else 8}')",
            )
    yield Cluster(
        {s.name: psycopg2.extensions.make_dsn(s.dsn, dbname="tenant_a") for s in greenshard_shards},
        {"t": Sharded("id")},
    )
    for shard in greenshard_shards:
        with contextlib.closing(psycopg2.connect(shard.dsn)) as conn, conn.cursor() as cur:
            conn.autocommit = True
            for name in names:
                cur.execute(f"DROP DATABASE {name} (FORCE)")


def plans(conn):
    return conn.plan_stats["plans"]


def test_each_database_is_planned_by_its_own_tables(cluster):
    statement = "SELECT * FROM t ORDER BY id, a LIMIT 1"
    with contextlib.closing(greenshard.connect(cluster, check=False)) as first:
        cur = first.cursor()
        cur.execute(statement)
        assert cur.fetchall() == [(1, 7)]
        with contextlib.closing(
            greenshard.connect(cluster, check=False, dbname="tenant_b")
        ) as second:
            assert plans(second) == 0
            cur = second.cursor()
            cur.execute(statement)
            assert cur.fetchall() == [("8", 1)]
            cur.execute("SELECT max(a), sum(id) FROM t")
            assert cur.fetchall() == [("8", 2)]
        cur = first.cursor()
        cur.execute("SELECT max(a), sum(id) FROM t")
        assert cur.fetchall() == [(7, 2)]


def test_database_of_the_environment_counts(cluster, monkeypatch):
    open_ended = Cluster(
        {
            name: psycopg2.extensions.make_dsn(
                **{
                    k: v
                    for k, v in psycopg2.extensions.parse_dsn(shard.primary).items()
                    if k != "dbname"
                }
            )
            for name, shard in cluster.shards.items()
        },
        {"t": Sharded("id")},
    )
    for name, answer in (("tenant_a", 7), ("tenant_b", "8")):
        monkeypatch.setenv("PGDATABASE", name)
        with contextlib.closing(greenshard.connect(open_ended, check=False)) as conn:
            cur = conn.cursor()
            cur.execute("SELECT max(a) FROM t")
            assert cur.fetchall() == [(answer,)]


def test_connections_to_the_same_databases_share_their_plans(cluster):
    with (
        contextlib.closing(greenshard.connect(cluster, check=False, dbname="tenant_b")) as first,
        contextlib.closing(greenshard.connect(cluster, check=False, dbname="tenant_b")) as second,
    ):
        first.cursor().execute("SELECT * FROM t WHERE id = 1")
        assert plans(second) == plans(first) == 1


def test_pools_over_other_databases_do_not_mix(cluster):
    with (
        greenshard.Pool(cluster, check=False) as ours,
        greenshard.Pool(cluster, check=False, dbname="tenant_b") as theirs,
    ):
        for pool, answer in ((ours, 7), (theirs, "8"), (ours, 7)):
            with pool.connection() as conn:
                cur = conn.cursor()
                cur.execute("SELECT max(a) FROM t")
                assert cur.fetchall() == [(answer,)]
