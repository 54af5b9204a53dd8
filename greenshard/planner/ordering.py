"""ORDER BY, as keys that rows of several shards can be merged by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from greenshard.planner._parser import (
    NULLS_FIRST,
    NULLS_LAST,
    SORTBY_DESC,
    SORTBY_USING,
    Message,
)
from greenshard.planner.candidate import Candidate, Unplannable
from greenshard.planner.naming import column_name
from greenshard.planner.nodes import quoted
from greenshard.planner.plan import SortKey
from greenshard.planner.query import Level, Query, is_star
from greenshard.planner.tree import location_of, names_of, same_text, unwrap


@dataclass(frozen=True, slots=True)
class Order:
    """What rows are to be sorted by.

    Attributes:
        keys: The keys; hidden columns have negative indexes.
        hidden: The expressions of the columns to be added, in order.
    """

    keys: tuple[SortKey, ...] = ()
    hidden: tuple[Message, ...] = ()


def read_order(candidate: Candidate) -> Order:
    """The order of a query.

    Raises:
        Unplannable: A key cannot be had as a column, or it is not known how it is to be compared.
    """
    items = [node.sort_by for node in candidate.select.sort_clause]
    places = [_place(item.node, candidate.query) for item in items]
    hidden = [item.node for item, place in zip(items, places, strict=True) if place is None]
    if hidden and (candidate.query.branches or candidate.select.distinct_clause):
        raise Unplannable("ORDER BY names no column of the answer", location_of(hidden[0]))
    keys = []
    for item, place in zip(items, places, strict=True):
        at = place
        if at is None:
            at = next(number for number, node in enumerate(hidden) if node is item.node)
            at -= len(hidden)
        keys.append(_key(item, at, candidate))
    return Order(tuple(keys), tuple(hidden))


def direction(item: Any) -> tuple[bool, bool]:
    """Whether an item of ORDER BY is descending, and whether NULLs come first.

    Raises:
        Unplannable: It is by an operator of its own.
    """
    if item.sortby_dir == SORTBY_USING:
        raise Unplannable("ORDER BY USING an operator", location_of(item.node))
    descending = item.sortby_dir == SORTBY_DESC
    nulls_first = descending
    if item.sortby_nulls in (NULLS_FIRST, NULLS_LAST):
        nulls_first = item.sortby_nulls == NULLS_FIRST
    return descending, nulls_first


def _key(item: Any, at: int, candidate: Candidate) -> SortKey:
    descending, nulls_first = direction(item)
    collation = None
    if candidate.has_collations:
        node = item.node
        if at >= 0:
            node = _shown(at, candidate)
        collation = _collation(node, candidate.query.level)
    return SortKey(at, descending, nulls_first, collation)


def _shown(at: int, candidate: Candidate) -> Message:
    targets = candidate.select.target_list
    if candidate.query.branches or at >= len(targets) or _has_star(targets):
        raise Unplannable("the collation of a column of the answer is not known")
    node: Message = targets[at].res_target.val
    return node


def _collation(node: Message, level: Level) -> str | None:
    """The collation that an expression is compared by; None for the default.

    Raises:
        Unplannable: It is not known.
    """
    kind, inner = unwrap(node)
    if kind == "collate_clause":
        names = names_of(inner.collname) or ()
        return ".".join(quoted(name) for name in names)
    column = level.resolve(node)
    if column is None or column.column is None:
        raise Unplannable("the collation of a sort key is not known", location_of(node))
    return column.column.collation


def _place(node: Message, query: Query) -> int | None:
    """Which column of the answer a sort key is; None if it is none, or that is not known."""
    kind, inner = unwrap(node)
    if kind == "a_const" and inner.HasField("ival"):
        return int(inner.ival.ival) - 1
    leftmost = query
    while leftmost.branches:
        leftmost = leftmost.branches[0]
    targets = leftmost.node.target_list
    if _has_star(targets):
        return None
    names = names_of(node.column_ref.fields) if kind == "column_ref" else None
    if names is not None and len(names) == 1:
        shown = [column_name(target.res_target) for target in targets]
        if leftmost.node.values_lists:
            shown = [column.name for column in leftmost.outputs or ()]
        if names[0] in shown:
            return shown.index(names[0])
    if query.branches:
        return None
    wanted = same_text(node)
    return next(
        (at for at, each in enumerate(targets) if same_text(each.res_target.val) == wanted), None
    )


def _has_star(targets: Sequence[Any]) -> bool:
    return any(is_star(target.res_target.val) for target in targets)
