from __future__ import annotations

import contextlib

import gevent
import pytest

import greenshard
from greenshard.events import ConnectionTaken, StatementEnded


@pytest.fixture
def make_pool(cluster, heard):
    with contextlib.ExitStack() as pools:

        def make(max_size=2, on_event=heard, **arguments):
            arguments = {"timeout": 10.0, **arguments}
            return pools.enter_context(
                greenshard.Pool(cluster, max_size, on_event=on_event, **arguments)
            )

        yield make


def test_pool_tells_of_connections_and_of_their_statements(make_pool, heard):
    with make_pool().connection() as conn:
        conn.cursor().execute("SELECT count(*) FROM orders")
    taken, ended = heard
    assert isinstance(taken, ConnectionTaken)
    assert taken.waited_s > 0
    assert taken.error is None
    assert isinstance(ended, StatementEnded)
    assert list(ended.shards) == ["s0", "s1", "s2"]


def test_waiting_in_vain_is_told(make_pool, heard):
    pool = make_pool(max_size=1)
    with pool.connection():
        heard.clear()
        with pytest.raises(greenshard.PoolTimeout) as caught:
            pool.getconn(timeout=0.1)
    event = heard.one()
    assert event.error is caught.value
    assert event.waited_s >= 0.1


def test_kill_while_waiting_is_told(make_pool, heard):
    pool = make_pool(max_size=1)
    with pool.connection():
        heard.clear()
        greenlet = gevent.spawn(pool.getconn)
        gevent.sleep(0.05)
        greenlet.kill()
        assert isinstance(heard.one().error, gevent.GreenletExit)


def test_connection_is_given_back_if_its_taker_is_interrupted_in_the_listener(make_pool):
    waits_s = [0]
    pool = make_pool(max_size=1, on_event=lambda event: gevent.sleep(waits_s[0]))
    pool.getconn().close()
    waits_s[0] = 60
    with pytest.raises(gevent.Timeout), gevent.Timeout(0.3):
        pool.getconn()
    waits_s[0] = 0
    assert pool.stats().taken == 0
    pool.getconn(timeout=0).close()


def test_listener_that_raises_leaves_the_pool_sound(make_pool, caplog):
    pool = make_pool(max_size=1, on_event=lambda event: 1 / 0)
    for _ in range(3):
        with pool.connection() as conn:
            conn.cursor().execute("SELECT 1")
    assert pool.stats().taken == 0
    assert "ZeroDivisionError" in caplog.text
