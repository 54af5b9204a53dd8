"""Goal: compute first what gives fewer rows than it reads, each such subquery by its own strategy.

    SELECT c_name, total FROM customer JOIN (
        SELECT o_custkey, sum(o_totalprice) AS total FROM orders GROUP BY o_custkey) x
    ON o_custkey = c_custkey WHERE c_mktsegment = 'BUILDING' AND total > 1000

1. The subquery is a statement of its own: `combine` plans it, and a row for each customer comes
   instead of a row for each order. What the statement says of its rows from outside is said in it:
       SELECT o_custkey, sum(o_totalprice) AS total FROM orders
       WHERE orders.o_custkey = ANY (
           SELECT gs0.c_custkey FROM public.customer gs0 WHERE gs0.c_mktsegment = 'BUILDING')
       GROUP BY o_custkey
2. If what is left can be run by the shards once each of them has these rows, and they are few, they
   are sent there; here nothing is left of `orders`, and one PostgreSQL runs it:
       ... FROM customer JOIN (SELECT "gs q0".c0 AS o_custkey, ... FROM "gs q0") x ON ...
   Else they are put beside what is gathered for the rest.

Such are queries in FROM, in WITH and in expressions, and the branches of set operations, that
group, take distinct rows, or have a LIMIT.

Left where they are: what names rows around it or other WITH queries, views, row locks; statements
with functions in SQL, which may read the same tables; and all where a collation may be lost on the
way. So are WITH queries that nobody reads, and in expressions what may fail (by a division, a
cast): PostgreSQL computes these when they are met, and behind CASE that may be never.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from greenshard.planner.analysis.may_fail import may_fail
from greenshard.planner.analysis.select import is_distinct, is_grouped
from greenshard.planner.binding.query import (
    CteScan,
    Derived,
    Query,
    is_several,
    queries,
    sublinks,
    tables,
    written_in_from,
)
from greenshard.planner.calls import Functions, calls
from greenshard.planner.plan import CarriedQuery, Combine, Plan, Routed, Scatter, Step
from greenshard.planner.strategies.candidate import Candidate, Read
from greenshard.planner.strategies.conditions import joined
from greenshard.planner.strategies.said import Outside, stands_alone
from greenshard.planner.strategies.stand_ins import PREFIX, may_stand, stand_in
from greenshard.sql.nodes import copy
from greenshard.sql.parser import Message
from greenshard.sql.text import Sql
from greenshard.sql.tree import unwrap

#: Columns, by their places.
Typed = frozenset[int]


def with_results(candidate: Candidate, read: Read) -> tuple[Candidate, tuple[CarriedQuery, ...]]:
    """The query with stand-ins for what is computed first, and that.

    Args:
        candidate: The query.
        read: Plans another one.
    """
    if candidate.has_collations or candidate.bodies or not may_stand(candidate.select):
        return candidate, ()
    made = copy(candidate.select)
    bound = replace(candidate, query=candidate.bind(made))
    outside = Outside(bound)
    found: dict[tuple[Sql, int | None], CarriedQuery] = {}
    pending = _within(bound.query)
    while pending:
        one, typed = pending.pop(0)
        planned = None
        if _is_apart(one, typed, candidate.functions):
            planned = _planned(one, bound, outside, read)
        if planned is None:
            pending += _within(one, typed)
            continue
        sql, plan = planned
        outputs = one.outputs or ()
        # What is written twice, and is said the same of from outside, is computed once; but not
        # what may be another one each time.
        shown = tuple(each.column for each in outputs)
        key = (sql, len(found) if _is_chance(one, candidate.functions) else None)
        carried = found.setdefault(
            key, CarriedQuery(f"{PREFIX}{len(found)}", sql, plan, len(outputs), shown)
        )
        one.node.CopyFrom(stand_in(carried.name, [each.name for each in outputs]))
    if not found:
        return candidate, ()
    return candidate.stood_in(made), tuple(found.values())


def _within(query: Query, typed: Typed = frozenset()) -> list[tuple[Query, Typed]]:
    """The queries in a query that may stand for rows, none of them within another.

    Args:
        query: The query.
        typed: If it is a branch of a set operation: the columns to which others give their types.
    """
    read = {id(item.cte) for one in queries(query) for item in one.items_of(CteScan)}
    found = [cte.query for cte in query.ctes if not cte.recursive and id(cte) in read]
    found += written_in_from(query)
    found += [
        link.query for link in sublinks(query) if link.body is None and not may_fail(link.query)
    ]
    typed = typed | _typed_by_others(query)
    branches = [(branch, typed) for branch in query.branches or ()]
    return [*branches, *((each, frozenset[int]()) for each in found)]


def _is_apart(query: Query, typed: Typed, functions: Functions) -> bool:
    """Whether a query is the same for all rows around it, and gives fewer rows than it reads."""
    if not stands_alone(query) or not _reduces(query, functions):
        return False
    within = list(queries(query))
    own = {id(cte) for one in within for cte in one.ctes}
    if any(id(scan.cte) not in own for one in within for scan in one.items_of(CteScan)):
        return False
    return any(table.sharded for table in tables(query)) and typed.isdisjoint(_untyped(query))


def _reduces(query: Query, functions: Functions) -> bool:
    node = query.node
    if query.branches is not None:
        return not node.all or any(_reduces(branch, functions) for branch in query.branches)
    if node.HasField("limit_count") or is_distinct(node) or is_grouped(node, functions):
        return True
    return any(_reduces(each.query, functions) for each in query.items_of(Derived))


def _typed_by_others(query: Query) -> Typed:
    """The columns of a set operation whose type is not that of each branch by itself.

    SELECT '1' UNION ALL SELECT k: a literal has the type of the other branch's column. Where all
    branches have literals, they are texts, as in each by itself.
    """
    if query.branches is None:
        return frozenset()
    left, right = map(_untyped, query.branches)
    given = [_given(branch) for branch in query.branches]
    return frozenset((left ^ right).union(*given))


def _untyped(query: Query) -> set[int]:
    """The columns of a query, by their places, that are but literals, or parameters."""
    return _places(query, _is_literal, set.intersection)


def _given(query: Query) -> set[int]:
    """The columns that are parameters, of which nobody knows whether these are texts."""
    return _places(query, _is_parameter, set.union)


def _places(
    query: Query, test: Callable[[Any], bool], join: Callable[[set[int], set[int]], set[int]]
) -> set[int]:
    """The columns of a query that pass a test; `join` says of which branches."""
    if query.branches is not None:
        left, right = (_places(branch, test, join) for branch in query.branches)
        return join(left, right)
    nodes = [each.res_target.val for each in query.node.target_list]
    found = {at for at, node in enumerate(nodes) if test(node)}
    # Behind a star, the places of the columns are others.
    unknown = query.node.values_lists or (found and any(map(is_several, nodes)))
    return set(range(len(query.outputs or ()))) if unknown else found


def _is_literal(node: Message) -> bool:
    kind, inner = unwrap(node)
    return _is_parameter(node) or (
        kind == "a_const" and (inner.HasField("sval") or bool(inner.isnull))
    )


def _is_parameter(node: Message) -> bool:
    return unwrap(node)[0] == "param_ref"


def _is_chance(query: Query, functions: Functions) -> bool:
    """Whether a query may give other rows each time."""
    if any(table.sampled for table in tables(query)):
        return True
    return any(functions.is_volatile(call) for call in calls(query.node))


def _planned(
    query: Query, candidate: Candidate, outside: Outside, read: Read
) -> tuple[Sql, Plan] | None:
    """A query as a statement of its own; None if its rows are not computed by the shards."""
    made = _restricted(query, candidate, outside)
    if not may_stand(made):
        return None
    sql, plan = read(made)
    step: Step = plan.step
    if isinstance(step, Routed):
        step = step.otherwise
    return (sql, plan) if isinstance(step, (Scatter, Combine)) else None


def _restricted(query: Query, candidate: Candidate, outside: Outside) -> Any:
    """A copy of a query that leaves out rows which do not matter to the statement around it."""
    made = copy(query.node)
    inside = outside.without(query)
    for one, twin in zip(queries(query), queries(candidate.bind(made)), strict=True):
        found = list(outside.said(one, inside))
        if found:
            where = [twin.node.where_clause] if twin.node.HasField("where_clause") else []
            twin.node.where_clause.CopyFrom(joined("a AND b", [*map(copy, where), *found]))
    return made
