"""The temporary tables of one connection: reference tables, which its session on each shard has.

    CREATE TEMP TABLE picked (id int)              made on every shard
    INSERT INTO picked VALUES (1), (2)             on every shard, like rows of a reference table
    SELECT * FROM orders JOIN picked USING (id)    each shard joins with its own

Statements that create them over all shards say their names (`Plan.makes`); whether they are there,
after ROLLBACK, ON COMMIT DROP, DISCARD and the like, the sessions tell with their bearings. What
they look like one shard is asked, for all have made them of the same text.

What a statement for named shards may have done to one is not known: then all of them are left out,
and whatever names one is refused. So is what names an *odd* one, beside which other code runs.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet

from greenshard._driver import own_cursor
from greenshard.cluster import Cluster
from greenshard.cluster.names import quoted
from greenshard.executor.knowledge.catalog_queries import column
from greenshard.executor.knowledge.shared import Known
from greenshard.links.outside import SETTINGS, meant_alike, understood, value
from greenshard.links.physical import Physical
from greenshard.planner.catalog import TEMPORARY, Relation
from greenshard.planner.planner import Planner

#: Odd are those beside which triggers, rules or policies run, or functions of the user's own in
#: their defaults and checks, also of domains: nothing looks at them.
_TABLES = meant_alike("""
WITH base AS (
    WITH RECURSIVE domain AS (
        SELECT oid, typbasetype AS base FROM pg_type WHERE typtype = 'd'
        UNION ALL
        SELECT d.oid, t.typbasetype FROM domain d
        JOIN pg_type t ON t.oid = d.base AND t.typtype = 'd')
    SELECT d.oid, t.typname, t.typcategory FROM domain d JOIN pg_type t ON t.oid = d.base
    WHERE t.typtype <> 'd'
    UNION ALL
    SELECT oid, typname, typcategory FROM pg_type WHERE typtype <> 'd'
)
SELECT convert_to(coalesce(json_agg(json_build_array(c.relname, (
    SELECT json_agg(json_build_array(
        a.attname, b.typname, format_type(a.atttypid, a.atttypmod),
        quote_ident(s.nspname) || '.' || quote_ident(l.collname),
        coalesce(l.collisdeterministic, true), b.typcategory = 'A',
        CASE WHEN a.attidentity <> '' THEN format('nextval(%%L::regclass)',
                pg_get_serial_sequence(format('pg_temp.%%I', c.relname), a.attname))
            WHEN a.attgenerated = '' AND a.atthasdef THEN (
                SELECT pg_get_expr(d.adbin, d.adrelid) FROM pg_attrdef d
                WHERE d.adrelid = a.attrelid AND d.adnum = a.attnum)
            END, a.attidentity, a.attgenerated <> '') ORDER BY a.attnum)
    FROM pg_attribute a JOIN base b ON b.oid = a.atttypid
    LEFT JOIN pg_collation l ON l.oid = nullif(a.attcollation, 'pg_catalog."default"'::regcollation)
    LEFT JOIN pg_namespace s ON s.oid = l.collnamespace
    WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped), (
    SELECT json_agg(a.attname ORDER BY k.number)
    FROM pg_index i CROSS JOIN unnest(i.indkey) WITH ORDINALITY AS k (attnum, number)
    JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
    WHERE i.indrelid = c.oid AND i.indisprimary AND k.number <= i.indnkeyatts),
    EXISTS (SELECT FROM pg_attrdef d WHERE d.adrelid = c.oid),
    c.relhasrules OR c.relrowsecurity OR EXISTS (
        SELECT FROM pg_trigger t WHERE t.tgrelid = c.oid AND NOT t.tgisinternal)
    OR EXISTS (SELECT FROM pg_inherits h WHERE c.oid IN (h.inhrelid, h.inhparent))
    OR EXISTS (
        SELECT FROM pg_depend d WHERE d.refclassid = 'pg_proc'::regclass AND d.refobjid >= 16384
        AND (d.classid, d.objid) IN (
            SELECT 'pg_attrdef'::regclass, oid FROM pg_attrdef WHERE adrelid = c.oid
            UNION ALL
            SELECT 'pg_constraint'::regclass, oid FROM pg_constraint WHERE conrelid = c.oid))
    ) ORDER BY c.relname), '[]')::text, 'UTF8')
