"""Rows of all shards are brought to each one, which then writes by them.

They go with the statement, as WITH queries before it::

    WITH "gs0 orders" (total) AS (SELECT unnest(%(c0)s::numeric[])) UPDATE orders SET ...

Not in a temporary table: a transaction that has touched one cannot be prepared.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from greenshard.executor.answers.answer import Answer
from greenshard.executor.atomic import atomically
from greenshard.executor.planned import Planned
from greenshard.executor.strategies.concatenate import concatenate
from greenshard.executor.strategies.filling import common_table
from greenshard.executor.strategies.table_rows import Batches, Rows, read_tables
from greenshard.executor.strategies.travelling import parameter
from greenshard.planner.plan import Carry
from greenshard.planner.tasks import Stage
from greenshard.sql.text import Computed, Sql

#: How a text that libpg_query has written begins, if it has WITH queries.
_WITH = re.compile(r"WITH (?P<recursive>RECURSIVE )?")


def carry(e: Planned, step: Carry, stages: Sequence[Stage]) -> Answer:
    """Read the rows, and write by them.

    Raises:
        errors.Error: A shard failed, time is up, or the rows are too many.

    Switches: yes.
    """
    e.check_parameters()
    # What is only read is in the transaction, too: at REPEATABLE READ all is seen as of one moment.
    shards = tuple(dict.fromkeys(task.place.shard for stage in stages for task in stage))
    answer = atomically(e, shards, partial(_carry, e, step.sql, stages))
    return answer.of_first() if step.reference else answer


def _carry(e: Planned, sql: Sql, stages: Sequence[Stage]) -> Answer:
    return concatenate(e, carried(e, sql, stages))


def carried(e: Planned, sql: Sql, stages: Sequence[Stage]) -> Sequence[Stage]:
    """The stages that write, with the rows that the first stage reads. Switches: yes."""
    reads, *writes = stages
    sql = _with_rows(e, sql, _read_rows(e, reads))
    return [tuple(replace(task, sql=sql) for task in stage) for stage in writes]


def _read_rows(e: Planned, reads: Stage) -> Sequence[Rows]:
    """What some tasks read, which write nothing and lock nothing. Switches: yes."""
    effect = e.effect
    e.effect = replace(effect, in_turn=False)
    try:
        rows = read_tables(e, reads)
        return rows.all() if isinstance(rows, Batches) else rows
    finally:
        e.effect = effect


def _with_rows(e: Planned, sql: Sql, tables: Sequence[Rows]) -> Sql:
    """A text with the rows before it; their values are told to the execution."""
    # Without parameters psycopg2 would have left the percent signs alone.
    text = sql.text if sql.binds else sql.text.replace("%", "%%")
    begins = _WITH.match(text)
    recursive = "RECURSIVE " if begins and begins["recursive"] else ""
    values, queries = list(e.computed), []
    for rows in tables:
        names = []
        for array in (array for piece in rows.pieces for array in piece):
            names.append(f"%(c{len(values)})s")
            values.append(parameter(array, rows.encoding))
        queries.append(common_table(rows, names))
    rest = f", {text[begins.end() :]}" if begins else f" {text}"
    binds = tuple((f"c{number}", Computed(number)) for number in range(len(values)))
    e.computed = values
    return Sql(f"WITH {recursive}{', '.join(queries)}{rest}", (*(sql.binds or ()), *binds))
