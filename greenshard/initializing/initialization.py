"""Initialises the shards of a cluster, all or none."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from os import PathLike
from typing import Any

from greenshard import arguments, errors
from greenshard._driver import ours
from greenshard.cluster import Cluster
from greenshard.connection import Connection
from greenshard.dbapi import connect
from greenshard.initializing.condition import FACTS, Condition, Obstacle
from greenshard.initializing.schema import TABLES, granted, made
from greenshard.links.identity import refuse_one_database
from greenshard.links.look import Stamp, stamp_of
from greenshard.links.owners import sharded_tables
from greenshard.merge.arrays import array_text

#: Any number that no one else takes.
_LOCK = 7_206_173_015
#: Two that initialise at a time take the shards' locks in the same order. Whoever holds a table of
#: ours for long is no reason to wait for ever.
_BEGIN = f"""
SET LOCAL search_path = pg_catalog, pg_temp;
SET LOCAL standard_conforming_strings = on;
SET LOCAL lock_timeout = '10s';
SET LOCAL synchronous_commit = on;
SET LOCAL jit = off;
SELECT pg_catalog.set_config('greenshard.shard', %s, true),
    pg_catalog.pg_advisory_xact_lock({_LOCK})
"""
_STAMPS = """
SELECT pg_catalog.current_setting('greenshard.shard'), cluster, name, position, shards, slots, {id}
FROM greenshard.shard
"""
_STAMPED = """
DELETE FROM greenshard.shard;
INSERT INTO greenshard.shard SELECT cluster, name, position, shards, slots, id
FROM pg_catalog.json_to_recordset(%s) AS s (cluster pg_catalog.text, name pg_catalog.text,
    position pg_catalog.int4, shards pg_catalog.int4, slots pg_catalog.int4, id pg_catalog.text)
