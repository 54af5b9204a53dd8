"""A pool in one process: its state, its connections, and who carries out what the state decides.

A fork begins anew: the child has a state of its own, and never touches the parent's connections.
"""

from __future__ import annotations

import logging
import os
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from random import random

from greenshard import _green, errors
from greenshard._driver import Dsn
from greenshard.executor.answers.portals import Portals
from greenshard.links.gatherer import prepare
from greenshard.links.opening import Opening
from greenshard.links.physical import Physical
from greenshard.links.session import Session
from greenshard.pool.background import Background
from greenshard.pool.codes import Codes
from greenshard.pool.holding import Holding, close_all
from greenshard.pool.housekeeper import Housekeeper
from greenshard.pool.policy import Policy
from greenshard.pool.pool_state import PoolState
from greenshard.pool.shard_news import ShardNews
from greenshard.pool.slot import Chore, Lease, Slot, Ticket, Todo
from greenshard.pool.stats import PoolStats, stats_of

logger = logging.getLogger("greenshard")


Connect = Callable[["Process", Chore], None]


class Process:
    """A pool in this process.

    Args:
        policy: The numbers that it goes by.
        opening: How connections are opened.
        connect: What opens what a chore says, in this process or a child.
        state: The pool's state; a new one by default.
        gatherers: The pool of the connections that gather, if there is one; this one otherwise
            is such a pool itself.

    Attributes:
        dsns: How to connect, by shard.
        prepare: Called with each new connection, in the greenlet that opened it.
        lock: Held for each look at the state, and for each change. Nothing in it switches
            greenlets, so that a greenlet never finds it held by another one of its thread.
        encoding: The client encoding of all connections, once there was one.
        codes: What the shards of a union may run.
        portals: The named cursors of the leases that there are, with their sessions.
    """

    now = staticmethod(time.monotonic)

    def __init__(
        self,
        policy: Policy,
        opening: Opening,
        connect: Connect,
        state: PoolState | None = None,
        gatherers: Process | None = None,
    ) -> None:
        self.pid = os.getpid()
        self.lock = _green.NativeLock()
        self.opening = opening
        self.dsns = _dsns(opening)
        self.prepare: Callable[[Physical], None] | None = None
        if policy.of_gatherers:
            self.prepare = prepare
        self.gatherers = gatherers
        self.connect_timeout_s = opening.connect_timeout_s
        self.patience_s = policy.patience_s
        self.state = state or PoolState(policy, self.dsns, random)
        self.encoding: str | None = None
        self.portals: dict[Lease, Portals] = {}
        self.dropped: deque[Lease] = deque()
        self.codes = Codes()
        self.news = ShardNews(self.state.shards)
        self._holdings: dict[Slot, Holding] = {}
        self._successors: dict[int, Process] = {}
        self._connect = connect
        every_s = policy.recover_every_s
        self._recovery = None if every_s is None else Background(self.dsns, every_s)
        self._housekeeper = Housekeeper(self, self._recovery)

    def here(self) -> Process:
        """The pool in the process that asks: this, or one that begins anew after a fork."""
        # Asked each time: after a fork, the parent's sockets must not be touched.
        pid = os.getpid()
        if pid == self.pid:
            return self
        # setdefault is atomic: threads of the child agree on one.
        gatherers = self.gatherers and self.gatherers.here()
        state = self.state.forked()
        fresh = Process(self.state.policy, self.opening, self._connect, state, gatherers)
        return self._successors.setdefault(pid, fresh)

    @property
    def shards(self) -> tuple[str, ...]:
        return tuple(self.dsns)

    def holding(self, slot: Slot) -> Holding:
        """What a slot holds."""
        return self._holdings.setdefault(slot, Holding())

    # Requests -------------------------------------------------------------------------------

    def take(self, timeout_s: float, where: str) -> Lease:
        """Wait for a slot.

        Raises:
            errors.PoolTimeout: None became free in time.
            errors.PoolFull: Too many wait.
            errors.PoolClosed: The pool is closed.

        Switches: if it must wait.
        """
        _green.enter_thread()
        self.drop_lost()
        with self.lock:
            ticket, todo = self.state.ask(self.now(), timeout_s, where)
            if not ticket.decided:
                # In the lock: whoever decides the ticket must find the signal.
                ticket.signal = _green.Event()
        try:
            self.carry_out(todo)
            if ticket.signal is not None:
                ticket.signal.wait(max(0.0, ticket.deadline - self.now()))
            # After the wait: its first look then finds what was taken.
            self._housekeeper.start()
        except BaseException:
            self._leave(ticket)
            raise
        if not ticket.decided:
            self._leave(ticket)
        return _outcome(ticket)

    def _leave(self, ticket: Ticket) -> None:
        with self.lock:
            todo = self.state.leave(ticket, self.now())
        self.carry_out(todo)

    def give_back(self, lease: Lease, *, keep: bool = True) -> None:
        """End a lease. Switches: if connections must be closed."""
        self.portals.pop(lease, None)
        with self.lock:
            todo = self.state.give_back(lease, self.now(), keep=keep)
        self.carry_out(todo)

    def drop_lost(self) -> None:
        """Take back what was dropped without being given back.

        The garbage collector may find that out in the midst of anything: it only leaves a note.
        """
        # Here, and not in __del__: the garbage collector may run while the lock is held.
        while self.dropped:
            lease = self.dropped.popleft()
            logger.warning("a connection of the pool, taken at %s, was not given back", lease.where)
            self.give_back(lease, keep=False)

    # What the state decides -----------------------------------------------------------------

    def carry_out(self, todo: Todo) -> None:
        """Do what follows from a change of the state. Switches: if connections must be closed."""
        for ticket in todo.decided:
            if ticket.signal is not None:
                ticket.signal.set()
        for lease in todo.leaks:
            logger.warning(
                "a connection of the pool is held for %.0f s; it was taken at %s",
                self.now() - lease.since,
                lease.where,
            )
        if todo.chores or todo.recall:
            self._housekeeper.work(todo.chores)
        if todo.close and (arrived := self._close(todo.close)) is not None:
            raise arrived

    def _close(self, slots: Sequence[Slot]) -> BaseException | None:
        """Close what slots held, together, and free them; returns what arrived meanwhile."""
        # Out of the books first: a slot's number is not used again, and nobody finds what is being
        # closed.
        held = [holding for slot in slots if (holding := self._holdings.pop(slot, None))]
        arrived = None
        try:
            if physicals := [each for holding in held for each in holding.physicals.values()]:
                close_all(physicals)
        except BaseException as exc:
            arrived = exc
        for slot in slots:
            with self.lock:
                todo = self.state.gone(slot, self.now())
            try:
                self.carry_out(todo)
            except BaseException as exc:
                arrived = _green.graver(arrived, exc)
        return arrived

    # Life -----------------------------------------------------------------------------------

    def connect(self, chore: Chore) -> None:
        """Open what a chore says. Switches: yes."""
        self._connect(self, chore)

    def tick(self) -> float | None:
        """Do what is due; returns seconds until the next time, None if that is not known."""
        self.drop_lost()
        with self.lock:
            todo = self.state.tick(self.now())
        self.carry_out(todo)
        with self.lock:
            due = self.state.next_tick(self.now())
        return None if due is None else max(0.0, due - self.now())

    def stats(self) -> PoolStats:
        """The pool's numbers."""
        with self.lock:
            stats = stats_of(self.state, self.now())
        if self.gatherers is None:
            return stats
        recovery = None if self._recovery is None else self._recovery.stats
        return replace(stats, gatherers=self.gatherers.stats(), recovery=recovery)

    def close(self, timeout_s: float) -> None:
        """Give out nothing any more; close all connections, when they are given back.

        Those that are not given back within `timeout_s` seconds are taken: what runs on them is
        cancelled.

        Switches: yes.
        """
        _green.enter_thread()
        self.drop_lost()
        with self.lock:
            todo = self.state.close()
        self.carry_out(todo)
        self._wait_until_empty(timeout_s)
        self._revoke()
        if self.gatherers is not None:
            self.gatherers.close(0.0)
        self._housekeeper.stop()

    def _revoke(self) -> None:
        """Take back what was not given back.

        A connection on which something still happens is left to its user: to close it under
        psycopg2 would freeze the thread.
        """
        for lease in (*self.state.leases, *self.state.chores):
            portals = self.portals.get(lease)
            if portals is not None and end_session(portals.session):
                portals.end_all()
            else:
                self._wait_for(lease)
        with self.lock:
            todo = self.state.revoke(self.now())
        self.carry_out(todo)

    def _wait_for(self, lease: Lease) -> None:
        """Let who holds a lease give it back; if that takes too long, leave its connections."""
        end = self.now() + self.opening.grace_s + 1.0
        while not lease.ended and self.now() < end:
            _green.sleep(_green.LOOK_S)
        if not lease.ended:
            self._holdings.pop(lease.slot, None)

    def _wait_until_empty(self, timeout_s: float) -> None:
        end = self.now() + timeout_s
        while self.state.size and self.now() < end:
            _green.sleep(_green.LOOK_S)
            self.drop_lost()


def end_session(session: Session) -> bool:
    """End a session, whatever it is doing.

    Returns:
        Whether this call ended it: then its connections are the caller's, and nobody else uses
        them. False if it had ended, or does not let go.

    Switches: if it is in use by another greenlet or thread; then what runs is cancelled.
    """
    end = time.monotonic() + session.grace_s + 1.0
    while time.monotonic() < end:
        if session.closed:
            return False
        try:
            if session.running:
                session.cancel()
            with session.taken():
                ours = not session.closed
                session.closed = True
                return ours
        except errors.Error:
            _green.sleep(_green.LOOK_S)  # another greenlet of this thread has it
    return False


def _outcome(ticket: Ticket) -> Lease:
    if ticket.lease is not None:
        return ticket.lease
    if ticket.refusal is None:
        raise errors.PoolClosed("the pool was left in a fork", code="GS603")
    raise ticket.refusal


def _dsns(opening: Opening) -> Mapping[str, Dsn]:
    return {name: shard for name, shard in opening.shards.items() if isinstance(shard, Dsn)}
