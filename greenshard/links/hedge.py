"""Ask any one of several shards: one that says nothing is not waited for.

    shards      s0, s1, s2, of which any can tell
    at 0.00 s   s0 is asked
    at 0.25 s   nothing yet: s1 is asked, too; s0 may still be the first to answer
    at 0.26 s   s1 has answered: that is the answer

What has not answered then is left to end by itself: whoever asks knows that it does no harm. Until
then the connection is `Physical.late`: psycopg2 must not be called on it, so who needs it waits.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator

from greenshard import _green
from greenshard._driver import QueryCanceled
from greenshard.links.deadline import Deadline
from greenshard.links.fanout import LAST_WAIT_S, End, Job

#: How long, in seconds, a shard has before the next one is asked, too. More than a catalog of 500
#: tables takes, so that sound servers are not all asked.
APART_S = 0.25

#: Of little time that is left, the part that a shard has then.
_SHARE = 0.5


class Hedge:
    """Calls of which the first to succeed counts.

    Args:
        jobs: The calls in their order. The next one is only made when it is its turn, which may
            switch greenlets: what it needs may have to be opened.
        grace_s: How long, if none succeeds, a server may take to answer a cancel before its
            connection is closed.

    Attributes:
        jobs: The calls that were begun.
    """

    def __init__(self, jobs: Iterable[Job], grace_s: float) -> None:
        self._coming: Iterator[Job] = iter(jobs)
        self._grace_s = grace_s
        self._wake = _green.Event()
        self._ending: set[Job] = set()
        self._cancelled = self._over = False
        self.jobs: list[Job] = []

    def run(self, timeout: Deadline) -> Job | None:
        """Run calls until one succeeds; returns it, or None if all failed or time is up.

        If none succeeds, all have ended when this returns or raises; and those that have no
        connection yet, which is soon.

        Raises:
            BaseException: A ``gevent.Timeout`` or a kill that arrived from outside.

        Switches: yes.
        """
        arrived: BaseException | None = None
        try:
            self._ask(timeout)
        except BaseException as exc:
            arrived = exc
        winner = self._winner()
        for job in self.jobs:
            # What has no connection yet is not left: who needs one opens another.
            if job.running and (winner is None or arrived is not None or job.physical is None):
                self._ending.add(job)
                _green.spawn(self._end, job)
        arrived = _green.graver(arrived, self._wait_ends())
        self._over = True
        if arrived is not None:
            _green.raise_arrived(arrived)
        # One may have succeeded while the others were ended.
        return winner or self._winner()

    def _winner(self) -> Job | None:
        return next((job for job in self.jobs if job.end is End.DONE), None)

    def begin_all(self) -> None:
        """Begin all calls at the same time. Does not switch greenlets."""
        for job in self._coming:
            self._begin(job)

    def wait_soon(self) -> None:
        """Wait for what was begun, as far as it ends soon; each job tells whether it has.

        Switches: yes, for `APART_S` at most.
        """
        if self.jobs:
            self._wait(APART_S, enough=len(self.jobs))

    def cancel(self) -> None:
        """Cancel all calls, from another greenlet or thread; see `FanOut.cancel`."""
        _green.enter_thread()
        self._cancelled = True
        self._wake.set()
        while not self._over:
            _green.sleep(_green.LOOK_S)

    def holds(self, greenlet: object) -> bool:
        """Whether a call runs in `greenlet`."""
        return any(job.greenlet is greenlet for job in self.jobs)

    def _ask(self, timeout: Deadline) -> None:
        for job in self._coming:
            self._begin(job)
            left_s = timeout.left_s
            apart_s = APART_S if left_s is None else min(APART_S, _SHARE * left_s)
            # An answer is there, or no time is left to ask another one.
            if self._wait(apart_s) or left_s == 0:
                return
        self._wait(timeout.left_s)

    def _begin(self, job: Job) -> None:
        job.begin(self._work)
        if job.physical is not None:
            job.physical.become_late(job.greenlet)
        self.jobs.append(job)

    def _work(self, job: Job) -> None:
        job.started = time.perf_counter()
        end = End.DONE
        try:
            job.result = job.call()
        except BaseException as exc:
            job.error, end = exc, self._end_after(job, exc)
        job.seconds = time.perf_counter() - job.started
        job.end = end
        # `_end` has it until its cancel has been delivered, which else could hit the next
        # statement.
        if job.physical is not None and job not in self._ending:
            job.physical.end_late()
        self._wake.set()

    def _end_after(self, job: Job, error: BaseException) -> End:
        if job.greenlet is not None and job.greenlet.stopped:
            return End.LOST
        if job in self._ending and isinstance(error, QueryCanceled) and not self._cancelled:
            return End.CANCELLED
        return End.FAILED

    def _wait(self, limit_s: float | None, enough: int = 1) -> bool:
        """Wait until enough calls succeed or all have ended; whether no other is to be begun."""
        end = None if limit_s is None else time.monotonic() + limit_s
        while True:
            self._wake.clear()
            if self._cancelled or sum(job.end is End.DONE for job in self.jobs) >= enough:
                return True
            left_s = None if end is None else end - time.monotonic()
            if not any(job.running for job in self.jobs) or (left_s is not None and left_s <= 0):
                return False
            self._wake.wait(left_s)

    def _wait_ends(self) -> BaseException | None:
        end = time.monotonic() + self._grace_s + LAST_WAIT_S
        arrived: BaseException | None = None
        while self._ending and (left_s := end - time.monotonic()) > 0:
            self._wake.clear()
            arrived = _green.graver(arrived, _green.wait_through(self._wake, left_s))
        return arrived

    def _end(self, job: Job) -> None:
        """Cancel a call, or close its connection; in a greenlet of its own."""
        physical, cancelled = job.physical, False
        try:
            if physical is not None:
                with _green.at_most(self._grace_s):
                    physical.cancel_while(lambda: job.running)
                    cancelled = True
        finally:
            ended = not job.running
            if not ended and job.greenlet is not None:
                # psycopg2 closes a connection whose wait callback raises.
                job.greenlet.stop()
                self._wait_end(job)
            if physical is not None:
                physical.end_late()
                if ended and not cancelled:
                    # A cancel is under way that could hit the next statement.
                    physical.discard()
            self._ending.remove(job)
            self._wake.set()

    def _wait_end(self, job: Job) -> None:
        until = time.monotonic() + LAST_WAIT_S
        while job.running and time.monotonic() < until:
            _green.sleep(_green.LOOK_S)
