"""The places of a pool, who holds them, who waits for them, and what is to be done about them."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf
from typing import Any

from greenshard.errors import Error


@dataclass(slots=True, eq=False)
class Slot:
    """The place of one logical connection. It holds at most one connection to each shard.

    Attributes:
        expires_at: When it has reached its lifetime.
        idle_since: When it was last given back.
        proven: When its connection to a shard last showed that it works, by the shard's name.
        opening: The shards that a connection is being opened to.
    """

    expires_at: float = inf
    idle_since: float = 0.0
    proven: dict[str, float] = field(default_factory=dict)
    opening: set[str] = field(default_factory=set)


@dataclass(slots=True, eq=False)
class Lease:
    """A slot, held.

    Attributes:
        slot: The place; nobody else holds it until the lease has ended.
        since: When it was taken.
        where: Where in the program it was taken.
        used: The shards whose connections have been used under it.
        ended: It was given back, or revoked; the slot may be another's now.
        reported: It was reported as a leak.
    """

    slot: Slot
    since: float
    where: str
    used: set[str] = field(default_factory=set)
    ended: bool = False
    reported: bool = False


@dataclass(slots=True, eq=False)
class Ticket:
    """A request for a logical connection.

    Attributes:
        since: When it was made.
        deadline: Until when it waits.
        where: Where in the program it was made.
        lease: What it got; None as long as it got nothing.
        refusal: Why it gets nothing.
        signal: How to wake who waits; the pool's state only keeps it.
    """

    since: float
    deadline: float
    where: str
    lease: Lease | None = None
    refusal: Error | None = None
    signal: Any = None

    @property
    def decided(self) -> bool:
        """Whether there is nothing to wait for any more."""
        return self.lease is not None or self.refusal is not None


@dataclass(slots=True, eq=False)
class Chore:
    """Work of the pool's own: to open connections of a slot, as far as the shards admit it.

    Attributes:
        lease: The slot, to be given back afterwards.
        shards: What shall be open then.
        recalled: It was asked to stop.
    """

    lease: Lease
    shards: tuple[str, ...]
    recalled: bool = False


@dataclass(slots=True)
class Todo:
    """What follows from a change of the pool's state, to be carried out by the caller.

    Attributes:
        decided: Tickets whose owners shall be woken.
        close: Slots whose connections shall be closed; then `PoolState.gone` frees their places.
        chores: Work to begin.
        recall: Work to stop soon, because a request waits for its slot.
        leaks: Leases to be reported: they are held for too long.
    """

    decided: list[Ticket] = field(default_factory=list)
    close: list[Slot] = field(default_factory=list)
    chores: list[Chore] = field(default_factory=list)
    recall: list[Chore] = field(default_factory=list)
    leaks: list[Lease] = field(default_factory=list)
