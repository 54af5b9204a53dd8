"""Goal: say where the rows of a query come about when every shard runs it on what it holds.

    SELECT o_orderpriority, count(*) FROM orders o
    WHERE EXISTS (SELECT FROM lineitem l WHERE l.l_orderkey = o.o_orderkey)
    GROUP BY o_orderpriority

1. `orders` is *split*: each row is on one shard, the one of its key.
2. The sublink's `lineitem` is split too, but tied to the order's key, and so to its shard: all
   the lines that it could find are there. The sublink is *tied*: right on the shard of the row.
3. The rows of FROM and WHERE are therefore split, the shards' rows together are all the rows.
4. The groups are not: a priority's rows are on several shards. Grouping *crosses* shards.

A reference table is *everywhere*. A join of split rows is split if the keys are equal in every
joined row; with what is everywhere always, but for outer joins that keep the rows of what is
everywhere: each shard would keep them. Grouping, DISTINCT and windows stay local if they are by
the key. LIMIT always crosses.

Source: the same rules, told otherwise, are those of Citus's "query pushdown" planner.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any

from greenshard.cluster import Placement
from greenshard.planner._parser import (
    SETOP_EXCEPT,
    SETOP_INTERSECT,
    SETOP_UNION,
    type_name,
    walk,
)
from greenshard.planner.equality import Classes, Pair, pairs, using_pairs
from greenshard.planner.functions import Functions
from greenshard.planner.query import (
    BoundColumn,
    ColumnId,
    Cte,
    CteScan,
    Derived,
    FunctionScan,
    Item,
    Join,
    Level,
    Query,
    Sublink,
    Table,
    queries,
)
from greenshard.planner.targets import (
    aggregates,
    distinct_on_columns,
    grouping_columns,
    is_distinct,
    is_grouped,
    window_partitions,
)
from greenshard.planner.tree import location_of, names_of


class Where(Enum):
    """Where a query's rows come about."""

    EVERYWHERE = "everywhere"  # all of them on each shard
    SPLIT = "split"  # each on one shard, by a key
    TIED = "tied"  # those that count for a row of the query around it on that row's shard


