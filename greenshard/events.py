"""What a listener (``on_event``) is told.

Events have no values of parameters, no literals of statements and no passwords in them. The
exceptions in them are those that the program got; a server's message may quote a value.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass

logger = logging.getLogger("greenshard")


@dataclass(frozen=True, slots=True)
class Server:
    """Where a shard is, as far as its connection string says.

    Attributes:
        address: A host, or the directory of a socket.
        port: Its port; 5432 if the connection string has none.
        database: The database's name.
    """

    address: str | None
    port: int | None
    database: str | None


@dataclass(frozen=True, slots=True)
class ShardRun:
    """What one shard did for a statement.

    Attributes:
        started_s: Seconds from the statement's beginning until the shard was asked.
        duration_s: Seconds that it took; of all its parts together, if there were several.
        rows: How many rows it gave or changed; None if that is not known.
        error: Why it failed, or was cancelled; None if it did not.
        server: Where it is; None if it could not be asked.
    """

    started_s: float
    duration_s: float
    rows: int | None
    error: BaseException | None
    server: Server | None


@dataclass(frozen=True, slots=True)
class StatementEnded:
    """A statement has ended: it has an answer, failed, was timed out, or its greenlet killed.

    Attributes:
        sql: Its text, with ``?`` for literals, without comments; long texts are cut.
        strategy: How it was run; None if it was not planned.
        tables: The declared tables that it names, if it was planned.
        started: When it began: seconds since the epoch.
        duration_s: Seconds that it took.
        shards: What each shard did; empty if none was asked.
        rows: How many rows were its answer, or were changed; None if that is not known.
        error: What was raised; None if nothing was.
        parameter_sets: Of ``executemany``: how many there were; None of other calls.
    """

    sql: str
    strategy: str | None
    tables: tuple[str, ...]
    started: float
    duration_s: float
    shards: Mapping[str, ShardRun]
    rows: int | None
    error: BaseException | None
    parameter_sets: int | None = None


@dataclass(frozen=True, slots=True)
class ConnectionTaken:
    """A connection was taken from a pool, or could not be.

    Attributes:
        waited_s: Seconds until then, with what had to be opened.
        error: What was raised; None if nothing was.
    """

    waited_s: float
    error: BaseException | None


Event = StatementEnded | ConnectionTaken
Listener = Callable[[Event], object]


def tell(listener: Listener, event: Event) -> None:
    """Call a listener. What it raises is logged; what arrives from outside meanwhile is not its."""
    try:
        listener(event)
    except Exception:
        logger.exception("the listener on_event failed")
