"""Queries in a statement that are run by themselves; what it says of their rows from outside."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from greenshard.planner.analysis.restriction import Restriction, Restrictions
from greenshard.planner.binding.query import Item, Join, Query, Table, is_correlated, queries
from greenshard.planner.calls import Functions
from greenshard.planner.strategies.candidate import Candidate
from greenshard.planner.strategies.conditions import renamed
from greenshard.planner.strategies.semi_joins import semi_joins
from greenshard.sql.parser import Message
from greenshard.sql.tree import same_text

#: What matters of each table, by its identity.
Inside = Mapping[int, Restriction]


def stands_alone(query: Query) -> bool:
    """Whether a query may be a statement of its own: it knows its columns, and no row around it."""
    if not query.outputs or is_correlated(query):
        return False
    return not any(one.node.locking_clause for one in queries(query))


def kept(items: list[Item]) -> Iterator[Table]:
    """The tables of FROM beside whose rows no outer join puts NULLs: WHERE may speak of them."""
    for item in items:
        if isinstance(item, Table):
            yield item
        elif isinstance(item, Join) and item.kind == "inner":
            yield from kept([item.left, item.right])
        elif isinstance(item, Join) and item.kind == "left":
            yield from kept([item.left])


class Outside:
    """A statement, as what says something of the queries in it.

    Args:
        candidate: The statement.
    """

    def __init__(self, candidate: Candidate) -> None:
        self._candidate = candidate
        self._matters: Inside = {id(each.table): each for each in candidate.restrictions}

    def without(self, query: Query) -> Inside:
        """What a query says by itself of the tables in it."""
        alone = Restrictions(self._candidate.functions, self._candidate.translation)
        alone.visit(query)
        return {id(each.table): each for each in alone.found}

    def said(self, query: Query, inside: Inside) -> Iterator[Message]:
        """The conditions on rows of a query's FROM that it lacks.

        Args:
            query: The query.
            inside: What `without` gives for it, or for the one that it is in.
        """
        for table in kept(query.items):
            around = self._matters.get(id(table)) if table.sharded else None
            if around is not None:
                own = inside[id(table)]
                yield from _said(table, query, around, own, self._candidate.functions)


def _said(
    table: Table, query: Query, around: Restriction, own: Restriction, functions: Functions
) -> Iterator[Message]:
    """The conditions on a table's rows that a query does not have itself.

    Args:
        table: The table.
        query: The query that names it, see `kept`.
        around: What matters of it in the statement.
        own: And what in the query alone.
        functions: See `semi_joins`.
    """
    shown = names_in(table, query)
    if shown is None:
        return
    known = {id(each) for each in (*own.constants, *own.filters)}
    filters = [each for each in around.filters if id(each) not in known]
    # WHERE false AND 1 / (k - 1) = 1: before them, what lets PostgreSQL look at no row.
    constants = [each for each in around.constants if id(each) not in known] if filters else []
    for condition in (*constants, *filters):
        yield renamed(condition, shown)
    source = table.sources[0]
    joins = set(map(same_text, semi_joins([own], functions, source)))
    for each in semi_joins([around], functions, source):
        if same_text(each) not in joins:
            yield each


def names_in(table: Table, query: Query) -> dict[tuple[int, int], tuple[str, str]] | None:
    """What a query may call a table's columns, by their ids; None if they are hidden there."""
    if len(table.sources) != 1:
        return None
    source = table.sources[0]
    names = {each.id: (source.alias, each.name) for each in source.columns or ()}
    # (a JOIN b ON ...) AS j hides the names of a and b.
    for number, name in names.items():
        found = query.level.named(name)
        if found is None or found.id != number:
            return None
    return names
