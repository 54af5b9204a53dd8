"""What a database says of itself that answers depend on: whether another one answers alike.

Its version, encoding and collation; the code and the types that users made; what some relations
look like. A coordinator is compared with the shards by it, when it is made and when it runs a
statement.

    {"database": [18, "UTF8", "c", "C", ...],
     "code": [["function", "public", "f(integer)", "f", true, ...], ...],
     "relations": [["public", "orders", {"kind": "r", "columns": [...], ...}], ...], ...}
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from greenshard._driver import Attribute, RawConnection, own_cursor
from greenshard.links.outside import SETTINGS, meant_alike, understood, value
from greenshard.links.physical import Physical

_server_version = Attribute(RawConnection, "server_version")
_FIRST_WITH_VERSION = 150000
_VERSION = "pg_database_collation_actual_version(oid)"

#: Of each thing that users made: its kind, its schema (empty for what has none), its name, what
#: statements call it, whether it runs a text in which names are looked up, and what it is. What
#: belongs to postgres_fdw is left out: a shard has no need of it; and triggers' functions, which no
#: statement can call.
_CODE = """
WITH fdw AS (
    SELECT classid, objid FROM pg_depend JOIN pg_extension AS e ON e.oid = refobjid
    WHERE refclassid = 'pg_extension'::regclass AND deptype = 'e' AND extname = 'postgres_fdw'
), extension AS (
    SELECT classid, objid, extname || ' ' || extversion AS version
    FROM pg_depend JOIN pg_extension AS e ON e.oid = refobjid
    WHERE refclassid = 'pg_extension'::regclass AND deptype = 'e'
), schema AS (
    SELECT oid, nspname FROM pg_namespace
    WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'
), compiled AS (
    SELECT p.oid FROM pg_proc AS p JOIN pg_language AS l ON l.oid = prolang
    WHERE lanname IN ('internal', 'c')
), code AS (
    SELECT 'function' AS kind, nspname, format('%%I(%%s)', proname,
            pg_get_function_identity_arguments(p.oid)) AS name, proname AS called,
        prokind = 'a' OR p.oid NOT IN (SELECT oid FROM compiled) AS interpreted,
        md5(concat_ws(' ', x.version, CASE WHEN prokind <> 'a' THEN pg_get_functiondef(p.oid)
            ELSE (SELECT concat_ws(' ', a.aggtransfn::text, a.aggfinalfn::text,
                a.aggtranstype::regtype::text, a.agginitval, a.aggmtransfn::text,
                a.aggsortop::regoper::text, a.aggkind::text)
                FROM pg_aggregate AS a WHERE a.aggfnoid = p.oid) END)) AS definition
    FROM pg_proc AS p JOIN schema AS n ON n.oid = pronamespace
    LEFT JOIN extension AS x ON x.classid = 'pg_proc'::regclass AND x.objid = p.oid
    WHERE prorettype NOT IN ('trigger'::regtype, 'event_trigger'::regtype) AND NOT EXISTS (
        SELECT FROM fdw WHERE fdw.classid = 'pg_proc'::regclass AND fdw.objid = p.oid)
    UNION ALL
    SELECT 'operator', nspname, format('%%s (%%s, %%s)', oprname, format_type(oprleft, NULL),
        format_type(oprright, NULL)), oprname, oprcode NOT IN (SELECT oid FROM compiled),
        oprcode::text
    FROM pg_operator JOIN schema AS n ON n.oid = oprnamespace
    UNION ALL
    SELECT 'cast', '', format('%%s as %%s', format_type(castsource, NULL),
        format_type(casttarget, NULL)), NULL,
        castfunc <> 0 AND castfunc NOT IN (SELECT oid FROM compiled),
        concat_ws(' ', castfunc::regprocedure::text, castcontext::text, castmethod::text)
    FROM pg_cast WHERE oid >= 16384
    UNION ALL
    SELECT 'type', nspname, quote_ident(typname), typname, typtype = 'd', CASE typtype
        WHEN 'e' THEN concat('enum (', (
            SELECT string_agg(quote_literal(enumlabel::text), ', ' ORDER BY enumsortorder)
            FROM pg_enum WHERE enumtypid = t.oid), ')')
        WHEN 'c' THEN concat('(', (
            SELECT string_agg(concat_ws(' ', quote_ident(attname),
                format_type(atttypid, atttypmod), CASE WHEN attcollation <> b.typcollation
                    THEN 'COLLATE ' || attcollation::regcollation::text END), ', ' ORDER BY attnum)
            FROM pg_attribute AS a JOIN pg_type AS b ON b.oid = atttypid
            WHERE attrelid = t.typrelid AND NOT attisdropped AND attnum > 0), ')')
        WHEN 'd' THEN concat_ws(' ', 'domain over', format_type(typbasetype, typtypmod),
            (SELECT 'COLLATE ' || t.typcollation::regcollation::text FROM pg_type AS b
            WHERE b.oid = t.typbasetype AND b.typcollation <> t.typcollation),
            CASE WHEN typnotnull THEN 'NOT NULL' END, (
            SELECT string_agg(pg_get_constraintdef(k.oid), ' ' ORDER BY pg_get_constraintdef(k.oid))
            FROM pg_constraint AS k WHERE contypid = t.oid AND contype = 'c'))
        WHEN 'r' THEN (
            SELECT concat_ws(' ', 'range of', format_type(rngsubtype, NULL), opcname, collname)
            FROM pg_range AS r JOIN pg_opclass AS o ON o.oid = rngsubopc
            LEFT JOIN pg_collation AS l ON l.oid = rngcollation WHERE rngtypid = t.oid)
        ELSE concat_ws(' ', 'of', x.version, typinput::text, typoutput::text) END
    FROM pg_type AS t JOIN schema AS n ON n.oid = typnamespace
    LEFT JOIN pg_class AS c ON c.oid = typrelid
    LEFT JOIN extension AS x ON x.classid = 'pg_type'::regclass AND x.objid = t.oid
    WHERE (c.oid IS NULL OR c.relkind = 'c') AND NOT (typtype = 'b' AND typelem <> 0)
        AND typtype <> 'm'
    UNION ALL
    SELECT 'collation', nspname, quote_ident(collname), collname, false, concat_ws(
        ' ', collprovider::text, collcollate, collctype, to_jsonb(l)->>'colllocale',
        to_jsonb(l)->>'colliculocale', to_jsonb(l)->>'collicurules',
        collisdeterministic::text, pg_collation_actual_version(l.oid))
    FROM pg_collation AS l JOIN schema AS n ON n.oid = collnamespace
    UNION ALL
    SELECT DISTINCT ON (collprovider) 'library', '', 'of collations ' || collprovider::text, NULL,
        false, pg_collation_actual_version(l.oid)
    FROM pg_collation AS l
    WHERE collnamespace = 'pg_catalog'::regnamespace AND (collname = 'und-x-icu'
        OR collprovider = 'c' AND collname NOT IN ('C', 'POSIX', 'ucs_basic'))
    UNION ALL
    SELECT 'text search configuration', nspname, quote_ident(cfgname), cfgname, false, concat(
        (SELECT prsname FROM pg_ts_parser AS r WHERE r.oid = cfgparser), (
        SELECT string_agg(concat_ws(' ', maptokentype::text, dictname, dictinitoption), ', '
            ORDER BY maptokentype, mapseqno)
        FROM pg_ts_config_map JOIN pg_ts_dict AS d ON d.oid = mapdict WHERE mapcfg = f.oid))
    FROM pg_ts_config AS f JOIN schema AS n ON n.oid = cfgnamespace
)
SELECT json_agg(json_build_array(kind, nspname, name, called, interpreted, definition)
    ORDER BY kind, nspname, name) FROM code
