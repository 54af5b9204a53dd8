"""Goal: insert rows that are read on other shards than those where they belong.

    INSERT INTO visits (visitor, seen) SELECT customer, count(*) FROM orders GROUP BY customer

    first, as a statement of its own, by whichever strategy    SELECT customer, count(*) FROM ...
    then, on each shard with its rows     INSERT INTO visits (visitor, seen)
                                          SELECT gs.c0, gs.c1 FROM (the rows) AS gs

1. The rows are read once, so a reference table gets the same ones on every shard.
2. They travel as text with the types that the SELECT gave them, and get into the columns as from
   there: by assignment. A literal, or a parameter, of the SELECT is left where PostgreSQL reads it
   by its column's type.
3. Defaults that a sequence counts, or that may come out otherwise on each shard, are computed once
   for all rows; see `completing`.

Refused are rows that the SELECT locks: they would not be locked any more when others are written.

Source: transformInsertStmt in PostgreSQL's analyze.c, about constants of the SELECT.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from greenshard.planner.analysis.restriction import Restrictions
from greenshard.planner.binding.query import Table
from greenshard.planner.binding.scope import BoundColumn
from greenshard.planner.plan import PARTIAL, Copies, Keys, Transfer, Value
from greenshard.planner.strategies.candidate import Candidate, Unplannable
from greenshard.planner.strategies.insert import GIVE_KEY, Apart, home_keys, keys_of
from greenshard.sql.deparsing import computed_number
from greenshard.sql.nodes import ROWS, copy, expression, partial_column, quoted
from greenshard.sql.nodes import select as parse_select
from greenshard.sql.parser import Message
from greenshard.sql.tree import location_of, unwrap

#: For so many rows defaults are planned: one row's may be left to its shard.
ROWS_PLANNED = 2


def plan_transfer(apart: Apart, table: Table, inner: Any, columns: Sequence[str]) -> Transfer:
    """Plan INSERT ... SELECT whose rows travel.

    Args:
        apart: Its parts.
        table: Where it inserts.
        inner: The statement.
        columns: The columns that it gives values.

    Raises:
        Unplannable: It cannot be planned.
    """
    reading = apart.reading
    read, plan = apart.rows("rows are locked that are inserted on other shards")
    skeleton = _skeleton(inner, len(columns))
    computing = apart.complete(skeleton)
    cells = skeleton.select_stmt.select_stmt.values_lists[0].list.items
    names = [each.res_target.name for each in skeleton.cols]
    names = names or [each.name for each in table.relation.columns[: len(cells)]]
    values = [_value(reading, at, cell, len(columns)) for at, cell in enumerate(cells)]
    made = copy(inner)
    made.ClearField("cols")
    made.cols.extend(skeleton.cols)
    made.override = skeleton.override
    select = made.select_stmt.select_stmt
    select.CopyFrom(parse_select(f"SELECT FROM {quoted(PARTIAL)} AS {ROWS}"))
    for value in values:
        select.target_list.add().res_target.val.CopyFrom(value)
    keys = _keys(reading, table, names, values) if table.sharded else None
    conflicts = inner.HasField("on_conflict_clause")
    return Transfer(
        read,
        plan,
        apart.write(made),
        table.relation.name,
        len(columns),
        keys,
        computing,
        in_turn=keys is None or conflicts,
        copies=None if table.sharded else Copies(table.relation.name),
    )


def _skeleton(inner: Any, width: int) -> Any:
    """The INSERT with rows of VALUES, by which is found out what must be computed."""
    made = copy(inner)
    rows = ", ".join([f"({', '.join(['NULL'] * width)})"] * ROWS_PLANNED)
    made.select_stmt.select_stmt.CopyFrom(parse_select(f"VALUES {rows}"))
    return made


def _value(reading: Candidate, at: int, cell: Message, width: int) -> Message:
    """What a row of the INSERT has in a place.

    Args:
        reading: The SELECT.
        at: The place.
        cell: What the first row of the skeleton has there, once that is completed.
        width: How many columns the SELECT has.
    """
    kind, inner = unwrap(cell)
    first = computed_number(reading.translation, 0)
    if kind == "param_ref" and inner.number >= first:
        return expression(partial_column(width + inner.number - first))
    if at >= width:
        return cell
    return _constant(reading.select, at, width) or expression(partial_column(at))


def _constant(select: Any, at: int, width: int) -> Message | None:
    """What the SELECT gives every row, if it is of no type before it is assigned."""
    # With a star, other columns are there. DISTINCT and UNION have made a text of it.
    if len(select.target_list) != width or select.distinct_clause:
        return None
    value: Message = select.target_list[at].res_target.val
    constant = value.a_const
    unknown = value.HasField("a_const") and (constant.HasField("sval") or constant.isnull)
    return value if unknown or value.HasField("param_ref") else None


def _keys(
    reading: Candidate, table: Table, names: Sequence[str], values: Sequence[Message]
) -> Keys:
    """Where the rows belong."""
    if table.home is not None:
        return home_keys(table)

    def values_at(at: int, key: BoundColumn) -> tuple[Sequence[Value], int]:
        node: Any = values[at]
        if node.HasField("column_ref"):
            return (), int(node.column_ref.fields[1].string.sval.removeprefix("c"))
        found = Restrictions(reading.functions, reading.translation).value(node, key)
        if found is None:
            raise Unplannable("the shard key of the rows is computed", location_of(node), GIVE_KEY)
        return (found,), at

    return keys_of(table, names, values_at)
