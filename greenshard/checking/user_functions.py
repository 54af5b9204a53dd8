"""Compares the functions that users made: a statement over shards calls each shard's own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from greenshard.checking.findings import Finding, compare_by_name
from greenshard.checking.probe import SHARD, read_by_name
from greenshard.connection import Connection

# An extension's are as its version is, a type's own as the type, and aggregates as their functions
# are. The texts are not shown: they may be long.
_FUNCTIONS = f"""
SELECT {SHARD}, format('%I.%I(%s)', nspname, proname, pg_get_function_identity_arguments(p.oid)),
    md5(concat(pg_get_functiondef(p.oid)))
FROM pg_proc AS p JOIN pg_namespace AS n ON n.oid = pronamespace
WHERE prokind <> 'a' AND nspname !~ '^pg_' AND nspname <> 'information_schema' AND NOT EXISTS (
    SELECT FROM pg_depend
    WHERE classid = 'pg_proc'::regclass AND objid = p.oid AND deptype IN ('e', 'i'))
ORDER BY 2, 1
"""


def read_functions(conn: Connection) -> dict[str, dict[str, str]]:
    """Read a mark of what each shard has under each function's name.

    Switches: yes.
    """
    return read_by_name(conn, _FUNCTIONS)


def compare_functions(
    functions: Mapping[str, Mapping[str, str]], shards: Sequence[str]
) -> Iterator[Finding]:
    """What differs among the functions, or is not on every shard."""
    return compare_by_name("functions", "function", functions, shards)
