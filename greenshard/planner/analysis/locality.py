"""Goal: say where the rows of a query come about when every shard runs it on what it holds.

    SELECT o_orderpriority, count(*) FROM orders o
    WHERE EXISTS (SELECT FROM lineitem l WHERE l.l_orderkey = o.o_orderkey)
    GROUP BY o_orderpriority

1. `orders` is *split*: each row is on one shard, the one of its key.
2. The sublink's `lineitem` is split too, but tied to the order's key, and so to its shard: all
   the lines that it could find are there. The sublink is *tied*: right on the shard of the row.
3. The rows of FROM and WHERE are therefore split, the shards' rows together are all the rows.
4. The groups are not: a priority's rows are on several shards. Grouping *crosses* shards.

A table that is on one shard is split, too, as by a key that has the same value in all of its rows.

A reference table is *everywhere*. A join of split rows is split if the keys are equal in every
joined row; with what is everywhere always, but for outer joins that keep the rows of what is
everywhere: each shard would keep them. Grouping, DISTINCT and windows stay local if they are by
the key. LIMIT always crosses.

Source: the same rules, told otherwise, are those of Citus's "query pushdown" planner.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from greenshard.planner.analysis.chance import compared_sublinks, first_choice
from greenshard.planner.analysis.equality import Classes, Pair, pairs, using_pairs
from greenshard.planner.analysis.select import (
    aggregates,
    distinct_on_columns,
    grouping_columns,
    is_distinct,
    is_grouped,
    window_partitions,
)
from greenshard.planner.analysis.shape import (
    NOTHING_AROUND,
    Analysis,
    Around,
    Crosses,
    Shape,
    Where,
    anchored,
    connected,
    full_join,
    left_join,
    of_branches,
    table_names,
)
from greenshard.planner.binding.query import (
    Cte,
    CteScan,
    Derived,
    FunctionScan,
    Item,
    Join,
    Query,
    Sublink,
    Table,
    is_correlated,
    queries,
)
from greenshard.planner.binding.scope import BoundColumn, ColumnId, Level
from greenshard.planner.calls import Functions, calls, name_of
from greenshard.sql.parser import type_name, walk
from greenshard.sql.tree import location_of, names_of

#: The key of the rows of tables that are on one shard: no column has such a number.
_AT_HOME: frozenset[ColumnId] = frozenset([(-1, 0)])

#: PostgreSQL's own methods of TABLESAMPLE, by percentage.
_PARTS_SAMPLED = frozenset({"bernoulli", "system"})


class Locality:
    """Analyses the queries of one statement."""

    def __init__(self, functions: Functions) -> None:
        self._functions = functions
        self._ctes: dict[int, tuple[Cte, Around]] = {}
        self._cte_shapes: dict[int, Shape] = {}
        self._compared: set[int] = set()

    def shape(self, query: Query, around: Around = NOTHING_AROUND) -> Shape:
        """Where a query's rows come about.

        Raises:
            Crosses: It needs rows of several shards at once.
        """
        analysis = self.analyse(query, around)
        # The first one is the message: steps are noted in the order in which PostgreSQL takes them.
        for crosses in analysis.crossing.values():
            raise crosses
        rows = analysis.rows
        classes = Classes(rows.equal)
        shown = frozenset(
            # SELECT order_id FROM orders JOIN items ON id = order_id shows the key under its other
            # name.
            column.id
            for column in query.outputs or ()
            if classes.meet([column.id], rows.keys)
        )
        return replace(rows, keys=shown)

    def analyse(self, query: Query, around: Around = NOTHING_AROUND) -> Analysis:
        """The steps of a query.

        Raises:
            Crosses: Already its FROM and WHERE, or the branches of a set operation, do.
        """
        for cte in query.ctes:
            self._ctes[id(cte)] = (cte, around)
        # Before anything in the query is analysed: its sublinks are looked up there.
        self._compared.update(id(link.query) for link in compared_sublinks(query))
        if query.branches is not None:
            analysis = self._set_operation(query, around)
        else:
            analysis = Analysis(self._rows(query, around))
            if analysis.rows.where is Where.SPLIT:
                self._add_steps(analysis, query)
        node = query.node
        if analysis.rows.where is Where.SPLIT and (
            node.HasField("limit_count") or node.HasField("limit_offset")
        ):
            # Even by the key: 10 rows of each shard are not 10 rows.
            limit = node.limit_count if node.HasField("limit_count") else node.limit_offset
            analysis.crossing["limit"] = Crosses(
                "LIMIT counts the rows of all shards", location_of(limit)
            )
        return analysis

    # FROM and WHERE -------------------------------------------------------------------------

    def _rows(self, query: Query, around: Around) -> Shape:
        chain = _Chain()
        for item in query.items:
            self._add(chain, item, around)
        equal = pairs(query.where)
        shape = self._joined(chain, equal, around)
        return self._with_sublinks(shape, [*chain.sublinks, *query.sublinks], around)

    def _add(self, chain: _Chain, item: Item, around: Around) -> None:
        """Add what an item of FROM joins; inner joins are taken apart."""
        # a JOIN b ON a.k = b.k JOIN c ON c.k = b.k: all conditions hold for every joined row, so c
        # may be tied to a. In an outer join they need not hold, so its sides stay apart (`_side`).
        if isinstance(item, Join) and item.kind == "inner":
            self._add(chain, item.left, around)
            self._add(chain, item.right, around)
            chain.equal += pairs(item.on) + using_pairs(item)
            chain.sublinks += item.sublinks
            return
        beside = around
        for shape in chain.shapes:
            # FROM orders o, LATERAL (SELECT ... WHERE order_id = o.id): tied to o, which stands
            # before it.
            beside = beside.with_rows(shape)
        chain.shapes.append(
            self._item(item, replace(beside, equal=(*beside.equal, *chain.equal)), around)
        )

    def _item(self, item: Item, beside: Around, around: Around) -> Shape:
        """One item's rows.

        Args:
            beside: What LATERAL and functions see.
            around: What other queries see.
        """
        if isinstance(item, Table):
            # Of a sharded table each shard samples its own rows, and that is a sample of all; if it
            # is a part of them, and not so and so many rows, as other methods may take.
            if item.sampled and not (item.sharded and item.sampled in _PARTS_SAMPLED):
                raise Crosses("TABLESAMPLE may choose otherwise on each shard", item.node.location)
            return _of_table(item)
        if isinstance(item, Derived):
            return self._same_everywhere(item.query, beside if item.lateral else around)
        if isinstance(item, CteScan):
            return self._scan(item)
        if isinstance(item, Join):
            return self._outer_join(item, beside, around)
        if isinstance(item, FunctionScan):
            self._check_calls(item)
            return self._with_sublinks(Shape(Where.EVERYWHERE), item.sublinks, beside)
        raise TypeError(f"{type(item).__name__} is no item of FROM")

    def _same_everywhere(
        self, query: Query, around: Around, *, sublink_type: int | None = None
    ) -> Shape:
        """Where a query's rows come about; those that come about everywhere are the same there."""
        shape = self.shape(query, around)
        # A correlated one is computed for a row of the query around it. If that row is on one
        # shard, there is one choice; if it is everywhere, the query around it is found to choose.
        if shape.where is Where.EVERYWHERE and not is_correlated(query):
            compared = id(query) in self._compared
            choice = first_choice(
                query, self._functions, sublink_type=sublink_type, compared=compared
            )
            if choice is not None:
                raise Crosses(f"{choice.what} may choose otherwise on each shard", choice.offset)
        return shape

    def _check_calls(self, item: FunctionScan) -> None:
        for call in calls(item.node):
            if self._functions.is_volatile(call):
                raise Crosses(
                    f"{name_of(call)}() may choose otherwise on each shard", call.location
                )

    def _scan(self, scan: CteScan) -> Shape:
        cte, around = self._ctes.get(id(scan.cte), (scan.cte, Around()))
        shape = self._cte_shapes.get(id(cte))
        # Once: a WITH query that is named twice is one result, and has one shape.
        if shape is None:
            shape = self._cte_shapes[id(cte)] = self._same_everywhere(cte.query, around)
        # SELECT c.* FROM parts c JOIN tree t ON c.parent = t.id: a child may be on another shard.
        if cte.recursive and shape.where is Where.SPLIT:
            raise Crosses(
                f"recursive query {cte.name} follows rows from shard to shard", cte.node.location
            )
        pairs_ = zip(cte.query.outputs or (), scan.columns or (), strict=False)
        keys = frozenset(mine.id for theirs, mine in pairs_ if theirs.id in shape.keys)
        # What is equal within the WITH query is said of other columns than the scan's.
        return replace(shape, keys=keys, equal=())

    def _joined(self, chain: _Chain, equal: Iterable[Pair], around: Around) -> Shape:
        """The rows of an inner join of several shapes under one condition."""
        known = (*chain.equal, *equal, *(pair for shape in chain.shapes for pair in shape.equal))
        # WHERE l.order_id = o.id within a sublink equates a column of this query with one around
        # it.
        classes = Classes((*known, *around.equal))
        parts = [shape for shape in chain.shapes if shape.where is Where.SPLIT]
        if not parts:
            tied = any(shape.where is Where.TIED for shape in chain.shapes)
            return Shape(Where.TIED if tied else Where.EVERYWHERE, equal=known)
        groups = connected(parts, classes)
        tables = tuple(dict.fromkeys(table for shape in parts for table in shape.tables))
        # All or none: a group that is not anchored has rows on other shards than the row around it.
        if all(anchored(group, around, classes) for group in groups):
            return Shape(Where.TIED, equal=known, tables=tables)
        if len(groups) > 1:
            names = " and ".join(", ".join(table_names(group)) for group in groups)
            raise Crosses(f"{names} are not joined by their shard keys")
        keys = frozenset(key for shape in parts for key in shape.keys)
        return Shape(Where.SPLIT, keys, parts[0].placement, known, tables)

    def _outer_join(self, join: Join, beside: Around, around: Around) -> Shape:
        left = self._side(join.left, beside, around)
        right = self._side(join.right, beside.with_rows(left), around)
        on = (*pairs(join.on), *using_pairs(join))
        # LEFT JOIN b ON EXISTS (SELECT FROM c ...): where it finds nothing, the row is kept with
        # NULLs, so it would have to find the same on each shard.
        for sublink in join.sublinks:
            sublink_type = sublink.node.sub_link_type
            shape = self._same_everywhere(sublink.query, around, sublink_type=sublink_type)
            if shape.where is not Where.EVERYWHERE:
                raise Crosses(
                    "a subquery in the condition of an outer join reads a sharded table",
                    sublink.node.location,
                )
        if join.kind == "full":
            return full_join(join, left, right, on)
        return left_join(
            left, right, Classes((*left.equal, *right.equal, *on, *beside.equal)), beside
        )

    def _side(self, item: Item, beside: Around, around: Around) -> Shape:
        chain = _Chain()
        # Their own chain: the conditions of this side do not hold for rows that the other side
        # keeps.
        if isinstance(item, Join) and item.kind == "inner":
            self._add(chain, item, around)
            shape = self._joined(chain, (), around)
            return self._with_sublinks(shape, chain.sublinks, around)
        return self._item(item, beside, around)

    # Sublinks -------------------------------------------------------------------------------

    def _with_sublinks(self, shape: Shape, sublinks: Iterable[Sublink], around: Around) -> Shape:
        """Rows with the sublinks that are for them: tied to a shard if one of these is."""
        inside = around.with_rows(shape)
        tied = [self._check_sublink(sublink, inside) is Where.TIED for sublink in sublinks]
        if shape.where is Where.EVERYWHERE and any(tied):
            return replace(shape, where=Where.TIED)
        return shape

    def _check_sublink(self, sublink: Sublink, inside: Around) -> Where:
        """Where the rows of a sublink come about.

        Raises:
            Crosses: On other shards than the rows that it is for.
        """
        # A function's query sees nothing of the statement, whatever it is given.
        for query in queries(sublink.query) if sublink.body is None else ():
            # (SELECT sum(o.amount)) over FROM orders o adds the orders: an aggregate of the query
            # around.
            for call in aggregates(query.node, self._functions):
                if _is_of_outer_query(call, query.level):
                    raise Crosses("a subquery aggregates the rows around it", call.location)
        sublink_type = sublink.node.sub_link_type
        shape = self._same_everywhere(sublink.query, inside, sublink_type=sublink_type)
        if shape.where is not Where.SPLIT or _matches_key(sublink, shape, inside):
            return shape.where
        raise Crosses(
            f"a subquery reads rows of {', '.join(shape.tables)} that may be on other shards than "
            "the row it is for",
            sublink.node.location,
        )

    # What comes after -----------------------------------------------------------------------

    def _add_steps(self, analysis: Analysis, query: Query) -> None:
        rows, node, level = analysis.rows, query.node, query.level
        classes = Classes(rows.equal)

        # One of them is enough: GROUP BY id, day has groups within those of GROUP BY id.
        def by_key(columns: Iterable[BoundColumn | None]) -> bool:
            return any(c is not None and classes.meet([c.id], rows.keys) for c in columns)

        if is_grouped(node, self._functions) and not by_key(grouping_columns(node, level)):
            analysis.crossing["group"] = (
                Crosses("groups have rows on several shards", _first_offset(node.group_clause))
                if node.group_clause
                else Crosses(
                    "an aggregate takes the rows of all shards", _first_offset(node.target_list)
                )
            )
        for partition in window_partitions(node, level):
            if not by_key(partition.columns):
                analysis.crossing["window"] = Crosses(
                    "a window has rows of several shards", partition.offset
                )
        if is_distinct(node):
            shown: Sequence[BoundColumn | None] = query.outputs or ()
            # DISTINCT ON (a) compares a; a plain DISTINCT all columns that are shown.
            if node.distinct_clause[0].WhichOneof("node"):
                shown = distinct_on_columns(node, level)
            if not by_key(shown):
                analysis.crossing["distinct"] = Crosses(
                    "DISTINCT compares rows of several shards",
                    _first_offset(node.target_list),
                )

    def _set_operation(self, query: Query, around: Around) -> Analysis:
        left, right = (self._same_everywhere(branch, around) for branch in query.branches or ())
        for sublink in query.sublinks:  # of LIMIT
            self._check_sublink(sublink, around)
        kinds = {left.where, right.where}
        if Where.SPLIT not in kinds:
            where = Where.TIED if Where.TIED in kinds else Where.EVERYWHERE
            return Analysis(Shape(where))
        rows = of_branches(query, left, right)
        analysis = Analysis(rows)
        # UNION of rows that show their key: equal rows are on one shard, where PostgreSQL drops
        # them.
        if not query.node.all and not rows.keys:
            analysis.crossing["distinct"] = Crosses(
                "the branches of a set operation have equal rows on several shards"
            )
        return analysis