class Crosses(Exception):
    """A query needs rows of several shards at once.

    Args:
        reason: Why.
        offset: Where in the text, in bytes; None if it is not known.
    """

    def __init__(self, reason: str, offset: int | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.offset = offset


@dataclass(frozen=True, slots=True)
class Shape:
    """Where rows come about, and what is known of them.

    Attributes:
        keys: Of split rows the columns that hold the key.
        placement: How that key is placed.
        equal: Columns that are equal in every row.
        tables: What is split, for messages.
    """

    where: Where
    keys: frozenset[ColumnId] = frozenset()
    placement: Placement | None = None
    equal: tuple[Pair, ...] = ()
    tables: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Around:
    """What is known of the rows around a query: they are on the shard where it runs.

    Attributes:
        groups: Keys of split rows, each with their placement.
        equal: Columns that are equal in those rows.
    """

    groups: tuple[tuple[frozenset[ColumnId], Placement | None], ...] = ()
    equal: tuple[Pair, ...] = ()

    def with_rows(self, shape: Shape) -> Around:
        """The same inside of rows of `shape`."""
        groups = self.groups
        if shape.keys:
            groups = (*groups, (shape.keys, shape.placement))
        return Around(groups, (*self.equal, *shape.equal))


@dataclass(slots=True)
class Analysis:
    """Where the rows of a query come about, step by step.

    Attributes:
        rows: The rows of FROM and WHERE, or of a set operation.
        crossing: The later steps that cross shards: "group", "window", "distinct", "limit".
    """

    rows: Shape
    crossing: dict[str, Crosses] = field(default_factory=dict)


class Locality:
    """Analyses the queries of one statement."""

    def __init__(self, functions: Functions) -> None:
        self._functions = functions
        self._ctes: dict[int, tuple[Cte, Around]] = {}

    def shape(self, query: Query, around: Around = Around()) -> Shape:
        """Where a query's rows come about.

        Raises:
            Crosses: It needs rows of several shards at once.
        """
        analysis = self.analyse(query, around)
        for crosses in analysis.crossing.values():
            raise crosses
        rows = analysis.rows
        if rows.where is not Where.SPLIT or query.branches:
            return rows
        classes = Classes(rows.equal)
        shown = frozenset(
            column.id for column in query.outputs or () if classes.meet([column.id], rows.keys)
        )
        return replace(rows, keys=shown)

    def analyse(self, query: Query, around: Around = Around()) -> Analysis:
        """The steps of a query.

        Raises:
            Crosses: Already its FROM and WHERE, or the branches of a set operation, do.
        """
        for cte in query.ctes:
            self._ctes[id(cte)] = (cte, around)
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
            limit = node.limit_count if node.HasField("limit_count") else node.limit_offset
            analysis.crossing["limit"] = Crosses(
                "LIMIT counts the rows of all shards", location_of(limit)
            )
        self._check_ctes(query)
        return analysis

    def _check_ctes(self, query: Query) -> None:
        for cte in query.ctes:
            if cte.query is None:
                raise Crosses(f"WITH query {cte.name} writes", cte.node.location)

    # FROM and WHERE -------------------------------------------------------------------------

    def _rows(self, query: Query, around: Around) -> Shape:
        chain = _Chain()
        for item in query.items:
            self._add(chain, item, around)
        equal = pairs(query.where)
        shape = self._joined(chain, equal, around)
        inside = around.with_rows(shape)
        for sublink in [*chain.sublinks, *query.sublinks]:
            self._check_sublink(sublink, inside)
        return shape

    def _add(self, chain: _Chain, item: Item, around: Around) -> None:
        """Add what an item of FROM joins; inner joins are taken apart."""
        if isinstance(item, Join) and item.kind == "inner":
            self._add(chain, item.left, around)
            self._add(chain, item.right, around)
            chain.equal += pairs(item.on) + using_pairs(item)
            chain.sublinks += item.sublinks
            return
        beside = around
        for shape in chain.shapes:
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
            return _of_table(item)
        if isinstance(item, Derived):
            return self.shape(item.query, beside if item.lateral else around)
        if isinstance(item, CteScan):
            return self._scan(item)
        if isinstance(item, Join):
            return self._outer_join(item, beside, around)
        if isinstance(item, FunctionScan):
            for sublink in item.sublinks:
                self._check_sublink(sublink, beside)
        return Shape(Where.EVERYWHERE)

    def _scan(self, scan: CteScan) -> Shape:
        cte, around = self._ctes.get(id(scan.cte), (scan.cte, Around()))
        if cte.query is None:
            raise Crosses(f"WITH query {cte.name} writes", cte.node.location)
        shape = self.shape(cte.query, around)
        if cte.recursive and shape.where is Where.SPLIT:
            raise Crosses(
                f"recursive query {cte.name} follows rows from shard to shard", cte.node.location
            )
        pairs_ = zip(cte.query.outputs or (), scan.columns or (), strict=False)
        keys = frozenset(mine.id for theirs, mine in pairs_ if theirs.id in shape.keys)
        return replace(shape, keys=keys, equal=())

    def _joined(self, chain: _Chain, equal: Iterable[Pair], around: Around) -> Shape:
        """The rows of an inner join of several shapes under one condition."""
        known = (*chain.equal, *equal, *(pair for shape in chain.shapes for pair in shape.equal))
        classes = Classes((*known, *around.equal))
        parts = [shape for shape in chain.shapes if shape.where is Where.SPLIT]
        if not parts:
            tied = any(shape.where is Where.TIED for shape in chain.shapes)
            return Shape(Where.TIED if tied else Where.EVERYWHERE, equal=known)
        groups = _connected(parts, classes)
        tables = tuple(table for shape in parts for table in shape.tables)
        if all(_anchored(group, around, classes) for group in groups):
            return Shape(Where.TIED, equal=known, tables=tables)
        if len(groups) > 1:
            names = " and ".join(", ".join(_tables(group)) for group in groups)
            raise Crosses(f"{names} are not joined by their shard keys")
        keys = frozenset(key for shape in parts for key in shape.keys)
        return Shape(Where.SPLIT, keys, parts[0].placement, known, tables)

    def _outer_join(self, join: Join, beside: Around, around: Around) -> Shape:
        left = self._side(join.left, beside, around)
        right = self._side(join.right, beside.with_rows(left), around)
        on = (*pairs(join.on), *using_pairs(join))
        for sublink in join.sublinks:
            if self.shape(sublink.query, around).where is not Where.EVERYWHERE:
                raise Crosses(
                    "a subquery in the condition of an outer join reads a sharded table",
                    sublink.node.location,
                )
        if join.kind == "full":
            return _full_join(join, left, right, on)
        return _left_join(
            left, right, Classes((*left.equal, *right.equal, *on, *beside.equal)), beside
        )

    def _side(self, item: Item, beside: Around, around: Around) -> Shape:
        chain = _Chain()
        if isinstance(item, Join) and item.kind == "inner":
            self._add(chain, item, around)
            shape = self._joined(chain, (), around)
            inside = around.with_rows(shape)
            for sublink in chain.sublinks:
                self._check_sublink(sublink, inside)
            return shape
        return self._item(item, beside, around)

    # Sublinks -------------------------------------------------------------------------------

    def _check_sublink(self, sublink: Sublink, inside: Around) -> None:
        for query in queries(sublink.query):
            for call in aggregates(query.node, self._functions):
                if _is_of_outer_query(call, query.level):
                    raise Crosses("a subquery aggregates the rows around it", call.location)
        shape = self.shape(sublink.query, inside)
        if shape.where is not Where.SPLIT or _matches_key(sublink, shape, inside):
            return
        raise Crosses(
            f"a subquery reads rows of {', '.join(shape.tables)} that may be on other shards than "
            "the row it is for",
            sublink.node.location,
        )

    # What comes after -----------------------------------------------------------------------

    def _add_steps(self, analysis: Analysis, query: Query) -> None:
        rows, node, level = analysis.rows, query.node, query.level
        classes = Classes(rows.equal)

        def by_key(columns: Iterable[BoundColumn | None]) -> bool:
            return any(c is not None and classes.meet([c.id], rows.keys) for c in columns)

        if is_grouped(node, self._functions) and not by_key(grouping_columns(node, level)):
            analysis.crossing["group"] = Crosses(
                "groups have rows on several shards"
                if node.group_clause
                else "an aggregate takes the rows of all shards",
                _first_offset(node.group_clause) or location_of(node.target_list[0])
                if node.target_list or node.group_clause
                else None,
            )
        for partition in window_partitions(node, level):
            if not by_key(partition.columns):
                analysis.crossing["window"] = Crosses(
                    "a window has rows of several shards", partition.offset
                )
        if is_distinct(node):
            shown: Sequence[BoundColumn | None] = query.outputs or ()
            if node.distinct_clause[0].WhichOneof("node"):
                shown = distinct_on_columns(node, level)
            if not by_key(shown):
                analysis.crossing["distinct"] = Crosses(
                    "DISTINCT compares rows of several shards",
                    _first_offset(node.target_list),
                )

    def _set_operation(self, query: Query, around: Around) -> Analysis:
        left, right = (self.shape(branch, around) for branch in query.branches or ())
        for sublink in query.sublinks:
            self._check_sublink(sublink, around)
        kinds = {left.where, right.where}
        if Where.SPLIT not in kinds:
            where = Where.TIED if Where.TIED in kinds else Where.EVERYWHERE
            return Analysis(Shape(where))
        rows = _of_branches(query, left, right)
        analysis = Analysis(rows)
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
    key = table.key
    keys = frozenset([key.id]) if key is not None and key.family is not None else frozenset()
    return Shape(Where.SPLIT, keys, table.placement, (), (table.relation.name,))


def _connected(parts: Sequence[Shape], classes: Classes) -> list[list[Shape]]:
    """Put together the shapes whose keys are equal."""
    groups: list[list[Shape]] = []
    for shape in parts:
        joined = [
            group for group in groups if any(_colocated(shape, other, classes) for other in group)
        ]
        groups = [group for group in groups if group not in joined]
        groups.append([shape, *(other for group in joined for other in group)])
    return groups


def _colocated(one: Shape, other: Shape, classes: Classes) -> bool:
    return one.placement == other.placement and classes.meet(one.keys, other.keys)


def _anchored(group: Sequence[Shape], around: Around, classes: Classes) -> bool:
    """Whether rows are on the shard of the rows around them."""
    return any(
        shape.placement == placement and classes.meet(shape.keys, keys)
        for shape in group
        for keys, placement in around.groups
    )


def _tables(group: Iterable[Shape]) -> list[str]:
    return sorted({table for shape in group for table in shape.tables})


def _left_join(left: Shape, right: Shape, classes: Classes, beside: Around) -> Shape:
    tables = (*left.tables, *right.tables)
    if right.where is Where.SPLIT:
        together = left.where is Where.SPLIT and _colocated(left, right, classes)
        if not together and not _anchored([right], beside, classes):
            if left.where is Where.EVERYWHERE:
                raise Crosses(
                    f"an outer join keeps rows that every shard has, beside {_tables([right])[0]}"
                )
            raise Crosses(
                f"{' and '.join(_tables([left, right]))} are not joined by their shard keys"
            )
        if together:
            return replace(left, tables=tables)
        right = replace(right, where=Where.TIED)
    if right.where is Where.TIED and left.where is Where.EVERYWHERE:
        return replace(left, where=Where.TIED, tables=tables)
    return replace(left, tables=tables)


def _full_join(join: Join, left: Shape, right: Shape, on: Sequence[Pair]) -> Shape:
    tables = (*left.tables, *right.tables)
    kinds = {left.where, right.where}
    if Where.SPLIT not in kinds:
        return Shape(Where.TIED if Where.TIED in kinds else Where.EVERYWHERE)
    classes = Classes((*left.equal, *right.equal, *on))
    if kinds != {Where.SPLIT} or not _colocated(left, right, classes):
        raise Crosses(f"a full join of {' and '.join(tables)} is not by their shard keys")
    keys = frozenset(
        merged.id
        for merged, (one, other) in zip(join.merged, join.using, strict=False)
        if one.id in left.keys and other.id in right.keys and merged.family is not None
    )
    return Shape(Where.SPLIT, keys, left.placement, (), tables)


def _of_branches(query: Query, left: Shape, right: Shape) -> Shape:
    """The rows of a set operation, at least one side of which is split."""
    first, second = query.branches or (query, query)
    op = query.node.op
    tables = (*left.tables, *right.tables)
    if left.where is not right.where:
        split_first = left.where is Where.SPLIT
        whole = Where.EVERYWHERE in (left.where, right.where)
        usable = op == SETOP_INTERSECT or (op == SETOP_EXCEPT and split_first)
        if not (usable and whole):
            raise Crosses("a branch of a set operation is the same on every shard, the other not")
        one, shape = (first, left) if split_first else (second, right)
        keys = _positions(one, shape)
        if not keys:
            raise Crosses("the branches of a set operation have equal rows on several shards")
        return Shape(Where.SPLIT, _ids(query, keys), shape.placement, (), tables)
    if left.placement != right.placement:
        raise Crosses(f"{' and '.join(tables)} are placed by different rules")
    keys = _positions(first, left) & _positions(second, right)
    if op != SETOP_UNION and not keys:
        raise Crosses("the branches of a set operation have equal rows on several shards")
    return Shape(Where.SPLIT, _ids(query, keys), left.placement, (), tables)


def _positions(branch: Query, shape: Shape) -> set[int]:
    return {at for at, column in enumerate(branch.outputs or ()) if column.id in shape.keys}


def _ids(query: Query, positions: set[int]) -> frozenset[ColumnId]:
    """The columns of a set operation at `positions`, where both sides hash alike."""
    return frozenset(
        column.id
        for at, column in enumerate(query.outputs or ())
        if at in positions and column.family is not None
    )


def _matches_key(sublink: Sublink, shape: Shape, inside: Around) -> bool:
    """Whether ``key IN (SELECT key ...)`` finds all it looks for on the shard of its row."""
    classes = Classes(inside.equal)
    for column, output in zip(sublink.matched, sublink.query.outputs or (), strict=False):
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
    own = {column.id for column in level.columns or ()}
    names = [message for message in walk(call) if type_name(message) == "ColumnRef"]
    columns = [level.named(names_of(message.fields)) for message in names]
    return bool(names) and not any(column and column.id in own for column in columns)


def _first_offset(nodes: Any) -> int | None:
    return location_of(nodes[0]) if nodes else None
