"""Very many statements in one process: memory, descriptors and greenlets must stay level.

Over four shards, in ten steps: plain statements, failing ones, timed-out and killed ones, named
cursors, transactions, and connections opened and closed. After each step it prints what the process
holds; it fails if that has grown since the first.

    python benchmarks/longrun.py              # 100,000 executes: some minutes
    python benchmarks/longrun.py --executes 2000
"""

from __future__ import annotations

import argparse
import gc
import os
import subprocess
import sys
import time
from dataclasses import dataclass

import gevent
import psycopg2

import greenshard
from greenshard.testing import Shards

STEPS = 10
#: Growth that is not a leak: Python's and libpq's allocators settle.
MOST_GROWTH_MB = 8.0


@dataclass
class Holding:
    """What the process holds, and its sessions on the servers."""

    memory_mb: float
    descriptors: int
    greenlets: int
    objects: int
    sessions: int

    @classmethod
    def now(cls, dsns):
        gc.collect()
        kilobytes = subprocess.run(
            ["ps", "-o", "rss=", "-p", str(os.getpid())],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        objects = gc.get_objects()
        return cls(
            int(kilobytes) / 1024,
            len(os.listdir("/dev/fd")),
            sum(issubclass(type(thing), gevent.Greenlet) and bool(thing) for thing in objects),
            len(objects),
            sum(count_sessions(dsn) for dsn in dsns.values()),
        )

    def __str__(self):
        return (
            f"{self.memory_mb:8.1f} MB {self.descriptors:6} descriptors"
            f" {self.greenlets:4} greenlets"
            f" {self.objects:8} objects {self.sessions:4} sessions"
        )


def count_sessions(dsn):
    conn = psycopg2.connect(dsn)
    with conn.cursor() as cur:
        cur.execute("SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE '%longrun%'")
        (count,) = cur.fetchone()
    conn.close()
    return count


class Run:
    """The statements; each method does one thing and returns how often it executed."""

    def __init__(self, dsns):
        self.dsns = dsns
        self.conn = self.connect()
        self.conn.cursor().execute("CREATE TABLE IF NOT EXISTS longrun (x int, t text)")
        self.conn.commit()

    def connect(self):
        return greenshard.connect(self.dsns, application_name="longrun", cancel_grace=30.0)

    def plain(self, number):
        cur = self.conn.cursor()
        cur.execute("SELECT %s, repeat('x', 100) FROM generate_series(1, 5)", (number,))
        assert len(cur.fetchall()) == 5 * len(self.dsns)
        return 1

    def new_text(self, number):
        """A statement that was never seen before."""
        cur = self.conn.cursor()
        cur.execute(f"SELECT {number} AS n, 'text {number}'")
        assert cur.fetchone()[0] == number
        return 1

    def failing(self, number):
        try:
            self.conn.cursor().execute("SELECT 1 / (%s - %s)", (number, number))
        except psycopg2.errors.DivisionByZero:
            self.conn.rollback()
            return 1
        raise AssertionError("did not fail")

    def failing_on_one(self, number):
        shard = self.conn.shards[number % len(self.dsns)]
        try:
            self.conn.on(shard).cursor().execute("SELECT * FROM missing")
        except psycopg2.errors.UndefinedTable:
            self.conn.rollback()
            return 1
        raise AssertionError("did not fail")

    def writing(self, number):
        self.conn.broadcast().cursor().execute("INSERT INTO longrun VALUES (%s, 'x')", (number,))
        self.conn.commit()
        self.conn.cursor().execute("DELETE FROM longrun")
        self.conn.commit()
        return 2

    def streaming(self, number):
        cur = self.conn.cursor("streamed")
        cur.itersize = 50
        cur.execute("SELECT generate_series(1, 120)")
        if number % 2:
            assert sum(1 for _ in cur) == 120 * len(self.dsns)
        else:
            cur.fetchmany(10)
        cur.close()
        self.conn.rollback()
        return 1

    def timing_out(self, number):
        cur = self.conn.cursor()
        cur.timeout = 0.002
        try:
            cur.execute("SELECT pg_sleep(5)")
        except greenshard.QueryTimeout:
            self.conn.rollback()
            return 1
        raise AssertionError("was not timed out")

    def killed(self, number):
        caller = gevent.spawn(self.conn.cursor().execute, "SELECT pg_sleep(5)")
        gevent.sleep(0.002)
        caller.kill()
        self.conn.rollback()
        return 1

    def cancelled(self, number):
        canceller = gevent.spawn_later(0.002, self.conn.cancel)
        try:
            self.conn.cursor().execute("SELECT pg_sleep(5)")
        except psycopg2.errors.QueryCanceled:
            self.conn.rollback()
        canceller.join()
        return 1

    def reconnecting(self, number):
        self.conn.close()
        self.conn = self.connect()
        return 0

    def connecting_in_vain(self, number):
        dsns = {**self.dsns, "gone": "host=127.0.0.1 port=1 dbname=nowhere"}
        try:
            greenshard.connect(dsns, application_name="longrun")
        except greenshard.OperationalError:
            return 0
        raise AssertionError("did not fail")

    def abandoning(self, number):
        """Connections, rows and cursors that nobody closes."""
        conn = self.connect()
        conn.cursor().execute("SELECT generate_series(1, 100)")
        conn.cursor("left").execute("SELECT generate_series(1, 100)")
        return 2

    def do(self, number):
        """The next thing of the mix; every 1,000 numbers are alike."""
        for period, call in (
            (500, self.reconnecting),
            (499, self.abandoning),
            (333, self.connecting_in_vain),
            (200, self.timing_out),
            (199, self.killed),
            (198, self.cancelled),
            (20, self.streaming),
            (19, self.failing_on_one),
            (17, self.failing),
            (10, self.writing),
            (3, self.new_text),
        ):
            if number % period == period - 1:
                return call(number)
        return self.plain(number)


def run(executes, say=print):
    """Execute that often; returns what was held after the first step and after the last."""
    with Shards(4) as shards:
        work = Run(shards.dsns)
        done = number = 0
        held = []
        started = time.monotonic()
        for step in range(1, STEPS + 1):
            while done < executes * step // STEPS:
                done += work.do(number)
                number += 1
            held.append(Holding.now(shards.dsns))
            say(f"{done:8} executes {time.monotonic() - started:7.1f} s {held[-1]}")
        work.conn.close()
        return held[0], held[-1]


def faults(first, last):
    """What has grown."""
    found = []
    if last.memory_mb > first.memory_mb + MOST_GROWTH_MB:
        found.append(f"memory grew from {first.memory_mb:.1f} to {last.memory_mb:.1f} MB")
    for name in ("descriptors", "greenlets", "sessions"):
        before, after = getattr(first, name), getattr(last, name)
        if after > before:
            found.append(f"{name}: {before} before, {after} after")
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--executes", type=int, default=100_000)
    found = faults(*run(parser.parse_args().executes))
    print("\n".join(found) or "level")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
