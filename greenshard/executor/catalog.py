"""The catalog of a shard, as the planner needs it, and where its session looks for names.

Both are read outside of any transaction if none is open: reading them begins none.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

from greenshard import errors
from greenshard._driver import (
    TRANSACTION_FAILED,
    TRANSACTION_IDLE,
    DriverError,
    RawConnection,
    own_cursor,
)
from greenshard.executor.physical import Physical, autocommit
from greenshard.executor.session import Session
from greenshard.planner.catalog import Catalog, Column, Function, Policy, Relation, Security

#: Whatever the session has set, for as long as the catalog is read: then every name outside of
#: pg_catalog comes qualified, and constants in a view's definition mean the same everywhere.
#: The compiler would take longer than the query. The lock timeout is below ``deadlock_timeout``'s
#: default, so that it is not the migration which holds the lock that PostgreSQL would cancel.
_SETTINGS = """
SET LOCAL search_path = pg_catalog, pg_temp;
SET LOCAL DateStyle = ISO;
SET LOCAL IntervalStyle = postgres;
SET LOCAL extra_float_digits = 1;
SET LOCAL quote_all_identifiers = off;
SET LOCAL standard_conforming_strings = on;
SET LOCAL jit = off;
SET LOCAL lock_timeout = '500ms';
"""

#: One row of one bytea: JSON in UTF-8, so that no client encoding stands in the way of a name.
#: The database's row is read through JSON too: its columns differ from version to version.
_CATALOG = """
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
    SELECT d.oid, t.typname, t.typcategory FROM domain d JOIN pg_type t ON t.oid = d.base
    WHERE t.typtype <> 'd'
    UNION ALL
    SELECT oid, typname, typcategory FROM pg_type WHERE typtype <> 'd'
), columns AS (
    SELECT a.attrelid, json_agg(json_build_array(
        a.attname, b.typname, format_type(a.atttypid, a.atttypmod),
        quote_ident(s.nspname) || '.' || quote_ident(c.collname),
        coalesce(c.collisdeterministic, true), b.typcategory = 'A') ORDER BY a.attnum) AS list
    FROM relation r JOIN pg_attribute a ON a.attrelid = r.oid
    JOIN base b ON b.oid = a.atttypid
    LEFT JOIN pg_collation c ON c.oid = nullif(a.attcollation, 'pg_catalog."default"'::regcollation)
    LEFT JOIN pg_namespace s ON s.oid = c.collnamespace
    WHERE NOT r.system AND a.attnum > 0 AND NOT a.attisdropped
    GROUP BY a.attrelid
), locked AS (
    SELECT w.ev_class AS oid
    FROM pg_locks l JOIN pg_depend d ON d.refclassid = 'pg_class'::regclass
        AND d.refobjid = l.relation AND d.classid = 'pg_rewrite'::regclass
    JOIN pg_rewrite w ON w.oid = d.objid
    WHERE %(skips)s AND l.mode = 'AccessExclusiveLock' AND l.pid <> pg_backend_pid()
), key AS (
    SELECT i.indrelid, json_agg(a.attname ORDER BY k.number) AS list
    FROM pg_index i CROSS JOIN unnest(i.indkey) WITH ORDINALITY AS k (attnum, number)
    JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
    WHERE i.indisprimary AND k.number <= i.indnkeyatts
    GROUP BY i.indrelid
), policy AS (
    SELECT p.polrelid, json_agg(json_build_array(p.polname, p.polcmd, CASE WHEN NOT EXISTS (
        SELECT FROM pg_locks l WHERE %(skips)s AND l.mode = 'AccessExclusiveLock'
        AND l.pid <> pg_backend_pid() AND (l.relation = p.polrelid OR l.relation IN (
            SELECT d.refobjid FROM pg_depend d WHERE d.classid = 'pg_policy'::regclass
            AND d.objid = p.oid AND d.refclassid = 'pg_class'::regclass))
        ) THEN json_build_array(
            pg_get_expr(p.polqual, p.polrelid), pg_get_expr(p.polwithcheck, p.polrelid)) END
        ) ORDER BY p.polname) AS list
    FROM pg_policy p
    WHERE EXISTS (
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
)
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
            CASE WHEN r.relkind = 'v' AND r.oid NOT IN (SELECT oid FROM locked)
                THEN pg_get_viewdef(r.oid) END,
            s.list))
        FROM relation r LEFT JOIN columns c ON c.attrelid = r.oid
        LEFT JOIN key k ON k.indrelid = r.oid
        LEFT JOIN security s ON s.oid = r.oid
        WHERE NOT r.system),
    'functions', (
        SELECT json_agg(g) FROM (
            SELECT s.nspname AS schema, p.prokind AS kind, p.provolatile AS volatility,
                array_agg(DISTINCT p.proname) AS names
            FROM pg_proc p JOIN space s ON s.oid = p.pronamespace
            GROUP BY s.nspname, p.prokind, p.provolatile) g)
)::text, 'UTF8')
"""

_PATH = """
SELECT pg_catalog.convert_to(
    pg_catalog.to_json(pg_catalog.current_schemas(true))::pg_catalog.text, 'UTF8')
