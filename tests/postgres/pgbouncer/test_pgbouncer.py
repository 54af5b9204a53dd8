"""Shards behind PgBouncer in transaction mode."""

from __future__ import annotations

import random
import threading

import gevent
import psycopg2
import pytest

import greenshard
from greenshard import Cluster, Pool, Reference, Sharded
from tests.postgres.pgbouncer.conftest import POOL_SIZE, eventually

CLIENTS = 3 * POOL_SIZE


def settled(condition, within_s=10.0):
    """Wait for a condition, letting other greenlets run."""
    with gevent.Timeout(within_s):
        while not condition():
            gevent.sleep(0.01)


@pytest.fixture
def cluster(pgbouncer, servers):
    return Cluster(pgbouncer.dsns, tables={"item": Sharded("id"), "kind": Reference()})


@pytest.fixture
def filled(cluster, servers):
    """A pool over 300 rows of 3 kinds."""
    for shard in cluster.shards:
        servers.ask(shard, "TRUNCATE item, kind")
        servers.ask(shard, "INSERT INTO kind VALUES (0, 'none'), (1, 'one'), (2, 'two')")
    with Pool(cluster, max_size=CLIENTS, timeout=20.0) as pool:
        with pool.connection() as conn, conn.cursor() as cur:
            for number in range(300):
                cur.execute(
                    "INSERT INTO item VALUES (%s, %s, %s)", (number, number % 3, f"w{number:03}")
                )
        yield pool
    for shard in cluster.shards:
        eventually(lambda shard=shard: not servers.running(shard))
        assert servers.in_transaction(shard) == []


STATEMENTS = {
    "route": ("SELECT word FROM item WHERE id = 7", [("w007",)]),
    "concatenate": ("SELECT id FROM item WHERE word < 'w002'", [(0,), (1,)]),
    "merge": ("SELECT id FROM item ORDER BY word DESC LIMIT 2", [(299,), (298,)]),
    "combine": (
        "SELECT name, avg(id) FROM item JOIN kind USING (kind) GROUP BY 1 HAVING avg(id) > 149",
        [("two", 150.5), ("one", 149.5)],
    ),
    "gather": (
        "SELECT count(*) FROM item a JOIN item b ON b.id = a.id + 1 AND b.kind = 2",
        [(100,)],
    ),
    "distinct": ("SELECT count(DISTINCT kind) FROM item", [(3,)]),
}


@pytest.mark.parametrize("statement", STATEMENTS)
def test_every_strategy_answers(filled, statement):
    sql, rows = STATEMENTS[statement]
    with filled.connection() as conn, conn.cursor() as cur:
        cur.execute(sql)
        assert sorted(cur.fetchall()) == sorted(rows)


def test_rows_are_gathered_where_others_have_used_temporary_tables(filled, cluster, servers):
    """PostgreSQL then refuses to change how much of them is held in memory."""
    for shard in cluster.shards:
        numbers = "SELECT n, 3, repeat('w', 2000) FROM generate_series(1000, 2000) AS n"
        servers.ask(shard, f"INSERT INTO item {numbers} WHERE n % 2 = {shard == 's1':d}")
    for dsn in cluster.shards.values():
        others = [psycopg2.connect(dsn.primary) for _ in range(POOL_SIZE)]
        for other in others:
            other.cursor().execute("CREATE TEMPORARY TABLE mine ON COMMIT DROP AS SELECT 1")
        for other in others:
            other.commit()
            other.close()
    with filled.connection() as conn, conn.cursor() as cur:
        cur.execute(
            "SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY id), max(word)"
            " FROM item WHERE kind = 3"
        )
        assert cur.fetchone() == (1500, 2000 * "w")


def test_more_clients_than_server_connections(filled, servers):
    """Each client's statements find their own transaction, whichever server session serves it."""
    chance = random.Random(1)
    most = dict.fromkeys(servers._asked, 0)

    def use(client):
        for turn in range(10):
            with filled.connection() as conn, conn.cursor() as cur:
                cur.execute("UPDATE item SET word = %s WHERE id = %s", (f"{client}.{turn}", client))
                gevent.sleep(chance.uniform(0, 0.005))
                cur.execute("SELECT word FROM item WHERE id = %s", (client,))
                assert cur.fetchone() == (f"{client}.{turn}",)
                cur.execute("SELECT count(*) FROM item")
                assert cur.fetchone() == (300,)
            for shard in most:
                most[shard] = max(most[shard], servers.sessions(shard))

    # A transaction keeps its server sessions to its end. One that holds s0's and waits for s1's
    # may wait for one that holds s1's: hence no more at a time than there are sessions.
    for first in range(0, CLIENTS, POOL_SIZE):
        clients = [gevent.spawn(use, client) for client in range(first, first + POOL_SIZE)]
        gevent.joinall(clients, raise_error=True)
    assert max(most.values()) <= POOL_SIZE


