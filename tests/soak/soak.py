"""A soak of two pools in this process: one over a declared cluster, one over the union."""

from __future__ import annotations

import time

import gevent
import gevent.event

import greenshard
from tests.soak.crowd import Crowd
from tests.soak.part import RECOVER_EVERY_S, RECOVERY_S, Part

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


class Soak(Part):
    """See the module's text.

    Args:
        scene, bounds, report, until, faulty: See `Part`.
        parameters: Of the connection strings.
    """

    def __init__(self, scene, bounds, report, until, *, faulty=True, **parameters):
        limits = {CLUSTER: bounds.max_size + bounds.max_gathers, UNION: bounds.max_size}
        super().__init__(scene, bounds, report, until, limits, faulty=faulty)
        self.pools = [
            self._pool(scene.cluster(CLUSTER, **parameters)),
            self._pool(scene.dsns(UNION, **parameters)),
        ]
        self.crowd = Crowd(self, self.pools)

    def _pool(self, shards):
        bounds = self.bounds
        return greenshard.Pool(
            shards,
            bounds.max_size,
            max_gathers=bounds.max_gathers,
            timeout=bounds.pool_timeout_s,
            call_timeout=bounds.call_timeout_s,
            connect_timeout=bounds.connect_timeout_s,
            cancel_grace=bounds.grace_s,
            max_lifetime=bounds.max_lifetime_s,
            check_after=1.0,
            recover_every=RECOVER_EVERY_S,
            # The union writes anywhere into the tables of the declared cluster.
            check=False,
        )

    def _recover(self):
        for pool in self.pools:
            end = time.monotonic() + self.bounds.slack_s
            while pool.stats().closing and time.monotonic() < end:
                gevent.sleep(0.05)
            stats = pool.stats()
            told = (stats.taken, stats.waiting, stats.closing)
            if any(told):
                self.report.violation(f"{told} taken, waiting, closing; nobody has any: {pool!r}")
            self._fill(pool)

    def _fill(self, pool):
        """As many as may can hold a connection at once, to every shard."""
        end = time.monotonic() + RECOVERY_S
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


def _hold(pool, barrier):
    """Use all shards, and hold the connection until all others do; returns why it could not."""
    try:
        with pool.connection() as conn:
            conn.cursor().execute("SELECT count(*) FROM item")
            barrier.pass_together()
    except greenshard.Error as exc:
        return exc
    return None
