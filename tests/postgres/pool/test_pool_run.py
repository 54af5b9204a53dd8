"""`Pool.run`: a unit of work is committed, and run again after a serialization failure."""

from __future__ import annotations

import gevent
import psycopg2
import pytest

import greenshard


@pytest.fixture
def counter(watch, dsns):
    for shard in dsns:
        watch.ask(shard, "CREATE TABLE t (x int); INSERT INTO t VALUES (0); SELECT 1")
    yield lambda: [watch.ask(shard, "SELECT x FROM t")[0][0] for shard in dsns]
    for shard in dsns:
        watch.ask(shard, "DROP TABLE t; SELECT 1")


def add_one(conn, meanwhile=lambda: None):
    conn.set_session(isolation_level="REPEATABLE READ")
    with conn.on("s1"):
        cur = conn.cursor()
        cur.execute("SELECT x FROM t")
        (x,) = cur.fetchone()
        meanwhile()
        cur.execute("UPDATE t SET x = %s", (x + 1,))
    return x


def test_what_collides_is_run_again_and_committed_once(make_pool, counter):
    pool = make_pool(max_size=4)
    before = [gevent.spawn(pool.run, add_one, attempts=100) for _ in range(4)]
    gevent.joinall(before, raise_error=True)
    assert sorted(each.value for each in before) == [0, 1, 2, 3]
    assert counter() == [0, 4, 0]
    stats = pool.stats()
    assert stats.taken == 0


def test_it_is_rolled_back_if_it_cannot_be_done(pool, counter, watch):
    def work(conn):
        add_one(conn, lambda: watch.ask("s1", "UPDATE t SET x = 10 RETURNING x"))

    with pytest.raises(psycopg2.errors.SerializationFailure):
        pool.run(work, attempts=3, pause=0)
    assert counter() == [0, 10, 0]
    with pytest.raises(ZeroDivisionError):
        pool.run(lambda conn: (add_one(conn), 1 / 0))
    assert counter() == [0, 10, 0]


def test_what_has_committed_a_part_is_not_run_again(pool, counter, watch):
    calls = []

    def work(conn):
        calls.append(1)
        with conn.on("s0"):
            conn.cursor().execute("UPDATE t SET x = x + 1")
        conn.commit()
        add_one(conn, lambda: watch.ask("s1", "UPDATE t SET x = 10 RETURNING x"))

    with pytest.raises(psycopg2.errors.SerializationFailure):
        pool.run(work)
    assert calls == [1]
    assert counter() == [1, 10, 0]


def test_timeout_is_of_each_connection(make_pool):
    pool = make_pool(max_size=1)
    with pool.connection(), pytest.raises(greenshard.PoolTimeout):
        pool.run(add_one, timeout=0)
