"""The catalog of a shard, as the planner needs it.

It is read outside of any transaction if none is open: reading it begins none.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from greenshard._driver import DriverError, own_cursor
from greenshard.cluster import DeclaredFunction
from greenshard.executor.knowledge import beside_queries, code_queries
from greenshard.executor.knowledge.beside_queries import CTES as BESIDE_CTES
from greenshard.executor.knowledge.beside_queries import MEMBERS as BESIDE_MEMBERS
from greenshard.executor.knowledge.beside_queries import (
    besides_of,
    events_of,
    inheritance_of,
    with_steady,
)
from greenshard.executor.knowledge.body_queries import MEMBER as BODIES
from greenshard.executor.knowledge.body_queries import bodies_of
from greenshard.executor.knowledge.code_queries import (
    CTES,
    MEMBERS,
    declared_parameter,
    functions_of,
    operators_of,
)
from greenshard.links.deadline import Deadline
from greenshard.links.outside import (
    SETTINGS,
    end_block,
    meant_alike,
    read_outside,
    understood,
    value,
)
from greenshard.links.physical import Physical
from greenshard.links.session import Session
from greenshard.planner.catalog import Catalog, Column, Policy, Relation, Security
from greenshard.sql.types import is_standard

#: One row of one bytea: JSON in UTF-8, so that no client encoding stands in the way of a name.
#: The database's row is read through JSON too: its columns differ from version to version.
_CATALOG = meant_alike(f"""
WITH RECURSIVE space AS (
    SELECT oid, nspname, nspname IN ('pg_catalog', 'information_schema') AS system
    FROM pg_namespace WHERE nspname !~ '^pg_(toast|temp_)'
), relation AS (
    SELECT c.oid, s.nspname, s.system, c.relname, c.relkind
    FROM pg_class c JOIN space s ON s.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
), domain AS (
    SELECT oid, typbasetype AS base FROM pg_type WHERE typtype = 'd'
    UNION ALL
    SELECT d.oid, t.typbasetype FROM domain d JOIN pg_type t ON t.oid = d.base AND t.typtype = 'd'
), base AS (
    SELECT d.oid, t.typname, t.typcategory, pg_get_expr(o.typdefaultbin, 0) AS given
    FROM domain d JOIN pg_type t ON t.oid = d.base JOIN pg_type o ON o.oid = d.oid
    WHERE t.typtype <> 'd'
    UNION ALL
    SELECT oid, typname, typcategory, NULL FROM pg_type WHERE typtype <> 'd'
), busy AS (
    SELECT l.relation AS oid FROM pg_locks l
    WHERE %(skips)s = 'yes' AND l.mode = 'AccessExclusiveLock' AND l.pid <> pg_backend_pid()
), columns AS (
    SELECT a.attrelid, json_agg(json_build_array(
        a.attname, b.typname, format_type(a.atttypid, a.atttypmod),
        quote_ident(s.nspname) || '.' || quote_ident(c.collname),
        coalesce(c.collisdeterministic, true), b.typcategory = 'A',
        CASE WHEN a.attidentity <> '' THEN format('nextval(%%L::regclass)',
                pg_get_serial_sequence(format('%%I.%%I', r.nspname, r.relname), a.attname))
            WHEN a.attgenerated = '' AND a.atthasdef THEN CASE
                WHEN a.attrelid IN (SELECT oid FROM busy) THEN ''
                ELSE (SELECT pg_get_expr(d.adbin, d.adrelid) FROM pg_attrdef d
                    WHERE d.adrelid = a.attrelid AND d.adnum = a.attnum) END
            WHEN a.attgenerated = '' THEN b.given
            END, a.attidentity, a.attgenerated <> '') ORDER BY a.attnum) AS list
    FROM relation r JOIN pg_attribute a ON a.attrelid = r.oid
    JOIN base b ON b.oid = a.atttypid
    LEFT JOIN pg_collation c ON c.oid = nullif(a.attcollation, 'pg_catalog."default"'::regcollation)
    LEFT JOIN pg_namespace s ON s.oid = c.collnamespace
    WHERE NOT r.system AND a.attnum > 0 AND NOT a.attisdropped
    GROUP BY a.attrelid
), locked AS (
    SELECT w.ev_class AS oid
    FROM busy JOIN pg_depend d ON d.refclassid = 'pg_class'::regclass
        AND d.refobjid = busy.oid AND d.classid = 'pg_rewrite'::regclass
    JOIN pg_rewrite w ON w.oid = d.objid
), key AS (
    SELECT i.indrelid, json_agg(a.attname ORDER BY k.number) AS list
    FROM pg_index i CROSS JOIN unnest(i.indkey) WITH ORDINALITY AS k (attnum, number)
    JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
    WHERE i.indisprimary AND k.number <= i.indnkeyatts
    GROUP BY i.indrelid
), policy AS (
    SELECT p.polrelid, json_agg(json_build_array(p.polname, p.polcmd, CASE WHEN NOT EXISTS (
        SELECT FROM pg_locks l WHERE %(skips)s = 'yes' AND l.mode = 'AccessExclusiveLock'
        AND l.pid <> pg_backend_pid() AND (l.relation = p.polrelid OR l.relation IN (
            SELECT d.refobjid FROM pg_depend d WHERE d.classid = 'pg_policy'::regclass
            AND d.objid = p.oid AND d.refclassid = 'pg_class'::regclass))
        ) THEN json_build_array(
            pg_get_expr(p.polqual, p.polrelid), pg_get_expr(p.polwithcheck, p.polrelid)) END,
        f.function) ORDER BY p.polname) AS list
    FROM pg_policy p
    LEFT JOIN (
        SELECT oid, name, min(function) AS function FROM dirty WHERE kind = 'policy' GROUP BY 1, 2
    ) f ON f.oid = p.polrelid AND f.name = p.polname
    WHERE f.function IS NOT NULL OR EXISTS (
        SELECT FROM pg_depend d WHERE d.classid = 'pg_policy'::regclass AND d.objid = p.oid
        AND d.refclassid = 'pg_class'::regclass AND d.refobjid <> p.polrelid)
    GROUP BY p.polrelid
), security AS (
    SELECT c.oid, json_build_array(EXISTS (
        SELECT FROM pg_options_to_table(c.reloptions) o
        WHERE o.option_name = 'security_barrier' AND o.option_value::bool),
        g.attrelid IS NOT NULL, p.list) AS list
    FROM pg_class c
    LEFT JOIN (SELECT DISTINCT attrelid FROM pg_attribute WHERE attacl IS NOT NULL) g
        ON g.attrelid = c.oid
    LEFT JOIN policy p ON p.polrelid = c.oid
    WHERE c.relkind = 'v' AND c.reloptions IS NOT NULL OR g.attrelid IS NOT NULL
        OR p.polrelid IS NOT NULL
), composite AS (
    SELECT format_type(c.reltype, NULL) AS name, (
        SELECT json_object_agg(a.attname, format_type(a.atttypid, NULL)) FROM pg_attribute a
        WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped) AS fields
    FROM pg_class c JOIN space s ON s.oid = c.relnamespace
    WHERE NOT s.system AND (c.relkind = 'c' OR c.reltype IN (
        SELECT atttypid FROM pg_attribute WHERE attrelid >= 16384))
), {CTES}, {BESIDE_CTES}
SELECT convert_to(json_build_object(
    'version', current_setting('server_version_num')::int,
    'database', (
        SELECT to_jsonb(d) || jsonb_build_object('encoding', pg_encoding_to_char(d.encoding))
        FROM pg_database d WHERE d.datname = current_database()),
    'system', (
        SELECT json_agg(g) FROM (
            SELECT nspname AS schema, relkind AS kind, array_agg(relname) AS names
            FROM relation WHERE system GROUP BY nspname, relkind) g),
    'relations', (
        SELECT json_agg(json_build_array(
            r.nspname, r.relname, r.relkind, c.list, k.list,
            CASE WHEN r.relkind IN ('v', 'm') AND r.oid NOT IN (SELECT oid FROM locked)
                THEN pg_get_viewdef(r.oid) END,
            s.list, coalesce(u.letters, '')))
        FROM relation r LEFT JOIN columns c ON c.attrelid = r.oid
        LEFT JOIN key k ON k.indrelid = r.oid
        LEFT JOIN security s ON s.oid = r.oid
        LEFT JOIN running u ON u.oid = r.oid
        WHERE NOT r.system),
    'composites', (SELECT json_object_agg(name, coalesce(fields, '{{}}')) FROM composite),
    'bases', (
        SELECT json_object_agg(t.typname, b.typname) FROM (
            SELECT oid, oid AS of FROM pg_type WHERE typtype = 'd'
            UNION ALL SELECT rngtypid, rngsubtype FROM pg_range
            UNION ALL SELECT rngmultitypid, rngsubtype FROM pg_range
        ) m JOIN pg_type t ON t.oid = m.oid JOIN base b ON b.oid = m.of WHERE t.oid >= 16384),
    'given', (
        SELECT json_agg(json_build_array(s.nspname, t.typname, b.given))
        FROM base b JOIN pg_type t ON t.oid = b.oid JOIN space s ON s.oid = t.typnamespace
        WHERE b.given IS NOT NULL AND t.oid >= 16384),
    'taking_times', (
        SELECT json_agg(DISTINCT ARRAY[s.nspname, m.name]) FROM (
            SELECT pronamespace AS schema, proname AS name, unnest(proargtypes) AS type
            FROM pg_proc WHERE oid >= 16384
            UNION ALL
            SELECT oprnamespace, oprname, unnest(ARRAY[oprleft, oprright])
            FROM pg_operator WHERE oid >= 16384) m
        JOIN space s ON s.oid = m.schema
        WHERE m.type IN (SELECT oid FROM timed UNION ALL SELECT oid FROM pg_type
            WHERE typtype = 'p' AND typname ~ '^any(array|element|compatible|range|multirange)')),
    'outputs', (
        SELECT json_agg(DISTINCT o.name)
        FROM pg_proc p CROSS JOIN unnest(p.proargnames, p.proargmodes) AS o (name, mode)
        WHERE p.oid >= 16384 AND p.proargmodes IS NOT NULL AND o.mode IN ('o', 'b', 't')),
    'namesakes', (
        SELECT json_agg(json_build_array(t.typname, s.nspname))
        FROM pg_type t JOIN space s ON s.oid = t.typnamespace
        WHERE t.oid >= 16384 AND NOT s.system AND EXISTS (
            SELECT FROM pg_type o WHERE o.typname = t.typname
                AND o.typnamespace = 'pg_catalog'::regnamespace)),
    'indexes', (
        SELECT json_agg(json_build_array(s.nspname, c.relname, r.nspname, r.relname))
        FROM pg_index i JOIN relation r ON r.oid = i.indrelid AND NOT r.system
        JOIN pg_class c ON c.oid = i.indexrelid JOIN space s ON s.oid = c.relnamespace
        WHERE %(indexes)s = 'yes'),
    'declared', (SELECT json_agg(DISTINCT text) FROM declared),
{BODIES},
{BESIDE_MEMBERS},
{MEMBERS}
)::text, 'UTF8')
""")

_LOCK_NOT_AVAILABLE = "55P03"


def load_catalog(
    session: Session,
    shards: Sequence[str],
    timeout: Deadline,
    functions: Sequence[DeclaredFunction] = (),
    homes: Collection[str] = (),
) -> Catalog:
    """Read the catalog of one shard; the caller has `taken` the session.

    In view definitions, names without a schema are those of ``pg_catalog``. A view has none while
    a relation that it names is locked in ACCESS EXCLUSIVE mode (reading it would wait for that).

    Args:
        session: The connections.
        shards: Whom to ask, see `Session.ask_any`.
        timeout: What it may take.
        functions: What the cluster declares of functions.
        homes: The shards that have tables alone.

    Raises:
        errors.Error: The shards failed, or time is up.

    Switches: yes.
    Cost: one round trip, two in an open transaction; 12 ms if the schema is small, 110 ms with
        500 tables of 20 columns, 50 ms more with 1000 functions in SQL or PL/pgSQL; half a second
        more if there is such a lock.
    """
    asked = {"declared": declared_parameter(functions), "indexes": "yes" if homes else "no"}
    read = partial(_read_catalog, asked=asked)
    reads = partial(read_outside, read=read)
    shard, found = session.ask_any(reads, shards, timeout)
    with understood(shard):
        catalog = _catalog(json.loads(bytes(found)))
    return replace(catalog, whole_of=frozenset({shard}.intersection(homes)))


def _read_catalog(physical: Physical, asked: Mapping[str, str]) -> bytes:
    """Read under `SETTINGS`, of which nothing is left afterwards, also if it fails.

    Statements that are sent together are a transaction of their own, if none is open.
    """
    parameters = {
        **code_queries.PARAMETERS,
        **beside_queries.PARAMETERS,
        **asked,
    }
    begin, end = "", ""
    if not physical.idle:
        begin, end = "SAVEPOINT greenshard_catalog;", "ROLLBACK TO SAVEPOINT greenshard_catalog;"
    try:
        found = value(physical, begin + SETTINGS + _CATALOG, {**parameters, "skips": "no"})
    except DriverError as exc:
        if exc.pgcode != _LOCK_NOT_AVAILABLE:
            raise
        if not end:
            end_block(physical)
        found = value(physical, end + SETTINGS + _CATALOG, {**parameters, "skips": "yes"})
    if end:
        # The locks that reading took go with it.
        own_cursor(physical.raw).execute(f"{end} RELEASE SAVEPOINT greenshard_catalog")
    return found


def _catalog(found: Mapping[str, Any]) -> Catalog:
    relations = {
        (group["schema"], name): Relation(group["schema"], name, group["kind"], ())
        for group in found["system"]
        for name in group["names"]
    }
    for schema, name, kind, columns, key, definition, security, runs in found["relations"] or ():
        relations[schema, name] = Relation(
            schema,
            name,
            kind,
            tuple([column(*each) for each in columns or ()]),
            tuple(key or ()),
            definition and definition.rstrip(";"),
            _security(*security) if security else Security(),
            runs,
        )
    functions = with_steady(functions_of(found["functions"]), found)
    return Catalog(
        relations,
        functions,
        _is_c(found["database"]),
        found["version"],
        operators_of(found["operators"]),
        found["unseen"],
        found["composites"] or {},
        frozenset(found["outputs"] or ()),
        tuple((name, schema) for name, schema in found["namesakes"] or ()),
        found["makes"],
        found["database"]["encoding"],
        besides_of(found),
        inheritance_of(found),
        {(schema, name): function for schema, name, function in found["tainted"] or ()},
        frozenset(found["declared"] or ()),
        found["bases"] or {},
        bodies_of(found["bodies"], functions),
        events_of(found),
        {(schema, name): (where, of) for schema, name, where, of in found["indexes"] or ()},
        taking_times=_names(found["taking_times"]),
        making_times=_names(found["makers"]),
        of_installation=_names(found["installed"]),
        given={(schema, name): text for schema, name, text in found["given"] or ()},
    )


def _names(found: Any) -> frozenset[tuple[str, str]]:
    return frozenset((schema, name) for schema, name in found or ())


def column(name: str, type_name: str, type_sql: str, *properties: Any) -> Column:
    """A column, of what a server tells of it while nothing is hidden."""
    return Column(name, type_name, qualified(type_sql), *properties)


def qualified(type_sql: str) -> str:
    """A type as `Column.type_sql` has it, of what ``format_type`` gives while nothing is hidden."""
    if "." in type_sql or is_standard(type_sql):
        return type_sql
    return f"pg_catalog.{type_sql}"


def _security(barrier: bool, column_grants: bool, policies: Any) -> Security:
    made = [
        Policy(name, command, tuple(text for text in conditions or () if text), function)
        for name, command, conditions, function in policies or ()
    ]
    return Security(barrier, column_grants, tuple(made))


def _is_c(database: Mapping[str, Any]) -> bool:
    """Whether the database sorts text by code point unless told otherwise.

    Source: PostgreSQL manual, 23.2 "Collation Support"; before version 15 there was only libc.
    """
    if database["encoding"] not in {"UTF8", "SQL_ASCII"}:
        return False
    provider = database.get("datlocprovider", "c")
    if provider == "b":
        return database["datlocale"] in {"C", "C.UTF-8", "PG_UNICODE_FAST"}
    return provider == "c" and database["datcollate"] in {"C", "POSIX"}
