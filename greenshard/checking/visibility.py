"""Compares who may do what: owners, grants, row-level security, and the queries of views.

Of sequences, too: those of declared tables, and those that belong to no table.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from greenshard.checking.findings import Finding, differing
from greenshard.checking.probe import SHARD, reached, transaction
from greenshard.checking.tables import label
from greenshard.cluster import Cluster, Single, TableName
from greenshard.connection import Connection

#: Of each relation what makes a difference, in words, and a text that is the same if it is.
_ASPECTS = f"""
SELECT {SHARD}, n.nspname::text, c.relname::text, coalesce(o.nspname, n.nspname)::text,
    coalesce(o.relname, c.relname)::text, c.relkind = 'v' OR (c.relkind = 'S' AND o.oid IS NULL),
    x.aspect, coalesce(x.text, '')
FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
LEFT JOIN LATERAL (
    SELECT t.oid, t.relname, m.nspname
    FROM pg_depend AS d JOIN pg_class AS t ON t.oid = d.refobjid
    JOIN pg_namespace AS m ON m.oid = t.relnamespace
    WHERE c.relkind = 'S' AND d.classid = 'pg_class'::regclass AND d.objid = c.oid
        AND d.refclassid = 'pg_class'::regclass AND d.deptype IN ('a', 'i')
) AS o ON true
CROSS JOIN LATERAL (VALUES
    (1, 'the owners', pg_get_userbyid(c.relowner)::text),
    (2, 'the grants', (
        SELECT string_agg(a::text, ' ' ORDER BY a::text)
        FROM unnest(coalesce(c.relacl, acldefault(
            (CASE c.relkind WHEN 'S' THEN 's' ELSE 'r' END)::"char", c.relowner))) AS a)),
    (3, 'the grants of columns', (
        SELECT string_agg(format('%I %s', attname, a), ' ' ORDER BY attname, a::text)
        FROM pg_attribute, unnest(attacl) AS a WHERE attrelid = c.oid AND NOT attisdropped)),
    (4, 'the settings of row-level security', concat(c.relrowsecurity, ' ', c.relforcerowsecurity)),
    (5, 'the policies', (
        SELECT string_agg(concat_ws(' ', polname, polcmd, polpermissive, (
                SELECT string_agg(pg_get_userbyid(r), ' ' ORDER BY pg_get_userbyid(r))
                FROM unnest(polroles) AS r),
            pg_get_expr(polqual, polrelid), pg_get_expr(polwithcheck, polrelid)), ';'
            ORDER BY polname)
        FROM pg_policy WHERE polrelid = c.oid)),
    (6, 'the view''s options', CASE WHEN c.relkind = 'v' THEN (
        SELECT string_agg(o, ' ' ORDER BY o) FROM unnest(c.reloptions) AS o) END),
    (7, 'the view''s queries', CASE WHEN c.relkind = 'v' THEN pg_get_viewdef(c.oid) END)
) AS x (number, aspect, text)
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND n.nspname !~ '^pg_'
    AND n.nspname <> 'information_schema' AND NOT EXISTS (
        SELECT FROM pg_depend AS d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid
        AND d.deptype = 'e')
ORDER BY n.nspname, c.relname, x.number
"""


_OWNERS = "the owners"


def compare_rights(conn: Connection, cluster: Cluster) -> Iterator[Finding]:
    """What differs among the shards that have a declared table, a view or a sequence.

    Switches: yes.
    """
    found: dict[tuple[TableName, str], dict[str, str]] = {}
    with transaction(conn, reached(conn)) as cursor:
        cursor.execute(_ASPECTS)
        for shard, schema, name, *owner, alone, aspect, text in cursor.fetchall():
            declared = cluster.table(*owner)
            # What only one shard is to have is compared with nothing.
            if alone or not (declared is None or isinstance(declared, Single)):
                found.setdefault((TableName(schema, name), aspect), {})[shard] = text
    for (name, aspect), texts in found.items():
        shown = texts if aspect == _OWNERS else _numbered(texts)
        if difference := differing(shown):
            yield Finding("rights", f"{aspect} differ: {difference}", label(name))


def _numbered(texts: Mapping[str, str]) -> dict[str, str]:
    """Numbers in the place of texts, which may be long."""
    versions = list(dict.fromkeys(texts.values()))
    return {shard: f"version {versions.index(text) + 1}" for shard, text in texts.items()}
