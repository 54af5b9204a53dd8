"""The thread that looks after a pool: what is old or idle, what shall be ready, what is down."""

from __future__ import annotations

import atexit
import logging
import os
import time
import weakref
from collections import deque
from collections.abc import Iterable
from typing import Any, Protocol

from greenshard import _green
from greenshard.pool.background import Background
from greenshard.pool.slot import Chore, Lease

logger = logging.getLogger("greenshard")

#: Seconds that the end of the process waits for the thread to end: longer than it takes to close
#: connections whose servers do not answer. A thread that is still in its hub then may crash it.
_END_S = 4.0


class Kept(Protocol):
    """The pool, as far as its housekeeper knows it; see `process.Process`."""

    def tick(self) -> float | None:
        """Do what is due; returns seconds until the next time, None if that is not known."""

    def connect(self, chore: Chore) -> None:
        """Open what a chore says. Switches: yes."""

    def give_back(self, lease: Lease) -> None:
        """End a lease. Switches: if connections must be closed."""


class Housekeeper:
    """Starts and ends the thread.

    A thread of its own, with its own hub: the program's may be busy, or have no hub that runs. It
    lives from the first connection until nothing is left to look after, and keeps no pool alive.

    Args:
        process: The pool.
        recovery: What it does besides, as long as there is the pool; None for nothing.
    """

    def __init__(self, process: Kept, recovery: Background | None = None) -> None:
        # Else the thread would keep a pool alive that the program has forgotten.
        self._process = weakref.ref(process)
        self._recovery = recovery
        self._pid = os.getpid()
        self._starting = _green.NativeLock()
        self._running = self._stopped = False
        self._wake: Any = None
        self._todo: deque[Chore] = deque()
        self._chores: dict[Chore, Any] = {}
        _every.add(self)

    @property
    def is_here(self) -> bool:
        """Whether it was made in this process."""
        return self._pid == os.getpid()

    def start(self) -> None:
        """Start the thread, unless it runs."""
        # Without the lock first: this is asked for each connection that is taken.
        if self._running or self._stopped:
            return
        with self._starting:
            if not self._running:
                self._running = True
                _green.start_thread(self._keep)

    def work(self, chores: Iterable[Chore]) -> None:
        """Let the thread begin chores, and see which are called off."""
        self._todo.extend(chores)
        self._nudge()

    def stop(self) -> None:
        """End the thread; does not wait for that."""
        self._stopped = True
        self._nudge()

    def wait_end(self) -> None:
        """Wait a while until the thread has ended; without a hub."""
        end = time.monotonic() + _END_S
        while self._running and time.monotonic() < end:
            _green.native_sleep(0.001)

    def _nudge(self) -> None:
        wake = self._wake
        if wake is not None:
            wake.set()

    def _keep(self) -> None:
        _green.enter_thread()
        self._wake = _green.Event()
        try:
            self._look_after()
        except BaseException:
            logger.exception("the pool's housekeeping has failed")
        finally:
            if self._recovery is not None:
                self._recovery.stop()
            self._wake, self._running = None, False

    def _look_after(self) -> None:
        while not self._stopped:
            process = self._process()
            if process is None:
                return
            # Before the look: who wakes the thread after it is not overheard.
            self._wake.clear()
            pause_s = process.tick()
            self._begin(process)
            if self._recovery is not None:
                look_s = self._recovery.begin()
                pause_s = look_s if pause_s is None else min(pause_s, look_s)
            # Nothing is open and nothing is due: the next request starts another thread.
            if pause_s is None and not self._chores:
                return
            # Not to keep the pool alive while this waits.
            del process
            self._wake.wait(pause_s)

    def _begin(self, process: Kept) -> None:
        for chore, news in self._chores.items():
            if chore.recalled:
                news.set()
        while self._todo:
            chore = self._todo.popleft()
            self._chores[chore] = _green.Event()
            _green.spawn(self._do, process, chore)

    def _do(self, process: Kept, chore: Chore) -> None:
        """Open what a chore says, unless it is called off, and give its slot back.

        Nobody kills this greenlet: one that is killed before it first runs, or while it gives the
        slot back, would leave the slot with nobody. What is killed is a greenlet of its own that
        connects, and owes nothing.
        """
        news = self._chores[chore]
        connecting = None
        try:
            if not chore.recalled:
                connecting = _green.spawn(self._connect, process, chore, news)
                news.wait()
        finally:
            if connecting is not None:
                connecting.kill()  # waits for it; if it has ended, this does nothing
            try:
                process.give_back(chore.lease)
            finally:
                del self._chores[chore]
                self._nudge()

    def _connect(self, process: Kept, chore: Chore, news: Any) -> None:
        """Open what a chore says; what cannot be opened is no concern of it."""
        try:
            process.connect(chore)
        finally:
            news.set()


_every: weakref.WeakSet[Housekeeper] = weakref.WeakSet()


def _end_all() -> None:
    """Let no thread run into the end of the interpreter."""
    housekeepers = [each for each in _every if each.is_here]
    for housekeeper in housekeepers:
        housekeeper.stop()
    for housekeeper in housekeepers:
        housekeeper.wait_end()


atexit.register(_end_all)
