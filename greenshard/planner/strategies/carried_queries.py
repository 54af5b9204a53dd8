"""Goal: compute once, by whichever strategy, what a write asks the same for all of its rows.

    UPDATE orders SET o_comment = 'x' WHERE o_totalprice > (SELECT avg(o_totalprice) FROM orders)

1. The subquery names nothing of the row that it is for. So it is a statement of its own, whose
   rows are read first: here one, that is combined of the shards' sums and counts.
2. It is sent to the shards as a WITH query, in the place of the subquery:
       ... WHERE o_totalprice > (SELECT "gs q0".c0 AS avg FROM "gs q0")

Of queries in FROM and WITH likewise. What chooses (LIMIT without an order, a sum of floats) has so
chosen once, as on one PostgreSQL.

Left where they are: EXISTS, whose rows nobody needs; queries that read WITH queries of the
statement, or lock rows; and all of them where a collation may be lost on the way.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from greenshard.planner.analysis.chance import first_choice
from greenshard.planner.binding.query import (
    CteScan,
    Query,
    queries,
    sublinks,
    tables,
    written_in_from,
)
from greenshard.planner.plan import CarriedQuery, Refused
from greenshard.planner.strategies.candidate import Candidate, Read
from greenshard.planner.strategies.said import stands_alone
from greenshard.planner.strategies.stand_ins import PREFIX, may_stand, stand_in
from greenshard.sql.nodes import copy
from greenshard.sql.parser import EXISTS_SUBLINK
from greenshard.sql.tree import same_text


def with_carried_queries(
    candidate: Candidate, read: Read
) -> tuple[Candidate, tuple[CarriedQuery, ...]]:
    """The statement with stand-ins for what is computed first, and these queries.

    Args:
        candidate: The SELECT that finds a write's rows.
        read: Plans another one.
    """
    made = copy(candidate.select)
    query = candidate.bind(made)
    if candidate.has_collations or not may_stand(candidate.select):
        return candidate, ()
    found: dict[bytes, CarriedQuery | None] = {}
    # Each is replaced with what is in it, so those within it are not looked for.
    for one in list(_outermost(query, candidate)):
        select = one.node
        key = same_text(select)
        if key not in found:
            number = sum(each is not None for each in found.values())
            found[key] = _planned(one, read, f"{PREFIX}{number}")
        carried = found[key]
        if carried is not None:
            names = [column.name for column in one.outputs or ()]
            select.CopyFrom(stand_in(carried.name, names))
    queries_ = tuple(each for each in found.values() if each is not None)
    if not queries_:
        return candidate, ()
    return replace(candidate, query=candidate.bind(made)), queries_


def _outermost(query: Query, candidate: Candidate) -> Iterator[Query]:
    """The queries of the same value for all rows, none within another."""
    pending = [query]
    while pending:
        one = pending.pop()
        inner = [cte.query for cte in one.ctes if not cte.recursive]
        inner += written_in_from(one)
        for link in sublinks(one):
            if link.body is None:
                own = link.node.sub_link_type != EXISTS_SUBLINK and _is_apart(link.query, candidate)
                if own:
                    yield link.query
                else:
                    pending.append(link.query)
        for each in inner:
            if _is_apart(each, candidate):
                yield each
            else:
                pending.append(each)


def _is_apart(query: Query, candidate: Candidate) -> bool:
    """Whether a query is to be run by itself."""
    if not stands_alone(query):
        return False
    if any(True for one in queries(query) for _ in one.items_of(CteScan)):
        return False
    reads = any(table.sharded for table in tables(query))
    return reads or first_choice(query, candidate.functions) is not None


def _planned(query: Query, read: Read, name: str) -> CarriedQuery | None:
    """A query that is run first; None if it cannot be run so."""
    sql, plan = read(copy(query.node))
    if isinstance(plan.step, Refused):
        return None
    return CarriedQuery(name, sql, plan, len(query.outputs or ()))
