"""A reference table is written on the first shard; the others get the rows that it has then.

They travel as text, one array for each column, as partial rows do in `combine`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from greenshard._driver import RawCursor
from greenshard.executor.answers.answer import Answer, CountedAnswer
from greenshard.executor.atomic import atomically
from greenshard.executor.planned import Planned
from greenshard.executor.strategies.carry import carried
from greenshard.executor.strategies.combine import partial_arrays, with_rows
from greenshard.executor.strategies.concatenate import check_copy
from greenshard.executor.strategies.exactness import is_spoilt, spoilt
from greenshard.executor.strategies.merge import buffered
from greenshard.executor.types.casting import AsText, Casting
from greenshard.planner.plan import Mirror, Refused
from greenshard.planner.refusals import refusal_error
from greenshard.planner.tasks import Stage, Task, own_place
from greenshard.sql.text import Sql


def mirror(
    e: Planned, step: Mirror, stages: Sequence[Stage], run: Callable[[Planned], Answer]
) -> Answer:
    """Write on the first shard, then on the others.

    Args:
        e: The execution.
        step: The plan.
        stages: What reads first, if there is `Mirror.carry`.
        run: Runs a planned statement.

    Raises:
        errors.Error: A shard failed, the copies differ, or time is up.

    Switches: yes.
    """
    e.check_parameters()
    # Before anything is written.
    if is_spoilt_here(e, step):
        reason = "a setting (DateStyle, extra_float_digits) spoils values of "
        hint = "Leave that setting as it is by default."
        raise refusal_error(Refused(reason + step.table, "GS412", hint), ())
    return atomically(e, e.database.cluster.names, partial(_mirror, e, step, stages, run))


def is_spoilt_here(e: Planned, step: Mirror) -> bool:
    """Whether a setting spoils values that would travel. Switches: if that must be asked for."""
    found = spoilt(e)
    return bool(found) and any(is_spoilt(column.type_sql, found) for column in step.columns)


def _mirror(
    e: Planned, step: Mirror, stages: Sequence[Stage], run: Callable[[Planned], Answer]
) -> Answer:
    first, *others = e.database.cluster.names
    tasks: Stage = (Task(own_place(first), step.first, e.given),)
    if step.carry is not None:
        made = replace(step.carry, sql=step.first)
        (tasks,) = carried(e, made, (stages[0], tasks), run)
    cursors = e.parts.plain((first, *others), e.timeout)
    for shard in (first, *others):  # none shall be out of reach when another one has written
        e.session.physical(shard)
    cursor = cursors[first]
    casting = Casting(cursor, AsText.ALL, e.parts.own_time_zones)
    _run(e, tasks, cursors)
    rows, columns = cursor.fetchall(), cursor.description or ()
    width = len(columns) - len(step.columns)
    if rows:
        text, given = _for_others(step, [row[width:] for row in rows])
        _run(e, tuple(Task(own_place(shard), Sql(text), given) for shard in others), cursors)
        for shard in others:
            check_copy(step.table, first, len(rows), shard, cursors[shard].rowcount)
    tag, visible = cursor.statusmessage, columns[:width]
    if not visible:
        return CountedAnswer(len(rows), tag, e.stages)
    cast = casting.casting(each.type_code for each in visible)
    return buffered(e, [row[:width] for row in rows], visible, first, cast, tag)


def _run(e: Planned, stage: Stage, cursors: dict[str, RawCursor]) -> None:
    shards = [task.place.shard for task in stage]
    used = {shard: cursors[shard] for shard in shards}
    e.first_stage(shards, e.calls(stage, used), used)


def _for_others(step: Mirror, rows: Any) -> tuple[str, dict[str, Any]]:
    """The text for the other shards, and its parameters."""
    names = [column.type_sql for column in step.columns]
    text = with_rows(step.others, names)
    return text, partial_arrays([rows], len(names))
