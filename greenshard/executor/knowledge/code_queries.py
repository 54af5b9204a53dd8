"""What code a server may run for a statement, from its catalog; `planner.code` tells what for.

Expressions are kept as trees with the functions' OIDs, so that it does not matter what a name means
to whom. PostgreSQL notes no dependence on its own functions; therefore the trees are read.

Source: PostgreSQL manual, 51 "System Catalogs"; src/include/catalog/pg_proc.dat for OIDs.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from greenshard.cluster import DeclaredFunction
from greenshard.links.outside import SETTINGS, meant_alike, understood, value
from greenshard.links.physical import Physical
from greenshard.merge.arrays import array_text
from greenshard.planner.code import Code, Function, Operator, code_of
from greenshard.sql.functions import COMPUTING_EXTENSIONS, QUIET, RUNNING, VARYING

#: What `CTES` and `MEMBERS` take.
PARAMETERS = {
    "computing": array_text(sorted(COMPUTING_EXTENSIONS)),
    "quiet": array_text(sorted(QUIET)),
    "running": array_text(sorted(RUNNING)),
    "varying": array_text(sorted(VARYING)),
    "declared": "[]",
    "making": r"\m(alter|call|create|do|drop|execute|grant|import|reassign|revoke)\M",
}

#: Common table expressions:
#:
#: - `declared`: functions of which the cluster's declaration says what they read; a declaration
#:   with arguments goes before one without, and one with a schema before one for any.
#: - `bodied`: functions in SQL of which the planner looks into the text: see `planner.bodies`.
#: - `misled`: functions with an argument whose default is not IMMUTABLE: a call may leave it out.
#: - `known`: functions of extensions that are known, and of any extension what makes up a type:
#:   its operators, casts and operator classes, which are given no SQL to run. Who made an extension
#:   may add functions of his own to it, but only a superuser one in C.
#: - `leaving`: functions that may leave something in their session. An aggregate is its functions;
#:   PostgreSQL calls each IMMUTABLE, `aggregate` has the volatility of the worst of them.
#: - `called`: what a relation calls, at which of the letters of `planner.code.Code.relations`, and
#:   where: the name of a column, a constraint, an index, a trigger. Relation 0 stands for any, and
#:   the name is then the OID of a type. An index, a constraint or extended statistics count also
#:   when their table is read: the server computes what is constant in them then.
#: - `reached`: what a relation runs itself or through others: a view what it reads, a parent its
#:   partitions, a key those that are deleted with it.
#:
#: A tree's text has "funcid 870" or "fnoid 2147" where a function is called. It may hold the same
#: in a name; so what follows is compared as text. The OIDs below 16384 are PostgreSQL's own, 12 is
#: the language of its own functions under other names, 13 is C, 1574 `nextval`, 1043 varchar.
CTES = """
declared AS MATERIALIZED (
    SELECT DISTINCT ON (p.oid) p.oid, d.one ->> 4 AS reads, d.one ->> 0 AS text
    FROM json_array_elements(%(declared)s::json) AS d (one)
    JOIN pg_proc p ON p.proname = d.one ->> 2 AND p.prokind IN ('f', 'p') AND p.oid >= 16384
    JOIN pg_namespace s ON s.oid = p.pronamespace
        AND s.nspname = coalesce(d.one ->> 1, s.nspname::text)
    WHERE (d.one ->> 3) IS NULL
        OR json_array_length(d.one -> 3) = p.pronargs AND NOT EXISTS (
            SELECT FROM json_array_elements(d.one -> 3) WITH ORDINALITY AS a (type, number)
            JOIN pg_type t ON t.oid = p.proargtypes[(a.number - 1)::int]
            JOIN pg_namespace n ON n.oid = t.typnamespace
            WHERE t.typname <> a.type ->> 1
                OR n.nspname <> coalesce(a.type ->> 0, n.nspname::text))
    ORDER BY p.oid, (d.one ->> 3) IS NULL, (d.one ->> 1) IS NULL
), known AS MATERIALIZED (
    SELECT d.objid AS oid FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid
    WHERE d.classid = 'pg_proc'::regclass AND d.refclassid = 'pg_extension'::regclass
        AND d.deptype = 'e' AND (e.extname = ANY (%(computing)s::text[]) OR d.objid IN (
            SELECT oprcode FROM pg_operator WHERE oid >= 16384
            UNION ALL SELECT castfunc FROM pg_cast WHERE oid >= 16384
            UNION ALL SELECT amproc FROM pg_amproc WHERE oid >= 16384
            UNION ALL SELECT unnest(ARRAY[rngcanonical, rngsubdiff]) FROM pg_range
            WHERE rngtypid >= 16384))
), plain AS MATERIALIZED (
    SELECT p.oid, CASE d.reads WHEN 'nothing' THEN 'i' ELSE p.provolatile END AS provolatile
    FROM pg_proc p LEFT JOIN declared d ON d.oid = p.oid
    WHERE p.prokind <> 'a' AND CASE
        WHEN p.proname = ANY (%(running)s::text[]) THEN true
        WHEN p.oid < 16384 OR p.prolang IN (12, 13) AND p.oid IN (SELECT oid FROM known)
            THEN p.provolatile = 'v' AND p.proname <> ALL (%(quiet)s::text[])
        ELSE true END
), misled AS MATERIALIZED (
    SELECT p.oid FROM pg_proc p
    WHERE p.oid >= 16384 AND p.pronargdefaults > 0 AND (
        p.proargdefaults::text ~ 'SQLVALUEFUNCTION' OR EXISTS (
            SELECT FROM string_to_table(p.proargdefaults::text, 'funcid ') AS piece
            JOIN pg_proc o ON o.oid = substring(piece FROM '^[0-9]+')::oid
            LEFT JOIN declared d ON d.oid = o.oid AND d.reads = 'nothing'
            WHERE o.provolatile <> 'i' AND d.oid IS NULL))
), bodied AS MATERIALIZED (
    SELECT p.oid FROM plain n JOIN pg_proc p ON p.oid = n.oid
    JOIN pg_language l ON l.oid = p.prolang
    WHERE l.lanname = 'sql' AND p.oid >= 16384 AND n.provolatile <> 'i' AND p.prokind = 'f'
        AND NOT p.prosecdef AND p.proconfig IS NULL AND p.oid NOT IN (
            SELECT oid FROM declared UNION ALL SELECT oid FROM misled)
        AND greatest(length(p.prosrc), length(p.prosqlbody::text) / 40) < 4000
), aggregate AS MATERIALIZED (
    SELECT a.aggfnoid::oid AS oid, max(p.provolatile::text COLLATE "C")::"char" AS volatility
    FROM pg_aggregate a JOIN plain p
        ON p.oid IN (a.aggtransfn, a.aggfinalfn, a.aggcombinefn, a.aggserialfn, a.aggdeserialfn,
            a.aggmtransfn, a.aggminvtransfn, a.aggmfinalfn)
    WHERE a.aggfnoid >= 16384 GROUP BY a.aggfnoid
), leaving AS MATERIALIZED (
    SELECT oid FROM plain
    UNION ALL
    SELECT oid FROM aggregate
), triggers AS MATERIALIZED (
    SELECT tgrelid, tgname::text, tgfoid, tgqual, concat(
        CASE WHEN tgtype & 4 > 0 THEN 'i' END, CASE WHEN tgtype & 8 > 0 THEN 'd' END,
        CASE WHEN tgtype & 16 > 0 THEN 'u' END) AS at
    FROM pg_trigger WHERE NOT tgisinternal OR tgparentid <> 0
), tree AS (
    SELECT d.adrelid AS oid, 'iu' AS at, d.adbin::text AS tree, a.attname::text AS name,
        CASE a.attgenerated WHEN '' THEN 'default' ELSE 'generated' END AS kind
    FROM pg_attrdef d JOIN pg_attribute a ON a.attrelid = d.adrelid AND a.attnum = d.adnum
    UNION ALL
    SELECT conrelid, 'riud', conbin::text,
        CASE contypid WHEN 0 THEN conname ELSE contypid::text END,
        CASE contypid WHEN 0 THEN 'check' ELSE 'domain' END
    FROM pg_constraint WHERE conbin IS NOT NULL AND oid >= 16384
    UNION ALL
    SELECT 0, 'r', typdefaultbin::text, oid::text, 'domain' FROM pg_type
    WHERE typdefaultbin IS NOT NULL AND oid >= 16384
    UNION ALL
    SELECT indrelid, 'riud', concat(indexprs, indpred), indexrelid::regclass::text, 'index'
    FROM pg_index WHERE (indexprs IS NOT NULL OR indpred IS NOT NULL) AND indexrelid >= 16384
    UNION ALL
    SELECT stxrelid, 'riud', stxexprs::text, stxname, 'statistics'
    FROM pg_statistic_ext WHERE stxexprs IS NOT NULL
    UNION ALL
    SELECT polrelid, 'riud', concat(polqual, polwithcheck), polname, 'policy' FROM pg_policy
    UNION ALL
    SELECT partrelid, 'riud', partexprs::text, 'it', 'partition key' FROM pg_partitioned_table
    WHERE partexprs IS NOT NULL
    UNION ALL
    SELECT ev_class, 'r', ev_action::text, 'it', 'view' FROM pg_rewrite
    WHERE rulename = '_RETURN' AND oid >= 16384
    UNION ALL
    SELECT tgrelid, at, tgqual::text, tgname, 'trigger' FROM triggers WHERE tgqual IS NOT NULL
), called AS (
    SELECT t.oid, t.at, split_part(piece, ' ', 1) AS function, t.name, t.kind
    FROM tree t CROSS JOIN unnest(ARRAY['funcid ', 'fnoid ']) AS word
    CROSS JOIN LATERAL string_to_table(t.tree, word) AS piece
    UNION
    SELECT tgrelid, at, tgfoid::text, tgname, 'fired' FROM triggers
    UNION
    SELECT 0, 'r', castfunc::text, type::text,
        CASE WHEN type < 16384 AND castcontext = 'e' THEN 'cast' ELSE 'type' END
    FROM pg_cast CROSS JOIN LATERAL unnest(ARRAY[casttarget, castsource]) AS type
    WHERE oid >= 16384 AND (type >= 16384 OR greatest(castsource, casttarget) < 16384
        AND (castcontext <> 'e' OR type = casttarget))
    UNION
    SELECT 0, 'r', amproc::oid::text, type::text,
        CASE WHEN type < 16384 THEN 'operator class' ELSE 'type' END
    FROM pg_amproc CROSS JOIN LATERAL unnest(ARRAY[amproclefttype, amprocrighttype]) AS type
    WHERE oid >= 16384
    UNION
    SELECT 0, 'r', unnest(ARRAY[rngcanonical, rngsubdiff])::oid::text, rngtypid::text, 'type'
    FROM pg_range WHERE rngtypid >= 16384
    UNION
    SELECT 0, 'r', p.amproc::oid::text, r.rngtypid::text, 'type'
    FROM pg_range r JOIN pg_opclass c ON c.oid = r.rngsubopc
    JOIN pg_amproc p ON p.amprocfamily = c.opcfamily AND p.amproclefttype = c.opcintype
    WHERE r.rngtypid >= 16384 AND p.oid >= 16384
), direct AS (
    SELECT c.oid, letter FROM called c CROSS JOIN LATERAL string_to_table(c.at, NULL) AS letter
    WHERE c.function IN (SELECT oid::text FROM leaving WHERE oid <> 1574)
    UNION
    SELECT oid, 'n' FROM called WHERE function = '1574'
    UNION
    SELECT attrelid, 'n' FROM pg_attribute WHERE attidentity <> ''
    UNION
    SELECT ev_class, CASE ev_type WHEN '2' THEN 'u' WHEN '3' THEN 'i' WHEN '4' THEN 'd' END
    FROM pg_rewrite WHERE rulename <> '_RETURN' AND oid >= 16384
), edge AS (
    SELECT inhrelid AS source, l[1] AS needs, inhparent AS oid, l[2] AS gives
    FROM pg_inherits CROSS JOIN (VALUES ('{r,r}'::text[]), ('{i,i}'), ('{u,u}'), ('{d,d}'),
        ('{n,n}'), ('{i,u}'), ('{d,u}')) AS v (l)
    UNION ALL
    SELECT conrelid, l[1], confrelid, l[2]
    FROM pg_constraint CROSS JOIN (VALUES ('{u,u}'::text[]), ('{d,d}'), ('{u,d}')) AS v (l)
    WHERE contype = 'f' AND (confupdtype IN ('c', 'n', 'd') OR confdeltype IN ('c', 'n', 'd'))
    UNION ALL
    SELECT confrelid, 'r', conrelid, l
    FROM pg_constraint CROSS JOIN (VALUES ('i'), ('u')) AS v (l) WHERE contype = 'f'
    UNION ALL
    SELECT DISTINCT d.refobjid, 'r', w.ev_class, 'r'
    FROM pg_depend d JOIN pg_rewrite w ON w.oid = d.objid
    WHERE d.classid = 'pg_rewrite'::regclass AND d.refclassid = 'pg_class'::regclass
        AND w.rulename = '_RETURN' AND w.oid >= 16384 AND d.refobjid <> w.ev_class
), reached AS (
    SELECT oid, letter FROM direct
    UNION
    SELECT e.oid, e.gives FROM reached r JOIN edge e ON e.source = r.oid AND e.needs = r.letter
), running AS (
    SELECT oid, string_agg(letter, '' ORDER BY letter) AS letters FROM reached GROUP BY oid
)"""

#: Members of a JSON object that `functions_of` and `operators_of` read; over a `space` of schemas.
MEMBERS = """
    'functions', (
        SELECT json_agg(g) FROM (
            SELECT s.nspname AS schema, p.prokind AS kind,
                CASE d.reads WHEN 'nothing' THEN 'i' WHEN 'shard' THEN 's'
                    ELSE CASE WHEN m.oid IS NULL THEN coalesce(a.volatility, p.provolatile)
                        ELSE 'v' END END AS volatility,
                d.reads IS NOT NULL AND d.reads = 'shard' AS of_shard, b.oid IS NOT NULL AS bodied,
                l.oid IS NOT NULL AS leaves,
                p.prokind IN ('a', 'f') AND p.pronargs > 0 AND p.pronargs - p.pronargdefaults < 2
                    AND p.oid NOT IN (SELECT aggfnoid FROM pg_aggregate WHERE aggkind <> 'n')
                    AS unary,
                array_agg(DISTINCT p.proname) AS names
            FROM pg_proc p JOIN space s ON s.oid = p.pronamespace
            LEFT JOIN leaving l ON l.oid = p.oid
            LEFT JOIN aggregate a ON a.oid = p.oid
            LEFT JOIN declared d ON d.oid = p.oid
            LEFT JOIN misled m ON m.oid = p.oid
            LEFT JOIN bodied b ON b.oid = p.oid
            GROUP BY 1, 2, 3, 4, 5, 6, 7) g),
    'operators', (
        SELECT json_agg(json_build_array(o.oprname, o.nspname, o.builtin, o.leaves,
            o.reads AND (o.builtin OR o.oprname NOT IN (
                SELECT oprname FROM pg_operator WHERE oid < 16384))))
        FROM (
            SELECT o.oprname, s.nspname, o.oprcode IN (SELECT oid FROM leaving) AS leaves,
                1043 IN (o.oprleft, o.oprright) OR NOT EXISTS (
                    SELECT FROM pg_type t WHERE t.oid IN (o.oprleft, o.oprright)
                        AND t.oid >= 16384 AND t.typtype <> 'd') AS builtin,
                o.oprcode IN (SELECT oid FROM plain WHERE provolatile <> 'i') AS reads
            FROM pg_operator o JOIN space s ON s.oid = o.oprnamespace WHERE o.oid >= 16384) o),
    'unseen', EXISTS (SELECT FROM reached WHERE oid = 0),
    'makes', EXISTS (
        SELECT FROM plain n JOIN pg_proc p ON p.oid = n.oid JOIN pg_language l ON l.oid = p.prolang
        WHERE p.oid >= 16384 AND CASE l.lanname
            WHEN 'plpgsql' THEN p.prosrc ~* %(making)s
            WHEN 'sql' THEN p.prosrc ~* %(making)s OR p.prosrc ~* '\\mselect\\M.*\\minto\\M'
            ELSE true END)"""

_CODE = meant_alike(f"""
WITH RECURSIVE space AS (
    SELECT oid, nspname FROM pg_namespace WHERE nspname !~ '^pg_(toast|temp_)'
), {CTES}
SELECT convert_to(json_build_object({MEMBERS},
    'relations', (
        SELECT json_agg(json_build_array(c.relname, c.relkind, s.nspname, coalesce(r.letters, '')))
        FROM pg_class c JOIN space s ON s.oid = c.relnamespace
        LEFT JOIN running r ON r.oid = c.oid
        WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S'))
)::text, 'UTF8')
""")


def read_code(physical: Physical) -> Code:
    """What a server may run; the connection is in no transaction, and in autocommit mode.

    Raises:
        DriverError: It failed.

    Switches: yes.
    Cost: one round trip; 6 ms if the schema is small, 70 ms with 500 tables that have 4 defaults
        and 3 checks each, and 170 views.
    """
    answer = value(physical, SETTINGS + _CODE, PARAMETERS)
    with understood(physical.shard):
        found = json.loads(bytes(answer))
        return code_of(
            functions_of(found["functions"]),
            found["relations"] or (),
            operators_of(found["operators"]),
            unseen=found["unseen"],
            makes=found["makes"],
        )


def declared_parameter(functions: Iterable[DeclaredFunction]) -> str:
    """What `CTES` take as ``declared``."""
    return json.dumps([(d.text, d.schema, d.name, d.arguments, d.reads) for d in functions])


def functions_of(groups: Iterable[Mapping[str, Any]]) -> dict[str, frozenset[Function]]:
    """The functions, by name."""
    functions: defaultdict[str, list[Function]] = defaultdict(list)
    for group in groups:
        function = Function(
            group["schema"],
            group["kind"],
            group["volatility"],
            group["leaves"],
            group["unary"],
            group["of_shard"],
            group["bodied"],
        )
        for name in group["names"]:
            functions[name].append(function)
    # Most names have the same few sets of properties.
    known: dict[tuple[Function, ...], frozenset[Function]] = {}
    return {
        name: known.setdefault(tuple(found), frozenset(found)) for name, found in functions.items()
    }


def operators_of(rows: Iterable[Any] | None) -> dict[str, frozenset[Operator]]:
    """The operators that are not PostgreSQL's own, by name."""
    operators: defaultdict[str, set[Operator]] = defaultdict(set)
    for name, *properties in rows or ():
        operators[name].add(Operator(*properties))
    return {name: frozenset(found) for name, found in operators.items()}