def test_rollback_and_commit_over_both_shards(filled):
    conn = filled.getconn()
    with conn.cursor() as cur:
        cur.execute("UPDATE item SET word = 'gone'")
        assert cur.rowcount == 300
    filled.putconn(conn)
    with filled.connection() as conn, conn.cursor() as cur:
        cur.execute("SELECT count(*) FROM item WHERE word = 'gone'")
        assert cur.fetchone() == (0,)
        cur.execute("DELETE FROM item WHERE id >= 200")
    with filled.connection() as conn, conn.cursor() as cur:
        cur.execute("SELECT count(*) FROM item")
        assert cur.fetchone() == (200,)


def test_named_cursor_streams(filled):
    with filled.connection() as conn, conn.cursor("stream") as cur:
        cur.itersize = 10
        cur.execute("SELECT id FROM item ORDER BY id")
        assert [number for (number,) in cur] == list(range(300))


@pytest.mark.parametrize("autocommit", [False, True])
def test_timeout_cancels_on_the_server(filled, servers, autocommit):
    conn = filled.getconn()
    try:
        conn.autocommit = autocommit
        with conn.cursor() as cur:
            cur.timeout = 0.2
            with pytest.raises(greenshard.QueryTimeout, match="were cancelled"):
                cur.execute("SELECT count(*), max(pg_sleep(20)::text) FROM item")
            for shard in filled.stats().shards:
                assert servers.running(shard) == []
            conn.rollback()
            cur.execute("SELECT count(*) FROM item")
            assert cur.fetchone() == (300,)
    finally:
        filled.putconn(conn)


def test_kill_cancels_on_the_server(filled, servers):
    def use():
        with filled.connection() as conn:
            conn.cursor().execute("SELECT count(*), max(pg_sleep(20)::text) FROM item")

    user = gevent.spawn(use)
    settled(lambda: all(servers.running(shard) for shard in filled.stats().shards))
    user.kill()
    for shard in filled.stats().shards:
        assert servers.running(shard) == []
    assert filled.stats().taken == 0


def test_timeouts_cancel_when_all_server_connections_are_busy(filled, servers):
    """A second session, to cancel from, would have to wait until the queries have ended."""

    def use():
        with filled.connection() as conn, conn.cursor() as cur:
            cur.timeout = 1.0
            cur.execute("SELECT count(*), max(pg_sleep(30)::text) FROM item")

    users = [gevent.spawn(use) for _ in range(POOL_SIZE)]
    settled(lambda: all(len(servers.running(s)) == POOL_SIZE for s in filled.stats().shards))
    with gevent.Timeout(10.0):
        gevent.joinall(users)
    assert {type(user.exception) for user in users} == {greenshard.QueryTimeout}
    for shard in filled.stats().shards:
        assert servers.running(shard) == []


def test_cancel_at_any_moment_hits_nobody_else(filled):
    """Another client may get the server session the moment that the cancelled one is done."""
    chance = random.Random(2)
    over = []
    hit = []
    cancelled = 0

    def others():
        while not over:
            with filled.connection() as conn, conn.cursor() as cur:
                try:
                    cur.execute("SELECT count(*) FROM item WHERE id <> %s", (len(over),))
                except psycopg2.errors.QueryCanceled as exc:
                    hit.append(exc)

    clients = [gevent.spawn(others) for _ in range(POOL_SIZE)]
    try:
        for _ in range(100):
            with filled.connection() as conn, conn.cursor() as cur:
                conn.autocommit = True
                cur.timeout = chance.uniform(0.001, 0.02)
                try:
                    cur.execute("SELECT pg_sleep(%s) FROM item LIMIT 1", (chance.uniform(0, 0.02),))
                except greenshard.QueryTimeout:
                    cancelled += 1
    finally:
        over.append(True)
        gevent.joinall(clients, raise_error=True)
    assert cancelled > 10
    assert hit == []


def test_dead_pooler_is_told_and_its_return_noticed(filled, pgbouncer):
    pgbouncer.kill()
    with (
        pytest.raises((greenshard.OperationalError, greenshard.InterfaceError)),
        filled.connection() as conn,
        conn.cursor() as cur,
    ):
        cur.execute("SELECT count(*) FROM item")
    pgbouncer.start()

    def answers():
        try:
            with filled.connection() as conn, conn.cursor() as cur:
                cur.execute("SELECT count(*) FROM item")
                return cur.fetchone() == (300,)
        except greenshard.Error:
            return False

    settled(answers, 20.0)


def test_connection_without_a_pool_in_a_thread(filled, cluster):
    found = []

    def use():
        with greenshard.connect(cluster) as conn, conn.cursor() as cur:
            cur.execute("SELECT count(*) FROM item")
            found.append(cur.fetchone())
        conn.close()

    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
    assert found == [(300,)]


def test_nobody_looks_for_deadlocks_in_sessions_that_are_the_poolers(pgbouncer, servers):
    left = (
        "SELECT 1 FROM pg_stat_activity WHERE application_name LIKE 'greenshard deadlocks%'"
        " UNION ALL SELECT 1 FROM pg_locks WHERE locktype = 'advisory'"
    )
    with Pool(pgbouncer.dsns, 2, deadlock_timeout_s=0.1) as pool, pool.connection() as conn:
        slow = gevent.spawn(conn.cursor().execute, "SELECT pg_sleep(1)")
        while not slow.ready():
            assert [servers.ask(shard, left) for shard in pgbouncer.dsns] == [[], []]
            gevent.sleep(0.02)
        slow.get()
