"""The numbers that a soak runs with, and what follows from them."""

from __future__ import annotations

from dataclasses import dataclass

#: Seconds that a greenlet may take to end after its connection was closed under it.
_LAST_WAIT_S = 1.0
#: Seconds that giving a connection back may wait for servers to end sessions.
_CLOSE_S = 2.0
#: The most statements that one request sends, its commit's three rounds included.
_STATEMENTS = 8


@dataclass(frozen=True)
class Bounds:
    """What is configured, and what must hold then.

    Attributes:
        clients: How many ask at the same time, over both pools.
        max_size, max_gathers: Of each pool.
        pool_timeout_s, call_timeout_s, connect_timeout_s, grace_s: The pools' arguments.
        max_lifetime_s: Of their connections; short, so that connecting is often under way.
        slack_s: What a busy machine may add to a bound.
        stall_s: For how long the process may do nothing at all.
        over_s: For how long a server may have more sessions than configured before it is told.
        fault_pause_s, fault_s: The longest time without a fault, and the longest fault.
        growth_mb: By how much the process may grow after its first quarter.
    """

    clients: int = 200
    max_size: int = 10
    max_gathers: int = 2
    pool_timeout_s: float = 3.0
    call_timeout_s: float = 1.0
    connect_timeout_s: float = 2.0
    grace_s: float = 2.0
    max_lifetime_s: float = 5.0
    slack_s: float = 5.0
    stall_s: float = 10.0
    over_s: float = 1.0
    fault_pause_s: float = 3.0
    fault_s: float = 3.0
    growth_mb: float = 40.0

    @property
    def statement_s(self) -> float:
        """The longest that one call may take: connecting, its timeout, cancelling, closing."""
        opening_s = self.connect_timeout_s + 0.5 + _LAST_WAIT_S
        return opening_s + self.call_timeout_s + self.grace_s + _LAST_WAIT_S

    @property
    def clean_up_s(self) -> float:
        """The longest that a request may take to end once it was killed."""
        stopped_s = self.grace_s + _LAST_WAIT_S
        rolled_back_s = self.call_timeout_s + self.grace_s + _LAST_WAIT_S
        given_back_s = self.grace_s + 0.1 + _LAST_WAIT_S + _CLOSE_S
        return stopped_s + rolled_back_s + given_back_s + self.slack_s

    @property
    def request_s(self) -> float:
        """The longest that a request may take in all."""
        taking_s = self.pool_timeout_s + 4 * (self.connect_timeout_s + 0.5 + _LAST_WAIT_S)
        return taking_s + _STATEMENTS * self.statement_s + self.clean_up_s

    @property
    def active_s(self) -> float:
        """The longest that a server may run one statement of ours."""
        return self.call_timeout_s + self.grace_s + _LAST_WAIT_S + self.slack_s

    @property
    def idle_s(self) -> float:
        """The longest that a transaction of ours may wait for its next statement."""
        return self.clean_up_s

    @property
    def dead_s(self) -> float:
        """The longest that a server may run a statement of a request that has ended."""
        return self.grace_s + self.slack_s


#: For CI: short faults, and time for a machine that does a lot else.
SHORT = Bounds(
    clients=60,
    slack_s=15.0,
    stall_s=20.0,
    over_s=2.0,
    fault_pause_s=1.0,
    fault_s=0.8,
)
