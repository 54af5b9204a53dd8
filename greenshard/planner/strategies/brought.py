"""The rows of tables that travel: what is read of them on the shards.

Of a table that is named several times, the rows and columns come that matter at any of its places.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from greenshard.planner.analysis.restriction import Restriction
from greenshard.planner.analysis.sought import sought
from greenshard.planner.binding.query import Table, queries
from greenshard.planner.calls import Functions
from greenshard.planner.catalog import TEMPORARY
from greenshard.planner.plan import GatheredColumn, GatheredTable, Pin
from greenshard.planner.strategies.candidate import Candidate, Unplannable
from greenshard.planner.strategies.conditions import columns_of, joined, renamed
from greenshard.planner.strategies.semi_joins import semi_joins
from greenshard.sql.nodes import quoted
from greenshard.sql.nodes import select as parse_select
from greenshard.sql.parser import type_name, walk

_NO_COLUMN = GatheredColumn("gs none", "integer")


def gathered(
    candidate: Candidate,
    places: Sequence[Table],
    columns: tuple[GatheredColumn, ...],
    name: str,
) -> GatheredTable:
    """What is read of a table.

    Args:
        candidate: The statement.
        places: All places of one relation at which its rows are to be those that travelled.
        columns: See `needed_columns`.
        name: For the table of these rows.

    Raises:
        Unplannable: It cannot be read so.
    """
    restrictions = [
        each for each in candidate.restrictions if any(each.table is place for place in places)
    ]
    table, relation = restrictions[0].table, restrictions[0].table.relation
    shown = ", ".join(quoted(column.name) for column in columns)
    if columns == (_NO_COLUMN,):  # who may read any column may count the rows
        shown = "NULL::pg_catalog.int4"
    qualified = f"{quoted(relation.schema)}.{quoted(relation.name)}"
    if len({each.table.only for each in restrictions}) > 1:
        raise Unplannable("a table is read with ONLY and without", table.node.location)
    only = "ONLY " if table.only else ""
    read = parse_select(f"SELECT {shown} FROM {only}{qualified}")
    if table.sharded:
        _filter(read, restrictions, candidate.functions)
    known = {column.name for column in columns}
    return GatheredTable(
        name,
        qualified,
        columns,
        candidate.write(read),
        _pins(restrictions),
        not table.sharded,
        relation.primary_key if known.issuperset(relation.primary_key) else (),
        tuple(sorted(sought(candidate.query, [each.table for each in restrictions]))),
        relation.schema == TEMPORARY,
    )


def check_names(candidate: Candidate) -> None:
    """Refuse two tables of one name, of which the schemas tell which is meant: these get lost.

    Raises:
        Unplannable: There are two.
    """
    qualified = any(
        type_name(each) == "ColumnRef" and len(each.fields) > 2 for each in walk(candidate.select)
    )
    levels = [list(query.items_of(Table)) for query in queries(candidate.query)]
    for level in [candidate.tables] if qualified else levels:
        known: dict[str, Table] = {}
        for table in level:
            name = table.sources[0].alias
            if known.setdefault(name, table).relation is not table.relation:
                reason, hint = (
                    f"two tables are called {name}",
                    "Give each an alias of its own.",
                )
                raise Unplannable(reason, table.node.location, hint)


def needed_columns(candidate: Candidate, places: Sequence[Table]) -> tuple[GatheredColumn, ...]:
    """The columns that the text can mean; one at least, for the rows are to be counted.

    Raises:
        Unplannable: The table has none, and a star would show one.
    """
    relation = places[0].relation
    names = set().union(*map(candidate.mentions.of, places))
    needed = [column for column in relation.columns if column.name in names]
    if not relation.columns and _shows_star(candidate):
        raise Unplannable(f"table {relation.name} has no columns, and * would show one")
    if not relation.columns or (not needed and relation.security.column_grants):
        return (_NO_COLUMN,)
    return tuple(map(GatheredColumn.of, needed or relation.columns[:1]))


def _shows_star(candidate: Candidate) -> bool:
    return any(type_name(each) == "A_Star" for root in candidate.roots for each in walk(root))


def _pins(places: Sequence[Restriction]) -> tuple[Pin, ...] | None:
    """The shards that have rows that matter at one of the places; None: any may."""
    pins: list[Pin] = []
    for each in places:
        known = each.table.pins if each.pin is None else (each.pin,)
        if known is None:
            return None
        pins += known
    return tuple(pins)


def _filter(read: Any, places: Sequence[Restriction], functions: Functions) -> None:
    """Leave out the rows that matter at none of the places where the table is named."""
    conditions = list(semi_joins(places, functions))
    # Named once without a condition, all rows matter.
    if all(each.filters for each in places):
        conditions.insert(0, joined("a OR b", [_all_of(each) for each in places]))
    if conditions:
        read.where_clause.CopyFrom(joined("a AND b", conditions))


def _all_of(restriction: Restriction) -> Any:
    # o.k in FROM orders o (k): the shard reads the table itself, where it has its own name.
    names = {each: (column.name,) for each, column in columns_of([restriction.table]).items()}
    found = [*restriction.constants, *restriction.filters]
    return joined("a AND b", [renamed(each, names) for each in found])
