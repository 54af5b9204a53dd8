"""Rows of all shards are brought to each one, which then writes by them.

They go with the statement, as WITH queries before it::

    WITH "gs0 orders" (total) AS (SELECT unnest(%(c0)s::numeric[])) UPDATE orders SET ...

Not in a temporary table: a transaction that has touched one cannot be prepared.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from greenshard.executor.answers.answer import Answer
from greenshard.executor.atomic import atomically
from greenshard.executor.planned import Planned
from greenshard.executor.strategies.apart import read_apart
from greenshard.executor.strategies.combine import partial_arrays, partial_rows
from greenshard.executor.strategies.copies import write_copies
from greenshard.executor.strategies.filling import common_table
from greenshard.executor.strategies.table_rows import Batches, Rows, read_tables
from greenshard.executor.strategies.travelling import parameter
from greenshard.planner.plan import CarriedQuery, Carry
from greenshard.planner.tasks import Stage
from greenshard.sql.nodes import quoted
from greenshard.sql.text import Computed, Sql

#: How a text that libpg_query has written begins, if it has WITH queries.
_WITH = re.compile(r"WITH (?P<recursive>RECURSIVE )?")


def carry(
    e: Planned, step: Carry, stages: Sequence[Stage], run: Callable[[Planned], Answer]
) -> Answer:
    """Read the rows, and write by them.

    Args:
        e: The execution.
        step: The plan.
        stages: What reads base rows, and what writes.
        run: Runs a planned statement.

    Raises:
        errors.Error: A shard failed, time is up, or the rows are too many.

    Switches: yes.
    """
    e.check_parameters()
    # What is only read is in the transaction, too: at REPEATABLE READ all is seen as of one moment.
    shards = tuple(dict.fromkeys(task.place.shard for stage in stages for task in stage))
    shards = e.database.cluster.names if step.queries else shards
    answer = atomically(e, shards, partial(_carry, e, step, stages, run))
    return answer.of_first() if step.reference else answer


def _carry(
    e: Planned, step: Carry, stages: Sequence[Stage], run: Callable[[Planned], Answer]
) -> Answer:
    return write_copies(e, step.copies, carried(e, step, stages, run))


def carried(
    e: Planned, step: Carry, stages: Sequence[Stage], run: Callable[[Planned], Answer]
) -> Sequence[Stage]:
    """The stages that write, with the rows that are read; arguments as of `carry`.

    Switches: yes.
    """
    reads, *writes = stages
    values = list(e.computed)
    queries = [_computed(e, each, run, values) for each in step.queries]
    queries += [table_query(rows, values) for rows in (_read_rows(e, reads) if reads else ())]
    e.computed = values
    sql = with_queries(step.sql, queries, len(values))
    return [tuple(replace(task, sql=sql) for task in stage) for stage in writes]


def _computed(
    e: Planned, query: CarriedQuery, run: Callable[[Planned], Answer], values: list[Any]
) -> str:
    """A WITH query of the rows of a query; their values are added to `values`."""
    names, rows, _ = read_apart(e, query.read, query.plan, run, "those of a subquery")
    parameters = [f"c{len(values) + at}" for at in range(len(names))]
    values += partial_arrays([rows], len(names)).values()
    return f"{quoted(query.name)} AS {partial_rows(names, None, parameters)}"


def table_query(rows: Rows, values: list[Any]) -> str:
    """A WITH query of rows of a table; their values are added to `values`."""
    names = []
    for array in (array for piece in rows.pieces for array in piece):
        names.append(f"%(c{len(values)})s")
        values.append(parameter(array, rows.encoding))
    return common_table(rows, names)


def _read_rows(e: Planned, reads: Stage) -> Sequence[Rows]:
    """What some tasks read, which write nothing and lock nothing. Switches: yes."""
    effect = e.effect
    e.effect = replace(effect, in_turn=False)
    try:
        rows = read_tables(e, reads)
        return rows.all() if isinstance(rows, Batches) else rows
    finally:
        e.effect = effect


def with_queries(sql: Sql, queries: Sequence[str], count: int) -> Sql:
    """A text with WITH queries before it, to be sent with so many computed values."""
    # Without parameters psycopg2 would have left the percent signs alone.
    text = sql.text if sql.binds else sql.text.replace("%", "%%")
    begins = _WITH.match(text)
    recursive = "RECURSIVE " if begins and begins["recursive"] else ""
    rest = f", {text[begins.end() :]}" if begins else f" {text}"
    binds = tuple((f"c{number}", Computed(number)) for number in range(count))
    return Sql(f"WITH {recursive}{', '.join(queries)}{rest}", (*(sql.binds or ()), *binds))
