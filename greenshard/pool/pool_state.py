"""Who holds the pool's logical connections, and who waits for one.

Invariants:

- A logical connection needs a slot, there are never more than `Policy.max_size` of them, and each
  holds at most one connection to each shard. So no shard ever sees more than `max_size`. A slot is
  taken before anything is connected, and is free again only when its connections are closed.
- Each slot is held by one lease, does one chore, is idle, or is being closed. There is no other
  place where it could be, or be lost.
- Requests are served in the order in which they came. While one waits, no slot is idle and none
  could be added, so that the pool begins nothing for itself; what it does already is called off.
- Only who holds no slot waits for one. Who holds one never waits for another's: whether it may use
  or open a connection to a shard is answered at once (`ShardState.admit`). Hence no deadlock: some
  holder can always go on, and gives its slot back. (A request that takes a second connection while
  it holds one breaks this rule; its deadline ends its wait.)

Calls must not overlap: among threads, under a lock. No call lets another greenlet run.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from math import inf

from greenshard import errors
from greenshard.pool import no_connection
from greenshard.pool.histogram import Histogram
from greenshard.pool.policy import Policy
from greenshard.pool.shard_state import ShardState
from greenshard.pool.slot import Chore, Lease, Slot, Ticket, Todo

#: Seconds between two ticks: the most, and the least.
_PERIOD_S, _SHORTEST_PAUSE_S = 1.0, 0.05


@dataclass(slots=True)
class Counts:
    """What has happened since the pool began.

    Attributes:
        requests: Connections asked for.
        waited: Requests that had to wait.
        timeouts, refused: Requests that ended with `PoolTimeout`, with `PoolFull`.
        leaks: Connections that were held for too long.
        waits: How long those who got a connection waited.
    """

    requests: int = 0
    waited: int = 0
    timeouts: int = 0
    refused: int = 0
    leaks: int = 0
    waits: Histogram = field(default_factory=Histogram)


class PoolState:
    """The slots of a pool.

    Args:
        policy: The numbers that it goes by.
        shards: The shards' names.
        random: A number from 0 to 1, each time another; for jitter.

    Attributes:
        shards: What is known of each shard, by name.
        idle: Slots that nobody holds, the longest idle first.
        leases, chores: Slots that are held by requests and by the pool itself, oldest first.
        closing: Slots whose connections are being closed.
        waiting: Undecided tickets, oldest first.
        is_closed: Nobody gets a connection any more.
    """

    def __init__(self, policy: Policy, shards: Iterable[str], random: Callable[[], float]) -> None:
        self.policy = policy
        self.shards = {name: ShardState(name, policy, random) for name in shards}
        self.idle: list[Slot] = []
        self.leases: dict[Lease, None] = {}
        self.chores: dict[Lease, Chore] = {}
        self.closing: set[Slot] = set()
        self.waiting: OrderedDict[Ticket, None] = OrderedDict()
        self.is_closed = False
        self.counts = Counts()
        self._random = random

    @property
    def size(self) -> int:
        """How many slots there are; those that are being closed count until they are."""
        return len(self.idle) + len(self.leases) + len(self.chores) + len(self.closing)

    def forked(self) -> PoolState:
        """The state of a child process: what the parent holds and awaits is not its own."""
        child = PoolState(self.policy, self.shards, self._random)
        child.is_closed = self.is_closed
        return child

    # Requests -------------------------------------------------------------------------------

    def ask(self, now: float, timeout_s: float, where: str) -> tuple[Ticket, Todo]:
        """Ask for a logical connection.

        Returns:
            A ticket. If it is not decided, its owner waits until it is, or its deadline is over,
            and calls `leave` however the wait ends.
        """
        ticket, todo = Ticket(now, now + timeout_s, where), Todo()
        self.counts.requests += 1
        if self.is_closed:
            ticket.refusal = _closed()
            return ticket, todo
        self.waiting[ticket] = None
        self._assign(now, todo)
        if not ticket.decided:
            self._queue(ticket, now, todo)
        return ticket, todo

    def leave(self, ticket: Ticket, now: float) -> Todo:
        """The owner of a ticket goes, without using what it may have got meanwhile."""
        if ticket.lease is not None:
            return self.give_back(ticket.lease, now)
        if ticket in self.waiting:
            self._time_out(ticket, now)
        return Todo()

    def give_back(self, lease: Lease, now: float, *, keep: bool = True) -> Todo:
        """End a lease, unless it has ended, or was the parent process's.

        Args:
            keep: The slot's connections are as good as new; else they are closed.
        """
        todo = Todo()
        # Given back twice, or revoked by `close` meanwhile: the slot may be another's by now.
        if lease not in self.leases and lease not in self.chores:
            return todo
        slot = lease.slot
        keep = self._end(lease, now) and keep
        if keep and not slot.proven:
            pass  # nothing is open: the place is free
        elif keep and now < slot.expires_at and not self.is_closed:
            self._rest(lease, now)
        else:
            self._retire(slot, todo)
        self._assign(now, todo)
        return todo

    def gone(self, slot: Slot, now: float) -> Todo:
        """The connections of a slot are closed, also on the servers as far as that can be seen."""
        todo = Todo()
        self.closing.discard(slot)
        self._assign(now, todo)
        return todo

    # Life -----------------------------------------------------------------------------------

    def tick(self, now: float) -> Todo:
        """What is due: connections to close or to open, probes, leaks."""
        todo = Todo()
        for shard in self.shards.values():
            shard.breaker.look(now)
        self._expire(now, todo)
        self._assign(now, todo)
        if not self.is_closed:
            self._probe(now, todo)
            self._warm(now, todo)
        self._find_leaks(now, todo)
        return todo

    def next_tick(self, now: float) -> float | None:
        """When to call `tick` again; None: not before a connection is asked for."""
        if self.is_closed or not (self.size or self.policy.min_idle or self._retries()):
            return None
        # Once a second is enough for what is old or idle; a probe may be due before.
        due = min([now + _PERIOD_S, *self._retries()])
        return max(due, now + _SHORTEST_PAUSE_S)

    def _retries(self) -> list[float]:
        """When probes are due."""
        breakers = [shard.breaker for shard in self.shards.values()]
        return [breaker.retry_at for breaker in breakers if breaker.down and not breaker.probing]

    def close(self) -> Todo:
        """Give out nothing any more. Connections that are taken are closed when given back."""
        todo = Todo()
        self.is_closed = True
        for ticket in self.waiting:
            ticket.refusal = _closed()
        todo.decided.extend(self.waiting)
        self.waiting.clear()
        for slot in self.idle:
            self._retire(slot, todo)
        self.idle.clear()
        self._recall(len(self.chores), todo)
        return todo

    def revoke(self, now: float) -> Todo:
        """After `close`: take back all that is not given back; who holds it will get errors."""
        todo = Todo()
        for lease in [*self.leases, *self.chores]:
            self._end(lease, now)
            self._retire(lease.slot, todo)
        return todo

    # Slots ----------------------------------------------------------------------------------

    def _assign(self, now: float, todo: Todo) -> None:
        """Serve those who wait, first come, first served, as long as there is a slot."""
        while self.waiting:
            ticket = next(iter(self.waiting))
            # Its owner has not woken up yet, and could not use what it got.
            if ticket.deadline < now:
                self._time_out(ticket, now)
            elif (slot := self._free_slot(now, todo)) is None:
                return
            else:
                del self.waiting[ticket]
                ticket.lease = Lease(slot, now, ticket.where)
                self.leases[ticket.lease] = None
                self.counts.waits.observe(now - ticket.since)
            todo.decided.append(ticket)

    def _queue(self, ticket: Ticket, now: float, todo: Todo) -> None:
        """Let a request wait, if it may."""
        limit = self.policy.max_waiting
        # The ticket is in `waiting` already.
        if limit is None or len(self.waiting) <= limit:
            self.counts.waited += 1
            self._recall(len(self.waiting), todo)
        else:
            del self.waiting[ticket]
            self.counts.refused += 1
            ticket.refusal = no_connection.full(self, now)

    def _time_out(self, ticket: Ticket, now: float) -> None:
        del self.waiting[ticket]
        self.counts.timeouts += now >= ticket.deadline  # else its owner was killed
        ticket.refusal = no_connection.timeout(self, ticket, now)

    def _free_slot(self, now: float, todo: Todo) -> Slot | None:
        """An idle slot, the last used one, so that those not needed grow old; else a new one."""
        while self.idle:
            # The last one: its connections are the likeliest to be good, and the others may reach
            # max_idle.
            slot = self.idle.pop()
            if now < slot.expires_at:
                return slot
            self._retire(slot, todo)
        return self._new_slot(now)

    def _new_slot(self, now: float) -> Slot | None:
        if self.size >= self.policy.max_size:
            return None
        lifetime_s = self.policy.max_lifetime_s or inf
        shorter = self.policy.lifetime_jitter * self._random()
        return Slot(now + lifetime_s * (1 - shorter))

    def _end(self, lease: Lease, now: float) -> bool:
        """Take a slot from its holder; returns False if it was left in the midst of something."""
        lease.ended = True
        self.leases.pop(lease, None)
        self.chores.pop(lease, None)
        unfinished = tuple(lease.slot.opening)
        for name in unfinished:
            self.shards[name].abandoned(lease, now)
        # A connection that is still being opened would go on without an owner: the slot is closed.
        return not unfinished

    def _rest(self, lease: Lease, now: float) -> None:
        """Make a slot idle. What was used, and is still there, has worked since it was taken."""
        slot = lease.slot
        for name in lease.used & slot.proven.keys():
            # Since the lease began, not now: the last use may have been long ago, in a lease of
            # hours.
            slot.proven[name] = max(slot.proven[name], lease.since)
        slot.idle_since = now
        self.idle.append(slot)

    def _retire(self, slot: Slot, todo: Todo) -> None:
        self.closing.add(slot)
        todo.close.append(slot)

    # Chores ---------------------------------------------------------------------------------

    def _recall(self, wanted: int, todo: Todo) -> None:
        """Call off chores, until so many are called off."""
        # A slot for each who waits, and not more: the others go on.
        wanted -= sum(chore.recalled for chore in self.chores.values())
        busy = [chore for chore in self.chores.values() if not chore.recalled]
        for chore in busy[: max(0, wanted)]:
            chore.recalled = True
            todo.recall.append(chore)

    def _expire(self, now: float, todo: Todo) -> None:
        """Close idle slots that are too old, and those idle for too long that are not wanted."""
        unused_since = now - (self.policy.max_idle_s or inf)
        spare = len(self.idle) - self.policy.min_idle
        for slot in tuple(self.idle):
            unwanted = spare > 0 and slot.idle_since <= unused_since
            if unwanted or now >= slot.expires_at:
                self.idle.remove(slot)
                self._retire(slot, todo)
                spare -= 1

    def _probe(self, now: float, todo: Todo) -> None:
        """Try the shards that are due, each from a slot that has no connection to it.

        If no slot is left for that, the next request that needs the shard is the probe.
        """
        # A chore that connects to all shards is a probe, too.
        tried = {name for chore in self.chores.values() for name in chore.shards}
        for name, shard in self.shards.items():
            if shard.breaker.probe_is_due(now) and name not in tried:
                self._begin((name,), now, todo)

    def _warm(self, now: float, todo: Todo) -> None:
        """Connect as many idle slots as wanted to every shard that is up and lets them in."""
        shards = self.shards.items()
        up = [name for name, shard in shards if not shard.breaker.down and not shard.rejects]
        # Without those that are down: to wait for them would keep no slot ready at all.
        warm = sum(all(name in slot.proven for name in up) for slot in self.idle)
        for _ in range(self.policy.min_idle - warm - len(self.chores) if up else 0):
            self._begin(tuple(up), now, todo)

    def _begin(self, shards: tuple[str, ...], now: float, todo: Todo) -> None:
        """Let a slot that lacks some of the shards, or a new one, connect to them."""
        # An idle one first: a new slot would be one more connection to each shard.
        lacking = (slot for slot in self.idle if any(name not in slot.proven for name in shards))
        slot = next(lacking, None)
        if slot is not None:
            self.idle.remove(slot)
        else:
            slot = self._new_slot(now)
        if slot is not None:
            chore = Chore(Lease(slot, now, "the pool itself"), shards)
            self.chores[chore.lease] = chore
            todo.chores.append(chore)

    def _find_leaks(self, now: float, todo: Todo) -> None:
        held_since = now - (self.policy.leak_after_s or inf)
        for lease in self.leases:
            if not lease.reported and lease.since <= held_since:
                lease.reported = True
                self.counts.leaks += 1
                todo.leaks.append(lease)


def _closed() -> errors.PoolClosed:
    return errors.PoolClosed(
        "the pool is closed", code="GS603", hint="Ask for connections before the pool is closed."
    )
