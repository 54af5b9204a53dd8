"""What the servers tell of who waits, and what this process tells the others of its sessions.

Which sessions are one transaction, other processes learn from *marks*: advisory locks that a
process takes in a session of its own on each shard, as long as a statement of the transaction
waits::

    (number of the transaction, process of its session)    two int4: the session is of that one
    (number, begin of the session's transaction in ms)     one int8, of these two halves

Whose they are, the name of the session that has taken them says (``application_name``). Anybody
who may connect can take such locks, under any name: only those of a session's own user are marks of
it, and those of other users are of other processes, whatever their sessions are called. So nobody
can have what is not his taken for a part of a cycle. Not so where a process connects to its shards
as several users, which no server knows to be one: its name says so. They are
shared locks that are only tried, so they keep nobody waiting, and they go with the session. So
nothing is sent or seen where nobody waits; and a transaction is known by all that it has at this
moment, also by connections that a pool has lent it, and by those that the program opened.

A session that is in no transaction block commits by itself, whatever becomes of the statement on
other shards: it is marked as a transaction of its own, and so is one of which that is not known.
Which ones are in a block, their servers tell: a statement that is not in its transaction's first
message began later than that.

Source: PostgreSQL manual, 9.26 pg_blocking_pids, 9.27.10 advisory locks, 52.12 pg_locks
(``waitstart`` since version 14).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import inf
from typing import Any

from greenshard._driver import DriverError, Dsn, own_cursor
from greenshard.deadlocks.graph import Backend, Mark, View, Wait, Waiter
from greenshard.links.fanout import End, FanOut, Job
from greenshard.links.identity import identify
from greenshard.links.physical import Identity, Physical, autocommit

#: What the sessions that look are called, before the name of their process.
NAME = "greenshard deadlocks "
#: What the name of a process begins with that has several users.
_SEVERAL = "*"
#: Seconds in which a server must answer, and be connected to; to end what does not; and until one
#: that failed is asked again.
_ANSWER_S, _GRACE_S, _AGAIN_S = 1.0, 0.5, 5.0

_PATH = "SET search_path = pg_catalog"
#: Which of some sessions wait for locks; without a look at the table of all locks.
_WAITING = """
SELECT pid FROM pg_stat_activity WHERE pid = ANY('{{{pids}}}'::int4[]) AND wait_event_type = 'Lock'
"""
#: The message with which a transaction of ours begins, see `links.beginning`.
_BEGINS = "BEGIN /* greenshard"
_UNMARK = "SELECT pg_advisory_unlock_all()"
#: From the sessions that are marked, all for which they wait, and those wait. In a long queue, each
#: waits for all before it: some of them lead to the others.
_LOOK = f"""
WITH RECURSIVE locks AS MATERIALIZED (
    SELECT pid, locktype, database, classid, objid, objsubid, granted, waitstart
    FROM pg_locks WHERE NOT granted OR locktype = 'advisory'
), marks AS MATERIALIZED (
    SELECT concat(substr(a.application_name, {len(NAME) + 1}),
            CASE WHEN NOT starts_with(a.application_name, '{NAME}{_SEVERAL}')
                THEN concat('/', a.usename) END) AS process,
        l.classid::int8 AS number, l.objid::int8 AS told, l.objsubid
    FROM locks AS l JOIN pg_stat_activity AS a ON a.pid = l.pid
    WHERE l.granted AND starts_with(a.application_name, '{NAME}')
        AND (l.objsubid = 1 OR EXISTS (SELECT FROM pg_stat_activity AS own
            WHERE own.pid::int8 = l.objid::int8 AND own.usesysid = a.usesysid))
        AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
), reached(pid) AS (
    SELECT told::int4 FROM marks WHERE objsubid = 2
    UNION
    SELECT other FROM reached, unnest((pg_blocking_pids(reached.pid))[1:50]) AS other
    WHERE other <> 0
)
SELECT NULL, 0, r.pid::int8, 0::int8, l.waitstart::text,
    array_to_string((pg_blocking_pids(r.pid))[1:50], ',')