FROM pg_class c
WHERE c.relnamespace = pg_my_temp_schema() AND c.relkind = 'r' AND c.relname = ANY (
        SELECT json_array_elements_text(%(names)s::json))
""")
#: In a session's own schema, whatever its number is on which shard.
_NUMBERED = re.compile(r"pg_temp_[0-9]+\.")


class TemporaryTables:
    """The temporary tables of one connection.

    Attributes:
        names: Of those that were made over all shards, and may still be there.
        planned: The names of those that statements are planned with.
    """

    def __init__(self) -> None:
        self.names: set[str] = set()
        self.planned: frozenset[str] = frozenset()
        self._relations: tuple[Relation, ...] = ()
        self._odd: frozenset[str] = frozenset()
        self._is_old = False
        self._planner: tuple[Known, tuple[Relation, ...], frozenset[str], Planner] | None = None

    def made(self, names: Iterable[str]) -> None:
        """Take note of tables that were made over all shards."""
        self.names.update(names)
        self._is_old = True

    def mistrust(self) -> None:
        """Take note that they may be others now."""
        self._is_old = True

    def leave_out(self) -> None:
        """Take note that named shards may have done something to them."""
        self.names.clear()
        self.found(())

    def must_ask(self, present: AbstractSet[str]) -> bool:
        """Whether a shard must be asked what they look like.

        Args:
            present: The names of the temporary relations that the session has by which statements
                are planned.
        """
        # Gone, and made anew by somebody else, it would be another one.
        self.names &= present
        return bool(self.names) and (self._is_old or not self.planned <= self.names)

    def found(self, relations: Sequence[Relation], odd: Iterable[str] = ()) -> None:
        """Take note of what a shard has told of them; `odd` are names, see above."""
        self._relations, self._odd = tuple(relations), frozenset(odd)
        self.planned = frozenset(each.name for each in relations)
        self._is_old = False

    def forget_gone(self) -> None:
        """Plan without those that are gone."""
        if not self.planned <= self.names:
            self.found([each for each in self._relations if each.name in self.names], self._odd)

    def planner_of(self, known: Known, cluster: Cluster) -> Planner:
        """What plans statements: with these tables, if there are any."""
        if not self._relations:
            return known.planner
        if self._planner is None or self._planner[:3] != (known, self._relations, self._odd):
            with_them = known.catalog.with_temporary(self._relations)
            checked = {".".join(map(quoted, type_)) for type_ in known.catalog.tainted}
            odd = self._odd | {each.name for each in self._relations if _has(each, checked)}
            planner = Planner(cluster.with_temporary(self.planned - odd), with_them)
            self._planner = (known, self._relations, self._odd, planner)
        return self._planner[3]

    def path(self, path: tuple[str, ...]) -> tuple[str, ...]:
        """Where statements look for names: there first, wherever else the session looks."""
        return (TEMPORARY, *path) if self._relations else path


def _has(relation: Relation, types: AbstractSet[str]) -> bool:
    """Whether a column is of one of some types, or of an array of one."""
    return any(column.type_sql.removesuffix("[]") in types for column in relation.columns)


def read_temporary(
    physical: Physical, names: Sequence[str]
) -> tuple[tuple[Relation, ...], frozenset[str]]:
    """What temporary tables look like, and the odd ones. Switches: yes. Cost: one round trip."""
    begin, end = "", ""
    if not physical.idle:
        begin, end = "SAVEPOINT greenshard_temporary;", "ROLLBACK TO SAVEPOINT greenshard_temporary"
    found = value(physical, begin + SETTINGS + _TABLES, {"names": json.dumps(sorted(names))})
    if end:
        # The settings go with it.
        own_cursor(physical.raw).execute(f"{end}; RELEASE SAVEPOINT greenshard_temporary")
    with understood(physical.shard):
        # A number of the one session says nothing to the others.
        told = json.loads(_NUMBERED.sub(f"{TEMPORARY}.", bytes(found).decode()))
        relations = tuple(
            Relation(
                TEMPORARY,
                name,
                "r",
                tuple(column(*each) for each in columns or ()),
                tuple(key or ()),
                runs="iu" if defaults else "",
            )
            for name, columns, key, defaults, _ in told
        )
        return relations, frozenset(name for name, *_, odd in told if odd)
