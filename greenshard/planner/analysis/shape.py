"""Where the rows of a query come about, and those of joins and set operations of such rows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum

from greenshard.cluster import Placement
from greenshard.planner.analysis.equality import Classes, Pair
from greenshard.planner.binding.query import Join, Query
from greenshard.planner.binding.scope import ColumnId
from greenshard.sql.parser import SETOP_EXCEPT, SETOP_INTERSECT, SETOP_UNION


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
        keys: Of split rows the columns that hold the key; of others none.
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
        """What is known inside of rows of `shape`, too."""
        groups = self.groups
        if shape.keys:
            groups = (*groups, (shape.keys, shape.placement))
        return Around(groups, (*self.equal, *shape.equal))


NOTHING_AROUND = Around()


@dataclass(slots=True)
class Analysis:
    """Where the rows of a query come about, step by step.

    Attributes:
        rows: The rows of FROM and WHERE, or of a set operation.
        crossing: The later steps that cross shards: "group", "window", "distinct", "limit".
    """

    rows: Shape
    crossing: dict[str, Crosses] = field(default_factory=dict)


def connected(parts: Sequence[Shape], classes: Classes) -> list[list[Shape]]:
    """Put together the shapes whose keys are equal."""
    groups: list[list[Shape]] = []
    for shape in parts:
        joined = [
            group for group in groups if any(colocated(shape, other, classes) for other in group)
        ]
        # A shape may tie groups together that had nothing in common before: a.k = c.k AND b.k =
        # c.k.
        groups = [group for group in groups if group not in joined]
        groups.append([shape, *(other for group in joined for other in group)])
    return groups


def colocated(one: Shape, other: Shape, classes: Classes) -> bool:
    """Whether rows of two shapes that are joined are on one shard."""
    return one.placement == other.placement and classes.meet(one.keys, other.keys)


def anchored(group: Sequence[Shape], around: Around, classes: Classes) -> bool:
    """Whether rows are on the shard of the rows around them."""
    return any(
        shape.placement == placement and classes.meet(shape.keys, keys)
        for shape in group
        for keys, placement in around.groups
    )


def table_names(group: Iterable[Shape]) -> list[str]:
    """What is split, for messages."""
    return sorted({table for shape in group for table in shape.tables})


def left_join(left: Shape, right: Shape, classes: Classes, beside: Around) -> Shape:
    """The rows of a left join.

    Args:
        left: The side that is kept.
        right: The other.
        classes: What is equal in joined rows.
        beside: What LATERAL sees.

    Raises:
        Crosses: They come from several shards.
    """
    tables = (*left.tables, *right.tables)
    if right.where is Where.SPLIT:
        # Only the left side's keys and equalities go on: in a row that found nothing, the right
        # side's columns are NULL.
        if colocated(left, right, classes):
            return replace(left, tables=tables)
        if not anchored([right], beside, classes):
            # products LEFT JOIN items: a shard without an item of the product would show it with
            # NULLs, though another shard has one.
            if left.where is Where.EVERYWHERE:
                kept = "an outer join keeps rows that every shard has"
                raise Crosses(f"{kept}, beside {right.tables[0]}")
            raise Crosses(
                f"{' and '.join(table_names([left, right]))} are not joined by their shard keys"
            )
        right = replace(right, where=Where.TIED)
    if right.where is Where.TIED and left.where is Where.EVERYWHERE:
        return replace(left, where=Where.TIED, tables=tables)
    return replace(left, tables=tables)


def full_join(join: Join, left: Shape, right: Shape, on: Sequence[Pair]) -> Shape:
    """The rows of a full join, whose conditions equate the columns in `on`.

    Raises:
        Crosses: They come from several shards.
    """
    tables = (*left.tables, *right.tables)
    kinds = {left.where, right.where}
    if Where.SPLIT not in kinds:
        return Shape(Where.TIED if Where.TIED in kinds else Where.EVERYWHERE)
    classes = Classes((*left.equal, *right.equal, *on))
    # That is also false if one side is the same everywhere, for it has no keys: each shard would
    # keep its rows that find nothing there.
    if not colocated(left, right, classes):
        raise Crosses(f"a full join of {' and '.join(tables)} is not by their shard keys")
    keys = frozenset(
        merged.id
        for merged, (one, other) in zip(join.merged, join.using, strict=False)
        if one.id in left.keys and other.id in right.keys and merged.family is not None
    )
    return Shape(Where.SPLIT, keys, left.placement, (), tables)


def of_branches(query: Query, left: Shape, right: Shape) -> Shape:
    """The rows of a set operation, at least one side of which is split."""
    if left.where is not right.where:
        return _of_mixed_branches(query, left, right)
    first, second = query.branches or (query, query)
    op = query.node.op
    tables = (*left.tables, *right.tables)
    # One key, two placements: that a row is on its key's shard would be true of one branch only.
    if left.placement != right.placement:
        raise Crosses(f"{' and '.join(tables)} are placed by different rules")
    keys = _ids(query, _positions(first, left) & _positions(second, right))
    # INTERSECT compares rows that may be on two shards, unless equal ones share their key's shard.
    if op != SETOP_UNION and not keys:
        raise Crosses("the branches of a set operation have equal rows on several shards")
    return Shape(Where.SPLIT, keys, left.placement, (), tables)


def _of_mixed_branches(query: Query, left: Shape, right: Shape) -> Shape:
    """The rows of a set operation of split rows and others."""
    first, second = query.branches or (query, query)
    op = query.node.op
    split_first = left.where is Where.SPLIT
    # All rows of a reference table are here to be compared with. The other way round, each shard
    # would take away its own rows only, and give what another shard has as well.
    usable = op == SETOP_INTERSECT or (op == SETOP_EXCEPT and split_first)
    if not usable or Where.EVERYWHERE not in (left.where, right.where):
        raise Crosses("a branch of a set operation is the same on every shard, the other not")
    one, shape = (first, left) if split_first else (second, right)
    positions = _positions(one, shape)
    if not positions:
        raise Crosses("the branches of a set operation have equal rows on several shards")
    tables = (*left.tables, *right.tables)
    return Shape(Where.SPLIT, _ids(query, positions), shape.placement, (), tables)


def _positions(branch: Query, shape: Shape) -> set[int]:
    return {at for at, column in enumerate(branch.outputs or ()) if column.id in shape.keys}


def _ids(query: Query, positions: set[int]) -> frozenset[ColumnId]:
    """The columns of a set operation at `positions`, where both sides hash alike."""
    return frozenset(
        column.id
        for at, column in enumerate(query.outputs or ())
        if at in positions and column.family is not None
    )
