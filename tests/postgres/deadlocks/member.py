"""A program that does what the tests say: one line of JSON in, one out."""

from __future__ import annotations

import json
import os
import random
import sys
import time

import gevent
import gevent.monkey

gevent.monkey.patch_all()

import psycopg2  # noqa: E402

import greenshard  # noqa: E402
from greenshard.deadlocks import watcher  # noqa: E402

GIVE_WAY = watcher._give_way


class Member:
    def __init__(self, dsns, **arguments):
        self.dsns, self.arguments = dsns, arguments
        self.conn = self.pool = None

    def connect(self, **arguments):
        self.conn = greenshard.connect(self.dsns, **{**self.arguments, **arguments})

    def connect_plainly(self, shard):
        self.conn = psycopg2.connect(self.dsns[shard])

    def from_pool(self):
        self.pool = greenshard.Pool(self.dsns, 2, **self.arguments)
        self.conn = self.pool.getconn()

    def set(self, **attributes):
        for name, value in attributes.items():
            setattr(self.conn, name, value)

    def run(self, shards, sql):
        if shards is None:
            self.conn.cursor().execute(sql)
        else:
            with self.conn.on(shards):
                self.conn.cursor().execute(sql)

    def commit(self):
        self.conn.commit()

    def rollback(self):
        self.conn.rollback()

    def status(self):
        return self.conn.get_transaction_status()

    def close(self):
        if self.pool is not None:
            self.conn.close()
            self.pool.close()
        elif self.conn is not None:
            self.conn.close()
        self.conn = self.pool = None
        watcher._give_way = GIVE_WAY

    def numb(self):
        """Give way no more, until it is closed."""
        watcher._give_way = lambda *_: None

    def work(self, first, second, sql):
        """A unit of work on two shards, one after the other."""

        def unit(conn):
            for shard in (first, second):
                with conn.on(shard):
                    conn.cursor().execute(sql)
                gevent.sleep(0.3)
            calls.append(1)

        calls = []
        with greenshard.Pool(self.dsns, 2, **self.arguments) as pool:
            pool.run(unit)
        return len(calls)

    def transfers(self, greenlets, times):
        """Move one from a row to another, over and over, in whatever order; how often it was."""

        def move(conn):
            attempts.append(1)
            for shard, by in zip(random.sample(list(self.dsns)[:3], 2), (-1, 1), strict=True):
                with conn.on(shard):
                    conn.cursor().execute("UPDATE t SET n = n + %s WHERE k = 0", (by,))
                gevent.sleep(0.02)

        def client():
            for _ in range(times):
                pool.run(move, attempts=1000)

        attempts = []
        with greenshard.Pool(self.dsns, greenlets, timeout=60.0, deadlock_timeout_s=0.2) as pool:
            gevent.joinall([gevent.spawn(client) for _ in range(greenlets)], raise_error=True)
        return len(attempts)

    def in_child(self, shards, sql):
        """Run a statement in a forked process, which connects for itself; its error's code."""
        reads, writes = os.pipe()
        if not os.fork():
            try:
                self.conn = None
                self.connect()
                self.run(*shards[:1], sql)
                os.write(writes, b"1")
                self.run(*shards[1:], sql)
                os.write(writes, b"done")
            except BaseException as error:
                os.write(writes, f"{getattr(error, 'code', error)!r}".encode())
            finally:
                os._exit(0)
        os.close(writes)
        self.child = reads
        return os.read(reads, 1).decode()

    def of_child(self):
        gevent.os.tp_read(self.child, 0)
        return gevent.os.tp_read(self.child, 1000).decode()


def answer(member, name, args, kwargs):
    began = time.monotonic()
    try:
        told = {"value": getattr(member, name)(*args, **kwargs)}
    except psycopg2.Error as error:
        told = {
            "class": [cls.__module__ + "." + cls.__name__ for cls in type(error).__mro__],
            "pgcode": error.pgcode,
            "code": getattr(error, "code", None),
            "shard": getattr(error, "shard", None),
            "text": str(error),
        }
    return {**told, "name": name, "seconds": time.monotonic() - began}


def tell(what):
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


def main():
    member = Member(json.loads(sys.argv[1]), **json.loads(sys.argv[2]))
    tell("ready")
    for line in sys.stdin:
        name, args, kwargs = json.loads(line)
        tell(answer(member, name, args, kwargs))


main()
