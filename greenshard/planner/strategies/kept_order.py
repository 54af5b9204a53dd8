"""Goal: give the rows the order that a query keeps of a subquery, view or WITH query.

    SELECT * FROM (SELECT k, c FROM t ORDER BY c, k) x LIMIT 3

1. PostgreSQL reads x from its first row to its last, and people page through such views. Over
   several shards that would be the order of each shard's rows alone.
2. So the order is said once more, where `merge` sees it:
       SELECT * FROM (SELECT k, c FROM t ORDER BY c, k) x ORDER BY 2, 1 LIMIT 3

It is kept where the query around only filters and computes, also over ``LATERAL`` functions and
single rows of no table. Not by GROUP BY, DISTINCT and windows, which sort or hash. Another join
mostly keeps that of what it begins with: it is said where that is possible, but nothing is gathered
for it.

A key that the subquery does not show cannot be said around it; nor can the order of UNION ALL,
whose branches come one after the other. Then the rows are gathered, and PostgreSQL finds the order
in the text. A view that is gathered like a table loses its order, so it is said in its place:
``(SELECT * FROM v ORDER BY 2, 1) v``. Likewise ``array_agg(c)`` becomes ``array_agg(c ORDER BY
x.c, x.k)``, for GROUP BY may sort the rows or not, as each server's planner sees fit.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from greenshard.planner.analysis.chance import choosing_calls
from greenshard.planner.analysis.select import (
    aggregates,
    is_distinct,
    is_grouped,
    window_partitions,
)
from greenshard.planner.binding.bound_views import Name, name_of
from greenshard.planner.binding.query import (
    CteScan,
    Derived,
    FunctionScan,
    Item,
    Join,
    Query,
    nested,
    queries,
)
from greenshard.planner.binding.scope import BoundColumn
from greenshard.planner.binding.views import PathBound, unqualify_columns
from greenshard.planner.calls import Functions
from greenshard.planner.calls import name_of as function_name
from greenshard.planner.strategies.candidate import Candidate, Unplannable
from greenshard.planner.strategies.sort_keys import place_of, read_order
from greenshard.sql.functions import AGGREGATES
from greenshard.sql.nodes import copy, expression, quoted
from greenshard.sql.nodes import select as parse_select
from greenshard.sql.parser import SETOP_UNION, Message, type_name, walk

_CANNOT_BE_TOLD = "the rows keep an order of a subquery that cannot be told around it"


@dataclass(frozen=True, slots=True)
class Kept:
    """An order that rows come in.

    Attributes:
        keys: The columns that they are sorted by, by their places, and the items of ORDER BY that
            say how; None if they are sorted by something else.
        sure: Whether PostgreSQL always keeps it.
    """

    keys: tuple[tuple[int, Any], ...] | None
    sure: bool = True


def kept_order(query: Query, functions: Functions) -> Kept | None:
    """The order in which a query gives its rows; None if it is left open."""
    node = query.node
    if node.sort_clause:
        return Kept(_own_keys(query))
    if query.branches is not None:
        # UNION ALL appends its branches, each in its order; the other set operations sort or hash.
        chained = node.op == SETOP_UNION and node.all
        orders = [kept_order(each, functions) for each in query.branches if chained]
        return Kept(None) if any(each is not None and each.sure for each in orders) else None
    order = inherited_order(query, functions)
    if order is None or order.keys is None:
        return order
    columns = _leader(query).columns or ()
    shown = [(_shown_at(columns[at], query), item) for at, item in order.keys]
    keys = tuple((at, item) for at, item in shown if at is not None)
    if len(keys) == len(shown):
        return Kept(keys, order.sure)
    return Kept(None) if order.sure else None


def inherited_order(query: Query, functions: Functions) -> Kept | None:
    """The order that a query without ORDER BY keeps of what is in its FROM.

    The places of the keys are those in `_leader`.
    """
    node = query.node
    if is_grouped(node, functions) or any(True for _ in window_partitions(node, query.level)):
        return None
    by_first = is_distinct(node)
    # DISTINCT may hash, and then no order is kept.
    if by_first and not node.distinct_clause[0].WhichOneof("node"):
        return None
    order = order_of_rows(query, functions)
    # Which row DISTINCT ON takes is decided by an order that no other clause may change.
    if by_first and order is not None:
        return Kept(None) if order.sure else None
    return order


def order_of_rows(query: Query, functions: Functions) -> Kept | None:
    """The order in which FROM and WHERE give the rows."""
    # FROM (SELECT ... ORDER BY a) x, unnest(x.list): a nested loop over x, in its order.
    if not query.items:
        return None
    first = _leader(query)
    order = None
    if isinstance(first, Derived):
        order = kept_order(first.query, functions)
    elif isinstance(first, CteScan) and not first.cte.recursive:
        order = kept_order(first.cte.query, functions)
    if order is None:
        return None
    if all(map(_keeps_order, _joined_to(first, query))):
        return order
    return None if order.keys is None else Kept(order.keys, sure=False)


def _leader(query: Query) -> Item:
    """What the first join begins with, and otherwise stands first in FROM."""
    item = query.items[0]
    while isinstance(item, Join) and item.kind in ("inner", "left"):
        item = item.left
    return item


def _joined_to(leader: Item, query: Query) -> Iterator[Item]:
    """What stands behind `_leader` in FROM."""
    yield from query.items[1:]
    item = query.items[0]
    while isinstance(item, Join) and item is not leader:
        yield item.right
        item = item.left


def is_kept(candidate: Candidate) -> bool:
    """Whether the rows of a query are in an order that it does not say itself."""
    return _inherited(candidate) is not None


def with_kept_order(candidate: Candidate) -> Candidate:
    """The same, with the order said where the strategies look for it.

    Raises:
        Unplannable: It cannot be said, and would be kept.
    """
    order = _inherited(candidate)
    if order is None:
        return candidate
    try:
        ordered = _ordered(candidate, order)
        read_order(ordered)
    except Unplannable:
        if order.sure:
            raise
        return candidate
    return ordered


def _inherited(candidate: Candidate) -> Kept | None:
    query = candidate.query
    if query.node.sort_clause:
        return None
    if query.branches:
        return kept_order(query, candidate.functions)
    return inherited_order(query, candidate.functions)


def _ordered(candidate: Candidate, order: Kept) -> Candidate:
    query = candidate.query
    # Of UNION ALL: its branches come one after the other, and no key tells them apart.
    if order.keys is None:
        raise Unplannable(_CANNOT_BE_TOLD)
    made = copy(candidate.select)
    for at, item in order.keys:
        added = made.sort_clause.add()
        added.sort_by.CopyFrom(item)
        added.sort_by.node.CopyFrom(_key(query, at))
    return replace(candidate, query=candidate.bind(made), changed=True)


def with_ordered_aggregates(candidate: Candidate) -> Candidate:
    """The same, with the order of their rows said in aggregates: GROUP BY may sort them anew."""
    functions = candidate.functions
    if not any(_lists(one, functions) for one in queries(candidate.query, into_views=False)):
        return candidate
    made = copy(candidate.select)
    changed = False
    for one in queries(candidate.bind(made), into_views=False):
        order = order_of_rows(one, functions)
        keys = order.keys if order is not None else None
        nodes = [_named(one, at) for at, _ in keys or ()]
        # There is no order to be said, or no name to say it by.
        if not keys or None in nodes:
            continue
        for call in _lists(one, functions):
            changed = True
            for (_, item), node in zip(keys, nodes, strict=True):
                added = call.agg_order.add().sort_by
                added.CopyFrom(item)
                added.node.CopyFrom(node)
    return replace(candidate, query=candidate.bind(made), changed=True) if changed else candidate


def with_ordered_views(candidate: Candidate) -> tuple[Candidate, frozenset[Name]]:
    """The same, with the order of views said around their names.

    Returns:
        It; and the views whose order cannot be said so.
    """
    if not candidate.views:
        return candidate, frozenset()
    made = copy(candidate.select)
    functions = candidate.functions
    query = candidate.bind(made)
    found = [(view, kept_order(view.query, functions)) for view in _observed(query, functions)]
    named = {id(view): view for one in queries(query, into_views=False) for view in _views(one)}
    keys = {
        id(view.view): order.keys
        for view, order in found
        if order is not None and order.keys and id(view) in named
    }
    lost = {
        name_of(view) for view, order in found if order is not None and id(view.view) not in keys
    }
    if not keys:
        return candidate, frozenset(lost)
    for node in list(walk(made)):
        item: Any = node
        if type_name(node) == "Node" and item.HasField("range_var"):
            order_by = keys.get(id(item.range_var))
            if order_by is not None:
                item.CopyFrom(_sorted(item.range_var, order_by))
    try:
        unqualify_columns(made)
    except PathBound as bound:
        raise Unplannable(bound.reason, bound.offset) from None
    return replace(candidate, query=candidate.bind(made), changed=True), frozenset(lost)


def _lists(query: Query, functions: Functions) -> list[Any]:
    """The aggregates whose value depends on the order of the rows."""
    return [
        call
        for call in aggregates(query.node, functions)
        if not call.agg_order and not _is_unordered(call, functions)
    ]


def _is_unordered(call: Any, functions: Functions) -> bool:
    if type_name(call) != "FuncCall":
        return False
    if call.agg_distinct or call.agg_within_group:
        return True
    known = AGGREGATES.get(function_name(call))
    return functions.is_own(call) and known is not None and known.unordered


def _own_keys(query: Query) -> tuple[tuple[int, Any], ...] | None:
    keys = []
    for item in query.node.sort_clause:
        try:
            at = place_of(item.sort_by.node, query)
        except Unplannable:
            return None
        if at is None:
            return None
        keys.append((at, item.sort_by))
    return tuple(keys)


def _shown_at(column: BoundColumn, query: Query) -> int | None:
    """Where a query shows a column of its FROM."""
    outputs = query.outputs or ()
    return next((at for at, each in enumerate(outputs) if each.id == column.id), None)


def _key(query: Query, at: int) -> Message:
    """A column of `_leader`, as ORDER BY can name it.

    Raises:
        Unplannable: It has no name that means it alone.
    """
    columns = _leader(query).columns or ()
    shown = _shown_at(columns[at], query) if at < len(columns) else None
    node = expression(str(shown + 1)) if shown is not None else _named(query, at)
    if node is None:
        raise Unplannable(_CANNOT_BE_TOLD)
    return node


def _named(query: Query, at: int) -> Message | None:
    """The name of a column of `_leader`; None if it has none that means it alone."""
    item = _leader(query)
    names, alias = [each.name for each in item.columns or ()], item.sources[0].alias
    if at >= len(names) or not alias or names.count(names[at]) > 1:
        return None
    if not any(each is item.sources[0] for each in query.level.sources):
        return None  # the alias of a join hides it
    return expression(f"{quoted(alias)}.{quoted(names[at])}")


def _keeps_order(item: Item) -> bool:
    """Whether it is a function of what stands before it in FROM, or one row, of no table."""
    if isinstance(item, FunctionScan):
        return any(type_name(message) == "ColumnRef" for message in walk(item.node))
    # (SELECT 1) x, (VALUES (1)) x: PostgreSQL puts the values in the place of their names.
    if not isinstance(item, Derived) or item.query.items or item.query.branches:
        return False
    node = item.query.node
    makes_rows = any(type_name(each) == "FuncCall" for each in walk(node))
    return len(node.values_lists) <= 1 and not makes_rows


def _views(query: Query) -> Iterator[Derived]:
    for item in nested(query.items):
        if isinstance(item, Derived) and item.view is not None:
            yield item


def _observed(query: Query, functions: Functions) -> Iterator[Derived]:
    """The views whose order may be seen in the rows, or in what is computed of them."""
    for one in queries(query):
        node = one.node
        # Who sorts or groups the view's rows does not see their order, but array_agg() of them
        # does.
        sorted_anew = node.sort_clause or is_grouped(node, functions) or is_distinct(node)
        if not sorted_anew or any(True for _ in choosing_calls(one, functions)):
            yield from _views(one)


def _sorted(view: Any, keys: tuple[tuple[int, Any], ...]) -> Message:
    """``(SELECT * FROM v ORDER BY ...) v``."""
    made: Any = copy(parse_select("SELECT FROM (SELECT *) a").from_clause[0])
    inner = made.range_subselect
    inner.alias.CopyFrom(view.alias)
    if not inner.alias.aliasname:
        # A subquery must have a name, and names in the text mean this one.
        inner.alias.aliasname = view.relname
    select = inner.subquery.select_stmt
    named = select.from_clause.add().range_var
    named.CopyFrom(view)
    named.ClearField("alias")
    for at, item in keys:
        added = select.sort_clause.add()
        added.sort_by.CopyFrom(item)
        added.sort_by.node.CopyFrom(expression(str(at + 1)))
    node: Message = made
    return node
