"""Two things arrive from outside while a statement is being ended: both are raised, one by one."""

from __future__ import annotations

import gevent
import pytest

SLEEP = "SELECT pg_sleep(10)"
# Timers that are due together are looked at in the order in which they began: the second one
# arrives while the first one's cancel is under way.
SOON_S = 0.2


@pytest.fixture(params=["one shard", "all shards"], autouse=True)
def target(conn, request):
    with conn.on("s1" if request.param == "one shard" else conn.shards):
        yield


def test_outer_timeout_follows_the_inner_one(conn):
    with gevent.Timeout(SOON_S) as outer:
        with pytest.raises(gevent.Timeout) as caught, gevent.Timeout(SOON_S) as inner:
            conn.cursor().execute(SLEEP)
        assert caught.value is inner
        with pytest.raises(gevent.Timeout) as caught:
            gevent.sleep(5)
        assert caught.value is outer
    conn.rollback()
    conn.cursor().execute("SELECT 1")


def test_timeout_whose_block_was_left_does_not_follow(conn):
    inner, outer = gevent.Timeout.start_new(SOON_S), gevent.Timeout.start_new(SOON_S)
    with pytest.raises(gevent.Timeout) as caught:
        conn.cursor().execute(SLEEP)
    assert caught.value is outer
    inner.close()
    outer.close()
    gevent.sleep(0.05)
    conn.rollback()
    conn.cursor().execute("SELECT 1")


def killed_soon():
    gevent.get_hub().loop.timer(SOON_S).start(gevent.getcurrent().throw, gevent.GreenletExit)


def test_kill_wins_over_a_programs_own_exception(conn):
    class MyError(Exception):
        pass

    def work():
        with gevent.Timeout(SOON_S, MyError):
            gevent.get_hub().loop.timer(SOON_S).start(
                gevent.getcurrent().throw, gevent.GreenletExit
            )
            conn.cursor().execute(SLEEP)

    greenlet = gevent.spawn(work)
    greenlet.join()
    assert isinstance(greenlet.value, gevent.GreenletExit)


def test_timeout_does_not_follow_a_kill_into_nothing(conn):
    seen = []

    def work():
        outer = gevent.Timeout.start_new(SOON_S)
        killed_soon()
        try:
            conn.cursor().execute(SLEEP)
        except gevent.GreenletExit:
            seen.append("killed")
        try:
            gevent.sleep(5)
        except gevent.Timeout as caught:
            seen.append(caught is outer)

    gevent.spawn(work).join()
    assert seen == ["killed", True]
