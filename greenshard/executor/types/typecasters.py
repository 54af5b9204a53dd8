"""Typecasters that users registered, for shards where the type has another OID.

``register_composite("card", conn)`` finds the OID on one shard and registers a typecaster for it.
On the other shards the type has another OID, and that OID may even be another type. So each other
shard's cursor gets a table of its own: the typecaster of a type is put under the shard's OID.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from types import FrameType
from typing import Any

from greenshard._driver import UNICODE, global_typecasters
from greenshard.executor.types.type_names import type_names, type_oids
from greenshard.links.deadline import Deadline
from greenshard.links.physical import Physical
from greenshard.links.session import Session
from greenshard.sql.types import FIRST_USER_OID


def shard_typecasters(
    session: Session,
    home: Physical,
    physical: Physical,
    casters: Mapping[int, Any],
    timeout: Deadline,
) -> dict[int, Any] | None:
    """The typecasters of one shard's cursor; None where there are none to add.

    Args:
        home: The connection on which OIDs were looked up.
        physical: The shard's connection, or another one to its database.
        casters: What was registered for the connection and the cursor, by OID on `home`.

    Switches: the first time that a user's type is registered.
    """
    # A connection beside the shard's is to the same database, and its types have the same OIDs.
    if physical.beside is not None:
        physical = session.physicals[physical.shard]
    if physical is home:
        return dict(casters) or None
    everywhere = _user_typecasters(registered_globally())
    own = {**everywhere, **{oid: c for oid, c in casters.items() if oid >= FIRST_USER_OID}}
    # Up to 16383 OIDs are PostgreSQL's own, and the same everywhere (access/transam.h).
    builtin = {oid: caster for oid, caster in casters.items() if oid < FIRST_USER_OID}
    if not own:
        return builtin or None
    there = _oids_there(session, home.shard, physical.shard, frozenset(own), timeout)
    # A type for which nothing is registered is text, whatever has its OID at home.
    table = dict.fromkeys(everywhere, UNICODE)
    table.update({there[oid]: caster for oid, caster in own.items() if oid in there})
    return {**builtin, **table}


def registered_globally() -> tuple[int, ...]:
    """What tells one state of the global typecasters from another.

    Not their number: one can be registered in the place of another. Whatever is cached by this has
    the typecasters, so that no other one gets the ``id`` of one of them.

    Cost: 3 us.
    """
    return (*global_typecasters, *map(id, global_typecasters.values()))


def has_user_typecasters() -> bool:
    """Whether a typecaster for a user's type is registered globally. Cost: 0.2 us."""
    return _has_user_typecasters(len(global_typecasters), next(reversed(global_typecasters), 0))


@lru_cache(maxsize=1)
def _has_user_typecasters(_count: int, _last: int) -> bool:
    """Looked for again when another type has come."""
    return any(oid >= FIRST_USER_OID for oid in global_typecasters)


@lru_cache(maxsize=1)
def _user_typecasters(_registered: tuple[int, ...]) -> dict[int, Any]:
    """The typecasters for users' types that are registered globally."""
    return {oid: c for oid, c in global_typecasters.items() if oid >= FIRST_USER_OID}


def _oids_there(
    session: Session, home: str, shard: str, oids: frozenset[int], timeout: Deadline
) -> Mapping[int, int]:
    """The OIDs on `shard` of the types that have `oids` on `home`."""
    known = session.oids_there.get((home, shard))
    # Asked anew if the program has registered another one since.
    if known is None or known[0] != oids:
        names = type_names(session, {home: oids}, timeout)
        found = type_oids(session, shard, {names[home, oid] for oid in oids}, timeout)
        there = {oid: found[names[home, oid]] for oid in oids if names[home, oid] in found}
        known = session.oids_there[home, shard] = (oids, there)
    return known[1]


def is_registration(frame: FrameType) -> bool:
    """Whether psycopg2 looks a type up in the catalog, to register a typecaster for it.

    The union of what the shards' catalogs say would be read as one type with every attribute
    several times. `shard_typecasters` does for the other shards what must be done.
    """
    return (
        frame.f_code.co_name == "_solve_conn_curs"
        and frame.f_globals.get("__name__") == "psycopg2.extras"
    )
