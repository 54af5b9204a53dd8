"""What a pool says when it has no connection to give."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from typing import Protocol

from greenshard import errors
from greenshard.pool.policy import Policy
from greenshard.pool.shard_state import Down, ShardState
from greenshard.pool.slot import Lease, Slot, Ticket

#: How many places in the program a message names.
_NAMED = 3


class Situation(Protocol):
    """What is told of a pool; `pool_state.PoolState` has it."""

    policy: Policy

    @property
    def leases(self) -> Collection[Lease]: ...

    @property
    def chores(self) -> Collection[Lease]: ...

    @property
    def closing(self) -> Collection[Slot]: ...

    @property
    def waiting(self) -> Collection[Ticket]: ...

    @property
    def shards(self) -> Mapping[str, ShardState]: ...


def timeout(state: Situation, ticket: Ticket, now: float) -> errors.PoolTimeout:
    """The error of a request that waited in vain."""
    within = f"within {ticket.deadline - ticket.since:g} s: {situation(state, now)}"
    if state.policy.of_gatherers:
        return errors.PoolTimeout(
            f"no connection to gather with {within}",
            code="GS601",
            hint="Let fewer or faster statements gather, or raise max_gathers or timeout.",
        )
    return errors.PoolTimeout(
        f"no connection {within}",
        code="GS601",
        hint="Hold connections for a shorter time, make the statements faster, "
        "or raise max_size or timeout.",
    )


def full(state: Situation, now: float) -> errors.PoolFull:
    """The error of a request that may not even wait."""
    return errors.PoolFull(
        f"no connection, and {len(state.waiting)} wait already: {situation(state, now)}",
        code="GS602",
        hint="Answer that the service is busy, or raise max_size or max_waiting.",
    )


def unavailable(down: Down, now: float) -> errors.ShardUnavailable:
    """The error of a request that needs a shard that is down."""
    since_s = 0.0 if down.since is None else now - down.since
    when = "a probe is under way"
    if down.retry_at is not None:
        when = f"the next probe is due in {max(0.0, down.retry_at - now):.1f} s"
    return errors.ShardUnavailable(
        f"shard {down.shard} is down for {since_s:.1f} s ({down.reason}); {when}",
        code="GS604",
        shard=down.shard,
        hint="Statements that do not touch it go on; it is used again when a probe succeeds.",
    )


def situation(state: Situation, now: float) -> str:
    """Who holds connections, who waits, and what the shards are doing, in one line."""
    parts = [_held(state, now)]
    if state.waiting:
        longest = now - next(iter(state.waiting)).since
        where = _places(ticket.where for ticket in state.waiting)
        parts.append(f"{len(state.waiting)} others wait, the longest for {longest:.1f} s ({where})")
    open_to = Counter(name for lease in state.leases for name in lease.slot.proven)
    parts += [_doing(shard, open_to[name], now) for name, shard in state.shards.items()]
    return "; ".join(parts)


def _held(state: Situation, now: float) -> str:
    taken = f"{len(state.leases)} of {state.policy.max_size} are taken"
    if state.leases:
        longest = now - next(iter(state.leases)).since
        where = _places(lease.where for lease in state.leases)
        taken += f", the longest for {longest:.1f} s ({where})"
    if state.chores:
        taken += f", {len(state.chores)} are being connected"
    if state.closing:
        taken += f", {len(state.closing)} are being closed"
    return taken


def _places(places: Iterable[str]) -> str:
    """Where in the program, with how many, the most first."""
    counted = Counter(places)
    named = [f"{number} at {where}" for where, number in counted.most_common(_NAMED)]
    others = sum(counted.values()) - sum(number for _, number in counted.most_common(_NAMED))
    return ", ".join([*named, f"{others} elsewhere"] if others else named)


def _doing(shard: ShardState, connections: int, now: float) -> str:
    """What a shard does for the connections that are taken."""
    text = f"shard {shard.name}: {connections} connections in use, {shard.running} statements run"
    if shard.breaker.since is not None:
        text += f", down for {now - shard.breaker.since:.1f} s ({shard.breaker.reason})"
    return text
