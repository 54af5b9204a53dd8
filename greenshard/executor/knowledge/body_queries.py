"""The texts of functions in SQL, from a server's catalog; `planner.bodies` tells what for.

Source: PostgreSQL manual, 51.39 "pg_proc".
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from greenshard.planner.bodies import Argument, Body
from greenshard.planner.code import Function

#: A member of a JSON object that `bodies_of` reads; after the `CTES` of `code_queries`, and a
#: `busy` of relations whose locks it would wait for. A type that is not one of PostgreSQL's own
#: base types has no name here.
MEMBER = """
    'bodies', (
        SELECT json_agg(json_build_array(s.nspname, p.proname, CASE
            WHEN p.prosqlbody IS NULL THEN p.prosrc
            WHEN NOT EXISTS (
                SELECT FROM pg_depend d JOIN busy ON busy.oid = d.refobjid
                WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid
                    AND d.refclassid = 'pg_class'::regclass)
                THEN pg_get_function_sqlbody(p.oid) END,
            p.prosqlbody IS NOT NULL, (
                -- A join would scan pg_type for each function.
                SELECT json_agg(json_build_array(coalesce(n.names[a.at], ''), (
                    SELECT t.typname FROM pg_type t
                    WHERE t.oid = a.type AND t.oid < 16384 AND t.typtype = 'b')) ORDER BY a.at)
                FROM unnest(p.proargtypes::oid[]) WITH ORDINALITY AS a (type, at)),
            p.pronargdefaults, p.provariadic <> 0, p.proretset, p.provolatile = 'v',
            coalesce(o.list, (
                SELECT json_agg(json_build_array(a.attname, t.typname) ORDER BY a.attnum)
                FROM pg_attribute a
                LEFT JOIN pg_type t ON t.oid = a.atttypid AND t.oid < 16384 AND t.typtype = 'b'
                WHERE a.attrelid = nullif(r.typrelid, 0) AND a.attnum > 0 AND NOT a.attisdropped),
                CASE WHEN r.typname = 'record' THEN '[]'::json END),
            CASE WHEN r.oid < 16384 AND r.typtype = 'b' THEN r.typname END))
        FROM bodied b JOIN pg_proc p ON p.oid = b.oid JOIN space s ON s.oid = p.pronamespace
        JOIN pg_type r ON r.oid = p.prorettype
        CROSS JOIN LATERAL (
            SELECT array_agg(m.name ORDER BY m.at) AS names
            FROM unnest(p.proargnames, p.proargmodes) WITH ORDINALITY AS m (name, mode, at)
            WHERE m.mode IS NULL OR m.mode IN ('i', 'b', 'v')) n
        CROSS JOIN LATERAL (
            SELECT json_agg(json_build_array(m.name, (
                SELECT t.typname FROM pg_type t
                WHERE t.oid = m.type AND t.oid < 16384 AND t.typtype = 'b')) ORDER BY m.at) AS list
            FROM unnest(p.proargnames, p.proargmodes, p.proallargtypes)
                WITH ORDINALITY AS m (name, mode, type, at)
            WHERE m.mode IN ('o', 'b', 't')) o)"""


def bodies_of(
    rows: Iterable[Any] | None, functions: Mapping[str, frozenset[Function]]
) -> dict[tuple[str, str], tuple[Body, ...]]:
    """The functions, by schema and name.

    Args:
        rows: As the server gives them.
        functions: All there are. Some have been found to be as good as IMMUTABLE.
    """
    found: defaultdict[tuple[str, str], list[Body]] = defaultdict(list)
    for schema, name, text, atomic, arguments, *properties, columns, type_name in rows or ():
        defaults, variadic, returns_set, volatile = properties
        body = Body(
            schema,
            name,
            text or "",  # its tables are locked: nothing is known
            atomic,
            tuple([Argument(*each) for each in arguments or ()]),
            defaults,
            variadic,
            returns_set,
            volatile,
            # What the column of an OUT argument without a name is called is not looked up here.
            None if columns is None else tuple([(one or "", type_) for one, type_ in columns]),
            type_name,
        )
        if any(each.has_body and each.schema == schema for each in functions[name]):
            found[schema, name].append(body)
    return {name: tuple(bodies) for name, bodies in found.items()}