FROM (SELECT pid FROM reached LIMIT 300) AS r
JOIN locks AS l ON l.pid = r.pid AND NOT l.granted AND l.waitstart IS NOT NULL
UNION ALL
SELECT m.process, m.number, m.told, coalesce(b.told, 0), NULL, NULL
FROM marks AS m
LEFT JOIN marks AS b ON b.process = m.process AND b.number = m.number AND b.objsubid = 1
WHERE m.objsubid = 2
"""


@dataclass(frozen=True, slots=True)
class Member:
    """A session of a transaction that waits.

    Attributes:
        backend: The session.
        identity: What its server says of itself.
        alone: The number of the transaction that it is by itself, if it is in no block.
    """

    backend: Backend
    identity: Identity
    alone: int


class Observer:
    """The sessions with which this process looks at the shards: at most one to each.

    Args:
        dsns: How to connect, by shard.
        process: The name of this process.

    Attributes:
        names: What the servers call this process.
    """

    def __init__(self, dsns: Mapping[str, Dsn], process: str) -> None:
        users = {
            tuple(dsn.public.get(word) for word in ("user", "service")) for dsn in dsns.values()
        }
        self._process = process if len(users) < 2 else _SEVERAL + process
        self.names: set[str] = set()
        name = NAME + self._process
        self._dsns = {shard: Dsn(dsn.text, application_name=name) for shard, dsn in dsns.items()}
        self._open: dict[str, Physical] = {}
        self._marked: dict[str, tuple[tuple[int, int, int], ...]] = {}
        self._failed_at: dict[str, float] = {}

    def waiting(self, members: Iterable[Member]) -> set[Backend]:
        """Which of some sessions wait for locks, as far as their servers tell it in time.

        Switches: yes.
        """
        asked: dict[str, list[Member]] = {}
        for member in members:
            asked.setdefault(member.backend.shard, []).append(member)
        calls = {shard: partial(_waiting, each) for shard, each in asked.items()}
        return {backend for found in self._ask(calls).values() for backend in found}

    def look(self, marked: Mapping[int, Sequence[Member]]) -> dict[str, View]:
        """Mark the sessions of transactions that wait; what the servers tell then, if in time.

        Args:
            marked: The sessions, by the number of their transaction.

        Switches: yes.
        """
        calls = {shard: partial(self._look, marked) for shard in self._dsns}
        return self._ask(calls)

    def unmark(self) -> None:
        """Let no session be marked any more. Switches: if one was."""
        if any(self._marked.values()):
            self._ask({shard: _unmark for shard, marked in self._marked.items() if marked})
            self._marked.clear()

    def close(self) -> None:
        """Close the sessions."""
        for shard in tuple(self._open):
            self._lose(shard)

    def _look(self, marked: Mapping[int, Sequence[Member]], physical: Physical) -> View:
        shard = physical.shard
        marks = tuple(
            (number, member.alone, member.backend.pid)
            for number, members in sorted(marked.items())
            for member in members
            if member.backend.shard == shard and _is_of(member, physical)
        )
        text = _LOOK
        # Else they stay as they are, so that nobody who looks meanwhile misses them.
        if self._marked.get(shard, ()) != marks:
            self._marked[shard] = marks
            text = ";".join((_UNMARK, _marking(marks), _LOOK))
        return _view(_rows(physical, text))

    def _ask(self, calls: Mapping[str, Callable[[Physical], Any]]) -> dict[str, Any]:
        """What some shards answer; one that does not is left in peace for a while."""
        now = time.monotonic()
        jobs = []
        for shard, call in calls.items():
            if now < self._failed_at.get(shard, -inf) + _AGAIN_S:
                continue
            if shard not in self._open:
                self._open[shard] = Physical.new(shard, self._dsns[shard])
            physical = self._open[shard]
            jobs.append(Job(shard, partial(self._call, physical, call), physical))
        if jobs:
            FanOut(jobs, _GRACE_S, tolerant=True).run(_ANSWER_S)
        for job in jobs:
            if job.end is not End.DONE:
                self._failed_at[job.shard] = time.monotonic()
                self._lose(job.shard)
        return {job.shard: job.result for job in jobs if job.end is End.DONE}

    def _call(self, physical: Physical, call: Callable[[Physical], Any]) -> Any:
        if physical.identity is None:
            physical.open(_ANSWER_S)
            identify(physical)
            # Through a pooler, what is set or locked in a session would be left to somebody else's.
            if physical.server_pid is None:
                raise DriverError("who answers is not known")
            autocommit.write(physical.raw, True)
            own_cursor(physical.raw).execute(_PATH)
            several = self._process.startswith(_SEVERAL)
            self.names.add(self._process if several else f"{self._process}/{physical.user}")
        return call(physical)

    def _lose(self, shard: str) -> None:
        self._open.pop(shard).discard()
        self._marked.pop(shard, None)


def _is_of(member: Member, physical: Physical) -> bool:
    """Whether a session's server is the one that is asked: a name may lead to several."""
    one, other = member.identity, physical.identity
    return other is not None and (one.started, one.database) == (other.started, other.database)


def _waiting(members: Sequence[Member], physical: Physical) -> list[Backend]:
    there = [member.backend for member in members if _is_of(member, physical)]
    pids = ",".join(str(backend.pid) for backend in there)
    waiting = {pid for (pid,) in _rows(physical, _WAITING.format(pids=pids))}
    return [backend for backend in there if backend.pid in waiting]


def _marking(marks: Sequence[tuple[int, int, int]]) -> str:
    """What marks sessions; with the transaction, and what that is if the session is alone."""
    numbers, alone, pids = (",".join(str(mark[at]) for mark in marks) for at in range(3))
    return f"""
SELECT pg_try_advisory_lock_shared(number, pid), pg_try_advisory_lock_shared(
    (number::int8 << 32) | mod((date_part('epoch', xact_start) * 1000)::int8, 4294967296))
FROM (
    SELECT m.pid, a.xact_start, CASE WHEN a.state LIKE 'idle%' OR a.xact_start < a.query_start
        OR starts_with(a.query, '{_BEGINS}') THEN m.number ELSE m.alone END AS number
    FROM unnest('{{{numbers}}}'::int4[], '{{{alone}}}'::int4[], '{{{pids}}}'::int4[])
        AS m(number, alone, pid)
    JOIN pg_stat_activity AS a ON a.pid = m.pid) AS told
"""


def _unmark(physical: Physical) -> None:
    _rows(physical, _UNMARK)


def _rows(physical: Physical, text: str) -> list[tuple[Any, ...]]:
    cursor = own_cursor(physical.raw)
    cursor.execute(text)
    return cursor.fetchall()


def _view(rows: Iterable[tuple[Any, ...]]) -> View:
    waits, marks = [], []
    for process, number, pid, began, since, blockers in rows:
        if process is None:
            # A prepared transaction, which has no session, is told as 0.
            others = {int(each) for each in blockers.split(",") if each} - {0}
            waits.append(Wait(pid, since, tuple(sorted(others))))
        else:
            marks.append(Mark(Waiter(process, number), pid, began))
    return View(tuple(waits), tuple(marks))
