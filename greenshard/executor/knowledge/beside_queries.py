"""What a server does beside a statement, from its catalog; `planner.beside` tells what for.

What triggers, defaults, checks, policies and types call is told by the trees of `code_queries`. A
function that is called there is looked into: few are IMMUTABLE, because the default is VOLATILE,
and most only compute. One that names no table and nothing that may is *clean*.

Source: PostgreSQL manual, 51 "System Catalogs", 43.3 "PL/pgSQL: Declarations".
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from greenshard.merge.arrays import array_text
from greenshard.planner.analysis.clock_words import WORDS
from greenshard.planner.beside import (
    Beside,
    Call,
    EventTrigger,
    ForeignKey,
    Inheritance,
    Rule,
    Trigger,
)
from greenshard.planner.code import Function
from greenshard.sql.functions import AGE, ASKING, TELLING_TEXT, Fact, names_with, stems_with
from greenshard.sql.types import TIMES

Name = tuple[str, str]

#: Words without which neither SQL nor PL/pgSQL reads or writes a table, or runs another text.
_TOUCHING = """
alter copy create delete drop execute fetch from grant import insert lock merge refresh reindex
revoke table truncate update
"""
#: Words, beside the names of functions, that mean something else on each server or at each time.
_MOMENTS = """
cmax cmin ctid current_catalog current_date current_role current_schema current_time
current_timestamp current_user listen localtime localtimestamp notify now oid regclass
regcollation regconfig regdictionary regnamespace regoper regoperator regproc regprocedure regrole
regtype session_user tableoid tg_relid today tomorrow user xmax xmin yesterday
"""
#: Functions that are not IMMUTABLE, and still give the same on every shard, whatever else there is.
_ALIKE = (
    names_with(Fact.ALIKE)
    - names_with(Fact.TELLS_TIME)
    - names_with(Fact.OF_TABLE)
    - names_with(Fact.OF_STORAGE)
    - names_with(Fact.RUNS)
    - {AGE, ASKING}
)
#: Functions that tell of one server, or of one shard's part of a table, or count there. The time in
#: a trigger is that of the row's shard in any case.
_OF_PLACE = "|".join(
    [
        *(stem + ".*" for stem in stems_with(Fact.PLACE_BOUND)),
        *sorted(names_with(Fact.PLACE_BOUND, families=True) - {"statement_timestamp"}),
        *("nextval", "currval", "lastval", "setval", TELLING_TEXT),
    ]
)
#: What gives letters that stand in no literal.
_SPELLING = r"\\|\$\w*\$|\m(chr|convert_from|decode|unistr)\M"

#: What `CTES` and `MEMBERS` take, beside `code_queries.PARAMETERS`.
PARAMETERS = {
    "touching": array_text(_TOUCHING.split()),
    "alike": array_text(sorted(_ALIKE)),
    "moments": array_text(_MOMENTS.split()),
    "spelling": _SPELLING,
    "told": array_text(WORDS),
    "telling": array_text(sorted(names_with(Fact.TELLS_TIME))),
    "installed": array_text(sorted(names_with(Fact.OF_INSTALLATION))),
    "place": f"^({_OF_PLACE})$",
    "times": array_text(sorted(TIMES)),
}

#: Common table expressions, after those of `code_queries`:
#:
#: - `reading`: functions of the user's that may read tables, as far as their volatility tells; and
#:   PostgreSQL's own that run a query, or set what the code beside the next row may read.
#: - `firing`: triggers whose functions are not PostgreSQL's own.
#: - `body`, `word`: what is called beside statements, as text and as words. A name in double quotes
#:   is no word: then nothing is known. Left out are comments in which no literal can begin or end,
#:   what `TG_OP` is compared with, and the FROM of IS DISTINCT FROM, EXTRACT, SUBSTRING and TRIM.
#: - `shape`: the columns of NEW that a trigger's function may set; NULL if that cannot be told.
#: - `making`: those of them that may make times: by what they declare, cast to, or give. `given`:
#:   of a text that they are given; `said`: of what their own literals say, or could if mixed.
#: - `spotless`: of those that neither touch tables nor name what may.
#: - `moving`: of them all those that may do something else on each server or at each time.
#: - `timed`: types whose values may have a time in them.
#: - `tainted`: types that come with a function that is not so, and those made of them.
#: - `sorting`: columns by which an index or a partitioned table finds rows, with such a function.
#: - `placed`: what tells of one server, or of what is there; `installed`: of its user or version.
#: - `telling`: checks that tell the time of the transaction; `told`: types of such domains.
#: - `clean`: what is spotless, and names no domain that is tainted. None is, if an operator or a
#:   cast, which need not be named, may read tables.
CTES = r"""
reading AS MATERIALIZED (
    SELECT p.oid, lower(p.proname) AS name FROM plain n JOIN pg_proc p ON p.oid = n.oid
    WHERE p.oid >= 16384 AND n.provolatile <> 'i' OR p.proname = ANY (%(running)s::text[])
        OR p.oid < 16384 AND p.proname = 'set_config'
    UNION ALL
    SELECT a.oid, lower(p.proname) FROM aggregate a JOIN pg_proc p ON p.oid = a.oid
    WHERE a.volatility <> 'i'
), firing AS MATERIALIZED (
    SELECT t.* FROM pg_trigger t JOIN plain n ON n.oid = t.tgfoid
    WHERE t.tgfoid >= 16384 AND t.tgenabled <> 'D'
        AND (NOT t.tgisinternal OR t.tgparentid <> 0)
), reached_unseen AS MATERIALIZED (
    SELECT c.oid, c.kind, c.name, r.oid AS function
    FROM called c JOIN reading r ON c.function = r.oid::text WHERE c.kind <> 'fired'
    UNION
    SELECT c.oid, c.kind, c.name, p.oid
    FROM called c JOIN pg_proc p ON c.function = p.oid::text
    WHERE c.kind = 'trigger' AND p.provolatile <> 'i'
        OR c.kind = 'policy' AND (p.provolatile = 'v' OR p.proname = ANY (%(varying)s::text[]))
    UNION
    SELECT e.oid, e.kind, e.name, p.oid
    FROM tree e JOIN pg_proc p ON p.proname = 'now' AND p.oid < 16384
    WHERE e.kind = 'trigger' AND position('SQLVALUEFUNCTION' IN e.tree) > 0
        OR e.kind = 'policy' AND e.tree ~ 'SQLVALUEFUNCTION :op [0-8] '
    UNION
    SELECT 0, 'type', type::text, r.oid
    FROM pg_operator o JOIN reading r ON r.oid = o.oprcode
    CROSS JOIN LATERAL unnest(ARRAY[o.oprleft, o.oprright]) AS type
    JOIN pg_type t ON t.oid = type
    WHERE o.oid >= 16384 AND type >= 16384 AND t.typtype <> 'd' AND (
        o.oprname IN (SELECT oprname FROM pg_operator WHERE oid < 16384)
        OR o.oid IN (SELECT amopopr FROM pg_amop))
), body AS MATERIALIZED (
    SELECT p.oid, l.lanname IN ('sql', 'plpgsql') AND p.prosqlbody IS NULL
            AND position('"' IN p.prosrc) = 0 AS legible,
        lower(regexp_replace(regexp_replace(regexp_replace(
            p.prosrc, '--[^\n''$]*(\n|$)', '\1', 'g'),
            '''(insert|update|delete|truncate)''', '''''', 'gi'),
            '\mis\s+(not\s+)?distinct\s+from\M|\mextract\s*\(\s*\w+\s+from\M' ||
            '|\m(substring|trim)\s*\(\s*(both|leading|trailing)?\s*[\w.]*\s+from\M',
            '=', 'gi')) AS text
    FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang
    WHERE p.oid IN (
        SELECT function FROM reached_unseen UNION SELECT tgfoid FROM firing
        UNION SELECT evtfoid FROM pg_event_trigger
        UNION SELECT oprcode FROM pg_operator WHERE oid >= 16384
        UNION SELECT p.oid FROM reading r JOIN pg_proc p ON p.oid = r.oid
            WHERE p.prokind = 'f' AND length(p.prosrc) < 2000)
), shape AS MATERIALIZED (
    SELECT b.oid, CASE WHEN regexp_replace(
        b.text, '\mreturn\s+(new|old|null)\s*;|\mnew\s*\.\s*[\w$]', '', 'g')
        !~ '\m(new|return)\M' THEN ARRAY(
            SELECT DISTINCT m[1] FROM regexp_matches(
                b.text, '\mnew\s*\.\s*([\w$]+)' || CASE
                WHEN b.text ~ '\m(into|for|foreach)\M' THEN ''
                ELSE '(?:\s*\.\s*[\w$]+|\s*\[[^\]]*\])*\s*:?=' END, 'g') AS m) END AS sets
    FROM body b WHERE b.oid IN (SELECT tgfoid FROM firing)
), word AS MATERIALIZED (
    SELECT DISTINCT b.oid, w.word FROM body b CROSS JOIN LATERAL string_to_table(
        regexp_replace(b.text, '[^\w$]+', ' ', 'g'), ' ') AS w (word)
    WHERE b.legible AND w.word <> ''
), spotless AS MATERIALIZED (
    SELECT b.oid FROM body b WHERE b.legible AND NOT EXISTS (
        SELECT FROM word w WHERE w.oid = b.oid AND (w.word = ANY (%(touching)s::text[])
            OR w.word IN (SELECT name FROM reading)))
), moving AS MATERIALIZED (
    SELECT DISTINCT oid FROM word WHERE word = ANY (%(moments)s::text[])
        OR word IN (SELECT proname::text FROM pg_proc
            WHERE provolatile <> 'i' AND proname <> ALL (%(alike)s::text[])
                AND oid NOT IN (SELECT oid FROM declared WHERE reads = 'nothing'))
), made_of (oid, part) AS (
    SELECT oid, typelem FROM pg_type WHERE typelem >= 16384
    UNION ALL
    SELECT oid, typbasetype FROM pg_type WHERE typtype = 'd'
    UNION ALL
    SELECT rngtypid, rngsubtype FROM pg_range WHERE rngtypid >= 16384
    UNION ALL
    SELECT rngmultitypid, rngtypid FROM pg_range WHERE rngtypid >= 16384
    UNION ALL
    SELECT c.reltype, a.atttypid FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
    WHERE c.reltype >= 16384 AND a.attnum > 0 AND NOT a.attisdropped
), timed AS (
    SELECT oid FROM pg_type WHERE oid < 16384 AND ltrim(typname, '_') = ANY (%(times)s::text[])
    UNION
    SELECT m.oid FROM timed t JOIN made_of m ON m.part = t.oid
), tainted (oid, kind, function) AS (
    SELECT u.name::oid, u.kind, p.proname
    FROM reached_unseen u JOIN pg_proc p ON p.oid = u.function
    WHERE u.oid = 0 AND u.kind IN ('domain', 'type', 'cast')
        AND (u.function NOT IN (SELECT oid FROM spotless)
            -- A check is made once. A cast may be made where rows are, and again where they go.
            OR u.kind <> 'domain' AND u.function IN (SELECT oid FROM moving))
    UNION
    SELECT m.oid, t.kind, t.function FROM tainted t JOIN made_of m ON m.part = t.oid
), sorting AS (
    SELECT DISTINCT k.oid, a.attname::text AS name, p.proname AS function
    FROM (
        SELECT i.indrelid AS oid, u.number, u.class
        FROM pg_index i CROSS JOIN unnest(i.indkey::int2[], i.indclass::oid[]) AS u (number, class)
        WHERE i.indexrelid >= 16384
        UNION ALL
        SELECT i.partrelid, u.number, u.class FROM pg_partitioned_table i
        CROSS JOIN unnest(i.partattrs::int2[], i.partclass::oid[]) AS u (number, class)) k
    JOIN pg_opclass o ON o.oid = k.class
    JOIN pg_amproc m ON m.amprocfamily = o.opcfamily AND m.amproclefttype = o.opcintype
    JOIN reading r ON r.oid = m.amproc
    JOIN pg_proc p ON p.oid = r.oid
    -- 0 is an expression of any of them.
    JOIN pg_attribute a ON a.attrelid = k.oid AND a.attnum > 0 AND k.number IN (0, a.attnum)
    WHERE m.oid >= 16384 AND r.oid NOT IN (SELECT oid FROM spotless)
), naming AS MATERIALIZED (
    SELECT oid FROM word WHERE EXISTS (SELECT FROM tainted) AND word IN (
        SELECT lower(t.typname) FROM tainted d JOIN pg_type t ON t.oid = d.oid)
), making AS MATERIALIZED (
    SELECT b.oid, p.prorettype = 'trigger'::regtype AS fired,
        b.text ~ %(spelling)s OR EXISTS (
            SELECT FROM unnest(%(told)s::text[]) AS word, LATERAL (
                SELECT string_agg(piece, '') AS letters
                FROM string_to_table(b.text, '''') WITH ORDINALITY AS l (piece, number)
                WHERE number %% 2 = 0) AS l
            WHERE translate(word, letters, '') = '') AS said,
        EXISTS (SELECT FROM unnest(p.proargtypes) AS a JOIN pg_type t ON t.oid = a
            WHERE t.typcategory NOT IN ('B', 'D', 'N', 'T')) AS given
    FROM body b JOIN pg_proc p ON p.oid = b.oid
    WHERE b.legible AND (p.prorettype IN (SELECT oid FROM timed)
        OR p.proallargtypes && ARRAY(SELECT oid FROM timed)
        OR b.text ~ '%%\s*(row)?type\M'
        OR EXISTS (
            SELECT FROM string_to_table(regexp_replace(
                b.text, '\mtime\s+zone\M|\m(new|old)\s*\.\s*[\w$]+|[^\w$]+', ' ', 'g'), ' ') AS w
            WHERE w IN (SELECT lower(t.typname) FROM timed d JOIN pg_type t ON t.oid = d.oid)))
), placed AS MATERIALIZED (
    SELECT oid FROM word WHERE word ~ %(place)s
), installed AS MATERIALIZED (
    SELECT oid FROM word WHERE word = ANY (%(installed)s::text[])
), clean AS MATERIALIZED (
    SELECT oid FROM spotless WHERE oid NOT IN (SELECT oid FROM naming)
        AND NOT EXISTS (SELECT FROM tainted WHERE kind <> 'domain')
        AND NOT EXISTS (
            SELECT FROM pg_operator o JOIN reading r ON r.oid = o.oprcode
            WHERE o.oid >= 16384 AND r.oid NOT IN (SELECT oid FROM spotless))
        AND NOT EXISTS (
            SELECT FROM reached_unseen u JOIN naming n ON n.oid = u.function WHERE u.oid = 0)
), steady AS MATERIALIZED (
    SELECT c.oid FROM clean c WHERE c.oid NOT IN (SELECT oid FROM misled)
        AND c.oid NOT IN (SELECT oid FROM making WHERE fired OR said OR given AND oid IN (
            SELECT oid FROM bodied))
        AND c.oid NOT IN (SELECT oid FROM moving)
), dirty AS MATERIALIZED (
    SELECT u.oid, u.kind, u.name, p.proname AS function
    FROM reached_unseen u JOIN pg_proc p ON p.oid = u.function
    WHERE u.function NOT IN (SELECT oid FROM clean)
        -- A view's query shows its calls, but for those of operators and casts.
        AND NOT (u.kind = 'view' AND u.function IN (SELECT oid FROM bodied) AND u.function NOT IN (
            SELECT oprcode FROM pg_operator WHERE oid >= 16384
            UNION ALL SELECT castfunc FROM pg_cast WHERE oid >= 16384))
), telling AS MATERIALIZED (
    SELECT c.oid, c.name, c.kind FROM called c JOIN pg_proc p ON c.function = p.oid::text
    WHERE c.kind IN ('check', 'domain') AND c.at = 'riud' AND p.oid < 16384
        AND p.proname = ANY (%(telling)s::text[])
    UNION
    SELECT oid, name, kind FROM tree
    WHERE kind IN ('check', 'domain') AND at = 'riud' AND tree ~ 'SQLVALUEFUNCTION :op [0-8] '
), told AS (
    SELECT name::oid AS oid FROM telling WHERE kind = 'domain'
    UNION
    SELECT m.oid FROM told t JOIN made_of m ON m.part = t.oid
)"""

#: Members of a JSON object that `besides_of` reads; over `relation`, and a `space` of schemas.
MEMBERS = r"""
    'triggers', (
        SELECT json_agg(json_build_array(r.nspname, r.relname, o.nspname, o.relname, t.tgname,
            concat(
                CASE WHEN t.tgtype & 4 > 0 THEN 'i' END, CASE WHEN t.tgtype & 16 > 0 THEN 'u' END,
                CASE WHEN t.tgtype & 8 > 0 THEN 'd' END, CASE WHEN t.tgtype & 32 > 0 THEN 't' END),
            t.tgtype & 1 > 0, t.tgtype & 2 > 0,
            ARRAY(SELECT a.attname FROM pg_attribute a
                WHERE a.attrelid = t.tgrelid AND a.attnum = ANY (t.tgattr)),
            t.tgfoid IN (SELECT oid FROM clean),
            t.tgfoid IN (SELECT oid FROM steady) AND t.tgfoid NOT IN (SELECT oid FROM installed)
                -- PL/pgSQL makes a time of a text that it gives to such a column.
                AND NOT EXISTS (
                    SELECT FROM pg_attribute a WHERE a.attrelid = t.tgrelid AND a.attnum > 0
                        AND a.atttypid IN (SELECT oid FROM timed) AND t.tgtype & 3 = 3
                        AND (h.sets IS NULL OR a.attname = ANY (h.sets))),
            t.tgfoid IN (SELECT oid FROM placed), h.sets))
        FROM firing t JOIN shape h ON h.oid = t.tgfoid JOIN relation r ON r.oid = t.tgrelid
        JOIN relation o ON o.oid = coalesce(pg_partition_root(t.tgrelid)::oid, t.tgrelid)),
    'steady', (
        SELECT json_agg(json_build_array(s.nspname, p.proname))
        FROM pg_proc p JOIN space s ON s.oid = p.pronamespace JOIN steady d ON d.oid = p.oid
        WHERE p.prokind = 'f' AND NOT EXISTS (
            SELECT FROM pg_proc o WHERE o.proname = p.proname AND o.pronamespace = p.pronamespace
            AND o.provolatile <> 'i' AND o.oid NOT IN (SELECT oid FROM steady
                UNION ALL SELECT oid FROM declared WHERE reads = 'nothing'))),
    'makers', (
        SELECT json_agg(DISTINCT ARRAY[s.nspname, p.proname])
        FROM making m JOIN pg_proc p ON p.oid = m.oid JOIN space s ON s.oid = p.pronamespace
        WHERE m.given),
    'installed', (
        SELECT json_agg(DISTINCT ARRAY[s.nspname, p.proname])
        FROM installed i JOIN pg_proc p ON p.oid = i.oid JOIN space s ON s.oid = p.pronamespace),
    'events', (
        SELECT json_agg(json_build_array(e.evtname, CASE WHEN NOT EXISTS (
                SELECT FROM word w JOIN reading o ON o.name = w.word
                WHERE w.oid = e.evtfoid AND o.oid <> e.evtfoid AND o.oid NOT IN (
                    SELECT oid FROM clean))
            THEN (SELECT array_agg(w.word) FROM word w WHERE w.oid = e.evtfoid) END, e.evttags))
        FROM pg_event_trigger e
        WHERE e.evtenabled IN ('O', 'A') AND e.evtevent <> 'login'
            AND e.evtfoid NOT IN (SELECT oid FROM clean)),
    'rules', (
        SELECT json_agg(json_build_array(r.nspname, r.relname, w.rulename,
            CASE w.ev_type WHEN '2' THEN 'u' WHEN '3' THEN 'i' WHEN '4' THEN 'd' END))
        FROM pg_rewrite w JOIN relation r ON r.oid = w.ev_class
        WHERE w.rulename <> '_RETURN' AND w.oid >= 16384 AND w.ev_enabled <> 'D'),
    'calls', (
        SELECT json_agg(json_build_array(r.nspname, r.relname, c.kind, c.name, c.function)) FROM (
            SELECT oid, kind, name, function FROM dirty
            WHERE oid <> 0 AND kind <> 'policy'
            UNION ALL
            SELECT a.attrelid, t.kind, a.attname, t.function FROM tainted t
            JOIN pg_attribute a ON a.atttypid = t.oid AND a.attnum > 0
            WHERE t.kind <> 'cast'
            UNION ALL
            SELECT oid, 'operator class', name, function FROM sorting) c
        JOIN relation r ON r.oid = c.oid),
    'tainted', (
        SELECT json_agg(json_build_array(s.nspname, t.name, t.function)) FROM (
            SELECT t.typnamespace AS schema, t.typname AS name, d.function
            FROM tainted d JOIN pg_type t ON t.oid = d.oid
            UNION
            SELECT p.pronamespace, p.proname, d.function FROM tainted d
            JOIN pg_proc p ON p.prorettype = d.oid OR d.oid = ANY (p.proargtypes)
            WHERE p.oid >= 16384) t
        JOIN space s ON s.oid = t.schema),
    'keys', (
        SELECT json_agg(json_build_array(r.nspname, r.relname, p.nspname, p.relname, c.conname,
            c.confupdtype, c.confdeltype, names.own, names.others, names.set))
        FROM pg_constraint c JOIN relation r ON r.oid = c.conrelid
        JOIN relation p ON p.oid = c.confrelid
        CROSS JOIN LATERAL (
            SELECT ARRAY(
                    SELECT a.attname::text FROM unnest(c.conkey) WITH ORDINALITY u (attnum, n)
                    JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = u.attnum
                    ORDER BY n) AS own,
                ARRAY(
                    SELECT a.attname::text FROM unnest(c.confkey) WITH ORDINALITY u (attnum, n)
                    JOIN pg_attribute a ON a.attrelid = c.confrelid AND a.attnum = u.attnum
                    ORDER BY n) AS others,
                (SELECT array_agg(a.attname::text) FROM pg_attribute a
                    WHERE a.attrelid = c.conrelid AND a.attnum::text IN (
                        SELECT jsonb_array_elements_text(
                            nullif(to_jsonb(c) -> 'confdelsetcols', 'null')))) AS set) AS names
        WHERE c.contype = 'f'),
    'inherits', (
        SELECT json_agg(json_build_array(r.nspname, r.relname, p.nspname, p.relname))
        FROM pg_inherits i JOIN relation r ON r.oid = i.inhrelid
        JOIN relation p ON p.oid = i.inhparent),
    'computed', (
        SELECT json_agg(json_build_array(r.nspname, r.relname, a.attname, ARRAY(
            SELECT s.attname FROM regexp_matches(d.adbin::text, ':varattno (\d+)', 'g') AS m
            JOIN pg_attribute s ON s.attrelid = d.adrelid AND s.attnum::text = m[1])))
        FROM pg_attrdef d JOIN pg_attribute a ON a.attrelid = d.adrelid AND a.attnum = d.adnum
        JOIN relation r ON r.oid = d.adrelid WHERE a.attgenerated <> ''),
    'clocks', (
        SELECT json_agg(json_build_array(r.nspname, r.relname, c.name, c.columns)) FROM (
            SELECT t.oid, t.name, ARRAY(
                SELECT a.attname::text FROM pg_attribute a
                WHERE a.attrelid = t.oid AND a.attnum = ANY (n.conkey)) AS columns
            FROM telling t JOIN pg_constraint n ON n.conrelid = t.oid AND n.conname = t.name
            WHERE t.kind = 'check'
            UNION ALL
            SELECT a.attrelid, a.attname, ARRAY[a.attname::text] FROM pg_attribute a
            WHERE a.attnum > 0 AND a.atttypid IN (SELECT oid FROM told)) c
        JOIN relation r ON r.oid = c.oid)"""


def besides_of(found: Mapping[str, Any]) -> dict[Name, Beside]:
    """What happens beside writes to each relation of which there is something to say."""
    besides: defaultdict[Name, Beside] = defaultdict(Beside)
    for schema, name, *facts in _rows(found, "triggers"):
        besides[schema, name].triggers.append(_trigger(*facts))
    for schema, name, rule, event in _rows(found, "rules"):
        besides[schema, name].rules.append(Rule(rule, event))
    for schema, name, kind, where, function in _rows(found, "calls"):
        besides[schema, name].calls.append(Call(kind, where, function))
    for schema, name, *facts in _rows(found, "keys"):
        key = _key((schema, name), *facts)
        besides[key.parent].keys.append(key)
    for schema, name, column, sources in _rows(found, "computed"):
        besides[schema, name].computed[column] = frozenset(sources)
    for schema, name, clock, columns in _rows(found, "clocks"):
        besides[schema, name].clocks[clock] = frozenset(columns)
    return dict(besides)


def events_of(found: Mapping[str, Any]) -> tuple[EventTrigger, ...]:
    """The event triggers that may write to tables."""
    return tuple(
        EventTrigger(name, None if words is None else frozenset(words), frozenset(tags or ()))
        for name, words, tags in _rows(found, "events")
    )


def inheritance_of(found: Mapping[str, Any]) -> Inheritance:
    """Which tables inherit from which."""
    return Inheritance.of(
        ((schema, name), (parent_schema, parent))
        for schema, name, parent_schema, parent in _rows(found, "inherits")
    )


def with_steady(
    functions: Mapping[str, frozenset[Function]], found: Mapping[str, Any]
) -> dict[str, frozenset[Function]]:
    """The functions, with those IMMUTABLE whose text shows that they could be declared so."""
    made = dict(functions)
    for schema, name in _rows(found, "steady"):
        made[name] = frozenset(
            replace(each, volatility="i", has_body=False)
            if each.schema == schema and each.kind == "f"
            else each
            for each in made[name]
        )
    return made


def _rows(found: Mapping[str, Any], name: str) -> Iterable[Any]:
    return found[name] or ()


def _trigger(
    schema: str,
    table: str,
    name: str,
    events: str,
    each_row: bool,
    before: bool,
    columns: list[str],
    *facts: Any,
) -> Trigger:
    clean, steady, placed, sets = facts
    return Trigger(
        name,
        (schema, table),
        events,
        each_row,
        before,
        frozenset(columns),
        clean,
        steady,
        placed,
        None if sets is None else frozenset(sets),
    )


def _key(
    child: Name,
    parent_schema: str,
    parent: str,
    name: str,
    on_update: str,
    on_delete: str,
    own: list[str],
    others: list[str],
    set_: list[str] | None,
) -> ForeignKey:
    return ForeignKey(
        name,
        child,
        (parent_schema, parent),
        frozenset(own),
        frozenset(others),
        on_update,
        on_delete,
        frozenset(own if set_ is None else set_),
        dict(zip(own, others, strict=True)),
    )