@dataclass(slots=True)
class _Chain:
    """What an inner join of several items joins."""

    shapes: list[Shape] = field(default_factory=list)
    equal: list[Pair] = field(default_factory=list)
    sublinks: list[Sublink] = field(default_factory=list)


def _of_table(table: Table) -> Shape:
    if not table.sharded:
        return Shape(Where.EVERYWHERE)
    if table.home is not None:
        # Not one of its columns, but equal in all of its rows, and in those of its neighbours.
        return Shape(Where.SPLIT, _AT_HOME, table.placement, (), (table.relation.name,))
    key = table.key
    # A key without a family (a collation that takes 'a' for 'A'): equal keys may be on two shards.
    keys = frozenset([key.id]) if key is not None and key.family is not None else frozenset()
    return Shape(Where.SPLIT, keys, table.placement, (), (table.relation.name,))


def _matches_key(sublink: Sublink, shape: Shape, inside: Around) -> bool:
    """Whether ``key IN (SELECT key ...)`` finds all it looks for on the shard of its row."""
    classes = Classes(inside.equal)
    for column, output in zip(sublink.matched, sublink.query.outputs or (), strict=False):
        # id IN (SELECT order_id FROM items): what an order looks for is on its own shard.
        if column is None or output.id not in shape.keys or column.family != output.family:
            continue
        for keys, placement in inside.groups:
            if placement == shape.placement and classes.meet([column.id], keys):
                return True
    return False


def _is_of_outer_query(call: Any, level: Level) -> bool:
    """Whether an aggregate's columns are all of the queries around: then it is theirs, too.

    Source: check_agg_arguments in PostgreSQL's parse_agg.c.
    """
    messages = list(walk(call))
    if any(type_name(message) == "SubLink" for message in messages):
        return True  # it may be
    names = [message for message in messages if type_name(message) == "ColumnRef"]
    columns = [level.named(names_of(message.fields)) for message in names]
    # count(*) names no column, and belongs to the query where it stands: hence bool(names).
    return bool(names) and not any(column and level.owns(column) for column in columns)


def _first_offset(nodes: Any) -> int | None:
    return location_of(nodes[0]) if nodes else None
