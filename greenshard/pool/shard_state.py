"""What a pool knows of one shard, and whether a slot's connection to it may be used or opened."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from math import inf

from greenshard import errors
from greenshard.pool.breaker import Breaker
from greenshard.pool.histogram import Histogram
from greenshard.pool.policy import Policy
from greenshard.pool.slot import Lease


class Step(Enum):
    """What to do to have a connection to a shard."""

    USE = "use"  # the one that there is
    CHECK = "check"  # see first whether the one that there is works
    OPEN = "open"  # there is none


@dataclass(frozen=True, slots=True)
class Down:
    """The shard is down; nobody waits for it.

    Attributes:
        shard: Its name.
        since: When it went down.
        reason: Why, in one line.
        retry_at: When the next probe is due; None while one is under way.
    """

    shard: str
    since: float | None
    reason: str
    retry_at: float | None


class ShardState:
    """One shard, as the pool sees it.

    Who holds a lease asks `admit` before the first use of the shard, does what it says, reports
    how that ended, and asks again until the answer is `Step.USE` or `Down`. An answer never means
    to wait: who holds a slot waits for nobody else's, so that no two requests can wait for each
    other. One lease asks about one shard in one greenlet at a time.
    """

    def __init__(self, name: str, policy: Policy, random: Callable[[], float]) -> None:
        self.name = name
        self.breaker = Breaker(policy, random)
        self.queries = Histogram()
        # Whether the last answer was that nobody is let in: the pool then tries nothing by itself.
        self.rejects = False
        # Whether the last try to connect was given up, without an answer.
        self.silent = False
        self.running = 0
        self.failed_queries = 0
        self.connects = 0
        self.failed_connects = 0
        self.lost_connections = 0
        self.refused = 0
        self._check_after_s = policy.check_after_s
        # Connections that were proven before this moment must prove themselves again.
        self._doubt_at = -inf

    def admit(self, lease: Lease, now: float) -> Step | Down:
        """What the holder of a lease shall do to use the shard.

        Raises:
            errors.InterfaceError: The lease has ended.
        """
        if lease.ended:
            raise errors.InterfaceError("connection already closed")
        slot = lease.slot
        if self.name in slot.proven:
            if self.name not in lease.used and self._in_doubt(slot.proven[self.name], now):
                return Step.CHECK
            lease.used.add(self.name)
            return Step.USE
        if not self.breaker.admits(slot, now):
            self.refused += 1
            return self.down()
        slot.opening.add(self.name)
        return Step.OPEN

    def opened(self, lease: Lease, now: float) -> bool:
        """A connection was opened; returns False if it must be closed, because the lease ended."""
        self.breaker.succeeded()
        self.rejects = self.silent = False
        self.connects += 1
        lease.slot.opening.discard(self.name)
        if lease.ended:
            return False
        self._prove(lease, now)
        return True

    def failed(self, lease: Lease, now: float, reason: str) -> None:
        """A connection could not be opened.

        Args:
            reason: In one line, without a password.
        """
        self.failed_connects += 1
        self.silent = False
        lease.slot.opening.discard(self.name)
        if self.breaker.failed(lease.slot, now, reason):
            self._doubt_at = now

    def rejected(self, lease: Lease) -> None:
        """The server answers, but lets nobody in, as it will tell the next request, too."""
        self.failed_connects += 1
        lease.slot.opening.discard(self.name)
        self.breaker.succeeded()
        self.rejects, self.silent = True, False

    def abandoned(self, lease: Lease, now: float) -> None:
        """Opening a connection was given up: the time of the caller was up, or it was killed."""
        self.silent = True
        lease.slot.opening.discard(self.name)
        self.breaker.abandoned(lease.slot, now)

    def checked(self, lease: Lease, now: float) -> None:
        """The slot's connection works."""
        if not lease.ended:
            self._prove(lease, now)

    def lost(self, lease: Lease, now: float) -> None:
        """The slot's connection broke, and is closed; the others may be broken too."""
        self.lost_connections += 1
        if not lease.ended:
            lease.slot.proven.pop(self.name, None)
        self._doubt_at = now

    def began(self) -> None:
        """A statement was sent to the shard."""
        self.running += 1

    def ended(self, seconds: float, *, failed: bool = False) -> None:
        """A statement that was sent has ended."""
        self.running -= 1
        self.failed_queries += failed
        self.queries.observe(seconds)

    def _in_doubt(self, proven: float, now: float) -> bool:
        return proven <= self._doubt_at or now - proven >= self._check_after_s

    def _prove(self, lease: Lease, now: float) -> None:
        lease.slot.proven[self.name] = now
        lease.used.add(self.name)

    @property
    def is_doubtful(self) -> bool:
        """Whether a request that any shard can serve should take another one."""
        return self.breaker.down or self.rejects or self.silent

    def down(self) -> Down:
        """What to tell who cannot have a connection."""
        breaker = self.breaker
        retry_at = None if breaker.probing else breaker.retry_at
        return Down(self.name, breaker.since, breaker.reason, retry_at)
