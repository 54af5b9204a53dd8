"""Goal: put the queries of views in the place of their names.

    SELECT count(*) FROM big_orders b
    SELECT count(*) FROM (SELECT ... FROM public.orders WHERE ...) b (o_orderkey, o_custkey, price)

A view that tells the time would tell each shard's; and a view over tables that are gathered is not
over the gathered ones. Nobody asks then for the rights of the view's owner: see `analysis.rights`.

The query of a security_barrier view gets OFFSET 0, unless it has a LIMIT: PostgreSQL then tests its
conditions before those around it, as it does for the view.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from greenshard.planner.binding.bound_views import definitions
from greenshard.planner.binding.qualifying import path_bound
from greenshard.planner.binding.query import Derived, Query, nested, queries
from greenshard.sql.nodes import copy
from greenshard.sql.nodes import select as parse_select
from greenshard.sql.now import tells_time
from greenshard.sql.parser import Message, type_name, walk

#: See `qualifying`.
_COMPARES = "compares by NULLIF, IS DISTINCT FROM, CASE or USING, which cannot say whose = is meant"


class PathBound(Exception):
    """A view's query cannot be put in its place, or a table's name changed.

    Args:
        reason: Why.
        offset: Where, in bytes of the parsed text.
    """

    def __init__(self, reason: str, offset: int) -> None:
        super().__init__(reason)
        self.reason = reason
        self.offset = offset


def put_views(root: Any, query: Query, put: Callable[[Derived], bool]) -> None:
    """Put the queries of views, and of views within them, in the place of their names.

    Args:
        root: A tree; it is changed.
        query: The same tree with its names resolved.
        put: Whether that is to be done with a view.

    Raises:
        PathBound: What a view's query means depends on the search path, and on whose it is.
    """
    views = {}
    for one in queries(query, into_views=False):
        for item in nested(one.items):
            if isinstance(item, Derived) and item.view is not None and put(item):
                if path_bound(item.definition):
                    raise PathBound(f"view {item.view.relname} {_COMPARES}", item.view.location)
                # Inside first: the definition is copied into its place as it then is.
                put_views(item.definition, item.query, put)
                views[id(item.view)] = item
    for message in list(walk(root)) if views else ():
        if type_name(message) == "Node" and message.HasField("range_var"):
            view = views.get(id(message.range_var))
            if view is not None:
                message.CopyFrom(_subquery(view))


def view_tells_time(view: Derived) -> bool:
    """Whether the time stands in the query of a view, or of one that it names."""
    return any(map(tells_time, definitions(view)))


def unqualify_columns(root: Message) -> None:
    """Leave out the schemas of columns: what they stood for has an alias now.

    Raises:
        PathBound: Another table has that alias, too.
    """
    meant: dict[str, set[tuple[str, str]]] = {}
    columns: list[Any] = []
    for each in walk(root):
        message: Any = each
        kind = type_name(message)
        if kind == "ColumnRef" and len(message.fields) > 2:
            columns.append(message)
        elif kind == "RangeVar":
            name = message.alias.aliasname or message.relname
            meant.setdefault(name, set()).add((message.schemaname, message.relname))
    for column in columns:
        name = column.fields[-2].string.sval
        # FROM public.t WHERE EXISTS (SELECT FROM far.t WHERE far.t.c = public.t.c)
        if len(meant.get(name, ())) > 1:
            raise PathBound(f"two tables are called {name}", column.location)
        del column.fields[: len(column.fields) - 2]


def _subquery(view: Derived) -> Message:
    made: Any = copy(parse_select("SELECT FROM (SELECT) a").from_clause[0])
    inner = made.range_subselect
    inner.subquery.select_stmt.CopyFrom(view.definition)
    definition = inner.subquery.select_stmt
    limited = definition.HasField("limit_count") or definition.HasField("limit_offset")
    if view.relation is not None and view.relation.security.barrier and not limited:
        fence = parse_select("SELECT OFFSET 0")
        definition.limit_offset.CopyFrom(fence.limit_offset)
        definition.limit_option = fence.limit_option
    inner.alias.aliasname = view.sources[0].alias
    for column in view.columns or ():
        # The view's columns may have other names than those of its query: CREATE VIEW v (a, b).
        inner.alias.colnames.add().string.sval = column.name
    node: Message = made
    return node
