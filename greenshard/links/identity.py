"""Whether two shards are one database: spelled differently, through a pooler, after a failover.

Then every row would come twice and every write be done twice. Each connection asks its server, as
soon as it is open, and those of a session are compared before a statement runs on them.

A server that was made by copying another's files has the other's system identifier and its
databases' OIDs, and that is a normal way to make shards. So what tells is the moment at which the
server was started, to the microsecond. Servers that are started together can have it in common (it
happened, once in some thousand starts): whether two are one is settled by whether each other's
processes are theirs. A standby is a server of its own by that: it is compared by the system
identifier and the timeline, which it shares with the server that it follows.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from itertools import combinations
from typing import Any

from greenshard import errors
from greenshard._driver import DriverError, own_cursor
from greenshard.links.asking_bearings import keep_bearings
from greenshard.links.bearings import BEARINGS
from greenshard.links.fanout import FanOut, Job
from greenshard.links.outside import understood
from greenshard.links.physical import Identity, Physical

#: Every role may call these, unless somebody has revoked that.
_IDENTITY = f"""
SELECT pg_catalog.to_char(
        pg_catalog.pg_postmaster_start_time() AT TIME ZONE 'UTC', 'YYYYMMDDHH24MISSUS'),
    (SELECT oid FROM pg_catalog.pg_database
        WHERE datname OPERATOR(pg_catalog.=) pg_catalog.current_database())::pg_catalog.int8,
    pg_catalog.pg_is_in_recovery(),
    (SELECT pg_catalog.array_agg(name ORDER BY name)
        FROM pg_catalog.unnest(pg_catalog.current_schemas(false)) AS name)::pg_catalog.text,
    pg_catalog.pg_backend_pid(),
    {BEARINGS}
"""
#: 1 ms in a new session, which is why it is asked of standbys and their like only.
_LINEAGE = """
SELECT (SELECT system_identifier FROM pg_catalog.pg_control_system())::pg_catalog.text,
    (SELECT timeline_id FROM pg_catalog.pg_control_checkpoint())::pg_catalog.int8
"""
#: Every role sees all processes' IDs there, if not what they do.
_PROCESSES = """
SELECT pg_catalog.pg_backend_pid(),
    (SELECT pg_catalog.array_agg(pid) FROM pg_catalog.pg_stat_activity)
