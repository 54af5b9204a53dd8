"""Goal: find where a whole row would show that its table is a gathered one.

    SELECT o FROM orders o                  the column is of type orders
    SELECT row_to_json(o) FROM orders o     that type makes no difference

A temporary table has a type of its own, so a row of it is not of the type that the first column
had; and a row of a view, once its query stands in the place of its name, is of no named type. Most
of what is done with rows does not tell.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from greenshard.planner.binding.query import (
    Derived,
    Query,
    Table,
    expressions,
    is_star,
    nested,
    queries,
)
from greenshard.planner.binding.scope import Level
from greenshard.planner.calls import Functions, name_of
from greenshard.sql.functions import Fact, facts_of
from greenshard.sql.parser import Message, type_name
from greenshard.sql.tree import names_of, walk_level

#: What takes a row and gives something of another type, whatever the row's type is called.
_PARENTS = frozenset({"A_Expr", "A_Indirection", "NullTest", "SortBy", "TypeCast"})


def telling_row(query: Query, functions: Functions) -> int | None:
    """Where a whole row of a table or view may tell its type, in bytes; None if nowhere."""
    aliases = {
        source.alias
        for one in queries(query)
        for item in nested(one.items)
        if isinstance(item, Table) or (isinstance(item, Derived) and item.view is not None)
        for source in item.sources
    }
    return next(
        (
            int(node.column_ref.location)
            for one in queries(query)
            for root, level in expressions(one)
            for message in walk_level(root)
            for node in _telling_nodes(message, functions)
            if node.HasField("column_ref") and _alias(node, level) in aliases
        ),
        None,
    )


def _telling_nodes(message: Any, functions: Functions) -> Iterator[Any]:
    """The expressions directly in another one whose type that may show."""
    kind = type_name(message)
    if kind in _PARENTS:
        return
    if kind == "FuncCall" and _takes_any_row(message, functions):
        return
    # mode() WITHIN GROUP (ORDER BY o) gives one of these rows.
    if kind == "FuncCall" and message.agg_within_group:
        yield from (each.sort_by.node for each in message.agg_order)
    for field, value in message.ListFields():
        if field.message_type is not None and field.message_type.name == "Node":
            nodes = [value] if hasattr(value, "DESCRIPTOR") else value
            # SELECT t.* and ROW(t.*) take the columns one by one, and make no value of the row's
            # type.
            expanded = kind in ("ResTarget", "RowExpr")
            yield from (node for node in nodes if not (expanded and is_star(node)))


def _takes_any_row(call: Any, functions: Functions) -> bool:
    return Fact.ANY_ROW in facts_of(name_of(call)) and functions.is_own(call)


def _alias(node: Message, level: Level) -> str | None:
    """The name that a column reference is, if it is no column's but a row's."""
    *fields, last = node.column_ref.fields
    if last.HasField("a_star"):
        return (names_of(fields[-1:]) or (None,))[-1]
    names = names_of(node.column_ref.fields) or ()
    return names[0] if len(names) == 1 and level.resolve(node) is None else None
