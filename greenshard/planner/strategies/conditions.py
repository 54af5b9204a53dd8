"""Conditions as nodes: joined, and with the columns' names in the tables themselves."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from greenshard.planner.binding.query import Condition, Table
from greenshard.planner.binding.scope import ColumnId
from greenshard.planner.catalog import Column
from greenshard.planner.strategies.candidate import Unplannable
from greenshard.sql.nodes import copy, expression
from greenshard.sql.parser import type_name
from greenshard.sql.tree import names_of, unwrap, walk_level


def joined(pattern: str, nodes: Sequence[Any]) -> Any:
    """Join conditions; those that are joined so themselves are taken apart, as the parser does.

    Args:
        pattern: ``a AND b``, or ``a OR b``.
        nodes: One at least.
    """
    if len(nodes) == 1:
        return nodes[0]
    made: Any = expression(pattern)
    both = made.bool_expr
    del both.args[:]
    for node in nodes:
        kind, inner = unwrap(node)
        same = kind == "bool_expr" and inner.boolop == both.boolop
        both.args.extend(inner.args if same else [node])
    return made


def columns_of(tables: Iterable[Table]) -> dict[ColumnId, Column]:
    """The columns of some tables, which may have other names in the statement."""
    return {
        column.id: column.column
        for table in tables
        for source in table.sources
        for column in source.columns or ()
        if column.column is not None
    }


def renamed(condition: Condition, names: Mapping[ColumnId, Sequence[str]]) -> Any:
    """A condition with other names for its columns.

    Args:
        condition: The queries in it keep theirs.
        names: The column's, perhaps after its table's.

    Raises:
        Unplannable: It is on something that has none.
    """
    made = copy(condition.node)
    for message in list(walk_level(made)):
        if type_name(message) == "ColumnRef":
            column = condition.level.named(names_of(message.fields))
            if column is None or column.id not in names:
                raise Unplannable("a condition is on something else than columns")
            message.ClearField("fields")
            for name in names[column.id]:
                message.fields.add().string.sval = name
    return made
