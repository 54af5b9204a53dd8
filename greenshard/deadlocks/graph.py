"""Who waits for whom over all shards, which of them wait in a circle, and who gives way.

Each server knows who waits there; none knows which sessions on different servers are one
transaction. That the processes tell each other: each *marks* the sessions of its transactions whose
statements wait (see `observer`). A transaction that is marked is one node, and each other session
is one::

    s0:  session 11 waits for 12        T1: session 11 on s0, 21 on s1
    s1:  session 22 waits for 21        T2: session 12 on s0, 22 on s1

    T1 -s0-> T2 -s1-> T1        a cycle: T1 waits in session 11, and is waited for in 21

A cycle that enters and leaves each of its nodes by one and the same session lies on one server,
which breaks it by itself. Nobody else breaks one that enters a transaction by one session and
leaves it by another; so it is with a transaction that waits for itself.

The servers are not asked at one moment, so a cycle that one look finds may never have been there.
It was if a second look finds it with the same waits: each of them then went on all the time between
both, and who waits lets nobody else go on. This is why edges tell since when.

A prepared transaction has no session and waits for nothing, so it is in no cycle.

Source: Chandy, Misra, Haas: Distributed Deadlock Detection (1983), for deadlocks that are seen and
were none; PostgreSQL's src/backend/storage/lmgr/README, "The Deadlock Detection Algorithm".
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class Backend:
    """A session, by the process that serves it."""

    shard: str
    pid: int


@dataclass(frozen=True, slots=True, order=True)
class Waiter:
    """A transaction whose statement waits; a later statement of it is another one.

    Attributes:
        process: Whose it is: a name that no two processes have.
        number: Which one of that process's.
    """

    process: str
    number: int


Node = Waiter | Backend


@dataclass(frozen=True, slots=True)
class Wait:
    """A session that waits for a lock.

    Attributes:
        pid: The session.
        since: Since when, by its server; a later wait has another time.
        blockers: The sessions that it waits for.
    """

    pid: int
    since: str
    blockers: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Mark:
    """What a process says of a session: of which of its transactions that wait it is.

    Attributes:
        waiter: The transaction.
        pid: The session.
        began: When its transaction began, by its server, in ms; 0 if it is not told.
    """

    waiter: Waiter
    pid: int
    began: int = 0


@dataclass(frozen=True, slots=True)
class View:
    """What one server tells."""

    waits: tuple[Wait, ...] = ()
    marks: tuple[Mark, ...] = ()


@dataclass(frozen=True, slots=True)
class Edge:
    """A wait for one session, and whose sessions both are."""

    source: Node
    waiting: Backend
    since: str
    blocking: Backend
    target: Node


@dataclass(frozen=True, slots=True)
class Cycle:
    """Waits each of which is for the next one, and the last for the first.

    Attributes:
        edges: They.
        began: When the transactions in it began that may give way, in ms of their servers.
    """

    edges: tuple[Edge, ...]
    began: Mapping[Waiter, int]

    @property
    def key(self) -> frozenset[Edge]:
        """Equal for a cycle that is the same still, with the same waits."""
        return frozenset(self.edges)


def find_cycles(views: Mapping[str, View]) -> list[Cycle]:
    """The cycles that no server can see; for each session by which one is left, a shortest one.

    Args:
        views: What the shards told, by their names. A shard that did not answer hides cycles, and
            makes none.
    """
    graph = _Graph(views)
    found: dict[frozenset[Edge], Cycle] = {}
    for node in sorted(graph.waiters):
        for waiting in sorted({edge.waiting for edge in graph.leaving(node)}):
            if (edges := graph.way_back(node, waiting)) is not None:
                members = {
                    edge.source: graph.waiters[edge.source]
                    for edge in edges
                    if isinstance(edge.source, Waiter)
                }
                cycle = Cycle(edges, members)
                found.setdefault(cycle.key, cycle)
    return list(found.values())


def choose(cycles: Iterable[Cycle], spared: Collection[Waiter] = ()) -> dict[Waiter, Cycle]:
    """Who gives way, with a cycle that it breaks; all that see the same cycles choose the same.

    It is the transaction that began last, for it has done the least; of several, any one.

    Args:
        cycles: All that there are.
        spared: Who does not give way though it should: then the next one does.
    """
    left = sorted(cycles, key=lambda cycle: len(cycle.edges))
    chosen: dict[Waiter, Cycle] = {}
    while True:
        began = {w: at for cycle in left for w, at in cycle.began.items() if w not in spared}
        if not began:
            return chosen
        victim = max(began, key=lambda waiter: (began[waiter], waiter))
        chosen[victim] = next(cycle for cycle in left if victim in cycle.began)
        left = [cycle for cycle in left if victim not in cycle.began]


class _Graph:
    """The waits of all shards.

    Attributes:
        waiters: The transactions that may give way, with when they began.
    """

    def __init__(self, views: Mapping[str, View]) -> None:
        self.waiters: dict[Waiter, int] = {}
        self._leaving: dict[Node, list[Edge]] = {}
        of: dict[Backend, Node] = {}
        for shard, view in views.items():
            for mark in view.marks:
                of[Backend(shard, mark.pid)] = mark.waiter
                # The same for all who look: the earliest that a server tells.
                told = [began for began in (self.waiters.get(mark.waiter), mark.began) if began]
                self.waiters[mark.waiter] = min(told, default=0)
        for shard, view in views.items():
            for wait in view.waits:
                waiting = Backend(shard, wait.pid)
                for pid in wait.blockers:
                    blocking = Backend(shard, pid)
                    source, target = of.get(waiting, waiting), of.get(blocking, blocking)
                    edge = Edge(source, waiting, wait.since, blocking, target)
                    self._leaving.setdefault(source, []).append(edge)
        for edges in self._leaving.values():
            edges.sort(key=lambda edge: (edge.waiting, edge.blocking))

    def leaving(self, node: Node) -> Iterable[Edge]:
        """For whom it waits."""
        return self._leaving.get(node, ())

    def way_back(self, node: Node, waiting: Backend) -> tuple[Edge, ...] | None:
        """A shortest cycle that leaves a node by one of its sessions, and enters it by another."""
        came: dict[Node, Edge] = {}
        ahead = deque(edge for edge in self.leaving(node) if edge.waiting == waiting)
        while ahead:
            edge = ahead.popleft()
            if edge.target == node:
                if edge.blocking != waiting:
                    return tuple(reversed(list(_way(edge, node, came))))
            elif edge.target not in came:
                came[edge.target] = edge
                ahead += self.leaving(edge.target)
        return None


def _way(last: Edge, start: Node, came: Mapping[Node, Edge]) -> Iterator[Edge]:
    """The edges from a node to the source of one that leads back there, backwards."""
    yield last
    while last.source != start:
        last = came[last.source]
        yield last
