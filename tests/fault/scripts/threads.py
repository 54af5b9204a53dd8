"""The same work in the main thread, in greenlets, in threads, and on one connection in turn.

Arguments: "patched" or "plain", the shards' connection strings.
"""

from __future__ import annotations

import sys

if sys.argv[1] == "patched":
    from gevent import monkey

    monkey.patch_all()

import faulthandler
import json
import signal
import threading
import time

import gevent
import psycopg2

import greenshard

# A freeze ends the process, and shows where it is.
faulthandler.register(signal.SIGALRM, chain=True)
signal.alarm(45)
dsns = sys.argv[2:]
failures = []


def use(conn):
    """Rows, an error, a timeout, a kill, a named cursor: then the connection is still sound."""
    cur = conn.cursor()
    cur.execute("SELECT generate_series(1, 3)")
    assert cur.fetchall() == [(1,), (2,), (3,)] * len(dsns)
    try:
        cur.execute("SELECT * FROM missing")
    except psycopg2.errors.UndefinedTable:
        conn.rollback()
    cur.timeout = 0.1
    try:
        cur.execute("SELECT pg_sleep(20)")
    except greenshard.QueryTimeout:
        conn.rollback()
    with gevent.Timeout(0.1, False):
        conn.cursor().execute("SELECT pg_sleep(20)")
    conn.rollback()
    caller = gevent.spawn(conn.cursor().execute, "SELECT pg_sleep(20)")
    gevent.sleep(0.05)
    caller.kill()
    conn.rollback()
    named = conn.cursor("streamed")
    named.itersize = 10
    named.execute("SELECT generate_series(1, 25)")
    assert len(list(named)) == 25 * len(dsns)
    named.close()
    conn.commit()
    assert not conn.closed


def own_connection():
    with_errors_kept(lambda: use_and_close(greenshard.connect(dsns)))


def use_and_close(conn):
    use(conn)
    conn.close()


def with_errors_kept(call):
    try:
        call()
    except BaseException as exc:
        failures.append(repr(exc))


def ticks_during(call):
    """How often another greenlet ran meanwhile."""
    ticks = 0

    def tick():
        nonlocal ticks
        while True:
            gevent.sleep(0.01)
            ticks += 1

    ticking = gevent.spawn(tick)
    call()
    ticking.kill()
    return ticks


def in_threads(call, count):
    threads = [threading.Thread(target=call) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


conn = greenshard.connect(dsns)
started = time.monotonic()
assert ticks_during(lambda: conn.cursor().execute("SELECT pg_sleep(0.4)")) > 3
assert time.monotonic() - started < 0.4 * len(dsns)
use(conn)
gevent.joinall([gevent.spawn(own_connection) for _ in range(3)])
in_threads(own_connection, 3)
for _ in range(3):
    in_threads(lambda: with_errors_kept(lambda: use(conn)), 1)
    use(conn)
conn.close()
sys.stdout.write(json.dumps({"failures": failures}))
