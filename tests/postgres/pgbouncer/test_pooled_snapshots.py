"""Snapshots over all shards, through PgBouncer in transaction mode."""

from __future__ import annotations

import contextlib

import gevent
import psycopg2
import pytest

from greenshard import Cluster, Pool, Reference, Sharded
from tests.postgres.pgbouncer.conftest import POOL_SIZE, eventually

TABLES = {"item": Sharded("id"), "kind": Reference()}
COUNT = "SELECT count(*) FROM item"
GATHERED = "SELECT count(*) FROM item a JOIN item b ON b.id = a.kind"


@pytest.fixture
def cluster(pgbouncer, servers, shards):
    for shard in shards:
        servers.ask(shard.name, "TRUNCATE item, kind")
    return Cluster(pgbouncer.dsns, TABLES)


def test_reads_of_more_clients_than_sessions_are_of_one_moment(cluster, servers, shards):
    over = False

    def write():
        """Add a row on each shard, and let none be seen without the other."""
        with contextlib.ExitStack() as opened:
            own = [
                opened.enter_context(contextlib.closing(psycopg2.connect(s.dsn))) for s in shards
            ]
            number = 0
            while not over:
                for each in own:
                    cur = each.cursor()
                    cur.execute("INSERT INTO item VALUES (%s, 0, 'x')", (number,))
                    cur.execute("LOCK TABLE greenshard.barrier IN ROW EXCLUSIVE MODE")
                for each in own:
                    each.commit()
                number += 1
        return number

    def read(pool):
        for _ in range(4):
            with pool.connection() as conn, conn.snapshot(), conn.cursor() as cur:
                counts = []
                for shard in conn.shards:
                    with conn.on(shard), conn.cursor() as one:
                        one.execute(COUNT)
                        counts.append(one.fetchone()[0])
                assert len(set(counts)) == 1
                cur.execute(COUNT)
                assert cur.fetchone()[0] == sum(counts)
                cur.execute(GATHERED)
                assert cur.fetchone()[0] == sum(counts) * len(counts)
                with conn.cursor("named") as named:
                    named.execute("SELECT id FROM item ORDER BY id")
                    assert len(named.fetchall()) == sum(counts)

    writer = gevent.spawn(write)
    with Pool(cluster, max_size=2 * POOL_SIZE, max_gathers=1, timeout=20.0, check=False) as pool:
        readers = [gevent.spawn(read, pool) for _ in range(2)]
        try:
            gevent.joinall(readers, raise_error=True)
        finally:
            over = True
        assert writer.get() > 0
    for shard in shards:
        eventually(lambda name=shard.name: not servers.in_transaction(name))
