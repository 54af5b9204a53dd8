"""The connection to the coordinator: a PostgreSQL that reads all shards by foreign tables.

It is opened for one statement, and closed after it; if that is a named cursor's, after its rows.
How the coordinator calls what it has of each shard is told here for whoever makes it, too.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import count

from greenshard._driver import Dsn
from greenshard.cluster.model import COORDINATOR
from greenshard.links.deadline import Deadline
from greenshard.links.gatherer import Gatherer, holding, opened
from greenshard.links.look import Stamp
from greenshard.links.outside import understood, value
from greenshard.links.physical import Physical
from greenshard.links.session import Session
from greenshard.planner.place import Place, Role
from greenshard.sql.nodes import quoted

#: Of the foreign table there that is a shard's stamp, in the schema of the shard.
STAMP = "shard"
#: What a database says that nobody has made a coordinator: there is no such role, or no stamp.
NOT_MADE = frozenset({"28000", "42P01", "3F000"})
MAKE = "`greenshard coordinator` makes it, and brings it up to date."
_TOLD = """SELECT pg_catalog.convert_to(pg_catalog.json_agg(pg_catalog.json_build_array(
    number, cluster, name, position, shards, slots, id))::pg_catalog.text, 'UTF8') FROM (
    {each}) AS stamps"""
_EACH = "SELECT {number} AS number, cluster, name, position, shards, slots, id FROM {table}"


def server_of(shard: str) -> str:
    """What the coordinator calls a shard: its foreign server, and the schema of what is there.

    >>> server_of("s0")
    'greenshard_s0'
    """
    return f"greenshard_{shard}"


def own_stamp(physical: Physical) -> Stamp:
    """What a shard is stamped as. Switches: yes."""
    return _stamps(physical, ["greenshard.shard"])[0]


def stamps_there(physical: Physical, shards: Sequence[str]) -> Mapping[str, Stamp]:
    """Which shard each of the coordinator's servers is, asked through it.

    Args:
        physical: A connection to the coordinator.
        shards: What they are to be.

    Switches: yes.
    """
    tables = [f"{quoted(server_of(shard))}.{STAMP}" for shard in shards]
    found = _stamps(physical, tables)
    return {shard: found[number] for number, shard in enumerate(shards) if number in found}


def _stamps(physical: Physical, tables: Iterable[str]) -> Mapping[int, Stamp]:
    each = (_EACH.format(number=at, table=table) for at, table in enumerate(tables))
    found = value(physical, _TOLD.format(each=" UNION ALL ".join(each)))
    with understood(physical.shard):
        return {number: Stamp(*facts) for number, *facts in json.loads(bytes(found)) or ()}


@contextmanager
def coordinator(
    session: Session, own: Physical, dsn: str, connect_timeout_s: float | None, timeout: Deadline
) -> Iterator[Gatherer]:
    """A connection to the coordinator, for one statement; longer, if `Session.kept` has it.

    Args:
        session: The session.
        own: A shard's connection, as which it reads texts.
        dsn: The coordinator's connection string.
        connect_timeout_s: What opening it may take.
        timeout: What all may take.

    Raises:
        errors.Error: It cannot be opened.

    Switches: yes.
    """
    places = (Place(COORDINATOR, Role.COORDINATING, number) for number in count(1))
    place = next(each for each in places if each not in session.kept)
    held = opened(session, place, Dsn(dsn), connect_timeout_s, timeout)
    with holding(session, held, own, timeout):
        yield held
