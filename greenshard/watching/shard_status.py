"""What was found out about each shard at a moment. Pure.

A shard that could not be asked has only a name and the reason: what there is of the others holds.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from greenshard.sql.redaction import redact
from greenshard.transaction import gids

#: Of the parts of one statement on several shards, the ages differ by less than so many seconds.
_TOGETHER_S = 2.0
_ACTIVE = "active"
#: What goes with the first statement of a transaction, on those shards where it is the first.
_BEGIN = re.compile(r"^BEGIN\b[^;]*; (?=.)")


@dataclass(frozen=True, slots=True)
class Running:
    """A session that is in a transaction.

    Attributes:
        shard: The shard.
        pid: The process of the server.
        user: Who it is.
        application: Its ``application_name``.
        client: Its address; None over a socket.
        state: "active", "idle in transaction", ...; None if the role may not see it.
        transaction_s: For how many seconds its transaction has lasted.
        statement_s: For how many its statement, or since the last one ended.
        waits_for: What it waits for, as "Lock"; None if for nothing.
        sql: The statement, without literals.
    """

    shard: str
    pid: int
    user: str
    application: str
    client: str | None
    state: str | None
    transaction_s: float
    statement_s: float
    waits_for: str | None
    sql: str

    def is_alike(self, other: Running) -> bool:
        """Whether another one may be the same statement's part on another shard."""
        return (
            self.shard != other.shard
            and other.state == _ACTIVE
            and (self.user, self.application, self.client, self.sql)
            == (other.user, other.application, other.client, other.sql)
            and abs(self.statement_s - other.statement_s) < _TOGETHER_S
        )


@dataclass(frozen=True, slots=True)
class Wait:
    """A session that waits for a lock which another one holds, or has asked for before.

    Attributes:
        shard: The shard.
        pid: Who waits.
        blocker: For whom; 0 for a prepared transaction.
    """

    shard: str
    pid: int
    blocker: int


@dataclass(frozen=True, slots=True)
class ShardStatus:
    """A shard.

    Attributes:
        shard: Its name.
        why: Why it could not be asked; None if it was, and all that follows is known.
        latency_s: How long a query without work took.
        version: Of the server.
        standby: Whether it is one.
        up_s: For how many seconds the server has run.
        size_bytes: Of the database.
        connections: How many the server has.
        max_connections: How many it may have.
        sessions: How many there are to the database: by application and state.
        running: Those in a transaction, the longest statement first.
        waits: Who waits for whom.
        in_doubt: The ages, in seconds, of what is prepared of transactions over several shards.
        foreign: The ages of what others have prepared.
        rows: Of each declared table how many rows it has, as PostgreSQL estimates it.
    """

    shard: str
    why: str | None = None
    latency_s: float | None = None
    version: str | None = None
    standby: bool | None = None
    up_s: float | None = None
    size_bytes: int | None = None
    connections: int | None = None
    max_connections: int | None = None
    sessions: tuple[tuple[str, str, int], ...] = ()
    running: tuple[Running, ...] = ()
    waits: tuple[Wait, ...] = ()
    in_doubt: tuple[float, ...] = ()
    foreign: tuple[float, ...] = ()
    rows: Mapping[str, int] | None = None

    @property
    def is_up(self) -> bool:
        """Whether it has answered."""
        return self.why is None

    @property
    def oldest_transaction_s(self) -> float | None:
        """For how long the oldest open transaction has lasted; None if there is none."""
        return max((each.transaction_s for each in self.running), default=None)


@dataclass(frozen=True, slots=True)
class Status:
    """All shards.

    Attributes:
        shards: Each, in the cluster's order.
        sharded: The declared tables whose rows are split.
    """

    shards: tuple[ShardStatus, ...]
    sharded: tuple[str, ...] = ()

    @property
    def down(self) -> tuple[str, ...]:
        """The shards that have not answered."""
        return tuple(each.shard for each in self.shards if not each.is_up)

    def running(self) -> list[Running]:
        """Sessions in a transaction on all shards, the longest statement first."""
        found = [each for shard in self.shards for each in shard.running]
        return sorted(found, key=lambda each: -each.statement_s)

    def parts_of(self, one: Running) -> list[Running]:
        """A statement's parts on all shards: it, and of each other shard the one most like it."""
        found = [one]
        for shard in self.shards:
            alike = [each for each in shard.running if one.is_alike(each)]
            if alike:
                found.append(min(alike, key=lambda e: abs(e.statement_s - one.statement_s)))
        return found

    def skew(self, table: str) -> float | None:
        """How many times as many rows the fullest shard has as it would have of equal shares.

        None for a table that is not sharded, or has no rows, or where a shard is missing.
        """
        counts = [each.rows.get(table) for each in self.shards if each.rows is not None]
        known = [count for count in counts if count is not None]
        if table not in self.sharded or len(known) < len(self.shards) or not sum(known):
            return None
        return max(known) * len(known) / sum(known)


def read_status(shard: str, latency_s: float, told: Mapping[str, Any]) -> ShardStatus:
    """What a shard has told, see `asking_status`."""
    prepared: Sequence[tuple[str, float]] = told["prepared"] or ()
    return ShardStatus(
        shard,
        None,
        latency_s,
        told["version"],
        told["standby"],
        told["up"],
        told["size"],
        told["connections"],
        told["most"],
        tuple((application, state, count) for application, state, count in told["sessions"] or ()),
        tuple(_running(shard, told["running"] or ())),
        tuple(Wait(shard, pid, blocker) for pid, blocker in told["waits"] or ()),
        tuple(age_s for gid, age_s in prepared if gids.read(gid) is not None),
        tuple(age_s for gid, age_s in prepared if gids.read(gid) is None),
        {label(schema, name): int(rows) for schema, name, rows in told["tables"] or ()},
    )


def label(schema: str, name: str) -> str:
    """A table's name as it is shown."""
    return name if schema == "public" else f"{schema}.{name}"


def _running(shard: str, told: Sequence[Sequence[Any]]) -> Iterator[Running]:
    names = [field.name for field in fields(Running)][1:]
    for facts in told:
        named = dict(zip(names, facts, strict=True))
        yield Running(shard, **{**named, "sql": _BEGIN.sub("", redact(named["sql"] or ""))})
