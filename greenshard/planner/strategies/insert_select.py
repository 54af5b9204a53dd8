"""Goal: insert rows that are read, where they are read.

    INSERT INTO archived (id, note) SELECT id, note FROM orders WHERE placed < '2020-01-01'
        every shard: a row with the key of an order belongs where the order is
    INSERT INTO region (id) SELECT DISTINCT region FROM nation
        every shard, each from its own copy, counted once

Into a sharded table, if the shard key is that of a table with the same placement, and each shard
reads its rows without the others (`concatenate`). Into a reference table, if only reference tables
are read, and nothing in it is a server's to choose.

Refused are other rows, which would have to travel, and defaults that are not constants.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from greenshard.planner.analysis.clock_words import holds_word
from greenshard.planner.binding.query import Item, Join, Query, Table
from greenshard.planner.plan import Broadcast, Routed, Scatter, Step
from greenshard.planner.strategies.candidate import Candidate, Unplannable
from greenshard.planner.strategies.completing import varies
from greenshard.planner.strategies.concatenate import plan_concatenate
from greenshard.planner.strategies.insert import Texts, check_defaults, check_reference
from greenshard.sql.text import Sql
from greenshard.sql.tree import location_of
from greenshard.sql.types import Trait, names_with

#: What a text in the place of a value may become, without a cast.
_TIMES = names_with(Trait.CALENDAR) | names_with(Trait.TELLS_NOW)
_READ = "Read the rows first, and insert them with VALUES."


def plan_insert_select(
    candidate: Candidate, reading: Candidate, table: Table, inner: Any, texts: Texts
) -> Step:
    """Plan INSERT ... SELECT.

    Args:
        candidate: What `write.as_select` made of it.
        reading: The SELECT.
        table: Where it inserts.
        inner: The statement.
        texts: What the shards are sent.

    Raises:
        Unplannable: It cannot be planned.
    """
    columns = [each.res_target.name for each in inner.cols]
    columns = columns or [
        each.name for each in table.relation.columns[: len(reading.query.outputs or ())]
    ]
    for column in table.relation.columns:
        if column.name not in columns and varies(column):
            raise Unplannable(
                f"{column.name} would get a default that is another one on each shard",
                None,
                f"Give {column.name} a value in the SELECT.",
            )
    _check_times(reading, table, columns)
    if not table.sharded:
        check_defaults(table, inner.on_conflict_clause.target_list)
        for each in (candidate, reading):
            check_reference(each)
        return Broadcast(texts.whole(), answer_of_one=True, first_alone=True)
    if len(candidate.sharded) > 1:
        raise Unplannable("an INSERT reads a sharded table in RETURNING or ON CONFLICT")
    name = table.key.name if table.key else ""
    at = columns.index(name) if name in columns else None
    if at is None or not is_key_of_colocated(reading.query, at, table):
        reason = f"the {name} of the rows to be inserted is not the shard key of a colocated table"
        raise Unplannable(reason, None, _READ)
    read = plan_concatenate(reading)
    # The text goes to the shards as it is.
    if not isinstance(read, Scatter) or read.sql != reading.own_sql:
        reason = "the rows to be inserted are put together from several shards"
        raise Unplannable(reason, None, _READ)
    step = Scatter(texts.whole(), read.pins)
    return Routed(Sql(candidate.text), read.pins, step) if read.pins else step


def _check_times(reading: Candidate, table: Table, columns: Sequence[str]) -> None:
    """Refuse what becomes a time only as it is inserted: 'now', and parameters that may say so."""
    for name, each in zip(columns, reading.select.target_list, strict=False):
        column, value = table.relation.column(name), each.res_target.val
        tells = value.HasField("a_const") and holds_word(value.a_const.sval.sval)
        is_time = column is None or column.type_name in _TIMES
        if tells or (value.HasField("param_ref") and is_time):
            raise Unplannable(
                f"{name} would get a text that may be another time on each shard",
                location_of(value),
                "Cast it: 'now'::timestamptz, %s::timestamptz.",
            )


def is_key_of_colocated(query: Query, at: int, table: Table) -> bool:
    """Whether a column of a query is the shard key of a table that is placed like another one.

    Args:
        query: The query.
        at: The column's number.
        table: The other table.
    """
    outputs = query.outputs or ()
    output = outputs[at] if at < len(outputs) else None
    return any(
        isinstance(one, Table)
        and one.key is not None
        and output is not None
        and one.placement == table.placement
        and one.key.id == output.id
        # Of equal types: a cast on the way, as from numeric to int, might round to another key.
        and _types(one) == _types(table)
        for one in _joined(query.items)
    )


def _types(table: Table) -> tuple[str | None, str | None]:
    column = table.key.column if table.key else None
    return (None, None) if column is None else (column.type_name, column.type_sql)


def _joined(items: Sequence[Item]) -> Iterator[Item]:
    """What FROM names whose columns are never made NULL by an outer join."""
    for item in items:
        if isinstance(item, Join):
            # A key that an outer join has made NULL is not the key of a row there.
            yield from _joined([item.left, item.right] if item.kind == "inner" else [])
        else:
            yield item
