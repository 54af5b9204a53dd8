"""A soak of the pool: a crowd, faults, and whether everything is as it should be afterwards."""

from __future__ import annotations

import logging
import random
import time
from dataclasses import dataclass

import gevent
import gevent.event

import greenshard
from tests.soak.crowd import Crowd
from tests.soak.faults import Faults
from tests.soak.ledger import Ledger
from tests.soak.report import memory_mb
from tests.soak.watching import Observer

#: Seconds between two lines of progress, two ticks, two looks at what should have ended.
_PROGRESS_S, _TICK_S, _LOOK_S = 10.0, 0.1, 1.0
#: Seconds in which everything must be well again when all faults are over.
_RECOVERY_S = 40.0
CLUSTER, UNION = "soak cluster", "soak union"


class Barrier:
    """Lets nobody pass until so many are there, or the time is up."""

    def __init__(self, count, timeout_s):
        self._missing, self._timeout_s = count, timeout_s
        self._all_there = gevent.event.Event()

    def pass_together(self):
        self._missing -= 1
        if not self._missing:
            self._all_there.set()
        self._all_there.wait(self._timeout_s)


@dataclass(frozen=True)
class Until:
    """When a soak ends: after so many kills, and never later than after so many seconds."""

    kills: int
    seconds: float

    def share(self, report):
        """How much of it is done, 0 to 1."""
        return min(1.0, max(report.killed / self.kills, report.seconds / self.seconds))


class Soak:
    """One soak of two pools in this process.

    Args:
        scene: The servers.
        bounds: The numbers.
        report: Where everything is told.
        until: When it ends.
        faulty: Whether the servers fail.
        parameters: Of the connection strings.
    """

    def __init__(self, scene, bounds, report, until, *, faulty=True, **parameters):
        self.scene, self.bounds, self.report, self.until = scene, bounds, report, until
        self._faulty = faulty
        self.ledger = Ledger()
        self.observer = Observer(scene.superuser_dsns(), self._rules())
        self.faults = Faults(scene, self.observer, report, random.Random(f"{report.seed}/faults"))
        self.pools = [
            self._pool(scene.cluster(CLUSTER, **parameters)),
            self._pool(scene.dsns(UNION, **parameters)),
        ]
        self._crowd = Crowd(
            bounds,
            self.pools,
            scene.names,
            scene.shard_of,
            self.ledger,
            report,
            self.faults,
            self.observer,
            report.seed,
        )
        report.state = lambda: f"{self.faults}\n{self._crowd}"

    def run(self):
        """Do all of it."""
        self.report.started = time.monotonic()
        self.report.listen(logging.getLogger("greenshard"))
        listening = gevent.spawn(self._listen)
        ticking = gevent.spawn(self._tick)
        try:
            self._load()
            self._recover()
            self._close()
        finally:
            ticking.kill()
            self.observer.finish()
            listening.get()

    # The parts ------------------------------------------------------------------------------

    def _load(self):
        self._crowd.start()
        if self._faulty:
            self.faults.start()
        next_progress = _PROGRESS_S
        early_mb = None
        while (share := self.until.share(self.report)) < 1:
            gevent.sleep(_LOOK_S if self.until.seconds > 60 else 0.1)
            self._crowd.look()
            if self.report.seconds > next_progress:
                next_progress += _PROGRESS_S
                self.report.progress(share)
            if early_mb is None and share > 0.25:
                early_mb = memory_mb()
        self.faults.stop()
        self._crowd.stop()
        self._crowd.look()
        self._weigh(early_mb)

    def _weigh(self, early_mb):
        late_mb = memory_mb()
        self.report.figures["memory"] = f"{early_mb:.0f} MB, and {late_mb:.0f} MB at the end"
        if late_mb - early_mb > self.bounds.growth_mb:
            self.report.violation(f"the process has grown from {early_mb:.0f} to {late_mb:.0f} MB")

    def _recover(self):
        """Everything is given back, and the pools are as large as ever."""
        self.report.figures["faults"] = dict(self.faults.counts)
        for pool in self.pools:
            stats = pool.stats()
            told = (stats.taken, stats.waiting, stats.closing)
            if any(told):
                self.report.violation(f"{told} taken, waiting, closing; nobody has any: {pool!r}")
            self._fill(pool)
        for shard in self.scene.names:
            for session in self.scene.sessions(shard, "idle in transaction%"):
                self.report.violation(f"{shard}: in a transaction at the end: {session}")
            for session in self.scene.sessions(shard, "active"):
                self.report.violation(f"{shard}: active at the end: {session}")

    def _fill(self, pool):
        """As many as may can hold a connection at once, to every shard."""
        end = time.monotonic() + _RECOVERY_S
        while failures := self._failures(pool):
            if time.monotonic() > end:
                self.report.violation(f"not full again: {pool!r}: {failures[:1]}")
                return
            gevent.sleep(0.2)

    def _failures(self, pool):
        """Let all connections be taken at once; returns why that is not possible."""
        size = self.bounds.max_size
        barrier = Barrier(size, self.bounds.pool_timeout_s)
        holders = [gevent.spawn(_hold, pool, barrier) for _ in range(size)]
        gevent.joinall(holders)
        failures = [holder.value for holder in holders if holder.value is not None]
        if not failures and pool.stats().size != size:
            failures = [f"its size is not {size}"]
        return failures

    def _close(self):
        for pool in self.pools:
            pool.close(self.bounds.slack_s)
        end = time.monotonic() + self.bounds.slack_s
        while (left := self._sessions()) and time.monotonic() < end:
            gevent.sleep(0.05)
        if left:
            self.report.violation(f"sessions after the pools were closed: {left}")
        self.report.figures["writes"] = self.ledger.counts()
        for mistake in self.ledger.judge(self.scene.entries()):
            self.report.violation(mistake)

    def _sessions(self):
        return [s for shard in self.scene.names for s in self.scene.sessions(shard)]

    # What they need -------------------------------------------------------------------------

    def _pool(self, shards):
        bounds = self.bounds
        return greenshard.Pool(
            shards,
            bounds.max_size,
            timeout=bounds.pool_timeout_s,
            call_timeout=bounds.call_timeout_s,
            connect_timeout=bounds.connect_timeout_s,
            cancel_grace=bounds.grace_s,
            max_lifetime=bounds.max_lifetime_s,
            check_after=1.0,
        )

    def _rules(self):
        bounds = self.bounds
        return {
            # A statement that gathers uses a second connection.
            "limits": {CLUSTER: 2 * bounds.max_size, UNION: bounds.max_size},
            "over_s": bounds.over_s,
            "active_s": bounds.active_s,
            "idle_s": bounds.idle_s,
            "dead_s": bounds.dead_s,
            "stall_s": bounds.slack_s,
        }

    def _tick(self):
        while True:
            self.observer.tick()
            gevent.sleep(_TICK_S)

    def _listen(self):
        for told in self.observer.reports():
            if "violation" in told:
                self.report.violation(told["violation"])
            else:
                self.report.figures["most sessions"] = told["most"]
                self.report.figures["longest seen on servers"] = told["longest"]
                self.report.figures["longest stall"] = f"{told['silence_s']:.2f} s"


def _hold(pool, barrier):
    """Use all shards, and hold the connection until all others do; returns why it could not."""
    try:
        with pool.connection() as conn:
            conn.cursor().execute("SELECT count(*) FROM item")
            barrier.pass_together()
    except greenshard.Error as exc:
        return exc
    return None
