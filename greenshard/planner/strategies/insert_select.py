"""Goal: insert rows that are read, where they are read.

    INSERT INTO archived (id, note) SELECT id, note FROM orders WHERE placed < '2020-01-01'
        every shard: a row with the key of an order belongs where the order is
    INSERT INTO region (id) SELECT g FROM generate_series(1, 5) AS g
        every shard, counted once

Into a sharded table, if the shard key is that of a table with the same placement, and each shard
reads its rows without the others (`concatenate`). Into a reference table, if no table is read, and
nothing in it is a server's to choose.

Other rows travel, see `transfer`; so do those that get defaults which are not constants.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from greenshard.planner.analysis.clock_words import holds_word
from greenshard.planner.binding.query import Item, Join, Query, Table
from greenshard.planner.plan import Broadcast, Copies, Routed, Scatter, Step
from greenshard.planner.strategies.candidate import Candidate, Unplannable
from greenshard.planner.strategies.completing import ignored_columns, varies
from greenshard.planner.strategies.concatenate import plan_concatenate
from greenshard.planner.strategies.copies import written_alone
from greenshard.planner.strategies.insert import Apart, Texts, check_defaults, check_reference
from greenshard.planner.strategies.transfer import plan_transfer
from greenshard.sql.text import Sql


def plan_insert_select(
    candidate: Candidate, table: Table, inner: Any, texts: Texts, apart: Apart
) -> Step:
    """Plan INSERT ... SELECT.

    Args:
        candidate: What `write.as_select` made of it.
        table: Where it inserts.
        inner: The statement.
        texts: What the shards are sent where rows do not travel.
        apart: Its parts.

    Raises:
        Unplannable: It cannot be planned.
    """
    if len(candidate.sharded) > (1 if table.sharded else 0):
        raise Unplannable("an INSERT reads a sharded table in RETURNING or ON CONFLICT")
    if not table.sharded:
        check_defaults(table, inner.on_conflict_clause.target_list)
        check_reference(candidate)
    reading, columns = apart.reading, given_columns(table, inner, apart)
    try:
        ignored = ignored_columns(inner, table.relation)
        given = [None if name in ignored else name for name in columns]
        step = _where_they_are(candidate, reading, table, given, texts)
    except Unplannable as travelling:
        try:
            return plan_transfer(apart, table, inner, columns)
        except Unplannable as refused:
            reason = f"{travelling.reason}, and they cannot travel: {refused.reason}"
            raise Unplannable(reason, travelling.offset, refused.hint) from None
    if isinstance(step, Broadcast) and reading.tables:
        # Somebody may change what is read between one shard and the next.
        alone = replace(step, copies=written_alone(candidate, reading, table=table))
        with suppress(Unplannable):
            return replace(plan_transfer(apart, table, inner, columns), otherwise=alone)
        return alone
    return step


def given_columns(table: Table, inner: Any, apart: Apart) -> Sequence[str]:
    """The columns that INSERT ... SELECT gives values; arguments as of `plan_insert_select`.

    Raises:
        Unplannable: They are not known.
    """
    names, outputs = [each.res_target.name for each in inner.cols], apart.reading.query.outputs
    if not names and outputs is None:
        reason = "the columns of the rows to be inserted are not known"
        raise Unplannable(reason, None, "Name the columns: INSERT INTO t (a, b) SELECT ...")
    return names or [each.name for each in table.relation.columns[: len(outputs or ())]]


def _where_they_are(
    candidate: Candidate,
    reading: Candidate,
    table: Table,
    columns: Sequence[str | None],
    texts: Texts,
) -> Step:
    """Have each shard insert what it reads; of `columns` those are None whose values are ignored.

    Raises:
        Unplannable: The rows must travel.
    """
    for column in table.relation.columns:
        if column.name not in columns and varies(column):
            raise Unplannable(
                f"{column.name} would get a default that is another one on each shard"
            )
    targets = [each.res_target.val for each in reading.select.target_list]
    if any(map(_is_star, targets)) and any(map(_may_tell_time, targets)):
        # Which column it is for, and so whether it becomes a time, is not looked up.
        raise Unplannable("a text beside * may be another time on each shard")
    if not table.sharded:
        check_reference(reading)
        return Broadcast(
            texts.whole(), answer_of_one=True, first_alone=True, copies=Copies(table.relation.name)
        )
    name = table.key.name if table.key else ""
    at = columns.index(name) if name in columns else None
    if at is None or not is_key_of_colocated(reading.query, at, table):
        raise Unplannable(
            f"the {name} of the rows to be inserted is not the shard key of a colocated table"
        )
    read = plan_concatenate(reading)
    # The text goes to the shards as it is.
    if not isinstance(read, Scatter) or read.sql != reading.own_sql:
        raise Unplannable("the rows to be inserted are put together from several shards")
    step = Scatter(texts.whole(), read.pins)
    return Routed(Sql(candidate.text), read.pins, step) if read.pins else step


def _is_star(value: Any) -> bool:
    return bool(value.HasField("column_ref") and value.column_ref.fields[-1].HasField("a_star"))


def _may_tell_time(value: Any) -> bool:
    word = value.HasField("a_const") and holds_word(value.a_const.sval.sval)
    return bool(word or value.HasField("param_ref"))


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
