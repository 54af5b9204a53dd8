"""Statements of a pool that gather rows, each with a connection that the pool lends."""

from __future__ import annotations

import gevent
import pytest
from psycopg2.extras import RealDictCursor

import greenshard
from greenshard import Cluster, Sharded
from tests.initialised import initialised
from tests.postgres.pool.conftest import eventually

GATHERS = "SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY n) FROM orders"
SLOW = f"SELECT pg_sleep(%s), ({GATHERS})"


@pytest.fixture
def cluster(dsns, watch):
    cluster = initialised(Cluster(dsns, tables={"orders": Sharded("n")}))
    for shard in dsns:
        watch.ask(shard, "CREATE TABLE orders (n int PRIMARY KEY); COMMIT; SELECT 1")
    with greenshard.connect(cluster) as conn, conn.cursor() as cur:
        for n in range(1, 6):
            cur.execute("INSERT INTO orders VALUES (%s)", (n,))
    conn.close()
    yield cluster
    for shard in dsns:
        watch.ask(shard, "DROP TABLE orders; COMMIT; SELECT 1")


def gather(pool, statement=GATHERS, args=None):
    with pool.connection() as conn, conn.cursor() as cur:
        cur.execute(statement, args)
        return cur.fetchone()[-1]


def pids(watch):
    return {shard: {pid for pid, _ in watch.sessions(shard)} for shard in ("s0", "s1", "s2")}


def test_connection_that_gathers_is_used_again(make_pool, cluster, watch):
    pool = make_pool(cluster)
    assert gather(pool) == 3
    before = pids(watch)
    assert sorted(map(len, before.values())) == [1, 1, 2]
    for _ in range(3):
        assert gather(pool) == 3
    assert pids(watch) == before
    gatherers = pool.stats().gatherers
    assert gatherers.requests == 4
    assert sorted(shard.open for shard in gatherers.shards.values()) == [0, 0, 1]
    assert list(gatherers.shards) == ["s0", "s1", "s2"]


def test_no_shard_has_more_sessions_than_max_size_and_max_gathers(make_pool, cluster, watch):
    pool = make_pool(cluster, max_size=6, max_gathers=2)
    users = [gevent.spawn(gather, pool, SLOW, (0.1,)) for _ in range(12)]
    most = 0
    while not all(user.ready() for user in users):
        most = max(most, *watch.counts().values())
        gevent.sleep(0.005)
    assert [user.get() for user in users] == [3] * 12
    assert most <= 8
    assert pool.stats().gatherers.waited > 0


def test_who_waits_too_long_is_told_what_to_raise(make_pool, cluster):
    pool = make_pool(cluster, max_size=4, timeout=0.3)
    slow = gevent.spawn(gather, pool, SLOW, (2.0,))
    eventually(lambda: gevent.sleep(0.01) or pool.stats().gatherers.taken == 1)
    with pytest.raises(greenshard.PoolTimeout, match="no connection to gather with") as excinfo:
        gather(pool)
    assert "max_gathers" in str(excinfo.value)
    assert gather(pool, "SELECT count(*) FROM orders") == 5
    assert slow.get() == 3


def test_own_timeout_of_the_statement_holds_while_it_waits(make_pool, cluster):
    pool = make_pool(cluster, max_size=4, call_timeout=0.2)
    with pool.connection() as holder:
        holder.timeout = None
        slow = gevent.spawn(holder.cursor().execute, SLOW, (1.0,))
        eventually(lambda: gevent.sleep(0.01) or pool.stats().gatherers.taken == 1)
        with gevent.Timeout(0.9), pytest.raises(greenshard.PoolTimeout, match=r"within 0\.[012]"):
            gather(pool)
        slow.get()


@pytest.mark.parametrize("waiting", [True, False])
def test_killed_statement_gives_the_connection_back(make_pool, cluster, watch, waiting):
    pool = make_pool(cluster, max_size=4)
    users = [gevent.spawn(gather, pool, SLOW, (30.0,))]
    eventually(lambda: gevent.sleep(0.01) or pool.stats().gatherers.taken == 1)
    if waiting:
        users.append(gevent.spawn(gather, pool))
        eventually(lambda: gevent.sleep(0.01) or pool.stats().gatherers.waiting == 1)
    for user in reversed(users):
        user.kill()
    stats = pool.stats()
    assert (stats.taken, stats.gatherers.taken, stats.gatherers.waiting) == (0, 0, 0)
    eventually(lambda: not any(state == "active" for _, state in watch.sessions("s0")))
    assert gather(pool) == 3


def test_lost_connection_is_replaced(make_pool, cluster, watch):
    pool = make_pool(cluster)
    assert gather(pool) == 3
    ended = watch.ask(
        "s0",
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
        " WHERE application_name = 'pooled' AND query LIKE 'WITH %%'",
    )
    assert (True,) in ended
    assert gather(pool) == 3


def test_transaction_sees_its_own_rows_gathered(make_pool, cluster):
    pool = make_pool(cluster)
    with pool.connection() as conn, conn.cursor() as cur:
        cur.execute("DELETE FROM orders WHERE n > 1")
        cur.execute(GATHERS)
        assert cur.fetchone() == (1,)
        conn.rollback()
        cur.execute(GATHERS)
        assert cur.fetchone() == (3,)


def test_closed_pool_closes_them(make_pool, cluster, watch):
    pool = make_pool(cluster)
    assert gather(pool) == 3
    pool.close()
    eventually(lambda: set(watch.counts().values()) == {0})


def test_answer_outlives_the_connection_that_it_was_made_on(make_pool, cluster, watch):
    """Also one with a value that psycopg2 cannot read: it fails when it is fetched."""
    pool = make_pool(cluster, max_lifetime=0.2)
    with pool.connection() as conn, conn.cursor(cursor_factory=RealDictCursor) as cur:
        cur.execute(f"SELECT 'å' AS letter, ({GATHERS}) AS middle")
        other = conn.cursor()
        other.execute(
            f"SELECT 'infinity'::date + ({GATHERS}), '20000-01-01'::date, 1.50, ({GATHERS})"
        )
        gevent.sleep(0.3)
        eventually(lambda: gevent.sleep(0.01) or pool.stats().gatherers.size == 0)
        assert cur.fetchall() == [{"letter": "å", "middle": 3}]
        with pytest.raises(ValueError, match="year"):
            other.fetchone()
        other.execute(f"SELECT ({GATHERS})")
        assert other.fetchone() == (3,)
