"""Many requests at once, and those that end before their time."""

from __future__ import annotations

import contextlib
import random
import threading
import time

import gevent
import pytest

import greenshard
from tests.postgres.pool.conftest import Watch, eventually


def sample(watch, counts, stop):
    """Keep the highest number of sessions that each server ever had."""
    while not stop.is_set():
        for shard, count in watch.counts().items():
            counts[shard] = max(counts.get(shard, 0), count)
        gevent.sleep(0.002)


@pytest.fixture
def highest(dsns):
    """The most sessions that each server has had so far."""
    counts, stop = {}, threading.Event()
    with contextlib.closing(Watch(dsns)) as watch:
        sampler = gevent.spawn(sample, watch, counts, stop)
        yield counts
        stop.set()
        sampler.get()


def request(pool, seconds=0.01):
    with pool.connection() as conn:
        cur = conn.cursor()
        cur.execute("SELECT pg_sleep(%s)", (seconds,))
        return len(cur.fetchall())


def test_servers_never_have_more_sessions_than_max_size(make_pool, highest):
    pool = make_pool(max_size=4)
    requests = [gevent.spawn(request, pool) for _ in range(60)]
    gevent.joinall(requests, raise_error=True)
    assert {each.value for each in requests} == {3}
    assert highest == {"s0": 4, "s1": 4, "s2": 4}
    stats = pool.stats()
    assert (stats.size, stats.idle, stats.waiting) == (4, 4, 0)
    assert stats.shards["s0"].connects == 4


def test_killed_requests_give_everything_back(make_pool, highest, watch, dsns):
    """Some are killed while they wait, others while they connect, execute, or give back."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")  # noqa: T201
    rand = random.Random(seed)
    pool = make_pool(max_size=3, max_lifetime=0.5)

    def impatient():
        with gevent.Timeout(rand.random() * 0.1, False):
            return request(pool, 0.02)
        return None

    ended, sizes = 0, set()
    for _ in range(15):
        requests = [gevent.spawn(impatient) for _ in range(8)]
        requests += [gevent.spawn(request, pool, 0.02) for _ in range(4)]
        gevent.sleep(rand.random() * 0.05)
        sizes.add(pool.stats().size)
        for each in rand.sample(requests, 4):
            each.kill(block=False)
        gevent.joinall(requests, timeout=20, raise_error=True)
        ended += sum(each.ready() for each in requests)
    assert ended == 15 * 12
    assert max(sizes) <= 3
    # A server ends a session some time after its connection was closed.
    assert max(highest.values()) <= 2 * 3
    assert (pool.stats().taken, pool.stats().waiting, pool.stats().closing) == (0, 0, 0)
    assert {state for shard in dsns for _, state in watch.sessions(shard)} <= {"idle"}
    assert request(pool) == 3


def test_request_that_waits_in_vain_is_told_who_holds_connections(make_pool):
    pool = make_pool(max_size=1)
    with pool.connection():
        started = time.monotonic()
        with pytest.raises(greenshard.PoolTimeout, match=r"1 of 1 are taken.*test_pool_load\.py"):
            pool.getconn(timeout=0.05)
        assert time.monotonic() - started < 5
    assert pool.stats().timeouts == 1
    assert request(pool) == 3


def test_too_many_waiting_requests_are_refused(make_pool):
    pool = make_pool(max_size=1, max_waiting=2)
    with pool.connection():
        waiting = [gevent.spawn(request, pool) for _ in range(2)]
        gevent.sleep(0.02)
        with pytest.raises(greenshard.PoolFull):
            pool.getconn()
    gevent.joinall(waiting, raise_error=True)


def test_first_come_is_first_served(make_pool):
    pool = make_pool(max_size=1)
    order = []

    def queued(number):
        with pool.connection():
            order.append(number)

    with pool.connection():
        waiting = []
        for number in range(10):
            waiting.append(gevent.spawn(queued, number))
            gevent.sleep(0)
    gevent.joinall(waiting, raise_error=True)
    assert order == list(range(10))


def test_connection_busy_in_another_greenlet_is_stopped_and_given_back(pool, watch):
    conn = pool.getconn()
    conn.cursor().execute("SELECT 1")
    busy = gevent.spawn(conn.cursor().execute, "SELECT pg_sleep(60)")
    eventually(lambda: gevent.sleep(0.01) or ("active" in dict(watch.sessions("s2")).values()))
    conn.close()
    with pytest.raises(greenshard.Error):
        busy.get()
    assert pool.stats().taken == 0
    assert request(pool) == 3


def test_threads_share_a_pool_each_with_its_own_hub(make_pool, highest):
    pool = make_pool(max_size=3)
    done = []

    def work():
        requests = [gevent.spawn(request, pool) for _ in range(3)]
        gevent.joinall(requests, raise_error=True)
        done.extend(request(pool) for _ in range(5))

    threads = [threading.Thread(target=work) for _ in range(5)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        gevent.sleep(0.01)
    assert done == [3] * 25
    assert max(highest.values()) <= 3
    assert (pool.stats().idle, pool.stats().taken) == (3, 0)


def test_closing_waits_for_those_that_are_taken(make_pool, watch):
    pool = make_pool()
    working = gevent.spawn(request, pool, 0.2)
    gevent.sleep(0.1)
    pool.close()
    assert working.get() == 3
    assert set(watch.counts().values()) == {0}
    with pytest.raises(greenshard.PoolClosed):
        pool.getconn()


def test_closing_ends_what_is_not_given_back_in_time(make_pool, watch):
    pool = make_pool(max_size=1)
    working = gevent.spawn(request, pool, 60)
    waiting = gevent.spawn(request, pool)
    eventually(lambda: gevent.sleep(0.01) or ("active" in dict(watch.sessions("s2")).values()))
    pool.close(timeout=0.05)
    with pytest.raises(greenshard.Error):
        working.get()
    with pytest.raises(greenshard.PoolClosed):
        waiting.get()
    assert set(watch.counts().values()) == {0}


def test_idle_connections_are_kept_ready_and_spare_ones_are_closed(make_pool, watch):
    pool = make_pool(max_size=5, min_idle=2, max_idle=0.05)
    gevent.joinall([gevent.spawn(request, pool) for _ in range(5)], raise_error=True)
    eventually(
        lambda: gevent.sleep(0.02) or watch.counts() == {"s0": 2, "s1": 2, "s2": 2}, seconds=20
    )
    assert pool.stats().idle == 2