"""

_LOCK_NOT_AVAILABLE = "55P03"

_TEMPORARY = """
SELECT pg_catalog.convert_to(coalesce(pg_catalog.json_agg(relname), '[]')::pg_catalog.text, 'UTF8')
FROM pg_catalog.pg_class
WHERE relnamespace OPERATOR(pg_catalog.=) pg_catalog.pg_my_temp_schema()
    AND relkind OPERATOR(pg_catalog.<>) 'i'
"""

#: The types that SQL has words for; they mean pg_catalog's, whatever the search_path.
_STANDARD = re.compile(
    r"(bigint|bit varying|bit\(|boolean|character|double precision|integer|interval|numeric|real"
    r"|smallint|time|timestamp)\b"
)


def load_catalog(session: Session, shard: str, timeout_s: float | None) -> Catalog:
    """Read the catalog of one shard; the caller has `taken` the session.

    In view definitions, names without a schema are those of ``pg_catalog``. A view has none while
    a relation that it names is locked in ACCESS EXCLUSIVE mode (reading it would wait for that).

    Raises:
        errors.Error: The shard failed, or time is up.

    Switches: yes.
    Cost: one round trip, two in an open transaction; 8 ms if the schema is small, 90 ms with
        500 tables of 20 columns; half a second more if there is such a lock.
    """
    found = _run(session, shard, _read_catalog, timeout_s)
    with _understood(shard):
        return _catalog(found)


def current_path(session: Session, shard: str, timeout_s: float | None) -> tuple[str, ...]:
    """The schemas in which a session looks for names, in order; the caller has `taken` it.

    With ``pg_catalog``, and with the session's own ``pg_temp_N`` if it has one.

    Raises:
        errors.Error: The shard failed, or time is up.

    Switches: yes.
    Cost: one round trip.
    """
    found = _run(session, shard, _read_path, timeout_s)
    with _understood(shard):
        return tuple(found)


def temporary_names(session: Session, timeout_s: float | None) -> frozenset[str]:
    """The names of the temporary relations that the sessions on all shards have.

    Shards whose transaction has failed are left out. The caller has `taken` the session.

    Raises:
        errors.Error: A shard failed, or time is up.

    Switches: yes.
    Cost: one round trip.
    """
    calls = {
        physical.shard: partial(_read_outside, physical, _read_temporary)
        for physical in session.alive
        if physical.transaction_status != TRANSACTION_FAILED
    }
    found: list[Any] = [job.result for job in session.run(calls, timeout_s).jobs.values()]
    return frozenset(name for names in found for name in json.loads(bytes(names)))


def _run(
    session: Session, shard: str, read: Callable[[Physical], bytes], timeout_s: float | None
) -> Any:
    physical = session.physical(shard)
    outcome = session.run({shard: partial(_read_outside, physical, read)}, timeout_s)
    found: Any = outcome.jobs[shard].result
    with _understood(shard):
        return json.loads(bytes(found))


@contextmanager
def _understood(shard: str) -> Iterator[None]:
    """Reading an answer, which of a server that is no PostgreSQL, or corrupted, may be anything.

    Raises:
        errors.OperationalError: It cannot be read.
    """
    try:
        yield
    except (AttributeError, LookupError, TypeError, ValueError) as exc:
        raise errors.OperationalError(
            f"shard {shard}: what it says of its catalog cannot be read ({type(exc).__name__})",
            shard=shard,
            hint="Is it PostgreSQL? Only sslmode=verify-full makes that sure.",
        ) from exc


def _read_outside(physical: Physical, read: Callable[[Physical], bytes]) -> bytes:
    """Read, and leave no transaction behind if there is none."""
    if physical.in_transaction:
        return read(physical)
    before = autocommit.read(physical.raw)
    try:
        if not before:
            autocommit.write(physical.raw, True)
        return read(physical)
    finally:
        if physical.alive:
            _end_block(physical)
            if not before:
                autocommit.write(physical.raw, False)


def _end_block(physical: Physical) -> None:
    """End the transaction that psycopg2 begins in a with block, even in autocommit mode."""
    if physical.in_transaction:
        RawConnection.rollback(physical.raw)


def _read_path(physical: Physical) -> bytes:
    return _value(physical, _PATH)


def _read_temporary(physical: Physical) -> bytes:
    return _value(physical, _TEMPORARY)


def _read_catalog(physical: Physical) -> bytes:
    """Read under `_SETTINGS`, of which nothing is left afterwards, also if it fails.

    Statements that are sent together are a transaction of their own, if none is open.
    """
    begin, end = "", ""
    if physical.transaction_status != TRANSACTION_IDLE:
        begin, end = "SAVEPOINT greenshard_catalog;", "ROLLBACK TO SAVEPOINT greenshard_catalog;"
    try:
        found = _value(physical, begin + _SETTINGS + _CATALOG % {"skips": "false"})
    except DriverError as exc:
        if exc.pgcode != _LOCK_NOT_AVAILABLE:
            raise
        if not end:
            _end_block(physical)
        found = _value(physical, end + _SETTINGS + _CATALOG % {"skips": "true"})
    if end:
        # The locks that reading took go with it.
        own_cursor(physical.raw).execute(f"{end} RELEASE SAVEPOINT greenshard_catalog")
    return found


def _value(physical: Physical, query: str) -> bytes:
    cursor = own_cursor(physical.raw)
    cursor.execute(query)
    ((found,),) = cursor.fetchall()
    return found  # type: ignore[no-any-return]


def _catalog(found: Mapping[str, Any]) -> Catalog:
    relations = {
        (group["schema"], name): Relation(group["schema"], name, group["kind"], ())
        for group in found["system"]
        for name in group["names"]
    }
    for schema, name, kind, columns, key, definition, security in found["relations"] or ():
        relations[schema, name] = Relation(
            schema,
            name,
            kind,
            tuple([_column(*column) for column in columns or ()]),
            tuple(key or ()),
            definition and definition.rstrip(";"),
            _security(*security) if security else Security(),
        )
    return Catalog(
        relations, _functions(found["functions"]), _is_c(found["database"]), found["version"]
    )


def _column(name: str, type_name: str, type_sql: str, *properties: Any) -> Column:
    if "." not in type_sql and not _STANDARD.match(type_sql):
        type_sql = f"pg_catalog.{type_sql}"
    return Column(name, type_name, type_sql, *properties)


def _security(barrier: bool, column_grants: bool, policies: Any) -> Security:
    made = [
        Policy(name, command, tuple(text for text in conditions or () if text))
        for name, command, conditions in policies or ()
    ]
    return Security(barrier, column_grants, tuple(made))


def _functions(groups: Iterable[Mapping[str, Any]]) -> dict[str, frozenset[Function]]:
    functions: defaultdict[str, list[Function]] = defaultdict(list)
    for group in groups:
        function = Function(group["schema"], group["kind"], group["volatility"])
        for name in group["names"]:
            functions[name].append(function)
    # Most names have the same few sets of properties.
    known: dict[tuple[Function, ...], frozenset[Function]] = {}
    return {
        name: known.setdefault(tuple(found), frozenset(found)) for name, found in functions.items()
    }


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
