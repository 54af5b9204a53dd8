"""What the role lacks on the shards as which the coordinator reads there.

    shard s1: the role app may not read public.orders: GRANT SELECT ON "public"."orders" TO "app"

Asked of the shards by whoever makes the coordinator: what its foreign tables say of a missing right
names neither the shard nor the role there.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from greenshard.cluster import Cluster
from greenshard.connection import Connection
from greenshard.coordinating.blueprint import Wanted
from greenshard.links.deadline import UNLIMITED
from greenshard.links.outside import SETTINGS, read_outside, understood, value
from greenshard.links.physical import Physical
from greenshard.links.put_together import layout
from greenshard.sql.nodes import quoted

#: Parameters: the role; the tables, as JSON: [["public", "orders"], ...]. A right to a table is one
#: to all of its columns, too.
_ASKED = """
SELECT convert_to(json_build_object(
    'exists', EXISTS (SELECT FROM pg_roles WHERE rolname = %(user)s),
    'schemas', (SELECT json_agg(DISTINCT n.nspname) FROM json_array_elements(%(tables)s) AS t
        JOIN pg_namespace AS n ON n.nspname = t ->> 0
        JOIN pg_roles AS r ON r.rolname = %(user)s
        WHERE NOT has_schema_privilege(r.oid, n.oid, 'USAGE')),
    'tables', (SELECT json_agg(json_build_array(n.nspname, c.relname))
        FROM json_array_elements(%(tables)s) AS t
        JOIN pg_namespace AS n ON n.nspname = t ->> 0
        JOIN pg_class AS c ON c.relnamespace = n.oid AND c.relname = t ->> 1
        JOIN pg_roles AS r ON r.rolname = %(user)s
        WHERE NOT has_table_privilege(r.oid, c.oid, 'SELECT') AND EXISTS (
            SELECT FROM pg_attribute AS a
            WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
                AND NOT has_column_privilege(r.oid, c.oid, a.attnum, 'SELECT')))
)::text, 'UTF8')
"""


def missing_rights(
    conn: Connection, cluster: Cluster, tables: Sequence[Wanted], users: Mapping[str, str]
) -> Iterator[str]:
    """What the role lacks on each shard, each with what to do.

    Args:
        conn: A connection to all shards as a union.
        cluster: The declaration.
        tables: The tables that the coordinator is to have.
        users: Who it is on each shard.

    Switches: yes.
    """
    session = conn._session
    read = {shard: _tables_of(cluster, tables, shard) for shard in users}
    with session.taken():
        calls: dict[str, Any] = {
            shard: partial(
                read_outside,
                session.physical(shard),
                partial(_ask, user=user, tables=read[shard]),
            )
            for shard, user in users.items()
        }
        jobs: Any = session.run(calls, UNLIMITED).jobs
    for shard, user in users.items():
        yield from _told(shard, user, jobs[shard].result)


def _tables_of(cluster: Cluster, tables: Sequence[Wanted], shard: str) -> list[tuple[str, str]]:
    """Those that are read on a shard: a reference table is read on one."""
    return [
        table.name for table in tables if shard in layout(cluster, table.name, table.facts).bounds
    ]


def _ask(physical: Physical, *, user: str, tables: Sequence[tuple[str, str]]) -> Mapping[str, Any]:
    found = value(physical, f"{SETTINGS}{_ASKED}", {"user": user, "tables": json.dumps(tables)})
    with understood(physical.shard):
        told: Mapping[str, Any] = json.loads(bytes(found))
        return told


def _told(shard: str, user: str, found: Mapping[str, Any]) -> Iterator[str]:
    who = quoted(user)
    if not found["exists"]:
        yield f"shard {shard} has no role {user}: CREATE ROLE {who} LOGIN PASSWORD '...'"
        return
    for schema in found["schemas"] or ():
        yield (
            f"shard {shard}: the role {user} may not use the schema {schema}: "
            f"GRANT USAGE ON SCHEMA {quoted(schema)} TO {who}"
        )
    for name in found["tables"] or ():
        yield (
            f"shard {shard}: the role {user} may not read {'.'.join(name)}: "
            f"GRANT SELECT ON {'.'.join(map(quoted, name))} TO {who}"
        )