"""

#: Types whose values are no text that means the same in any session: how much an amount of money
#: is, ``lc_monetary`` tells; what has an OID is looked up.
_ODD = "t.typnamespace = 'pg_catalog'::regnamespace AND t.typname ~ '^(money|reg.*)$'"

#: Children are those of a partitioned table, or of one that is inherited from; a foreign table is
#: its own.
_RELATIONS = f"""
WITH RECURSIVE asked AS (
    SELECT c.oid, nspname, relname, relkind, relrowsecurity, relowner
    FROM json_array_elements(%(tables)s::json) AS j
    JOIN pg_namespace AS n ON nspname = coalesce(j->>0, nspname)
    JOIN pg_class AS c ON relnamespace = n.oid AND relname = j->>1
    WHERE relkind IN ('r', 'p', 'v', 'm', 'f')
        AND nspname !~ '^pg_' AND nspname NOT IN ('information_schema', 'greenshard')
), part AS (
    SELECT atttypid AS root, atttypid AS oid FROM pg_attribute JOIN asked ON attrelid = asked.oid
    WHERE attnum > 0 AND NOT attisdropped
    UNION
    SELECT root, p.oid FROM part JOIN pg_type AS t ON t.oid = part.oid CROSS JOIN LATERAL (
        SELECT typelem WHERE typelem <> 0
        UNION ALL SELECT typbasetype WHERE typbasetype <> 0
        UNION ALL SELECT rngsubtype FROM pg_range WHERE rngtypid = t.oid
        UNION ALL SELECT atttypid FROM pg_attribute
        WHERE attrelid = typrelid AND typrelid <> 0 AND attnum > 0 AND NOT attisdropped) AS p (oid)
), child AS (
    SELECT oid AS parent, oid FROM asked WHERE relkind = 'f'
    UNION ALL
    SELECT inhparent, inhrelid FROM pg_inherits JOIN asked ON inhparent = asked.oid
)
SELECT json_agg(json_build_array(nspname, relname, json_build_object(
    'kind', relkind, 'security', relrowsecurity, 'owner', pg_get_userbyid(relowner),
    'comment', obj_description(asked.oid, 'pg_class'),
    'columns', coalesce((
        SELECT json_agg(json_build_array(attname, format_type(atttypid, atttypmod), attnotnull,
            CASE WHEN attcollation <> typcollation THEN attcollation::regcollation::text END,
            CASE WHEN collprovider <> 'd' THEN pg_collation_actual_version(attcollation) END,
            coalesce(collisdeterministic, true)) ORDER BY attnum)
        FROM pg_attribute AS a JOIN pg_type AS t ON t.oid = atttypid
        LEFT JOIN pg_collation AS l ON l.oid = attcollation
        WHERE attrelid = asked.oid AND attnum > 0 AND NOT attisdropped), '[]'),
    'odd', (
        SELECT min(a.attname) FROM pg_attribute AS a JOIN part ON root = atttypid
        JOIN pg_type AS t ON t.oid = part.oid
        WHERE attrelid = asked.oid AND attnum > 0 AND NOT attisdropped AND {_ODD}),
    'types', (
        SELECT jsonb_agg(DISTINCT jsonb_build_array(n.nspname, quote_ident(t.typname)))
        FROM pg_attribute AS a JOIN part ON root = atttypid JOIN pg_type AS t ON t.oid = part.oid
        JOIN pg_namespace AS n ON n.oid = t.typnamespace
        WHERE attrelid = asked.oid AND attnum > 0 AND NOT attisdropped
            AND n.nspname NOT IN ('pg_catalog', 'information_schema')
            AND NOT (t.typtype = 'b' AND t.typelem <> 0)),
    'key', (
        SELECT json_build_array(partstrat, ARRAY(
            SELECT attname FROM unnest(partattrs) WITH ORDINALITY AS k (number, place)
            JOIN pg_attribute ON attrelid = partrelid AND attnum = number ORDER BY place))
        FROM pg_partitioned_table WHERE partrelid = asked.oid),
    'children', (
        SELECT json_agg(json_build_array(srvname, ftoptions, pg_get_expr(relpartbound, c.oid),
            n.nspname, c.relname) ORDER BY srvname)
        FROM child JOIN pg_class AS c ON c.oid = child.oid
        JOIN pg_namespace AS n ON n.oid = c.relnamespace
        LEFT JOIN pg_foreign_table ON ftrelid = c.oid
        LEFT JOIN pg_foreign_server AS s ON s.oid = ftserver
        WHERE parent = asked.oid))))
