"""A part of a soak: a crowd, faults, and whether everything is as it should be afterwards."""

from __future__ import annotations

import logging
import random
import time
from dataclasses import dataclass

import gevent

from tests.soak.faults import Faults
from tests.soak.ledger import Ledger
from tests.soak.report import memory_mb
from tests.soak.watching import Observer

#: Seconds between two lines of progress, two ticks, two looks at what should have ended.
_PROGRESS_S, _TICK_S, _LOOK_S = 10.0, 0.1, 0.5
#: Seconds in which everything must be well again when all faults are over.
RECOVERY_S = 40.0
#: Seconds between two rounds of the pools' recovery.
RECOVER_EVERY_S = 2.0


@dataclass(frozen=True)
class Until:
    """When a part ends: after so many kills, and never later than after so many seconds."""

    kills: int
    seconds: float

    def share(self, report):
        """How much of it is done, 0 to 1."""
        return min(1.0, max(report.killed / self.kills, report.seconds / self.seconds))


class Part:
    """What all parts have. Each has a `crowd`, and ends in its own way.

    Args:
        scene: The servers.
        bounds: The numbers.
        report: Where everything is told.
        until: When it ends.
        limits: How many sessions of each name a server may have; see `observer.Rules`.
        faulty: Whether the servers fail.
    """

    def __init__(self, scene, bounds, report, until, limits, *, faulty):
        self.scene, self.bounds, self.report, self.until = scene, bounds, report, until
        self._faulty = faulty
        self.ledger = Ledger()
        for name in scene.names:
            scene.ask(name, "TRUNCATE entry")
        rules = {
            "limits": limits,
            "over_s": bounds.over_s,
            "active_s": bounds.active_s,
            "idle_s": bounds.idle_s,
            "dead_s": bounds.dead_s,
            "stall_s": bounds.stall_s,
        }
        self.observer = Observer(scene.superuser_dsns(), rules)
        rand = random.Random(f"{report.seed}/faults")
        self.faults = Faults(scene, self.observer, rand, bounds.fault_pause_s, bounds.fault_s)
        self.crowd = None
        report.state = lambda: f"{self.faults}\n{self.crowd}"

    def run(self):
        """Do all of it."""
        self.report.started = time.monotonic()
        self.report.listen(logging.getLogger("greenshard"))
        listening = gevent.spawn(self._listen)
        ticking = gevent.spawn(self._tick)
        try:
            self._load()
            self.report.figures["faults"] = dict(self.faults.counts)
            self._recover()
            self._assert_finished()
            self._assert_quiet()
            self._close()
            self._assert_gone()
        finally:
            ticking.kill()
            self.observer.finish()
            listening.get()
        if not (self.report.killed and self.report.outcomes[self.crowd.GOOD]):
            self.report.violation("nothing was soaked: no request was killed, or none answered")
        self.report.figures["writes"] = self.ledger.counts()
        for mistake in self.ledger.judge(self.scene.entries()):
            self.report.violation(mistake)

    def _load(self):
        self.crowd.start()
        if self._faulty:
            self.faults.start()
        next_progress = _PROGRESS_S
        early_mb = None
        while (share := self.until.share(self.report)) < 1:
            gevent.sleep(_LOOK_S)
            self.crowd.look()
            if self.report.seconds > next_progress:
                next_progress += _PROGRESS_S
                self.report.progress(share)
            if early_mb is None and share > 0.25:
                early_mb = memory_mb()
        if early_mb is None:
            early_mb = memory_mb()
        self.faults.stop()
        self.crowd.stop()
        self.crowd.look()
        self._weigh(early_mb)

    def _weigh(self, early_mb):
        late_mb = memory_mb()
        self.report.figures["memory"] = f"{early_mb:.0f} MB, and {late_mb:.0f} MB at the end"
        if late_mb - early_mb > self.bounds.growth_mb:
            self.report.violation(f"the process has grown from {early_mb:.0f} to {late_mb:.0f} MB")

    def _recover(self):
        """Everything is given back, and there is as much as ever."""
        raise NotImplementedError

    def _close(self):
        """End what uses the servers."""
        raise NotImplementedError

    def _assert_finished(self):
        """What its coordinator has left prepared, the pools finish in the background."""
        end = time.monotonic() + RECOVERY_S
        while (left := self.scene.prepared()) and time.monotonic() < end:
            gevent.sleep(0.2)
        if left:
            self.report.violation(f"prepared, and finished by nobody: {left}")

    def _assert_quiet(self):
        """Nobody has asked for anything for a while; recovery comes and goes."""
        for shard in self.scene.names:
            for state, what in (("idle in transaction%", "in a transaction"), ("active", "active")):
                for session in self.scene.sessions(shard, state):
                    if session[1] != "greenshard recovery":
                        self.report.violation(f"{shard}: {what} at the end: {session}")

    def _assert_gone(self):
        end = time.monotonic() + self.bounds.slack_s
        while (left := self._sessions()) and time.monotonic() < end:
            gevent.sleep(0.05)
        if left:
            self.report.violation(f"sessions after everything was closed: {left}")

    def _sessions(self):
        return [s for shard in self.scene.names for s in self.scene.sessions(shard)]

    def _tick(self):
        while True:
            self.observer.tick()
            gevent.sleep(_TICK_S)

    def _listen(self):
        for told in self.observer.reports():
            if "violation" in told:
                self.report.violation(told["violation"])
            else:
                most = {shard: _by_kind(counts) for shard, counts in told["most"].items()}
                self.report.figures["most sessions"] = most
                longest = {
                    shard: {what: round(seconds, 2) for what, seconds in lasted.items()}
                    for shard, lasted in told["longest"].items()
                }
                self.report.figures["longest seen on servers, in s"] = longest
                self.report.figures["longest stall"] = f"{told['silence_s']:.2f} s"


def _by_kind(counts):
    """The highest count of each kind of names: what differs in a number is of one kind."""
    kinds = {}
    for name, count in counts.items():
        kind = name.rstrip("0123456789")
        kinds[kind] = max(kinds.get(kind, 0), count)
    return kinds
