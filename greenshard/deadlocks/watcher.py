"""The thread that looks for deadlocks, while statements of this process wait for locks.

There is one for all connections to the same shards, and it lives as long as there is something to
look at: a server sees one session more of the process, whatever the number of statements that wait.
A thread, because the hub in which a statement waits may end, or be busy, before another's.
"""

from __future__ import annotations

import atexit
import logging
import os
import secrets
import time
import weakref
from collections.abc import Hashable, Iterable, Mapping, Sequence
from itertools import count
from typing import Any

from greenshard import _green, errors
from greenshard._driver import Dsn, RawConnection
from greenshard._libpq import server_tried
from greenshard.deadlocks.graph import Backend, Cycle, Edge, Node, Waiter, choose, find_cycles
from greenshard.deadlocks.observer import Member, Observer
from greenshard.links.fanout import FanOut
from greenshard.links.physical import Identity, Physical
from greenshard.links.session import Session

logger = logging.getLogger("greenshard")

#: Pauses, as parts of the timeout: between two looks, between two that may show the same cycle, and
#: while no statement waits for a lock.
_PAUSE, _CONFIRM, _LAZY = 0.3, 0.1, 0.5
#: After how many timeouts somebody else gives way, if the one who should does not.
_PATIENCE = 2.0
#: Seconds without statements after which the connections are closed and the thread ends.
_LINGER_S = 2.0
#: How many transactions of a process are marked at most: each mark is a lock on each server.
_MOST = 50
#: Seconds that the end of the process waits for the thread; see `pool.housekeeper`.
_END_S = 4.0


class Waiting:
    """A statement that has taken long, and may wait for locks.

    Args:
        number: Its transaction's number in this process.
        fanout: Its calls, which are not kept: they hold connections.
        members: The sessions of its transaction, whose processes are known.
    """

    def __init__(self, number: int, fanout: FanOut, members: tuple[Member, ...]) -> None:
        self.number, self.members = number, members
        self._fanout = weakref.ref(fanout)

    @property
    def fanout(self) -> FanOut | None:
        """Its calls, if they have not ended."""
        fanout = self._fanout()
        return None if fanout is None or fanout.over else fanout

    def running(self) -> list[Member]:
        """The sessions that have not answered it yet."""
        fanout = self.fanout
        calls = [job for job in fanout.jobs if job.running] if fanout is not None else []
        pids = {job.physical.backend_pid for job in calls if job.physical is not None}
        return [member for member in self.members if member.backend.pid in pids]

    def goes_by(self, number: int) -> bool:
        """Whether it is what a number stands for: its transaction, or a session's alone."""
        return number == self.number or any(number == each.alone for each in self.members)


def report(
    session: Session,
    fanout: FanOut,
    shards: Mapping[str, Dsn | RawConnection],
    timeout_s: float,
) -> None:
    """Let somebody look whether a statement that has taken long is in a deadlock.

    Called in the thread whose statement it is.

    Args:
        session: Its connections.
        fanout: Its calls.
        shards: How to connect to all shards; or connections that the program opened.
        timeout_s: How long it has taken.
    """
    opened = {name: physical.dsn for name, physical in session.physicals.items()}
    dsns = opened | {name: each for name, each in shards.items() if isinstance(each, Dsn)}
    members = tuple(_members(session))
    if members:
        _watcher(dsns, timeout_s).add(Waiting(next(_numbers), fanout, members))


def _members(session: Session) -> Iterable[Member]:
    for physical in session.every:
        if physical.alive and (identity := _identity(session, physical)) is not None:
            backend = Backend(physical.shard, physical.backend_pid)
            yield Member(backend, identity, next(_numbers))


def _identity(session: Session, physical: Physical) -> Identity | None:
    """What a session's server says of itself, if there is no pooler between, and it is known."""
    if physical.identity is None and physical.beside is not None:
        # One that gathers was not asked: it is where the shard's own is, or is not known.
        own = session.physicals.get(physical.shard)
        if own is None or not own.alive or server_tried(own.raw) != server_tried(physical.raw):
            return None
        physical = own
    return physical.identity if physical.server_pid is not None else None


