"""Compares the types that users made: answers depend on what their values are and how they sort."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from greenshard.checking.findings import Finding, compare_by_name
from greenshard.checking.probe import SHARD, read_by_name
from greenshard.connection import Connection

# Of an enum its labels in their order, of a composite type its columns, of a domain what it is over
# and what it checks, of a range what it is of and how that is compared.
_TYPES = f"""
SELECT {SHARD}, pg_catalog.quote_ident(nspname) OPERATOR(pg_catalog.||) '.'
        OPERATOR(pg_catalog.||) pg_catalog.quote_ident(typname),
    CASE typtype
        WHEN 'e' THEN pg_catalog.concat('enum (', (
            SELECT pg_catalog.string_agg(
                pg_catalog.quote_literal(enumlabel::pg_catalog.text), ', ' ORDER BY enumsortorder)
            FROM pg_catalog.pg_enum WHERE enumtypid OPERATOR(pg_catalog.=) t.oid), ')')
        WHEN 'c' THEN pg_catalog.concat('(', (
            SELECT pg_catalog.string_agg(pg_catalog.concat_ws(' ', pg_catalog.quote_ident(attname),
                pg_catalog.format_type(atttypid, atttypmod), l.collname), ', ' ORDER BY attnum)
            FROM pg_catalog.pg_attribute AS a
            LEFT JOIN pg_catalog.pg_collation AS l ON l.oid OPERATOR(pg_catalog.=) attcollation
            WHERE attrelid OPERATOR(pg_catalog.=) typrelid AND NOT attisdropped
                AND attnum OPERATOR(pg_catalog.>) 0), ')')
        WHEN 'd' THEN pg_catalog.concat_ws(' ', 'domain over',
            pg_catalog.format_type(typbasetype, typtypmod), d.collname,
            CASE WHEN typnotnull THEN 'NOT NULL' END, (
            SELECT pg_catalog.string_agg(
                pg_catalog.pg_get_constraintdef(k.oid), ' '
                ORDER BY pg_catalog.pg_get_constraintdef(k.oid))
            FROM pg_catalog.pg_constraint AS k
            WHERE contypid OPERATOR(pg_catalog.=) t.oid
                AND contype OPERATOR(pg_catalog.=) 'c'))
        ELSE (
            SELECT pg_catalog.concat_ws(' ', 'range of', pg_catalog.format_type(rngsubtype, NULL),
                opcname, collname)
            FROM pg_catalog.pg_range AS r
            JOIN pg_catalog.pg_opclass AS o ON o.oid OPERATOR(pg_catalog.=) rngsubopc
            LEFT JOIN pg_catalog.pg_collation AS l ON l.oid OPERATOR(pg_catalog.=) rngcollation
            WHERE rngtypid OPERATOR(pg_catalog.=) t.oid)
    END
FROM pg_catalog.pg_type AS t
JOIN pg_catalog.pg_namespace AS n ON n.oid OPERATOR(pg_catalog.=) typnamespace
LEFT JOIN pg_catalog.pg_class AS c ON c.oid OPERATOR(pg_catalog.=) typrelid
LEFT JOIN pg_catalog.pg_collation AS d ON d.oid OPERATOR(pg_catalog.=) typcollation
WHERE (typtype OPERATOR(pg_catalog.=) ANY ('{{e,d,r}}'::"char"[])
        OR relkind OPERATOR(pg_catalog.=) 'c')
    AND nspname OPERATOR(pg_catalog.!~) '^pg_'
    AND nspname OPERATOR(pg_catalog.<>) 'information_schema'
ORDER BY 2, 1
"""


def read_types(conn: Connection) -> dict[str, dict[str, str]]:
    """Read what each shard has under each type's name.

    Switches: yes.
    """
    return read_by_name(conn, _TYPES)


def compare_types(
    types: Mapping[str, Mapping[str, str]], shards: Sequence[str]
) -> Iterator[Finding]:
    """What differs among the types, or is not on every shard."""
    return compare_by_name("types", "type", types, shards, shown=True)