FROM asked
"""

_DESCRIPTION = meant_alike(f"""
SELECT convert_to(json_build_object(
    'database', (SELECT json_build_array(
        current_setting('server_version_num')::int / 10000, pg_encoding_to_char(encoding),
        to_jsonb(d)->>'datlocprovider', datcollate, datctype, to_jsonb(d)->>'datlocale',
        to_jsonb(d)->>'daticulocale', to_jsonb(d)->>'daticurules', {{version}})
        FROM pg_database AS d WHERE datname = current_database()),
    'isolation', current_setting('transaction_isolation'),
    'code', ({_CODE}),
    'relations', ({_RELATIONS}))::text, 'UTF8')
""")
_WORDS = (
    "major version", "encoding", "collation provider", "collation", "character classification",
    "locale", "locale", "collation rules", "collation version",
)  # fmt: skip

#: What PostgreSQL compares with where a statement has no sign for it: CASE x WHEN, BETWEEN, IN.
_UNWRITTEN = frozenset({"=", "<>", "<", "<=", ">", ">="})

Name = tuple[str, str]
"""Of a relation: its schema and name."""


@dataclass(frozen=True, slots=True)
class Code:
    """A function, type or the like that users made.

    Attributes:
        called: What statements call it; None of what they use without a name, such as a cast.
        interpreted: Whether it runs a text in which names are looked up, which is a statement, too.
        definition: What it is.
    """

    called: str | None
    interpreted: bool
    definition: str | None


@dataclass(frozen=True, slots=True)
class Described:
    """What a database has told.

    Attributes:
        database: Its version and what decides how texts sort, in a fixed order.
        isolation: Of the transaction that has asked.
        code: What users made, by kind, schema and name.
        relations: Facts of those relations that are there.
    """

    database: Sequence[Any]
    isolation: str
    code: Mapping[tuple[str, str, str], Code]
    relations: Mapping[Name, Mapping[str, Any]]


def describe(physical: Physical, tables: Iterable[tuple[str | None, str]]) -> Described:
    """Ask a database for all that; of what it sets meanwhile nothing is left.

    Args:
        physical: Its connection.
        tables: The relations that are asked for; without a schema, those of the name in any.

    Switches: yes. Cost: one round trip, two in an open transaction.
    """
    begin, end = "", ""
    if not physical.idle:
        begin, end = "SAVEPOINT greenshard_described;", "ROLLBACK TO SAVEPOINT greenshard_described"
    version = "NULL"
    if _server_version.read(physical.raw) >= _FIRST_WITH_VERSION:
        version = _VERSION
    query = f"{begin}{SETTINGS}{_DESCRIPTION.replace('{version}', version)}"
    found = value(physical, query, {"tables": json.dumps([*tables])})
    if end:
        own_cursor(physical.raw).execute(f"{end}; RELEASE SAVEPOINT greenshard_described")
    with understood(physical.shard):
        return read_description(bytes(found))


def read_description(found: bytes) -> Described:
    """What the answer of a database says."""
    told = json.loads(found)
    code = {(kind, schema, name): Code(*what) for kind, schema, name, *what in told["code"] or ()}
    relations = {(schema, name): facts for schema, name, facts in told["relations"] or ()}
    return Described(told["database"], told["isolation"], code, relations)


def unlike_databases(shard: Described, other: Described) -> Iterator[str]:
    """In what another server differs from a shard's, for all statements."""
    for word, one, two in zip(_WORDS, shard.database, other.database, strict=True):
        if one != two:
            yield f"its {word} is {two}, and the shards' is {one}"


