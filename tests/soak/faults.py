"""What goes wrong with the servers, by a schedule that the seed decides."""

from __future__ import annotations

import time
from collections import Counter

import gevent

from tests.soak.scene import RELAYED, Hogs

#: Errors that need no fault of a server: the time was up. A busy machine is slow to connect, too.
IMPATIENCE = ("PoolTimeout", "PoolFull", "QueryTimeout", "ShardUnavailable")

#: Seconds after a fault's end in which its consequences may still be seen: the pool tries a shard
#: that is down after pauses of up to 10 s, and a connection may stay unused for as long.
AFTERWARDS_S = 30.0
#: Faults of which the server cannot notice that we have closed a connection.
_UNNOTICED = ("freeze", "silence", "reset")


class Faults:
    """Lets faults happen, one after the other on each half of the shards.

    Args:
        scene: The shards.
        observer: Is told which servers it must excuse.
        rand: Chooses.
        pause_s, lasting_s: The longest time without a fault, and the longest fault.
    """

    def __init__(self, scene, observer, rand, pause_s, lasting_s):
        self.counts = Counter()
        self._scene, self._observer, self._rand = scene, observer, rand
        self._pause_s, self._lasting_s = pause_s, lasting_s
        self._now = {}
        self._last = {}
        self._stopped = gevent.event.Event()
        self._running = []

    def __str__(self):
        return ", ".join(f"{shard}: {kind}" for shard, kind in self._now.items()) or "no fault"

    def blame(self, shard):
        """Whether a shard has a fault, or had one a short time ago."""
        ended = self._last.get(shard, -AFTERWARDS_S)
        return shard in self._now or time.monotonic() - ended < AFTERWARDS_S

    def explain(self, causes):
        """Whether errors are of those that there may be; see `crowd.causes`."""
        return all(kind in IMPATIENCE or self.blame(shard) for shard, kind in causes)

    def start(self):
        names = self._scene.names
        halves = (names[: len(names) // 2], names[len(names) // 2 :])
        self._running = [gevent.spawn(self._go_on, half) for half in halves]

    def stop(self):
        """Let the last faults end."""
        self._stopped.set()
        gevent.joinall(self._running, raise_error=True)
        self._scene.shards.start()

    def _go_on(self, shards):
        while not self._stopped.wait(self._rand.uniform(0.2, 1) * self._pause_s):
            shard = self._rand.choice(shards)
            self._inflict(shard)

    def _inflict(self, shard):
        kinds = ["kill", "freeze", "exhaust", "terminate"]
        if shard == RELAYED:
            kinds += ["silence", "reset"]
        kind = self._rand.choice(kinds)
        self.counts[kind] += 1
        self._now[shard] = kind
        if kind in _UNNOTICED:
            self._observer.excuse(shard)
        try:
            getattr(self, f"_{kind}")(shard, self._rand.random() * self._lasting_s)
        finally:
            if kind in _UNNOTICED:
                self._observer.watch(shard)
            del self._now[shard]
            self._last[shard] = time.monotonic()

    def _kill(self, shard, lasting_s):
        _apart(self._scene.shards[shard].kill)
        gevent.sleep(lasting_s)
        self._scene.shards[shard].start()

    def _freeze(self, shard, lasting_s):
        _apart(self._scene.shards[shard].pause)
        gevent.sleep(lasting_s)
        _apart(self._scene.shards[shard].resume)

    def _exhaust(self, shard, lasting_s):
        hogs = Hogs(self._scene.dsns("hog", relayed=False)[shard])
        try:
            end = time.monotonic() + lasting_s
            while time.monotonic() < end:
                hogs.fill()  # also the slots that are freed meanwhile
                gevent.sleep(0.05)
        finally:
            hogs.leave()

    def _terminate(self, shard, lasting_s):
        self._scene.ask(
            shard,
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = 'app'",
        )

    def _silence(self, shard, lasting_s):
        self._scene.tell_relay("silence")
        gevent.sleep(lasting_s)
        self._scene.tell_relay("forward")

    def _reset(self, shard, lasting_s):
        self._scene.tell_relay("reset")
        gevent.sleep(lasting_s / 10)
        self._scene.tell_relay("forward")


def _apart(call):
    """Call it in a thread: it looks through all processes, which must not stop the clients."""
    gevent.get_hub().threadpool.apply(call)
