"""ORDER BY, as keys that rows of several shards can be merged by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from greenshard.planner.binding.query import Query, Table, is_several, is_star
from greenshard.planner.plan import SortKey
from greenshard.planner.strategies.candidate import Candidate, Unplannable
from greenshard.sql.column_names import column_name
from greenshard.sql.nodes import quoted
from greenshard.sql.parser import (
    NULLS_FIRST,
    NULLS_LAST,
    SORTBY_DESC,
    SORTBY_USING,
    Message,
)
from greenshard.sql.tree import location_of, names_of, same_text, unwrap


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
    places = [place_of(item.node, candidate.query) for item in items]
    hidden = [item.node for item, place in zip(items, places, strict=True) if place is None]
    # PostgreSQL refuses it too: with DISTINCT and UNION, ORDER BY can name columns of the answer
    # only.
    if hidden and (candidate.query.branches or candidate.select.distinct_clause):
        raise Unplannable("ORDER BY names no column of the answer", location_of(hidden[0]))
    shown: dict[int | None, Message] = dict(_targets(candidate.query))
    keys = []
    for item, place in zip(items, places, strict=True):
        at = place
        _check_comparable(shown.get(at, item.node), candidate.query)
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
    # The default: NULLs count as larger than any value (manual, 7.5).
    nulls_first = descending
    if item.sortby_nulls in (NULLS_FIRST, NULLS_LAST):
        nulls_first = item.sortby_nulls == NULLS_FIRST
    return descending, nulls_first


def _key(item: Any, at: int, candidate: Candidate) -> SortKey:
    descending, nulls_first = direction(item)
    # Most databases use one collation, and it need not be told for each key.
    collation = _collation(item.node, at, candidate.query) if candidate.has_collations else None
    return SortKey(at, descending, nulls_first, collation)


def _check_comparable(node: Message, query: Query) -> None:
    """Refuse to sort by rows: values of a type without a name cannot be sent back as text.

    Raises:
        Unplannable: The key is a row.
    """
    names = names_of(node.column_ref.fields) if node.HasField("column_ref") else None
    rows = {
        source.alias
        for each in query.items
        if not isinstance(each, Table)
        for source in each.sources
    }
    is_row = names is not None and names[-1] in rows and query.level.resolve(node) is None
    if is_row or node.HasField("row_expr"):
        raise Unplannable("rows are sorted by a whole row", location_of(node))


def _collation(node: Message, at: int, query: Query) -> str | None:
    """The collation that a key is compared by; None for the default.

    Raises:
        Unplannable: It is not known.
    """
    column = None
    if at < 0:
        column = query.level.resolve(node)
    elif query.outputs is not None and at < len(query.outputs):
        column = query.outputs[at]
        node = dict(_targets(query)).get(at, node)
    kind, inner = unwrap(node)
    if kind == "collate_clause":
        names = names_of(inner.collname) or ()
        return ".".join(quoted(name) for name in names)
    # lower(name), a || b: its collation is derived from its parts (manual, "Collation Support"),
    # which is not done here.
    if column is None or column.column is None or query.branches:
        raise Unplannable("the collation of a sort key is not known", location_of(node))
    return column.column.collation


def place_of(node: Message, query: Query) -> int | None:
    """Which column of the answer a sort key is; None if it is none.

    Raises:
        Unplannable: That is not known.
    """
    kind, inner = unwrap(node)
    if kind == "a_const" and inner.HasField("ival"):
        # ORDER BY 2; any other constant is an error in PostgreSQL.
        return int(inner.ival.ival) - 1
    leftmost = query
    while leftmost.branches:
        leftmost = leftmost.branches[0]
    names = names_of(node.column_ref.fields)
    # A lone name is first one of the answer's columns, then one of FROM's
    # (findTargetlistEntrySQL92).
    if names is not None and len(names) == 1:
        at = _named(names[0], leftmost)
        if at is not None:
            return at
    # ORDER BY of a UNION can name nothing else.
    if query.branches:
        return None
    wanted = same_text(node)
    return next((at for at, each in _targets(query) if same_text(each) == wanted), None)


def _named(name: str, query: Query) -> int | None:
    """The column of the answer that has a name.

    Raises:
        Unplannable: It is not known where that is.
    """
    if query.outputs is not None:
        found = [at for at, column in enumerate(query.outputs) if column.name == name]
        if len(found) > 1 and not _are_one(found, query):
            raise Unplannable(f"several columns of the answer are called {name}")
        return found[0] if found else None
    targets = [target.res_target for target in query.node.target_list]
    if any(not is_several(target.val) and column_name(target) == name for target in targets):
        raise Unplannable(f"it is not known which column of the answer {name} is")
    return None


def _are_one(places: Sequence[int], query: Query) -> bool:
    """Whether columns of the answer are one: else PostgreSQL does not sort by their name."""
    if len({column.id for at, column in enumerate(query.outputs or ()) if at in places}) == 1:
        return True
    texts = {same_text(node) for at, node in _targets(query) if at in places}
    return len(texts) == 1 and all(at in dict(_targets(query)) for at in places)


def _targets(query: Query) -> list[tuple[int, Message]]:
    """The expressions of an answer's columns, by their places; those of stars not.

    Only those before the first star of which the columns are not known.
    """
    found: list[tuple[int, Message]] = []
    at = 0
    for target in query.node.target_list:
        node = target.res_target.val
        if not is_several(node):
            found.append((at, node))
            at += 1
            continue
        columns = query.level.expand(node) if is_star(node) else None
        if columns is None:
            break
        at += len(columns)
    return found
