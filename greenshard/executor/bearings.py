"""Where a session looks for names, and as whom it acts: what plans depend on.

Only the server knows: a function that a trigger calls may have moved it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from greenshard._driver import TRANSACTION_FAILED
from greenshard.executor.deadline import Timeout, seconds_left
from greenshard.executor.outside import read_outside, understood, value
from greenshard.executor.physical import Physical
from greenshard.executor.session import Session

#: Of one shard's session. Temporary relations have no place in the path: their names are listed.
_BEARINGS = """
SELECT pg_catalog.convert_to(pg_catalog.json_build_array(
    pg_catalog.to_json(pg_catalog.current_schemas(true)),
    pg_catalog.current_setting('role'),
    SESSION_USER,
    pg_catalog.concat(pg_catalog.current_setting('transaction_isolation'), ' ',
        pg_catalog.current_setting('default_transaction_isolation')),
    CASE WHEN pg_catalog.pg_my_temp_schema() OPERATOR(pg_catalog.<>) 0::pg_catalog.oid THEN (
        SELECT pg_catalog.json_agg(relname) FROM pg_catalog.pg_class
        WHERE relnamespace OPERATOR(pg_catalog.=) pg_catalog.pg_my_temp_schema()
            AND relkind OPERATOR(pg_catalog.<>) 'i'::pg_catalog."char") END
)::pg_catalog.text, 'UTF8')
"""


@dataclass(frozen=True, slots=True)
class Bearings:
    """What holds in one session.

    Attributes:
        path: The schemas in which it looks for names, in order; with ``pg_catalog``, without the
            session's own ``pg_temp_N``.
        role: What it has set, or "none".
        user: Its session's user.
        isolated: Whether a transaction may see other rows than one that begins now.
        temporary: The names of its temporary relations.
    """

    path: tuple[str, ...]
    role: str
    user: str
    isolated: bool
    temporary: frozenset[str] = frozenset()


def ask_bearings(
    session: Session, shards: Mapping[str, Physical], timeout: Timeout
) -> dict[str, Bearings]:
    """Ask some shards; the caller has `taken` the session.

    A shard whose transaction has failed is left out: it answers nothing.

    Raises:
        errors.Error: A shard failed, or time is up.

    Switches: yes.
    Cost: one round trip.
    """
    calls = {
        name: partial(read_outside, physical, _read)
        for name, physical in shards.items()
        if physical.transaction_status != TRANSACTION_FAILED
    }
    if not calls:
        return {}
    jobs = session.run(calls, seconds_left(timeout)).jobs
    return {name: _bearings(name, job.result) for name, job in jobs.items()}


def _read(physical: Physical) -> bytes:
    return value(physical, _BEARINGS)


def _bearings(shard: str, found: Any) -> Bearings:
    with understood(shard):
        path, role, user, isolation, temporary = json.loads(bytes(found))
        return Bearings(
            tuple(schema for schema in path if not schema.startswith("pg_temp_")),
            role,
            user,
            "repeatable read" in isolation or "serializable" in isolation,
            frozenset(temporary or ()),
        )
