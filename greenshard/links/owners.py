"""Whose tables may be used where what is in them could run with our user's rights.

The schema greenshard may have been made by anybody who may create one, and whoever owns a table may
put a trigger on it. So its owner must be somebody who could do that anyway: a superuser, the
database's owner, our own user; or who owns all sharded tables, for there we write as well.
"""

from __future__ import annotations

import json

from greenshard.cluster import Cluster, Sharded, TableName

#: Of ``{owner}``, an OID. Parameter: the sharded tables. Memberships count for nothing: up to
#: PostgreSQL 15, a role could make anybody its member.
TRUSTED = """EXISTS (SELECT FROM pg_catalog.pg_roles AS o
    WHERE o.oid OPERATOR(pg_catalog.=) {owner} AND (o.rolsuper
        OR o.rolname OPERATOR(pg_catalog.=) session_user
        OR o.rolname OPERATOR(pg_catalog.=) current_user
        OR o.oid OPERATOR(pg_catalog.=) (SELECT d.datdba FROM pg_catalog.pg_database AS d
            WHERE d.datname OPERATOR(pg_catalog.=) pg_catalog.current_database())
        OR o.oid OPERATOR(pg_catalog.=) (SELECT pg_catalog.min(t.relowner)
            FROM pg_catalog.json_array_elements(%(sharded)s::pg_catalog.json) AS j
            JOIN pg_catalog.pg_class AS t
                ON t.relname OPERATOR(pg_catalog.=) (j OPERATOR(pg_catalog.->>) 1)
                AND (t.relkind OPERATOR(pg_catalog.=) 'r' OR t.relkind OPERATOR(pg_catalog.=) 'p')
            JOIN pg_catalog.pg_namespace AS s ON s.oid OPERATOR(pg_catalog.=) t.relnamespace
                AND (j OPERATOR(pg_catalog.->>) 0 IS NULL
                    OR s.nspname OPERATOR(pg_catalog.=) (j OPERATOR(pg_catalog.->>) 0))
            WHERE s.nspname OPERATOR(pg_catalog.!~) '^pg_'
            HAVING pg_catalog.min(t.relowner)
                OPERATOR(pg_catalog.=) pg_catalog.max(t.relowner))))"""


def sharded_tables(cluster: Cluster | None) -> str:
    """The sharded tables of a cluster, for `TRUSTED`: as JSON, each its schema and name."""
    tables = {} if cluster is None else cluster.tables
    names = [TableName.read(name) for name, each in tables.items() if isinstance(each, Sharded)]
    return json.dumps([(name.schema, name.name) for name in names])
