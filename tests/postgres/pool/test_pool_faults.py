"""Backends that end, shards that stop, processes that fork."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import gevent
import pytest

import greenshard
from greenshard.links.physical import Physical
from tests.postgres.pool.conftest import NAME, eventually


def request(pool, *shards):
    with pool.connection() as conn, conn.on(shards or conn.shards):
        cur = conn.cursor()
        cur.execute("SELECT pg_backend_pid()")
        return [pid for (pid,) in cur]


def test_ended_backend_is_replaced_alone_and_nobody_notices(pool, watch):
    first = request(pool)
    watch.ask("s1", "SELECT pg_terminate_backend(%s)", first[1])
    eventually(lambda: watch.count("s1") == 0)
    second = request(pool)
    assert (second[0], second[2]) == (first[0], first[2])
    assert second[1] != first[1]
    assert pool.stats().shards["s1"].lost_connections == 1


def test_backend_that_ends_within_a_lease_is_replaced_in_the_next(pool, watch):
    pids = []

    def broken_request():
        with pool.connection() as conn:
            cur = conn.cursor()
            cur.execute("SELECT pg_backend_pid()")
            pids.extend(pid for (pid,) in cur)
            watch.ask("s1", "SELECT pg_terminate_backend(%s)", pids[1])
            cur.execute("SELECT 1")

    with pytest.raises(greenshard.Error):
        broken_request()
    after = request(pool)
    assert (after[0], after[2]) == (pids[0], pids[2])
    assert after[1] != pids[1]


def test_error_names_only_shards_that_were_connected(pool, watch):
    conn = pool.getconn()
    with conn.on("s0"):
        conn.cursor().execute("SELECT 1")
    watch.ask(
        "s0",
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND application_name = %s",
        NAME,
    )
    with conn.on("s0"), pytest.raises(greenshard.Error):
        conn.cursor().execute("SELECT 1")
    with pytest.raises(greenshard.Error) as caught:
        conn.commit()
    assert caught.value.shard == "s0"
    conn.close()


def test_connection_is_checked_after_it_was_idle(make_pool):
    pool = make_pool(check_after=0)
    assert request(pool) == request(pool)


@pytest.fixture
def stoppable(greenshard_dsns, greenshard_shards):
    """Two shards; what is stopped is started again after the test."""
    return greenshard_dsns, greenshard_shards


def test_shard_that_is_down_fails_fast_and_others_go_on(stoppable):
    dsns, servers = stoppable
    with greenshard.Pool(dsns, 2, application_name=NAME) as pool:
        request(pool)
        servers["s0"].stop()
        started = time.monotonic()
        for _ in range(20):
            with pytest.raises(greenshard.ShardUnavailable) as caught:
                request(pool, "s0")
            assert caught.value.shard == "s0"
            assert request(pool, "s1")
        assert time.monotonic() - started < 5
        assert pool.stats().shards["s0"].down_s is not None
        servers["s0"].start()
        eventually(lambda: gevent.sleep(0.02) or pool.stats().shards["s0"].down_s is None, 20)
        assert len(request(pool)) == 2


def test_partial_answers_do_without_a_shard_that_is_down(stoppable):
    dsns, servers = stoppable
    servers["s1"].stop()
    with greenshard.Pool(dsns, on_error="partial") as pool:
        with pytest.warns(greenshard.PartialResultWarning):
            assert len(request(pool)) == 1
        with pytest.raises(greenshard.Error), pool.connection() as conn:
            conn.cursor().execute("CREATE TABLE never (x int)")


def test_no_shard_at_all(stoppable):
    dsns, servers = stoppable
    servers["s0"].stop()
    servers["s1"].stop()
    with greenshard.Pool(dsns) as pool:
        with pytest.raises(greenshard.OperationalError, match="s0 is down"):
            request(pool)
        assert pool.stats().taken == 0


def test_frozen_shard_is_given_up(stoppable):
    dsns, servers = stoppable
    with greenshard.Pool(dsns, 2, call_timeout=0.3, cancel_grace=0.2) as pool:
        request(pool, "s1")
        servers["s0"].pause()
        for _ in range(2):
            started = time.monotonic()
            with pytest.raises(greenshard.OperationalError):
                request(pool, "s0")
            assert time.monotonic() - started < 10
        assert request(pool, "s1")
        servers["s0"].resume()
        eventually(lambda: gevent.sleep(0.05) or pool.stats().shards["s0"].down_s is None, 20)
        eventually(lambda: gevent.sleep(0.05) or len(request(pool)) == 2)


def test_opening_a_connection_and_the_statement_on_it_share_one_timeout(dsns, monkeypatch):
    def open_late(physical, timeout_s=None):
        gevent.sleep(0.7 if physical.shard == "s1" else 0)
        return opened(physical, timeout_s)

    opened = Physical.open
    monkeypatch.setattr(Physical, "open", open_late)
    with greenshard.Pool(dsns, 2, call_timeout=1.0) as pool, pool.connection() as conn:
        started = time.monotonic()
        with pytest.raises(greenshard.QueryTimeout, match="within 1 s"):
            conn.cursor().execute("SELECT pg_sleep(10)")
        assert time.monotonic() - started < 1.5


FORK = """
import os, sys
from gevent.monkey import get_original
import greenshard
pool = greenshard.Pool(sys.argv[2:], 2, application_name=sys.argv[1])
def request():
    with pool.connection() as conn:
        cur = conn.cursor()
        cur.execute("SELECT pg_backend_pid()")
        return cur.fetchall()
used = request() if {used} else None
held = pool.getconn() if {used} else None
child = os.fork()
if not child:
    mine = request()
    assert mine != used, "the parent's connections"
    assert request() == mine
    assert pool.stats().size == 1
    if held is not None:
        try:
            held.close()
        except greenshard.InterfaceError:
            pass
        else:
            sys.exit(3)
    pool.close()
    sys.exit(0)
status = os.waitstatus_to_exitcode(get_original("os", "waitpid")(child, 0)[1])
if used:
    assert request() is not None
    held.close()
    assert used in (request(), request()), "the parent's connections were closed"
print("child", status)
"""


@pytest.mark.parametrize("used", [False, True])
@pytest.mark.parametrize("patched", [False, True])
def test_fork_begins_anew(dsns, used, patched):
    text = FORK.replace("{used}", str(used))
    if patched:
        text = "from gevent import monkey; monkey.patch_all()\n" + text
    ended = subprocess.run(
        [sys.executable, "-W", "error", "-c", text, NAME, *dsns.values()],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert (ended.stdout, ended.stderr) == ("child 0\n", "")


END = """
import sys, time
import gevent, greenshard
pool = greenshard.Pool(sys.argv[1:], 8, max_idle=0.3)
held = [pool.getconn() for _ in range(8)]
for conn in held:
    conn.cursor().execute("SELECT 1")
for conn in held:
    conn.close()
print("idle", flush=True)
sys.stdin.read()
while not pool.stats().closing:
    gevent.sleep(0.01)
gevent.sleep(0.2)
"""


def test_process_ends_while_connections_to_frozen_shards_are_closed(stoppable):
    """The pool's thread must not run into the end of the interpreter: that crashes it."""
    dsns, servers = stoppable
    ending = subprocess.Popen(
        [sys.executable, "-W", "error", "-c", END, *dsns.values()],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert ending.stdout.readline() == "idle\n"
    for server in servers:
        server.pause()
    assert ending.communicate(timeout=60)[0] == ""
    assert ending.returncode == 0
