"""Cancels a statement on all shards that run a part of it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass

from greenshard import errors
from greenshard._driver import ours
from greenshard.cluster import Cluster
from greenshard.dbapi import connect
from greenshard.watching.asking_status import look
from greenshard.watching.shard_status import Running

_CANCEL = "SELECT pg_catalog.pg_cancel_backend(%s::pg_catalog.int4)"
_TERMINATE = "SELECT pg_catalog.pg_terminate_backend(%s::pg_catalog.int4)"


@dataclass(frozen=True, slots=True)
class Cancelled:
    """What became of a part.

    Attributes:
        part: It.
        why_not: Why it could not be; None if its server was told to.
        ended: Whether its session had ended by then: one part ends with another.
    """

    part: Running
    why_not: str | None = None
    ended: bool = False


def cancel(
    cluster: Cluster,
    shard: str,
    pid: int,
    *,
    only: bool = False,
    terminate: bool = False,
    timeout: float = 5.0,
) -> Sequence[Cancelled]:
    """Cancel a statement, and what is most like it on each other shard.

    The parts of one statement have the user, the application, the client and the text in common,
    and began within two seconds.

    Args:
        cluster: The declaration.
        shard: Where a part of it runs.
        pid: The process that runs it there.
        only: Whether to leave the other shards alone.
        terminate: Whether to end the sessions.
        timeout: Seconds for looking, and again for telling.

    Returns:
        What became of each part; empty if no such process is in a transaction there.

    Switches: yes.
    """
    status = look(cluster, timeout=timeout)
    found = [each for each in status.running() if (each.shard, each.pid) == (shard, pid)]
    if not found:
        return ()
    parts = found if only else status.parts_of(found[0])
    query = _TERMINATE if terminate else _CANCEL
    return [_told(cluster, each, query, timeout) for each in parts]


def _told(cluster: Cluster, part: Running, query: str, timeout: float) -> Cancelled:
    """Tell a server."""
    dsn = cluster.shards[part.shard].primary
    try:
        with closing(connect(dsn, timeout=timeout, connect_timeout=timeout)) as conn:
            cursor = conn.cursor()
            cursor.execute(query, (ours(str(part.pid)),))
            ((done,),) = cursor.fetchall()
    except errors.Error as error:
        return Cancelled(part, str(error).strip().splitlines()[0])
    return Cancelled(part, ended=not done)
