"""The columns by which subqueries find rows, if they run once for each row around them.

Over gathered rows these would read a whole temporary table each time: an index helps. In ::

    SELECT * FROM nation n WHERE n.big OR EXISTS (SELECT FROM items i WHERE i.nation_id = n.id)

it is one of ``items (nation_id)``. Without ``n.big OR`` PostgreSQL makes a join of it, and needs no
index; so it does with IN, and with NOT EXISTS.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from greenshard.planner.binding.query import Derived, Join, Query, Table, queries, sublinks
from greenshard.sql.parser import ANY_SUBLINK, EXISTS_SUBLINK, NOT_EXPR, Message
from greenshard.sql.tree import unwrap


def sought(query: Query, places: Sequence[Table]) -> set[tuple[str, ...]]:
    """For each subquery that finds rows of a table so: the columns, sorted.

    Args:
        query: The statement's.
        places: Where the table is named in it.
    """
    numbers = {column.id[0] for table in places for column in table.columns or ()}
    found = {
        tuple(sorted(_compared(part, numbers)))
        for one in queries(query)
        for repeated in _repeated(one)
        for part in _parts(repeated)
    }
    return {columns for columns in found if columns}


def _repeated(query: Query) -> Iterator[Query]:
    """Those within a query that run once for each of its rows, if they depend on it."""
    joined = list(_joined(query))
    for sublink in sublinks(query):
        if not any(sublink.node == each for each in joined):
            yield sublink.query
    # Simple ones become joins; those with aggregates or LIMIT do not.
    for item in query.items_of(Derived):
        if item.lateral:
            yield item.query


def _joined(query: Query) -> Iterator[Message]:
    """The sublinks of a query that PostgreSQL makes joins of."""
    conditions = [*query.where, *(each for join in query.items_of(Join) for each in join.on)]
    for condition in conditions:
        kind, inner = unwrap(condition.node)
        types = {EXISTS_SUBLINK, ANY_SUBLINK}
        if kind == "bool_expr" and inner.boolop == NOT_EXPR:
            kind, inner = unwrap(inner.args[0])
            types = {EXISTS_SUBLINK}
        if kind == "sub_link" and inner.sub_link_type in types:
            yield inner


def _parts(query: Query) -> Iterator[Query]:
    """A query, the sides of its set operations, and the queries in FROM, at any depth."""
    pending = [query]
    while pending:
        one = pending.pop()
        yield one
        pending.extend(one.branches or ())
        pending.extend(item.query for item in one.items_of(Derived))


def _compared(query: Query, numbers: set[int]) -> set[str]:
    """The columns of some sources that WHERE compares with one of the rows around a query."""
    own = {column.id for column in query.level.columns or ()}
    found = set()
    for condition in query.where:
        sides = condition.equal_columns or ()
        columns = [column for column in sides if column.family is not None]
        inner = [column for column in columns if column.id in own]
        if len(columns) == 2 and len(inner) == 1 and inner[0].id[0] in numbers:
            shown = inner[0].column
            found |= set() if shown is None else {shown.name}
    return found
