"""Run one call for each shard at the same time, and see all of them end.

Several calls run in a greenlet each. A single one runs in the caller's, which saves two switches:
what arrives from outside must then be kept away from psycopg2, which would close the connection
(`greenshard._driver.keepers`).

Whatever happens, when `FanOut.run` returns or raises, every call has ended: it has finished, or was
cancelled on its server, or its connection was closed because the server did not answer the cancel
within the grace time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from greenshard import _green
from greenshard._driver import (
    InFailedSqlTransaction,
    QueryCanceled,
    RawConnection,
    can_keep,
    keepers,
)
from greenshard.links.physical import Physical
from greenshard.planner.place import Place

#: How long, in seconds, a greenlet may take to end after its connection was closed under it.
LAST_WAIT_S = 1.0

#: What a cancelled call raises. A cancel may also end the question that the call waits for
#: (`hedge`), and with it the transaction, before the call's own statement is sent.
_OF_CANCEL = (QueryCanceled, InFailedSqlTransaction)


class _Abandoned(BaseException):
    """A server did not answer within the grace time: its connection must be closed."""


class End(Enum):
    """How a call ended."""

    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"  # by us, because another failed, or the caller's time was up
    LOST = "lost"  # did not end within the grace time; its connection was closed


# Without slots: what has its value from the class costs nothing to make, and there is a new one for
# each statement.
@dataclass(eq=False)
class Job:
    """One call on one shard.

    Attributes:
        shard: The shard's name.
        call: What to run in the greenlet.
        physical: The connection that it uses; None while there is none.
        beside: The connection's place, if it is not the shard's own.
        result, error: What `call` returned, or raised.
        end: How it ended; None while it runs.
        started: When it began, by ``time.perf_counter``.
        seconds: How long it took.
    """

    shard: str
    call: Callable[[], object]
    physical: Physical | None = None
    beside: Place | None = None
    result: object = field(default=None, init=False)
    error: BaseException | None = field(default=None, init=False)
    end: End | None = field(default=None, init=False)
    started: float = field(default=0.0, init=False)
    seconds: float = field(default=0.0, init=False)
    greenlet: Any = field(default=None, init=False)

    def begin(self, work: Callable[[Job], object]) -> None:
        """Let `work`, which must not raise, make the call in a greenlet: the connection's own."""
        physical = self.physical
        self.greenlet = _green.work(physical.worker if physical else None, work, self)
        if physical is not None:
            physical.worker = self.greenlet

    @property
    def running(self) -> bool:
        return self.end is None

    @property
    def name(self) -> str:
        """What messages call where it runs."""
        return self.shard if self.beside is None else str(self.beside)