WHERE name OPERATOR(pg_catalog.=) pg_catalog.current_setting('greenshard.shard')
"""
_READ_COMMITTED = 1
_ASK_S = 5.0
_MADE_UP = re.compile("[0-9a-f]{32}")


def init(
    cluster: Cluster | str | PathLike[str],
    roles: Iterable[str] = (),
    again: bool = False,
    *,
    connect_timeout: float | None = None,
) -> list[str]:
    """Let each shard of a cluster say which one it is, and make what its transactions need.

    Each database gets a schema ``greenshard``. What is there already is left as it is: this can be
    done as often as one likes, and adds to what an earlier version has made.

    Args:
        cluster: The declaration, or the path of its TOML file.
        roles: Who commits over several shards: they are given the rights for it, and no more. By
            default the user that connects. Roles of before keep theirs.
        again: Whether to write over stamps that differ.
        connect_timeout: As `greenshard.connect`'s.

    Returns:
        What the servers lack for commits over several shards, in words; the rest is done.

    Raises:
        greenshard.ProgrammingError: A shard cannot be initialised (GS112), or is stamped otherwise
            (GS110). Nothing was changed on any.
        greenshard.OperationalError: A shard cannot be reached.

    Switches: yes.

    Cost: four round trips, and one more for each shard.
    """
    declared = cluster if isinstance(cluster, Cluster) else Cluster.from_toml(cluster)
    dsns = {name: shard.primary for name, shard in declared.shards.items()}
    with closing(connect(dsns, connect_timeout=connect_timeout)) as conn:
        return initialize(conn, declared, roles, again=again)


def initialize(
    conn: Connection, cluster: Cluster, roles: Iterable[str] = (), *, again: bool = False
) -> list[str]:
    """As `init`, over a connection to all primaries as a union, by their names."""
    names: tuple[Any, ...] = () if isinstance(roles, str) else tuple(dict.fromkeys(roles))
    if isinstance(roles, str) or not all(each and isinstance(each, str) for each in names):
        raise arguments.unusable(f"roles must be names of roles, as in ['app'], not {roles!r}")
    # As a union, two schemas of one database are two shards.
    refuse_one_database(conn._session.physicals, by_path=False, timeout_s=_ASK_S)
    # A snapshot from before another one had the lock would not show what that has written.
    conn.isolation_level = _READ_COMMITTED
    try:
        lacking = _initialize(conn, cluster, names, again=again)
    except BaseException:
        conn.rollback()
        raise
    conn.commit()
    return [f"shard {each.shard}: {each.message}. {each.hint}" for each in lacking]


def _initialize(
    conn: Connection, cluster: Cluster, roles: Sequence[str], *, again: bool
) -> list[Obstacle]:
    for shard in cluster.names:
        with conn.on(shard).cursor() as cursor:
            cursor.execute(_BEGIN, (ours(shard),))
    conditions = read_conditions(conn, cluster, cluster.names, roles)
    several = len(cluster.names) > 1
    obstacles = [each for found in conditions for each in found.obstacles(several)]
    _refuse([each for each in obstacles if not each.of_setting])
    found = read_stamps(conn, conditions)
    wanted = stamps_of(cluster, found, again=again)
    stamps = json.dumps([_row(stamp) for stamp in wanted.values()])
    # Shards that lack the same are told the same, all at once.
    texts: dict[str, list[str]] = {}
    for condition in conditions:
        shard = condition.shard
        lines = [*made(condition.has_schema, condition.tables), *granted(roles)]
        if found.get(shard) != wanted[shard] or found[shard].id != wanted[shard].id:
            lines.append(_STAMPED)
        texts.setdefault(";\n".join(lines), []).append(shard)
    for text, shards in texts.items():
        with conn.on(shards), conn.broadcast(), conn.cursor() as cursor:
            cursor.execute(text, (ours(stamps),) if _STAMPED in text else None)
    return [each for each in obstacles if each.of_setting]


def read_conditions(
    conn: Connection, cluster: Cluster, shards: Sequence[str], roles: Sequence[str] = ()
) -> list[Condition]:
    """Read what the shards have of the schema, in a transaction that knows their names.

    Args:
        conn: A connection to them; ``greenshard.shard`` is set, as the search path.
        cluster: The declaration.
        shards: Which ones.
        roles: Who is to be there.

    Switches: yes.
    """
    given = {
        "sharded": sharded_tables(cluster),
        "names": array_text([*TABLES]),
        "roles": array_text(roles),
    }
    with conn.on(shards).cursor() as cursor:
        cursor.execute(FACTS, {name: ours(text) for name, text in given.items()})
        return [Condition(shard, json.loads(facts)) for shard, facts in cursor.fetchall()]


def read_stamps(conn: Connection, conditions: Sequence[Condition]) -> dict[str, Stamp]:
    """Read the stamps of those shards that have one, as `read_conditions` has found them.

    Switches: yes.
    """
    stamped = [each for each in conditions if "shard" in each.tables]
    found: dict[str, Stamp] = {}
    for known in (True, False):
        shards = [each.shard for each in stamped if ("id" in each.tables["shard"]) is known]
        if not shards:
            continue
        with conn.on(shards).cursor() as cursor:
            cursor.execute(_STAMPS.format(id="id" if known else "NULL::pg_catalog.text"))
            found |= {shard: Stamp(*row) for shard, *row in cursor.fetchall()}
    return found


def stamps_of(cluster: Cluster, found: Mapping[str, Stamp], *, again: bool) -> dict[str, Stamp]:
    """What is to be written on each shard.

    Args:
        cluster: The declaration.
        found: What is written on some.
        again: Whether stamps may differ.

    Raises:
        errors.ProgrammingError: One does, and may not.
    """
    names = [stamp.cluster for stamp in found.values()]
    known = next((name for name in names if not again or _MADE_UP.fullmatch(name)), None)
    name = known or uuid.uuid4().hex
    wanted = {shard: stamp_of(cluster, shard, name) for shard in cluster.names}
    for shard, there in found.items():
        if there != wanted[shard] and not again:
            raise _differs(
                f"shard {shard} is stamped already, as shard {there.name}, number "
                f"{there.position} of {there.shards}, with {there.slots} slots",
                shard,
            )
    owners: dict[str, str] = {}
    # Of a shard and its copy, the one that is stamped as itself is no copy.
    for shard, there in sorted(found.items(), key=lambda item: item[1].name != item[0]):
        if there.id is None or not _MADE_UP.fullmatch(there.id):
            continue
        if (owner := owners.setdefault(there.id, shard)) != shard and not again:
            raise _differs(f"shard {shard} has the same id as {owner}: is it a copy?", shard)
    ids = {shard: id_ for id_, shard in owners.items()}
    return {s: replace(stamp, id=ids.get(s) or uuid.uuid4().hex) for s, stamp in wanted.items()}


def _differs(what: str, shard: str) -> errors.ProgrammingError:
    hint = "Is the declaration right? --again writes over it."
    return errors.ProgrammingError(what, code="GS110", shard=shard, hint=hint)


def _refuse(obstacles: Sequence[Obstacle]) -> None:
    if not obstacles:
        return
    if len(obstacles) == 1:
        (only,) = obstacles
        text = f"shard {only.shard} cannot be initialised: {only.message}"
        raise errors.ProgrammingError(text, code="GS112", shard=only.shard, hint=only.hint)
    lines = "".join(f"\n  shard {o.shard}: {o.message}. {o.hint}" for o in obstacles)
    raise errors.ProgrammingError(f"the shards cannot be initialised:{lines}", code="GS112")


def _row(stamp: Stamp) -> dict[str, object]:
    return {name: getattr(stamp, name) for name in TABLES["shard"]}
