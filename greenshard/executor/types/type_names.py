"""The names of types: the same type has another OID in each database."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

from greenshard._driver import ours, own_cursor
from greenshard.links.deadline import Deadline
from greenshard.links.session import Session
from greenshard.merge.arrays import array_text

# Each session's schema for temporary objects has a number of its own.
_TYPES = (
    "(SELECT t.oid, pg_catalog.format('%%I.%%I',"
    " CASE WHEN n.oid OPERATOR(pg_catalog.=) pg_catalog.pg_my_temp_schema()"
    " THEN 'pg_temp' ELSE n.nspname END, t.typname) AS name FROM pg_catalog.pg_type t"
    " JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) t.typnamespace) AS types"
)
NAMES_OF_TYPES = (
    f"SELECT oid, name FROM {_TYPES} WHERE oid OPERATOR(pg_catalog.=) ANY (%s::pg_catalog.oid[])"
)
_OIDS = (
    f"SELECT name, oid FROM {_TYPES} WHERE name OPERATOR(pg_catalog.=) ANY (%s::pg_catalog.text[])"
)


def type_names(
    session: Session, wanted: Mapping[str, Iterable[int]], timeout: Deadline
) -> Mapping[tuple[str, int], str]:
    """The qualified names of types, by shard and OID; remembered for the connection's life.

    Switches: if some are not known yet.
    """
    known = session.type_names
    unknown = {s: [o for o in oids if (s, o) not in known] for s, oids in wanted.items()}
    asked = {shard: list(map(str, oids)) for shard, oids in unknown.items()}
    for shard, found in _ask(session, NAMES_OF_TYPES, asked, timeout).items():
        known.update({(shard, oid): name for oid, name in found.items()})
        # It was dropped meanwhile, say. Remembered, or it would be asked for each time.
        known.update({(shard, oid): f"OID {oid}" for oid in unknown[shard] if oid not in found})
    return known


def type_oids(
    session: Session, shard: str, names: Iterable[str], timeout: Deadline
) -> Mapping[str, int]:
    """The OIDs of types on one shard, by qualified name.

    Switches: yes.
    """
    return _ask(session, _OIDS, {shard: list(names)}, timeout).get(shard, {})


def _ask(
    session: Session, query: str, arguments: Mapping[str, list[str]], timeout: Deadline
) -> dict[str, dict[Any, Any]]:
    cursors = {
        shard: own_cursor(session.physicals[shard].raw)
        for shard, asked in arguments.items()
        if asked
    }
    if not cursors:
        return {}
    calls = {
        s: partial(c.execute, query, (ours(array_text(arguments[s])),)) for s, c in cursors.items()
    }
    session.run(calls, timeout)
    return {shard: dict(cursor.fetchall()) for shard, cursor in cursors.items()}