@dataclass(eq=False)
class FanOut:
    """The calls of one statement.

    Args:
        jobs: One for each shard.
        grace_s: How long the calls may take to end once that is wanted.
        tolerant: Whether the others go on when one fails.
        cancellable: Whether calls may be cancelled on their servers. False for COMMIT, whose end
            is waited for, and for connecting.
        here: Whether a single call may run in the caller's greenlet: it waits for nothing but its
            connection's server.

    Attributes:
        deadlock: Why `cancel` was called, if it was because of a deadlock.
        over: Whether `run` has ended.
    """

    jobs: Sequence[Job]
    grace_s: float
    tolerant: bool = False
    cancellable: bool = True
    here: bool = False
    deadlock: BaseException | None = field(default=None, init=False)
    over: bool = field(default=False, init=False)
    _unfinished: int = field(default=0, init=False)
    _stopping: bool = field(default=False, init=False)
    _closing: bool = field(default=False, init=False)
    _asked_to_cancel: bool = field(default=False, init=False)
    _cancels: set[Job] = field(default_factory=set, init=False)
    _wake: _green.Event = field(default_factory=_green.Event, init=False)
    # Of a call that runs in the caller's greenlet: how another thread has its hub do something,
    # what arrived from outside, and what is set when the call, which is being stopped, has ended.
    _in_hub: Callable[[Callable[[], object]], object] | None = field(default=None, init=False)
    _arrived: BaseException | None = field(default=None, init=False)
    _stopped: _green.Event | None = field(default=None, init=False)

    def run(self, timeout_s: float | None) -> None:
        """Run all calls until all have ended; each job then tells its own end.

        Raises:
            BaseException: A ``gevent.Timeout`` or a kill that arrived from outside.

        Switches: yes.
        """
        self._unfinished = len(self.jobs)
        if self.here and self._unfinished == 1 and can_keep():
            (job,) = self.jobs
            if job.physical is not None:
                self._run_here(job, job.physical.raw, timeout_s)
                return
        for job in self.jobs:
            job.begin(self._work)
        arrived: BaseException | None = None
        try:
            self._wake.wait(timeout_s)
        except BaseException as exc:
            arrived = exc
        # Time is up, one call has failed, or something arrived: in each case nothing is left
        # running.
        if self._unfinished:
            arrived = _green.graver(arrived, self._stop())
        self.over = True
        if arrived is not None:
            _green.raise_arrived(arrived)

    def _run_here(self, job: Job, raw: RawConnection, timeout_s: float | None) -> None:
        """Run the only call, which uses `raw`, in the caller's greenlet."""
        job.greenlet = _green.current()
        self._in_hub = _green.from_any_thread()
        # Only now can another thread's `cancel` reach it; one that came before cannot.
        if self._asked_to_cancel:
            self._begin_to_stop()
        timer = None if timeout_s is None else _green.after(timeout_s, self._begin_to_stop)
        keepers[id(raw)] = self._keep
        try:
            self._work(job)
        finally:
            del keepers[id(raw)]
            if timer is not None:
                timer.close()
            if self._stopped is not None:
                # `_stop_aside` may still use the connection: not before it has ended is this call's
                # work done.
                late = _green.wait_through(self._stopped, self.grace_s + LAST_WAIT_S)
                self._arrived = _green.graver(self._arrived, late)
            job.greenlet = None
            self.over = True
        if self._arrived is not None:
            _green.raise_arrived(self._arrived)

    def _keep(self, arrived: BaseException) -> bool:
        """Keep what arrived while the call waits for its server; false if it must not wait on."""
        if isinstance(arrived, (_Abandoned, _green.BlockingSwitchOutError)):
            return False
        self._arrived = _green.graver(self._arrived, arrived)
        self._begin_to_stop()
        return not self._closing

    def _begin_to_stop(self) -> None:
        """Begin to stop the call that runs in the caller's greenlet: that one waits in psycopg2."""
        if self._stopped is None and self._unfinished:
            self._stopped = _green.Event()
            # Not one of gevent's own greenlets: nobody finds it and kills it before it runs.
            _green.work(None, self._stop_aside, self._stopped)

    def _stop_aside(self, stopped: _green.Event) -> None:
        try:
            self._stop()
        finally:
            stopped.set()

    def _abandon(self) -> None:
        """Let psycopg2 close the connection of the call that runs in the caller's greenlet."""
        for job in self.jobs:
            if job.running:
                job.greenlet.throw(_Abandoned)

    def cancel(self) -> None:
        """Cancel what is running, from another greenlet or thread; the calls then fail.

        The greenlet that is in `run` does it, so that the grace time holds here too. What is not
        cancellable goes on.

        Switches: yes, until the running calls have ended.
        """
        if self.cancellable:
            _green.enter_thread()
            self._asked_to_cancel = True
            self._wake.set()
            if self._in_hub is not None:
                self._in_hub(self._begin_to_stop)
            while not self.over:
                _green.sleep(_green.LOOK_S)

    @property
    def broken(self) -> BaseException | None:
        """The deadlock, if a call was cancelled for it; it may have come too late for that."""
        if self.deadlock is None:
            return None
        return self.deadlock if any(isinstance(j.error, _OF_CANCEL) for j in self.jobs) else None

    def holds(self, greenlet: object) -> bool:
        """Whether a call runs in `greenlet`."""
        return any(job.greenlet is greenlet for job in self.jobs)

    def _work(self, job: Job) -> None:
        job.started = time.perf_counter()
        end = End.DONE
        try:
            # It was to begin when the others were stopped already.
            if self._stopping:
                end = End.CANCELLED
            else:
                job.result = job.call()
        except BaseException as exc:
            job.error, end = exc, self._end_after(exc)
        job.seconds = time.perf_counter() - job.started
        # Set before it is counted: whoever the count wakes reads it.
        job.end = end
        self._unfinished -= 1
        if not self._unfinished or self._stopping or (end is not End.DONE and not self.tolerant):
            self._wake.set()

    def _end_after(self, error: BaseException) -> End:
        if self._closing:
            return End.LOST
        # 57014 may also be the server's own, of statement_timeout: then it is the shard's failure.
        if self._stopping and isinstance(error, _OF_CANCEL) and not self._asked_to_cancel:
            return End.CANCELLED
        return End.FAILED

    def _stop(self) -> BaseException | None:
        """End everything; returns what arrived from outside meanwhile."""
        self._stopping = True
        late = [job for job in self.jobs if job.running]
        # At once: one server that does not take the request must not hold up the others'.
        cancellers = [_green.spawn(self._cancel, job) for job in late if self.cancellable]
        arrived = self._wait(self.grace_s)
        if not self._unfinished and not self._cancels:
            return arrived
        self._closing = True
        for canceller in cancellers:
            # It may wait for a server that is gone.
            canceller.kill(block=False)
        for job in self.jobs:
            self._close(job)
        return _green.graver(arrived, self._wait(LAST_WAIT_S))

    def _close(self, job: Job) -> None:
        if job.running and job.greenlet is not None:
            # psycopg2 closes a connection whose wait callback raises.
            if self._stopped is not None:
                _green.soon(self._abandon)
            else:
                job.greenlet.stop()
        elif job in self._cancels and job.physical is not None:
            # The call ended, but a cancel is under way that could hit the next one.
            job.physical.discard()
            if job.end is End.DONE:
                job.end = End.LOST  # what it gave cannot be read any more

    def _wait(self, timeout_s: float) -> BaseException | None:
        """Wait until all calls and cancel requests have ended, through whatever arrives."""
        end = time.monotonic() + timeout_s
        arrived: BaseException | None = None
        while (left := end - time.monotonic()) > 0:
            self._wake.clear()
            if not self._unfinished and not self._cancels:
                break
            arrived = _green.graver(arrived, _green.wait_through(self._wake, left))
        return arrived

    def _cancel(self, job: Job) -> None:
        # Its job cannot end unseen: it is registered before it looks whether the job runs, and
        # `_wait` waits for it.
        self._cancels.add(job)
        try:
            if job.physical is not None and job.running:
                job.physical.cancel_while(lambda: job.running)
        finally:
            self._cancels.remove(job)
            self._wake.set()
