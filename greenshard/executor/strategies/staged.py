"""A statement whose WITH queries write is run part by part.

Each part is planned when it is its turn, as a statement of its own (but for a first one that no
text of the user's may lead to): by then the rows of those
before it are there, and stand in it as WITH queries::

    WITH made (id) AS (SELECT x0::int4 FROM ROWS FROM (unnest(%(c0)s::text[])) AS u (x0))
    INSERT INTO visit (customer, page) SELECT id, 'home' FROM made
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from greenshard import errors
from greenshard.executor.answers.answer import Answer, CountedAnswer
from greenshard.executor.answers.parts import Parts
from greenshard.executor.atomic import atomically
from greenshard.executor.knowledge.one_database import PlanOutdated
from greenshard.executor.planned import Planned
from greenshard.executor.sql_values import plan_for
from greenshard.executor.strategies.apart import cursor_of_texts, rows_as_text, run_apart
from greenshard.executor.strategies.carry import with_queries
from greenshard.executor.strategies.combine import partial_arrays, partial_rows
from greenshard.planner.plan import Staged, StagedPart
from greenshard.sql.nodes import quoted
from greenshard.sql.text import Sql
from greenshard.transaction.failing import fail_open


class _Rows(NamedTuple):
    """The rows of a WITH query that has run: its columns, their types, an array for each."""

    columns: Sequence[str]
    types: Sequence[str]
    arrays: list[Any]


def staged(e: Planned, step: Staged, run: Callable[[Planned], Answer]) -> Answer:
    """Run the parts; the last one's answer is the statement's.

    Args:
        e: The execution.
        step: The plan.
        run: Runs a planned statement.

    Raises:
        errors.Error: A part failed or cannot be planned, or time is up.

    Switches: yes.
    """
    e.check_parameters()
    return atomically(e, e.database.cluster.names, partial(_staged, e, step, run))


def _staged(e: Planned, step: Staged, run: Callable[[Planned], Answer]) -> Answer:
    rows: dict[str, _Rows] = {}
    begun, count = False, 0
    try:
        for part in step.parts:
            last = part is step.parts[-1]
            sql, e.computed = _with_rows(part, rows)
            cursor = cursor_of_texts(e)
            parts = e.parts if last else e.parts.for_another(cursor)
            if part.plan is None:
                answer = _run(e, sql, run, parts)
            else:
                answer = run_apart(e, sql.text, e.parameters(sql, e.given), part.plan, run, parts)
            begun = True
            if part.name == step.counted:
                count += answer.rowcount
            if part.name is not None:
                types, values, _ = rows_as_text(e, answer, "those of a WITH query")
                arrays = list(partial_arrays([values], len(types)).values())
                rows[part.name] = _Rows(part.columns, types, arrays)
    except errors.Error:
        # After a refusal a transaction goes on; but a part of a statement was never asked for.
        if begun and e.transaction.is_open:
            fail_open(e.session, e.transaction)
        raise
    if step.tag is not None and answer.description is None:
        return CountedAnswer(count, f"{step.tag} {count}", e.stages)
    if step.tag is not None:
        answer.command = f"{step.tag} {count}"
    return answer


def _with_rows(part: StagedPart, rows: Mapping[str, _Rows]) -> tuple[Sql, list[Any]]:
    """A part with the rows that it reads, and their values."""
    queries, values = [], list[Any]()
    for name in part.rows:
        columns, types, arrays = rows[name]
        parameters = [f"c{len(values) + at}" for at in range(len(types))]
        values += arrays
        named = f"{quoted(name)} ({', '.join(map(quoted, columns))})".replace("%", "%%")
        queries.append(f"{named} AS {partial_rows(types, None, parameters)}")
    return (with_queries(part.sql, queries, len(values)) if queries else part.sql), values


def _run(e: Planned, sql: Sql, run: Callable[[Planned], Answer], parts: Parts) -> Answer:
    """Plan a part, and run it; `parts` get its answer. Switches: yes."""
    needed = e.parameters(sql, e.given)
    while True:
        text, given, plan = plan_for(e.database, e.parts, sql.text, needed, e.timeout)
        try:
            return run_apart(e, text, given, plan, run, parts)
        except PlanOutdated:
            pass  # nothing was sent