"""
_SAVE, _SAVED = "SAVEPOINT greenshard_identity; ", "RELEASE SAVEPOINT greenshard_identity"
_BACK = f"ROLLBACK TO SAVEPOINT greenshard_identity; {_SAVED}"

#: No right to call a function; no such function or relation.
_NOT_TOLD = frozenset({"42501", "42883", "42P01"})

#: How long, in seconds, asking for the lineage may take, and to end once that is over.
_ASK_S, _GRACE_S = 5.0, 0.5


def identify(physical: Physical) -> None:
    """Ask the server of a new connection what it is, if it tells that; and the session's bearings.

    A pooler may have others like it; each of them is the same database.

    Raises:
        DriverError: The connection broke.

    Switches: yes. Cost: one round trip.
    """
    began = time.monotonic()
    found = _ask(physical, _IDENTITY)
    if found is not None:
        with understood(physical.shard):
            *identity, bearings = found
            physical.identity = Identity(*identity)
        keep_bearings(physical, bearings, began)


def refuse_one_database(
    physicals: Mapping[str, Physical],
    new: Iterable[str] | None = None,
    *,
    by_path: bool,
    timeout_s: float | None,
) -> None:
    """Refuse shards that are the same database.

    Args:
        physicals: Open connections, by the shard's name.
        new: Those that were not compared before: others are not asked again, for they may not
            answer now. None for all.
        by_path: Whether two search paths make two of one database: of a union, whose statements
            mean what the path says.
        timeout_s: Seconds; None for no limit.

    Raises:
        errors.ProgrammingError: Two are the same.

    Switches: if two may be the same, or there is a standby.
    """
    # What tells nothing (no PostgreSQL, a right that was revoked) cannot be compared.
    told = {name: p.identity for name, p in physicals.items() if p.identity is not None}
    places = {name: _place(one, by_path) for name, one in told.items()}
    asks = partial(_ask_all, physicals, timeout_s=timeout_s)
    fresh = set(told if new is None else new)
    # A pair of two that were compared before stays as it was.
    every = [pair for pair in combinations(told, 2) if not fresh.isdisjoint(pair)]
    # Most often all differ, and no server is asked any more.
    if len(set(places.values())) < len(places):
        pairs = [(a, b) for a, b in every if places[a] == places[b]]
        answers = asks(pairs, _PROCESSES)
        for first, second in pairs:
            if _on_one_server(answers[first], answers[second]):
                raise _refusal(first, second, "the same database")
    if any(one.standby for one in told.values()):
        pairs = [(a, b) for a, b in every if _may_follow(told[a], told[b], by_path)]
        answers = asks(pairs, _LINEAGE)
        for first, second in pairs:
            # pg_control_system() may be revoked: then a standby is let be.
            if answers[first] is not None and answers[first] == answers[second]:
                what = "a server and its standby, or two standbys of one server"
                raise _refusal(first, second, what)


def _place(one: Identity, by_path: bool) -> tuple[str, int, str | None]:
    return one.started, one.database, one.path if by_path else ""


def _on_one_server(one: Any, other: Any) -> bool:
    """Whether sessions are of one server, by the processes that they see; so if it is not told."""
    if one is None or other is None:
        return True
    (pid, pids), (other_pid, other_pids) = one, other
    return pid in other_pids or other_pid in pids


def _may_follow(one: Identity, other: Identity, by_path: bool) -> bool:
    if not (one.standby or other.standby):
        return False
    return one.database == other.database and not (by_path and one.path != other.path)


def _ask_all(
    physicals: Mapping[str, Physical],
    pairs: Sequence[tuple[str, str]],
    query: str,
    *,
    timeout_s: float | None,
) -> dict[str, object]:
    """What those of the pairs answer, by the shard's name; None for no answer."""
    asked = {name: physicals[name] for pair in pairs for name in pair}
    jobs = [Job(name, partial(_ask, each, query), each) for name, each in asked.items()]
    limit_s = _ASK_S if timeout_s is None else min(timeout_s, _ASK_S)
    FanOut(jobs, _GRACE_S, tolerant=True).run(limit_s)
    return {job.shard: job.result for job in jobs}


def _refusal(first: str, second: str, what: str) -> errors.ProgrammingError:
    return errors.ProgrammingError(
        f"shards {first} and {second} are {what}",
        code="GS108",
        shard=second,
        hint="Each row would come twice, and each write be done twice: leave one of them out. "
        "allow_same_database=True lets it be, where the two show different rows.",
    )


def _ask(physical: Physical, query: str) -> tuple[Any, ...] | None:
    """The answer's row; None if the server does not give it."""
    try:
        if physical.in_transaction:
            # An error would fail the program's transaction: hence the savepoint.
            return _ask_inside(physical, query)
        with physical.beginning_nothing():
            return _row(physical, query)
    except DriverError as exc:
        # It may not be called, or this is no PostgreSQL: that is nobody's failure.
        if not physical.alive or exc.pgcode not in _NOT_TOLD:
            raise
        return None


def _ask_inside(physical: Physical, query: str) -> tuple[Any, ...] | None:
    """Ask in the transaction that a connection came with, and leave it as it was."""
    if physical.failed:
        return None
    try:
        found = _row(physical, _SAVE + query)
    except DriverError:
        with suppress(DriverError):
            own_cursor(physical.raw).execute(_BACK)
        raise
    own_cursor(physical.raw).execute(_SAVED)
    return found


def _row(physical: Physical, query: str) -> tuple[Any, ...] | None:
    cursor = own_cursor(physical.raw)
    cursor.execute(query)
    row: tuple[Any, ...] | None = cursor.fetchone()
    return row
