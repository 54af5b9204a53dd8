"""Whether the shards of a cluster can commit together, and what they are called when they do.

Each is asked once, when a transaction is about to write on a second shard, or commits. What is
found holds for all connections of this process to the same databases.
"""

from __future__ import annotations

import time
import weakref
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from greenshard import errors
from greenshard._driver import ours, own_cursor
from greenshard.cluster import Cluster
from greenshard.links.owners import TRUSTED, sharded_tables
from greenshard.links.physical import Physical

#: For so long, in seconds, a shard that cannot take part is not asked again before a commit.
_BELIEVED_S = 30.0

_ASKED = f"""SELECT pg_catalog.current_setting('max_prepared_transactions')::pg_catalog.int4,
    pg_catalog.pg_is_in_recovery(), session_user,
    pg_catalog.count(*),
    pg_catalog.count(*) FILTER (WHERE made.allowed),
    pg_catalog.count(*) FILTER (WHERE made.trusted)
FROM (
    SELECT pg_catalog.has_schema_privilege(session_user, n.oid, 'USAGE') AND CASE
            WHEN c.relname OPERATOR(pg_catalog.=) 'barrier'
                THEN pg_catalog.has_table_privilege(session_user, c.oid, 'UPDATE')
            ELSE pg_catalog.has_table_privilege(session_user, c.oid, 'SELECT')
                AND (c.relname OPERATOR(pg_catalog.=) 'shard'
                    OR pg_catalog.has_table_privilege(session_user, c.oid, 'INSERT'))
        END AS allowed,
        {TRUSTED.format(owner="n.nspowner")} AND {TRUSTED.format(owner="c.relowner")} AS trusted
    FROM pg_catalog.pg_class AS c
    JOIN pg_catalog.pg_namespace AS n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace
    WHERE n.nspname OPERATOR(pg_catalog.=) 'greenshard'
    AND (c.relname OPERATOR(pg_catalog.=) ANY (ARRAY['decision', 'barrier']::pg_catalog.name[])
        OR c.relname OPERATOR(pg_catalog.=) 'shard'
            AND EXISTS (SELECT FROM pg_catalog.pg_attribute AS a
                WHERE a.attrelid OPERATOR(pg_catalog.=) c.oid
                AND a.attname OPERATOR(pg_catalog.=) 'id' AND NOT a.attisdropped))
) AS made"""
_STAMP = "SELECT s.cluster, s.id FROM greenshard.shard AS s LIMIT 1"
_INIT = "`greenshard init` makes what is needed, and tells what the servers lack."
_AGAIN = "If the declaration is right, `greenshard init --again` stamps the shards anew."
_PREPARING = (
    "Add `max_prepared_transactions = N` to that server's postgresql.conf, where N is at least its "
    "max_connections, and restart it."
)
#: So many. They are counted: programs may read arrays by typecasters of their own.
_TABLES = 3


@dataclass(frozen=True, slots=True)
class Member:
    """A shard.

    Attributes:
        cluster: The id of the cluster that it belongs to; None if it was not initialised.
        id: Its own.
        lacks: Why it cannot take part in a commit of several; None if it can.
        asked_at: When it was asked, of the monotonic clock.
        hint: What to do about that.
    """

    cluster: str | None = None
    id: str | None = None
    lacks: str | None = None
    asked_at: float = 0.0
    hint: str = ""


class Members:
    """What is known of a cluster's shards; threads may share one.

    Args:
        cluster: The declaration; None for a union.

    Attributes:
        known: By the shards' names. Any greenlet may empty it, to have them asked again.
    """

    def __init__(self, cluster: Cluster | None = None) -> None:
        self.sharded = sharded_tables(cluster)
        self.known: dict[str, Member] = {}

    def to_be_asked(self, shards: Iterable[str], *, anew: bool) -> list[str]:
        """Those of some shards that are to be asked.

        Args:
            shards: Their names.
            anew: Whether those that could not take part are asked again at once.
        """
        now = time.monotonic()
        return [shard for shard in shards if self._is_to_be_asked(shard, now, anew)]

    def _is_to_be_asked(self, shard: str, now: float, anew: bool) -> bool:
        member = self.known.get(shard)
        if member is None:
            return True
        return member.lacks is not None and (anew or now - member.asked_at > _BELIEVED_S)


def why_not(known: Mapping[str, Member]) -> errors.Error | None:
    """Why some shards cannot commit together; None if they can.

    Args:
        known: What they have answered, by their names.
    """
    for shard, member in known.items():
        if member.lacks is not None:
            return _cannot(shard, member.lacks, member.hint)
    return _not_one_cluster(known)


_members: weakref.WeakKeyDictionary[Cluster, dict[Hashable, Members]] = weakref.WeakKeyDictionary()


def members_of(cluster: Cluster | None, databases: Hashable) -> Members:
    """What is known of a cluster's shards, the same for all connections to the same databases."""
    return (
        Members()
        if cluster is None
        else _members.setdefault(cluster, {}).setdefault(databases, Members(cluster))
    )


def ask_member(physical: Physical, sharded: str) -> Member:
    """Ask a shard, in its transaction or outside of any; nothing is begun by it.

    Args:
        physical: The connection to it.
        sharded: The sharded tables, see `owners.sharded_tables`.

    Switches: yes. Cost: two round trips.
    """
    with physical.beginning_nothing():
        cursor = own_cursor(physical.raw)
        cursor.execute(_ASKED, {"sharded": ours(sharded)})
        row: Any = cursor.fetchone()
        most, standby, user, *tables = row
        cluster = shard_id = None
        if tables == [_TABLES] * 3:
            cursor.execute(_STAMP)
            stamp: Any = cursor.fetchone()
            cluster, shard_id = stamp or (None, None)
    lacks, hint = None, ""
    if standby:
        lacks, hint = "is a standby", "Declare its primary."
    elif shard_id is None:
        lacks, hint = _why_not_made(user, *tables), _INIT
    elif most == 0:
        lacks, hint = "has max_prepared_transactions = 0", _PREPARING
    return Member(cluster, shard_id, lacks, time.monotonic(), hint)


def _why_not_made(user: str, there: int, allowed: int, trusted: int) -> str:
    """Why a shard is not known as one of its cluster, by how many of the tables are what."""
    if there == _TABLES and trusted < there:
        return (
            "has a schema greenshard that belongs to somebody else than a superuser, the owner of "
            "the database or of the sharded tables"
        )
    if there == _TABLES and allowed < there:
        return f"is initialised, but not for the role {user} (`greenshard init --role {user}`)"
    return "is not initialised"


def _cannot(shard: str, lacks: str, hint: str) -> errors.Error:
    error = errors.refused(
        f"the transaction would write on several shards, which cannot commit it together: shard "
        f"{shard} {lacks}",
        code="GS503",
        hint=f"{hint} Or let the shards commit one after the other: two_phase=False.",
    )
    error.shard = shard
    return error


def _not_one_cluster(known: Mapping[str, Member]) -> errors.Error | None:
    first = None
    seen: dict[str | None, str] = {}
    for shard, member in known.items():
        first = first or member.cluster
        if member.cluster != first:
            return _cannot(shard, "was initialised as one of another cluster", _AGAIN)
        if member.id in seen:
            what = f"has the id of shard {seen[member.id]}: was it copied?"
            return _cannot(shard, what, _AGAIN)
        seen[member.id] = shard
    return None
