"""Are the columns that are gathered of the types that the catalog tells?

The rows travel as text and are read as the types of the catalog, which may be another shard's: a
``timestamptz`` would become a ``timestamp``, without a word. So the shards that are read are asked
before, once for each table as long as the catalog is not loaded anew; and no others.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from greenshard import errors
from greenshard._driver import RawCursor, ours, own_cursor
from greenshard.executor.answers.columns import differ
from greenshard.executor.knowledge.catalog_queries import qualified
from greenshard.executor.knowledge.one_database import PlanOutdated
from greenshard.executor.planned import Planned
from greenshard.merge.arrays import array_text
from greenshard.planner.plan import GatheredTable

#: Names, not OIDs: the types that users made have others in each database.
_COLUMNS = """
SELECT r.name, a.attname, pg_catalog.concat(n.nspname, '.', t.typname, ' ', a.atttypmod),
    pg_catalog.concat(CASE WHEN m.nspname OPERATOR(pg_catalog.<>) 'pg_catalog'
        AND pg_catalog.pg_type_is_visible(e.oid)
        THEN pg_catalog.concat(pg_catalog.quote_ident(m.nspname), '.') END,
        pg_catalog.format_type(a.atttypid, a.atttypmod))
FROM pg_catalog.unnest(%s::pg_catalog.text[]) AS r (name)
JOIN pg_catalog.pg_attribute AS a
    ON a.attrelid OPERATOR(pg_catalog.=) pg_catalog.to_regclass(r.name)::pg_catalog.oid
JOIN pg_catalog.pg_type AS t ON t.oid OPERATOR(pg_catalog.=) a.atttypid
JOIN pg_catalog.pg_namespace AS n ON n.oid OPERATOR(pg_catalog.=) t.typnamespace
JOIN pg_catalog.pg_type AS e ON e.oid OPERATOR(pg_catalog.=)
    CASE WHEN t.typcategory OPERATOR(pg_catalog.=) 'A' AND t.typelem OPERATOR(pg_catalog.<>) 0
        THEN t.typelem ELSE t.oid END
JOIN pg_catalog.pg_namespace AS m ON m.oid OPERATOR(pg_catalog.=) e.typnamespace
WHERE a.attnum OPERATOR(pg_catalog.>) 0 AND NOT a.attisdropped
"""

#: The types of some columns, by relation and name: each with its modifier, and as `Column.type_sql`
#: has it.
_Types = Mapping[tuple[str, str], tuple[str, str]]


def check_alike(e: Planned, tables: Iterable[GatheredTable], shards: Sequence[str]) -> None:
    """Make sure that some shards have the catalog's types in the columns that are gathered of them.

    Raises:
        errors.ProgrammingError: They differ; names the shards, the column and its types.
        PlanOutdated: The catalog is old, and tells something else.

    Switches: if the shards were not asked yet. Cost: one round trip then.
    """
    alike = e.database.alike
    names = tuple(shards)
    # Of temporary tables the session has told.
    asked = [t for t in tables if not t.temporary and (t.relation, names) not in alike]
    if not asked:
        return
    relations = [table.relation for table in asked]
    calls = {
        physical.shard: partial(_read, own_cursor(physical.raw), relations)
        for physical in e.session.alive
        # One whose transaction has failed would answer nothing; the statement then fails there
        # anyway.
        if physical.shard in names and not physical.failed
    }
    jobs = e.session.run(calls, e.timeout, tolerant=e.tolerant).jobs
    found: dict[str, Any] = {shard: job.result for shard, job in jobs.items()}
    for table in asked:
        _compare(table, found)
        if (wrong := _other_than_known(table, found)) is not None:
            # The catalog may be old: with a new one the plan may have the right types.
            if e.database.mistrust():
                raise PlanOutdated
            raise wrong
    if len(found) == len(names):  # what a shard that is not there has is not known
        alike.update((relation, names) for relation in relations)


def _read(cursor: RawCursor, relations: list[str]) -> _Types:
    cursor.execute(_COLUMNS, (ours(array_text(relations)),))
    return {
        (relation, column): (type_, qualified(type_sql))
        for relation, column, type_, type_sql in cursor.fetchall()
    }


def _compare(table: GatheredTable, found: Mapping[str, _Types]) -> None:
    """Compare a table's columns; one that is not there is an error when it is read."""
    for column in table.columns:
        known = {
            shard: types[table.relation, column.name][0]
            for shard, types in found.items()
            if (table.relation, column.name) in types
        }
        (first, expected), *others = known.items() or [("", "")]
        for shard, type_ in others:
            if type_ != expected:
                raise differ(
                    f"column {column.name!r} of {table.relation} is of type {_shown(expected)} on "
                    f"shard {first} and {_shown(type_)} on shard {shard}",
                    shard,
                )


def _other_than_known(
    table: GatheredTable, found: Mapping[str, _Types]
) -> errors.ProgrammingError | None:
    """The error if shards, which agree, have another type than the catalog tells."""
    for shard, types in found.items():
        for column in table.columns:
            _, type_sql = types.get((table.relation, column.name), ("", column.type_sql))
            if type_sql != column.type_sql:
                return differ(
                    f"column {column.name!r} of {table.relation} is of type {type_sql} on shard "
                    f"{shard} and {column.type_sql} on another",
                    shard,
                )
    return None


def _shown(type_: str) -> str:
    """A type for a message: its modifier only if it has one, as PostgreSQL keeps it."""
    name, _, modifier = type_.rpartition(" ")
    return name if modifier == "-1" else f"{name} (modifier {modifier})"
