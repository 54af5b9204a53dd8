"""What a pool tells of itself, as values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from greenshard.pool.histogram import Durations
from greenshard.pool.pool_state import PoolState
from greenshard.pool.shard_state import ShardState
from greenshard.pool.slot import Slot


@dataclass(frozen=True, slots=True)
class ShardStats:
    """One shard, as the pool sees it.

    Attributes:
        open: Connections to it.
        opening: Connections being opened.
        down_s: For how many seconds it has been down; None while it is up.
        reason: Why it is down, in one line.
        running: Statements that run on it now.
        queries: How long its statements took.
        failed_queries: How many of them failed.
        connects, failed_connects: Connections that were opened, and could not be.
        lost_connections: Connections that broke.
        refused: How often nobody tried to connect, because it was down.
    """

    open: int
    opening: int
    down_s: float | None
    reason: str
    running: int
    queries: Durations
    failed_queries: int
    connects: int
    failed_connects: int
    lost_connections: int
    refused: int


@dataclass(frozen=True, slots=True)
class RecoveryStats:
    """What a pool's recovery in the background has found.

    Attributes:
        at: When its last round ended, by ``time.monotonic``.
        in_doubt: Parts of transactions that it left in doubt, on all shards together.
        oldest_s: For how long the oldest of them had been prepared.
        finished: How many it has finished since the process first used the pool.
    """

    at: float
    in_doubt: int
    oldest_s: float
    finished: int


@dataclass(frozen=True, slots=True)
class PoolStats:
    """A pool at one moment. What is counted is counted since the process first used it.

    Attributes:
        max_size: How many logical connections there may be.
        size: How many there are: those taken, idle, being connected, and being closed.
        taken, idle, connecting, closing: These.
        waiting: Requests that wait for one.
        longest_wait_s: For how long the first of them has waited.
        requests: Requests for one; `waited` had to wait, `timeouts` ended with `PoolTimeout` and
            `refused` with `PoolFull`.
        waits: How long those waited that got one.
        leaks: How many were held for too long.
        shards: Each shard, by name.
        gatherers: The connections that gather rows, which are a pool of their own.
        recovery: What recovery in the background has found; None before its first round, and
            where there is none.
    """

    max_size: int
    size: int
    taken: int
    idle: int
    connecting: int
    closing: int
    waiting: int
    longest_wait_s: float
    requests: int
    waited: int
    timeouts: int
    refused: int
    waits: Durations
    leaks: int
    shards: Mapping[str, ShardStats]
    gatherers: PoolStats | None = None
    recovery: RecoveryStats | None = None


def stats_of(state: PoolState, now: float) -> PoolStats:
    """A pool's numbers."""
    counts = state.counts
    first = next(iter(state.waiting), None)
    slots = _slots(state)
    opened = Counter(name for slot in slots for name in slot.proven)
    opening = Counter(name for slot in slots for name in slot.opening)
    return PoolStats(
        max_size=state.policy.max_size,
        size=state.size,
        taken=len(state.leases),
        idle=len(state.idle),
        connecting=len(state.chores),
        closing=len(state.closing),
        waiting=len(state.waiting),
        longest_wait_s=0.0 if first is None else now - first.since,
        requests=counts.requests,
        waited=counts.waited,
        timeouts=counts.timeouts,
        refused=counts.refused,
        waits=counts.waits.value(),
        leaks=counts.leaks,
        shards={
            name: _shard(shard, opened[name], opening[name], now)
            for name, shard in state.shards.items()
        },
    )


def _slots(state: PoolState) -> list[Slot]:
    held = [lease.slot for lease in (*state.leases, *state.chores)]
    return [*held, *state.idle, *state.closing]


def _shard(shard: ShardState, opened: int, opening: int, now: float) -> ShardStats:
    since = shard.breaker.since
    return ShardStats(
        open=opened,
        opening=opening,
        down_s=None if since is None else now - since,
        reason=shard.breaker.reason,
        running=shard.running,
        queries=shard.queries.value(),
        failed_queries=shard.failed_queries,
        connects=shard.connects,
        failed_connects=shard.failed_connects,
        lost_connections=shard.lost_connections,
        refused=shard.refused,
    )
