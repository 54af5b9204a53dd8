"""Shards of which one, s1, goes wrong; connections to them; and what is left behind."""

from __future__ import annotations

import contextlib
import gc
import os
import stat
import time
import warnings
import weakref
from collections import Counter

import gevent
import greenlet
import psycopg2
from gevent.lock import RLock

import greenshard

VICTIM = "s1"
SURVIVORS = ("s0", "s2")

#: How each fault is made: which way the connections go, and what happens.
ANSWERING = ("killed", "stopped", "reset")
SILENT = ("frozen", "black hole")

#: For what should happen at once, on a machine that does a lot else.
SLACK_S = 4.0


def eventually(condition, within_s=5.0):
    """Wait until a condition holds, and return what it gave; fail at the deadline."""
    deadline = time.monotonic() + within_s
    while not (found := condition()):
        assert time.monotonic() < deadline, f"did not come about: {condition}"
        gevent.sleep(0.01)
    return found


@contextlib.contextmanager
def bounded(seconds):
    """The block ends within a time, with much slack."""
    started = time.monotonic()
    yield
    assert time.monotonic() - started < seconds + SLACK_S


def outcome(call, *args):
    """What a call returns or raises; for greenlets, where gevent prints what is raised."""
    try:
        return call(*args)
    except Exception as exc:
        return exc


def greenlets():
    """The greenlets that run or are about to, but for the hub and the threads' own."""
    return weakref.WeakSet(
        o
        for o in gc.get_objects()
        if issubclass(type(o), greenlet.greenlet)  # isinstance() wakes lazy objects of others
        and o.parent is not None
        and not isinstance(o, gevent.hub.Hub)
        and not getattr(o, "parked", False)  # an open connection's own; they go with it
        and (bool(o) or (isinstance(o, gevent.Greenlet) and not o.ready()))
    )


def descriptors():
    """How often each socket, pipe and the like is open; not files, which pytest opens anew."""
    found = Counter()
    for number in os.listdir("/dev/fd"):
        with contextlib.suppress(OSError):  # the one that lists them is closed
            status = os.fstat(int(number))
            if not stat.S_ISREG(status.st_mode):
                found[status.st_dev, status.st_ino] += 1
    return found


@contextlib.contextmanager
def nothing_left():
    """What runs or is open after the block was there before it.

    What others left may end meanwhile: hence not as many, but the same ones.
    """

    def new():
        return list(greenlets() - running), descriptors() - open_before

    gevent.sleep(0)  # the thread's hub is no leak
    gc.collect()
    gc.freeze()  # looking through all that is there now takes long
    running, open_before = greenlets(), descriptors()
    yield
    gevent.get_hub().threadpool.kill()  # the resolver's; idle threads would end by themselves
    gc.collect()
    with contextlib.suppress(AssertionError):
        eventually(lambda: not any(new()))
    assert not any(new()), f"left behind: {new()}"


class Scene:
    """Three shards, the way to s1 leading through a relay where a fault needs one."""

    def __init__(self, shards, relay):
        self.shards = shards
        self.relay = relay
        self.connections = []
        self._initialised = None
        self._askers = {}
        # psycopg2 must not be asked by two greenlets at once.
        self._asking = RLock()

    @property
    def relayed_dsn(self):
        return f"host=127.0.0.1 port={self.relay.port} dbname=postgres user=postgres"

    def dsns(self, fault="", order=("s0", "s1", "s2")):
        dsns = {name: self.shards[name].dsn for name in order}
        if VICTIM in dsns and fault not in {"killed", "stopped", "frozen"}:
            dsns[VICTIM] = self.relayed_dsn
        return dsns

    def connect(self, fault="", order=("s0", "s1", "s2"), **options):
        given = {"cancel_grace": 0.25, "application_name": "tested", **options}
        conn = greenshard.connect(self.dsns(fault, order), **given)
        self.connections.append(conn)
        return conn

    def initialise(self, cluster):
        """Past the relay. In another order, the shards are another cluster's."""
        if cluster.names != self._initialised:
            dsns = {name: self.shards[name].dsn for name in cluster.names}
            here = greenshard.Cluster(dsns, cluster.tables, cluster.placement)
            greenshard.init(here, again=True)
            self._initialised = cluster.names

    def inflict(self, fault):
        victim = self.shards[VICTIM]
        {
            "killed": victim.kill,
            "stopped": victim.stop,
            "frozen": victim.pause,
            "black hole": lambda: self.relay.tell("silence"),
            "reset": lambda: self.relay.tell("reset"),
        }[fault]()

    def heal(self):
        self.relay.tell("forward")
        self.shards.start()

    def inflict_during(self, fault, shards=("s0", "s1", "s2")):
        """Let the fault happen as soon as a statement of ours runs on `shards`."""

        def wait_and_inflict():
            eventually(lambda: all(self.running(name) for name in shards))
            self.inflict(fault)

        return gevent.spawn(wait_and_inflict)

    def ask(self, shard, statement, parameters=None):
        """Ask a server, past everything."""
        with self._asking, self._asker(shard).cursor() as cur:
            cur.execute(statement, parameters)
            return cur.fetchall() if cur.description else None

    def _asker(self, shard):
        """A session on the server; kept, unless the server may go."""
        if shard == VICTIM:
            self.forget_asker(VICTIM)
        if shard not in self._askers:
            self._askers[shard] = psycopg2.connect(self.shards[shard].dsn, application_name="asker")
            self._askers[shard].autocommit = True
        return self._askers[shard]

    def forget_asker(self, shard):
        if shard in self._askers:
            self._askers.pop(shard).close()

    def running(self, shard):
        """The statements of ours that the server is running."""
        return self.ask(
            shard,
            "SELECT application_name, query FROM pg_stat_activity WHERE state = 'active'"
            " AND application_name = 'tested'",
        )

    def sessions(self, shard):
        """The process ids of our sessions on the server."""
        return [
            pid
            for (pid,) in self.ask(
                shard,
                "SELECT pid FROM pg_stat_activity WHERE application_name = 'tested' ORDER BY pid",
            )
        ]

    def assert_idle(self, *shards, sessions=None):
        """Nothing of ours runs on these servers, and they have this many sessions of ours."""
        for shard in shards:
            eventually(lambda s=shard: not self.running(s), 2.0)
            if sessions is not None:
                eventually(lambda s=shard: len(self.sessions(s)) == sessions, 2.0)

    def assert_usable(self, conn, shards=SURVIVORS):
        """After a rollback, the shards that survived answer."""
        conn.rollback()
        cur = conn.on(shards).cursor()
        cur.execute("SELECT 1")
        assert cur.fetchall() == [(1,)] * len(shards)
        conn.rollback()

    def rows(self, shard):
        return [row[0] for row in self.ask(shard, "SELECT x FROM writes ORDER BY x")]

    def close(self):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            while self.connections:
                self.connections.pop().close()
