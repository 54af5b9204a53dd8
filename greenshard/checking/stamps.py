"""Stamps shards: each database says of itself which shard of which cluster it is.

Whoever connects then sees that the declaration names the right ones (`links.look`).
"""

from __future__ import annotations

import uuid

from greenshard import errors
from greenshard.cluster import Cluster
from greenshard.connection import Connection
from greenshard.links.look import Stamp, stamp_of

SCHEMA = "greenshard"

#: Everybody may read it who may connect.
_TABLE = (
    "CREATE SCHEMA IF NOT EXISTS greenshard",
    """CREATE TABLE IF NOT EXISTS greenshard.shard (cluster pg_catalog.text NOT NULL,
        name pg_catalog.text NOT NULL, position pg_catalog.int4 NOT NULL,
        shards pg_catalog.int4 NOT NULL, slots pg_catalog.int4)""",
    "GRANT USAGE ON SCHEMA greenshard TO PUBLIC",
    "GRANT SELECT ON greenshard.shard TO PUBLIC",
)


def stamp(conn: Connection, cluster: Cluster, *, again: bool = False) -> None:
    """Stamp all shards, in one transaction.

    Args:
        conn: A connection to all shards as a union, by their names; not in a transaction.
        cluster: The declaration.
        again: Whether to write over stamps that differ.

    Raises:
        errors.ProgrammingError: One is stamped otherwise. Nothing is changed.

    Switches: yes.
    """
    try:
        found = {shard: _made(conn, shard) for shard in cluster.names}
        known = next((each.cluster for each in found.values() if each is not None), None)
        name = known or uuid.uuid4().hex
        for shard, there in found.items():
            wanted = stamp_of(cluster, shard, name)
            if there is not None and there != wanted and not again:
                raise errors.ProgrammingError(
                    f"shard {shard} is stamped already, as shard {there.name}, number "
                    f"{there.position} of {there.shards}, with {there.slots} slots",
                    code="GS110",
                    shard=shard,
                    hint="Is the declaration right? --again writes over it.",
                )
            _write(conn, shard, wanted)
    except BaseException:
        conn.rollback()
        raise
    conn.commit()


def _made(conn: Connection, shard: str) -> Stamp | None:
    """The stamp of a shard; the table is made if there is none."""
    with conn.on(shard).cursor() as cursor:
        for statement in _TABLE:
            cursor.execute(statement)
        cursor.execute("SELECT cluster, name, position, shards, slots FROM greenshard.shard")
        row = cursor.fetchone()
    return None if row is None else Stamp(*row)


def _write(conn: Connection, shard: str, wanted: Stamp) -> None:
    with conn.on(shard).cursor() as cursor:
        cursor.execute("DELETE FROM greenshard.shard")
        cursor.execute(
            "INSERT INTO greenshard.shard VALUES (%s, %s, %s, %s, %s)",
            (wanted.cluster, wanted.name, wanted.position, wanted.shards, wanted.slots),
        )
