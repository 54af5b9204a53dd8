"""What a SELECT does with the rows of FROM and WHERE: grouping, windows, DISTINCT.

Source: findTargetlistEntrySQL92 in PostgreSQL's parse_clause.c has the rules for names and numbers
in GROUP BY (columns of FROM before those of the answer) and ORDER BY (the other way round).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from greenshard.planner.binding.query import is_several
from greenshard.planner.binding.scope import BoundColumn, Level
from greenshard.planner.calls import Functions
from greenshard.sql.column_names import column_name
from greenshard.sql.parser import FRAME_ROWS, FRAME_WHOLE, Message, type_name
from greenshard.sql.tree import names_of, unwrap, walk_level

_WINDOWED = frozenset({"FuncCall", "JsonAggConstructor"})


@dataclass(frozen=True, slots=True)
class Partition:
    """PARTITION BY of a window.

    Attributes:
        columns: What it is by; None for what is no column.
        offset: Where it stands.
    """

    columns: tuple[BoundColumn | None, ...]
    offset: int | None


def is_grouped(select: Any, functions: Functions) -> bool:
    """Whether a SELECT groups its rows, all into one group maybe."""
    # SELECT 1 FROM t HAVING true makes one group, without any aggregate.
    if select.group_clause or select.HasField("having_clause"):
        return True
    return any(True for _ in aggregates(select, functions))


def aggregates(select: Any, functions: Functions) -> Iterator[Any]:
    """The aggregates that a SELECT computes, without those of its sublinks.

    They are `FuncCall`s, and what JSON_ARRAYAGG and JSON_OBJECTAGG have in common.
    """
    roots = [*select.target_list, *select.sort_clause, *select.distinct_clause]
    roots += select.window_clause
    if select.HasField("having_clause"):
        roots.append(select.having_clause)
    for root in roots:
        for message in walk_level(root):
            kind = type_name(message)
            if kind == "FuncCall":
                if functions.is_aggregate(message):
                    yield message
            elif kind == "JsonAggConstructor" and not message.HasField("over"):
                yield message


def grouping_columns(select: Any, level: Level) -> list[BoundColumn | None]:
    """What GROUP BY is by; None for what is no column, and for grouping sets."""
    return [level.resolve(grouping_expression(node, select, level)) for node in select.group_clause]


def grouping_expression(node: Message, select: Any, level: Level) -> Message:
    """What an item of GROUP BY means: itself, or the column of the answer that it names."""
    target = _by_number(node, select)
    # GROUP BY takes a column of FROM before one of the answer; ORDER BY the other way round.
    if target is None and level.resolve_here(node) is None:
        target = _by_name(node, select)
    return node if target is None else target


def sort_expression(node: Message, select: Any) -> Message:
    """What an item of ORDER BY or DISTINCT ON means."""
    target = _by_number(node, select) or _by_name(node, select)
    return node if target is None else target


def distinct_on_columns(select: Any, level: Level) -> list[BoundColumn | None]:
    """What DISTINCT ON is by; None for what is no column."""
    return [level.resolve(sort_expression(node, select)) for node in select.distinct_clause]


def is_distinct(select: Any) -> bool:
    """Whether a SELECT has DISTINCT or DISTINCT ON."""
    return len(select.distinct_clause) > 0


def window_partitions(select: Any, level: Level) -> Iterator[Partition]:
    """The partition of each window function."""
    for root in (*select.target_list, *select.sort_clause, *select.distinct_clause):
        for message in walk_level(root):
            if type_name(message) in _WINDOWED and message.HasField("over"):
                clause: Any = ()
                # OVER (w ORDER BY x) takes PARTITION BY from w, and cannot have one of its own
                # (manual, SELECT).
                for window in _windows(message.over, select):
                    clause = clause or window.partition_clause
                yield Partition(tuple(map(level.resolve, clause)), message.location)


def order_of_window(call: Any, select: Any) -> list[Message]:
    """What the rows of a window function are sorted by."""
    for window in _windows(call.over, select):
        if window.order_clause:
            return [item.sort_by.node for item in window.order_clause]
    return []


def counts_rows(call: Any, select: Any) -> bool:
    """Whether the frame of a window function counts rows, so that it parts peers."""
    return any(
        window.frame_options & FRAME_ROWS and window.frame_options & FRAME_WHOLE != FRAME_WHOLE
        for window in _windows(call.over, select)
    )


def _windows(window: Any, select: Any) -> Iterator[Any]:
    """A window, the one that it is made from, and so on."""
    named = {node.window_def.name: node.window_def for node in select.window_clause}
    base = window
    while base is not None:
        yield base
        # OVER w has it as its name, OVER (w ORDER BY x) as the name that it refers to.
        base = named.get(base.refname or (base.name if base is window else ""))


def _by_number(node: Message, select: Any) -> Message | None:
    kind, inner = unwrap(node)
    if kind != "a_const" or not inner.HasField("ival"):
        return None
    at = inner.ival.ival - 1
    targets = select.target_list
    # After a star the numbers of the columns do not match the places in the text.
    stars = any(is_several(each.res_target.val) for each in targets)
    if stars or not 0 <= at < len(targets):
        return None
    value: Message = targets[at].res_target.val
    return value


def _by_name(node: Message, select: Any) -> Message | None:
    names = names_of(node.column_ref.fields) if node.HasField("column_ref") else None
    if names is None or len(names) != 1:
        return None
    found = [
        each.res_target.val
        for each in select.target_list
        if not is_several(each.res_target.val) and column_name(each.res_target) == names[0]
    ]
    return found[0] if found else None
