"""Notices which statements of this process take long: their transactions may be in a deadlock."""

from __future__ import annotations

import os
import weakref
from collections.abc import Mapping
from typing import Any

from greenshard import _green
from greenshard._driver import Dsn, RawConnection
from greenshard.deadlocks.watcher import report
from greenshard.links.fanout import FanOut
from greenshard.links.session import Session

#: How often a statement is seen before its time is up.
_TICKS = 8


class Waits:
    """The statements that run on connections to the same shards, in this process.

    A timer for each statement would cost more than to note it. So there is one timer for all, which
    counts how often it finds each, and ends when it finds none. Each thread has its own, for it
    must be in the hub that waits.

    Args:
        shards: How to connect, by shard; or connections that the program opened.
        timeout_s: How long a statement may take before it is seen whether it waits for a lock.
    """

    def __init__(self, shards: Mapping[str, Dsn | RawConnection], timeout_s: float) -> None:
        self._shards, self._timeout_s = shards, timeout_s
        self.begin_anew()
        _every.add(self)

    def begin_anew(self) -> None:
        """Forget what runs: after a fork, it runs in the parent process, with its timers."""
        self._running: dict[Session, FanOut] = {}
        self._here = _Here()

    def began(self, session: Session, fanout: FanOut) -> None:
        """Note a statement that is about to be sent, to one shard or several.

        Cost: 0.2 us, with `ended`.
        """
        self._running[session] = fanout
        if self._here.timer is None:
            self._here.timer = _green.every(self._timeout_s / _TICKS, self._tick)

    def ended(self, session: Session) -> None:
        """Note that it has ended."""
        self._running.pop(session, None)

    def _tick(self) -> None:
        here, thread = self._here, _green.thread_id()
        seen, here.seen = here.seen, weakref.WeakKeyDictionary()
        for session, fanout in tuple(self._running.items()):
            if session.thread == thread:
                count = here.seen[fanout] = seen.get(fanout, 0) + 1
                # Since the first time, at which it had only begun. And again: who watches may have
                # ended, or not begun.
                if count > _TICKS and count % _TICKS == 1:
                    report(session, fanout, self._shards, self._timeout_s)
        if not here.seen and here.timer is not None:
            here.timer.close()
            here.timer = None


class _Here(_green.NativeLocal):
    """What a thread has of it."""

    def __init__(self) -> None:
        self.timer: Any = None
        # Weak: the calls hold connections, which are to be closed as soon as nobody has them.
        self.seen: weakref.WeakKeyDictionary[FanOut, int] = weakref.WeakKeyDictionary()


_every: weakref.WeakSet[Waits] = weakref.WeakSet()


def _forked() -> None:
    for each in tuple(_every):
        each.begin_anew()


os.register_at_fork(after_in_child=_forked)
