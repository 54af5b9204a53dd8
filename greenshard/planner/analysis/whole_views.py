"""Goal: find the views whose own rows can be gathered.

    SELECT count(DISTINCT price) FROM big_orders WHERE o_custkey > 3

1. Each row of `big_orders` comes about on one shard, or all of them on each: `locality`.
2. So what is gathered is `SELECT price FROM public.big_orders WHERE o_custkey > 3`. The shards then
   look after the rights of the view's owner, its security barrier, and row-level security.

Not so if the rows of a view need several shards at once: its query stands in the place of its name,
see `rights`. Nor if it calls something volatile and is named twice: each time other values are
meant.
"""

from __future__ import annotations

from collections import Counter

from greenshard.planner.analysis.locality import Locality
from greenshard.planner.analysis.restriction import Restrictions
from greenshard.planner.analysis.shape import Crosses, Shape, Where
from greenshard.planner.binding.bound_views import (
    Name,
    WholeView,
    WholeViews,
    definitions,
    name_of,
    views_in,
)
from greenshard.planner.binding.query import Derived, Query
from greenshard.planner.calls import Functions, calls
from greenshard.sql.placeholders import Translation


def whole_views(query: Query, functions: Functions, translation: Translation) -> WholeViews:
    """The views at any depth that can be read like tables."""
    found = list(views_in(query))
    times = Counter(map(name_of, found))
    made: dict[Name, WholeView] = {}
    for view in found:
        name = name_of(view)
        # v JOIN v: gathered once, both would show the same random().
        if name in made or (times[name] > 1 and _is_volatile(view, functions)):
            continue
        whole = whole_view(view.query, functions, translation)
        if whole is not None:
            made[name] = whole
    return made


def _is_volatile(view: Derived, functions: Functions) -> bool:
    return any(functions.is_volatile(call) for root in definitions(view) for call in calls(root))


def whole_view(query: Query, functions: Functions, translation: Translation) -> WholeView | None:
    """A view's query as a table; None if its rows need several shards at once."""
    try:
        shape = Locality(functions).shape(query)
    except Crosses:
        return None
    # Everywhere: it is read where the gathered rows are. (Nothing is around a view, so none is
    # tied.)
    if shape.where is not Where.SPLIT:
        return WholeView(sharded=False)
    restrictions = Restrictions(functions, translation)
    restrictions.visit(query)
    pins = [each.pin for each in restrictions.found if each.table.sharded]
    # Where some table in it may be read on any shard, the view may have rows on any.
    known = None if None in pins else tuple(pin for pin in pins if pin is not None)
    return WholeView(True, _key(query, shape), shape.placement, known)


def _key(query: Query, shape: Shape) -> int | None:
    outputs = query.outputs or ()
    return next((at for at, column in enumerate(outputs) if column.id in shape.keys), None)