class Watcher:
    """Has a thread look for deadlocks over some shards, as long as there is something to look at.

    Args:
        dsns: How to connect, by shard.
        timeout_s: After how long statements are reported; the pauses between looks follow from it.
    """

    def __init__(self, dsns: Mapping[str, Dsn], timeout_s: float) -> None:
        self.pid = os.getpid()
        self.runs = self.stopped = False
        self._dsns, self._timeout_s = dsns, timeout_s
        self._lock = _green.NativeLock()
        self._waiting: dict[int, Waiting] = {}
        self._wake: Any = None

    def add(self, waiting: Waiting) -> None:
        """Look whether a statement is in a deadlock, until it has ended; once if added twice."""
        with self._lock:
            if all(each.fanout is not waiting.fanout for each in self._waiting.values()):
                self._waiting[waiting.number] = waiting
            starts = not (self.runs or self.stopped)
            self.runs = self.runs or starts
            wake = self._wake
        if starts:
            try:
                _green.start_thread(self._run)
            except RuntimeError:  # there are too many; it is reported again
                self.runs = False
        elif wake is not None:
            wake.set()

    def stop(self) -> None:
        """Let the thread end; does not wait for that."""
        self.stopped = True
        if (wake := self._wake) is not None:
            wake.set()

    def _run(self) -> None:
        _green.enter_thread()
        looking = None
        try:
            looking = _Looking(self._dsns, self._timeout_s)
            self._watch(looking)
        except BaseException:
            logger.exception("looking for deadlocks has failed")
            with self._lock:
                self._wake, self.runs = None, False
        finally:
            if looking is not None:
                looking.close()

    def _watch(self, looking: _Looking) -> None:
        wake = self._wake = _green.Event()
        idle_since = time.monotonic()
        while True:
            # Before the look: who is added after it is not overheard.
            wake.clear()
            waiting = self._current()
            if waiting:
                idle_since = time.monotonic()
            pause_s = looking.look(waiting)
            idles = time.monotonic() - idle_since > _LINGER_S
            if self.stopped or (idles and not self._current()):
                if self._end():
                    return
                continue
            wake.wait(pause_s)

    def _end(self) -> bool:
        """End the thread, unless there is something to look at: the next one starts another."""
        with self._lock:
            if self._waiting and not self.stopped:
                return False
            self._wake, self.runs = None, False
        for key in [key for key, each in tuple(_watchers.items()) if each is self]:
            _watchers.pop(key, None)
        return True

    def _current(self) -> list[Waiting]:
        """The statements that have not ended, the first ones first."""
        with self._lock:
            self._waiting = {
                n: each for n, each in self._waiting.items() if each.fanout is not None
            }
            return list(self._waiting.values())[:_MOST]


class _Looking:
    """What a thread sees, and does about it.

    Args:
        dsns, timeout_s: See `Watcher`.
    """

    def __init__(self, dsns: Mapping[str, Dsn], timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._observer = Observer(dsns, secrets.token_hex(8))
        #: The cycles of the last look.
        self._seen: set[frozenset[Edge]] = set()
        #: Since when somebody was to give way.
        self._due: dict[Waiter, float] = {}

    def close(self) -> None:
        """Close the connections to the shards."""
        self._observer.close()

    def look(self, waiting: Sequence[Waiting]) -> float:
        """Look once; returns seconds until the next time.

        Switches: yes.
        """
        running = {each.number: each.running() for each in waiting}
        locked = self._observer.waiting(m for members in running.values() for m in members)
        stuck = [
            each
            for each in waiting
            if any(member.backend in locked for member in running[each.number])
        ]
        if not stuck:
            self._observer.unmark()
            self._seen.clear()
            return _LAZY * self._timeout_s
        cycles = find_cycles(self._observer.look({w.number: w.members for w in stuck}))
        confirmed = [cycle for cycle in cycles if cycle.key in self._seen]
        self._seen = {cycle.key for cycle in cycles}
        for victim, cycle in self._choose(confirmed).items():
            if victim.process in self._observer.names:
                for each in stuck:
                    if each.goes_by(victim.number):
                        _green.spawn(_give_way, each, victim, cycle)
        return (_CONFIRM if cycles else _PAUSE) * self._timeout_s

    def _choose(self, cycles: Sequence[Cycle]) -> dict[Waiter, Cycle]:
        """Who gives way; not who should have done so long ago, and does not."""
        now, patience_s = time.monotonic(), _PATIENCE * self._timeout_s
        spared = {waiter for waiter, since in self._due.items() if now - since > patience_s}
        chosen = choose(cycles, spared)
        self._due = {w: self._due.get(w, now) for w in (*chosen, *spared)} if cycles else {}
        return chosen


def _give_way(waiting: Waiting, victim: Waiter, cycle: Cycle) -> None:
    """End a statement with the error of a deadlock. Switches: yes, until it has ended."""
    fanout = waiting.fanout
    if fanout is not None and fanout.deadlock is None:
        fanout.deadlock = _error(victim, cycle)
        fanout.cancel()


def _error(victim: Waiter, cycle: Cycle) -> errors.Error:
    start = next(at for at, edge in enumerate(cycle.edges) if edge.source == victim)
    edges = cycle.edges[start:] + cycle.edges[:start]
    shards = dict.fromkeys(edge.waiting.shard for edge in edges)
    names: dict[Node, str] = {victim: "this transaction"}
    for edge in edges:
        names.setdefault(edge.source, f"transaction {len(names) + 1}")
    lines = [
        f"{edge.waiting.shard}: {names[edge.source]} (process {edge.waiting.pid}) waits for"
        f" {names[edge.target]} (process {edge.blocking.pid})"
        for edge in edges
    ]
    message = f"deadlock over {', '.join(shards)}; this transaction is rolled back on all shards"
    return errors.deadlock(message, lines, edges[0].waiting.shard)


_numbers = count(1)
_watchers: dict[Hashable, Watcher] = {}


def _watcher(dsns: Mapping[str, Dsn], timeout_s: float) -> Watcher:
    """The one that looks at some shards; another one in a process that was forked."""
    key = (os.getpid(), timeout_s, *((shard, dsn.place) for shard, dsn in sorted(dsns.items())))
    found = _watchers.get(key)
    return found or _watchers.setdefault(key, Watcher(dsns, timeout_s))


def _end_all() -> None:
    """Let no thread run into the end of the interpreter."""
    here = [each for each in tuple(_watchers.values()) if each.pid == os.getpid()]
    for watcher in here:
        watcher.stop()
    end = time.monotonic() + _END_S
    while any(watcher.runs for watcher in here) and time.monotonic() < end:
        _green.native_sleep(0.001)


atexit.register(_end_all)
