"""Goal: let the shards make distinct what an aggregate takes DISTINCT; a part of `combine`.

    SELECT o_orderstatus, count(DISTINCT o_custkey), sum(o_totalprice) FROM orders GROUP BY 1

1. Each shard groups by what is to be distinct, too:
       SELECT o_orderstatus AS c0, o_custkey AS c1, sum(o_totalprice) AS c2
       FROM orders GROUP BY 1, 2
2. One PostgreSQL runs, over the rows that they give,
       SELECT gs.c0 AS o_orderstatus, count(DISTINCT gs.c1) AS count, sum(gs.c2) AS sum
       FROM (...) gs GROUP BY gs.c0

What FILTER says of a row is grouped by, as well. There are never more such rows than there are
rows in the table, and of few values there are few.

Of equal values GROUP BY gives one, whose text may be another one's (1.0 and 1.00): a count does not
show which. Of anything else but counts, it must be sure that equal values look the same.

Refuses expressions in other aggregates than count, types whose equal values may differ, and what
names no column.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from greenshard.planner.binding.scope import Level
from greenshard.planner.calls import name_of
from greenshard.planner.strategies.candidate import Unplannable
from greenshard.sql.nodes import copy, expression, partial_column
from greenshard.sql.parser import Message, type_name, walk
from greenshard.sql.types import Trait, read

#: Whose DISTINCT can be taken anew over distinct values.
_TAKES_VALUES = frozenset({"array_agg", "avg", "string_agg", "sum"})


def distinct_first(
    call: Any, level: Level, add: Callable[[Message], int], same: Callable[[Message], bytes]
) -> None:
    """Let an aggregate with DISTINCT read the partial columns that hold what it takes.

    Args:
        call: The call, a node's `FuncCall`; it is changed.
        level: Where its names mean something.
        add: Adds an expression to what the shards group by, and gives its number.
        same: Gives bytes that are equal for expressions that mean the same.

    Raises:
        Unplannable: It needs all rows.
    """
    _check(call, level)
    values = list(_values(call.args))
    places = {same(node): expression(partial_column(add(copy(node)))) for node in values}
    for item in call.agg_order:
        # PostgreSQL takes only what is among the arguments.
        if _has_column(item) and same(item.sort_by.node) not in places:
            raise Unplannable(f"{name_of(call)} is ordered by something else", call.location)
    for node in (*values, *(item.sort_by.node for item in call.agg_order)):
        if (place := places.get(same(node))) is not None:
            node.CopyFrom(place)
    if call.HasField("agg_filter"):
        meets = expression("(a) IS TRUE")
        meets.boolean_test.arg.CopyFrom(call.agg_filter)
        call.agg_filter.CopyFrom(expression(partial_column(add(meets))))


def _values(nodes: Iterable[Any]) -> Iterator[Message]:
    """The parts of arguments that are of a row: (a, b) is of no type that could travel."""
    for node in nodes:
        if node.HasField("row_expr"):
            yield from _values(node.row_expr.args)
        elif _has_column(node):
            yield node


def _check(call: Any, level: Level) -> None:
    name = name_of(call)
    if name != "count" and name not in _TAKES_VALUES:
        raise Unplannable(f"{name}(DISTINCT ...) compares rows of several shards", call.location)
    # Without a group, each shard would give a row though it has none.
    if not any(map(_has_column, call.args)):
        raise Unplannable(f"{name}(DISTINCT ...) takes no column", call.location)
    if name != "count" and not all(_looks_the_same(node, level) for node in call.args):
        reason = f"{name}(DISTINCT ...) takes values that may be equal and look different"
        raise Unplannable(reason, call.location)


def _has_column(node: Message) -> bool:
    return any(type_name(each) == "ColumnRef" for each in walk(node))


def _looks_the_same(node: Message, level: Level) -> bool:
    """Whether equal values of an argument look the same; a constant is not compared."""
    if not _has_column(node):
        return True
    column = level.resolve(node)
    if column is None or column.column is None or column.column.is_array:
        return False
    # Not a domain: an array of its values is of another type.
    known = read(column.column.type_sql)
    return known is not None and Trait.SAME_IF_EQUAL in known.traits
