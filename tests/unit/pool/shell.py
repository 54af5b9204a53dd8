"""Carries out what a pool's state decides, against servers that are only counted."""

from __future__ import annotations

from dataclasses import dataclass

from greenshard.pool.pool_state import PoolState
from greenshard.pool.shard_state import Step
from greenshard.pool.slot import Lease, Slot


@dataclass(eq=False)
class Connection:
    """One connection, as a server sees it: from the moment in which it is tried to open."""

    shard: str
    slot: Slot
    lease: Lease
    is_open: bool = False


class Shell:
    """What the pool's own I/O does, without any: every step of it is taken by the test.

    Attributes:
        tickets: Those that are not decided yet, in the order in which they were made.
        leases: What was got and not given back.
        stale: Leases that have ended, or are of the parent process.
        closing: Slots that the pool wants closed.
        recalled: Chores that it wants to end soon.
        connections: What the servers see.
    """

    def __init__(self, policy, shards, random=lambda: 0.5):
        self.state = PoolState(policy, shards, random)
        self.now = 0.0
        self.tickets, self.leases, self.chores = [], [], []
        self.stale, self.closing, self.connections = [], [], []
        self.leaks, self.recalled = [], []
        self.served = {}

    def carry_out(self, todo):
        for ticket in todo.decided:
            assert ticket.decided
            if ticket in self.tickets:
                self._decide(ticket)
        for slot in todo.close:
            assert slot not in self.closing
            self.closing.append(slot)
        self.chores += todo.chores
        self.leaks += todo.leaks
        for chore in todo.recall:
            assert chore.recalled
            assert chore in self.chores
            self.recalled.append(chore)
        self.check()

    def _decide(self, ticket):
        before = self.tickets[: self.tickets.index(ticket)]
        self.tickets.remove(ticket)
        if ticket.lease is not None:
            assert not before, "somebody who came earlier still waits"
            assert ticket.lease.since <= ticket.deadline
            self.leases.append(ticket.lease)
            self.served[ticket.lease] = ticket

    def ask(self, timeout_s=5.0, where="app.py:1 in view"):
        ticket, todo = self.state.ask(self.now, timeout_s, where)
        if ticket.refusal is None:
            self.tickets.append(ticket)
        self.carry_out(todo)
        return ticket

    def take(self, timeout_s=0.0, where="app.py:1 in view"):
        ticket = self.ask(timeout_s, where)
        assert ticket.lease is not None
        return ticket.lease

    def leave(self, ticket):
        self.tickets.remove(ticket)
        self.carry_out(self.state.leave(ticket, self.now))

    def leave_served(self, lease):
        """The owner was killed before it knew that it was served."""
        self.leases.remove(lease)
        self.stale.append(lease)
        self.carry_out(self.state.leave(self.served[lease], self.now))

    def late(self):
        return [ticket for ticket in self.tickets if ticket.deadline <= self.now]

    def held(self):
        """Leases of requests and of chores."""
        return [*self.leases, *(chore.lease for chore in self.chores)]

    def give_back(self, lease, *, keep=True):
        self.chores = [chore for chore in self.chores if chore.lease is not lease]
        self.leases = [each for each in self.leases if each is not lease]
        self.stale.append(lease)
        self.carry_out(self.state.give_back(lease, self.now, keep=keep))

    def finish_closing(self, slot):
        self.closing.remove(slot)
        self.connections = [each for each in self.connections if each.slot is not slot]
        self.carry_out(self.state.gone(slot, self.now))

    def tick(self):
        self.carry_out(self.state.tick(self.now))

    def of(self, lease, shard):
        """The lease's connection to a shard."""
        found = [c for c in self.connections if c.slot is lease.slot and c.shard == shard]
        assert len(found) <= 1
        return found[0] if found else None

    def reach(self, lease, shard):
        """Begin to use a shard; returns what the pool said."""
        step = self.state.shards[shard].admit(lease, self.now)
        connection = self.of(lease, shard)
        if step is Step.OPEN:
            assert connection is None
            self.connections.append(Connection(shard, lease.slot, lease))
        elif isinstance(step, Step):
            assert connection.is_open
        return step

    def end_opening(self, connection, how):
        shard = self.state.shards[connection.shard]
        if how == "opened":
            connection.is_open = shard.opened(connection.lease, self.now)
        elif how == "failed":
            shard.failed(connection.lease, self.now, "connection refused")
        elif how == "rejected":
            shard.rejected(connection.lease)
        else:
            shard.abandoned(connection.lease, self.now)
        if not connection.is_open:
            self.connections.remove(connection)

    def open(self, lease, shard):
        assert self.reach(lease, shard) is Step.OPEN
        self.end_opening(self.of(lease, shard), "opened")

    def lose(self, lease, shard):
        self.connections.remove(self.of(lease, shard))
        self.state.shards[shard].lost(lease, self.now)

    def close(self):
        self.carry_out(self.state.close())
        assert not self.tickets
        assert not self.state.idle
        assert all(chore.recalled for chore in self.chores)

    def revoke(self):
        self.stale += self.held()
        self.leases, self.chores = [], []
        self.carry_out(self.state.revoke(self.now))

    def fork(self):
        """Go on as the child, which has none of the parent's connections."""
        self.stale += self.held()
        self.state = self.state.forked()
        self.tickets, self.leases, self.chores = [], [], []
        self.closing, self.connections = [], []

    def drain(self):
        """Let everything that is under way end."""
        while self.held() or self.closing or self.tickets:
            for lease in self.held():
                self.give_back(lease)
            for slot in tuple(self.closing):
                self.finish_closing(slot)

    def check(self):
        """What must hold at every moment."""
        self._check_slots()
        self._check_connections()
        self._check_waiting()

    def _check_slots(self):
        state = self.state
        assert list(state.leases) == self.leases
        assert list(state.chores.values()) == self.chores
        assert state.closing == set(self.closing)
        places = [*(lease.slot for lease in self.held()), *state.idle, *self.closing]
        assert len(set(places)) == len(places) == state.size <= state.policy.max_size

    def _check_connections(self):
        places = {lease.slot for lease in self.held()} | {*self.state.idle, *self.closing}
        pairs = [(each.shard, each.slot) for each in self.connections]
        assert len(set(pairs)) == len(pairs), "two connections of one slot to one shard"
        for shard in self.state.shards:
            count = sum(each.shard == shard for each in self.connections)
            assert count <= self.state.policy.max_size
        for each in self.connections:
            assert each.slot in places, "a connection that nobody will close"
        for slot in places - {*self.closing}:
            mine = [each for each in self.connections if each.slot is slot]
            assert set(slot.proven) == {each.shard for each in mine if each.is_open}
            assert slot.opening == {each.shard for each in mine if not each.is_open}

    def _check_waiting(self):
        state = self.state
        assert list(state.waiting) == self.tickets
        limit = state.policy.max_waiting
        assert limit is None or len(self.tickets) <= limit
        if any(ticket.deadline >= self.now for ticket in self.tickets):
            assert not state.idle
            assert state.size == state.policy.max_size
            soon_free = sum(chore.recalled for chore in self.chores) + len(self.closing)
            assert soon_free >= min(len(self.chores), len(self.tickets))