def unlike_code(
    shard: Described,
    other: Described,
    path: Collection[str],
    names: Collection[str] | None = None,
) -> Iterator[str]:
    """What means something else to a shard than to another database.

    Args:
        shard: What a shard has.
        other: What the other one has.
        path: The schemas in which statements look for names.
        names: All names in the statement; None for what any statement may mean.
    """
    for (kind, schema, name), code in other.code.items():
        full = _full(kind, schema, name)
        if (kind, schema, name) not in shard.code:
            # In a schema that nobody looks into, no statement of the shards' can mean it.
            if not schema or schema in path:
                yield f"it has the {full}, which the shards do not have"
        elif shard.code[kind, schema, name] != code:
            yield f"its {full} is not as the shards' is"
    for key in _lacking(shard, other, names):
        yield f"it lacks the {_full(*key)}, which the shards have"


def _full(kind: str, schema: str, name: str) -> str:
    return f"{kind} {schema}.{name}" if schema else f"{kind} {name}"


def _lacking(
    shard: Described, other: Described, names: Collection[str] | None
) -> Iterator[tuple[str, str, str]]:
    """What a shard alone has, where the other would take something else of that name.

    f(int), where the other one has f(numeric); or PostgreSQL's own text of a value, where a shard
    has a cast.
    """
    missing = {key: code for key, code in shard.code.items() if key not in other.code}
    # Between types that the other one does not have, it cannot be asked to cast.
    types = {f"{schema}.{name}" for kind, schema, name in missing if kind == "type"}
    if names is None:
        there = {(kind, code.called) for (kind, _, _), code in other.code.items()}
        yield from (
            key
            for key, code in missing.items()
            if code.called is not None and (key[0], code.called) in there
        )
        return
    used = {*names, None, *_UNWRITTEN}
    lacking = [key for key in missing if key[0] != "cast" or types.isdisjoint(key[2].split(" as "))]
    yield from (key for key in lacking if missing[key].called in used)
    # What stands in such a text is not known.
    if any(code.interpreted and code.called in used for code in shard.code.values()):
        yield from lacking
