"""Rows that the shards have sorted, as one answer in that order."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from greenshard import errors
from greenshard._driver import UNREADABLE, RawCursor
from greenshard.executor.answers.answer import Answer, Stages
from greenshard.executor.answers.buffered import BufferedAnswer, BufferedRows, Row, all_of
from greenshard.executor.answers.columns import check_columns
from greenshard.executor.planned import Planned
from greenshard.executor.strategies.comparing import Comparison
from greenshard.executor.strategies.exactness import (
    any_spoilt,
    as_written,
    check_types,
    written,
)
from greenshard.executor.strategies.held import check_page
from greenshard.executor.strategies.slicing import read_slice
from greenshard.executor.strategies.streamed_merge import stream
from greenshard.executor.strategies.travelling import sending_cell, unwritable
from greenshard.executor.types.casting import AsText, Casting
from greenshard.merge.ordering import cut
from greenshard.planner.plan import Scatter
from greenshard.planner.tasks import Stage


def merge(e: Planned, step: Scatter, tasks: Stage) -> Answer:
    """Merge the rows that the shards give, take a slice of them, and cut hidden columns off.

    Values that Python can tell apart only as text (a date may be infinite) are known when they are
    there: then the shards are asked once more, and at once the next time.

    Switches: yes.
    """
    e.check_parameters()
    if e.streaming is not None:
        return stream(e, step, tasks)
    database, text = e.database, step.sql.text
    answer = None
    # What came as a date may be infinite: psycopg2 gives both infinities as the ends of Python's
    # calendar.
    if text not in database.compared_as_text:
        answer = _merge(e, step, tasks, AsText.INCOMPARABLE)
    if answer is None:
        database.remember_compared_as_text(text)
        # What the first try took is not what the statement takes, from the next time on.
        e.stages = None
        answer = _merge(e, step, tasks, AsText.ALL)
    if answer is None:
        raise errors.InternalError("rows cannot be ordered by text")
    return answer


def _merge(e: Planned, step: Scatter, tasks: Stage, as_text: AsText) -> BufferedAnswer | None:
    # What is only sorted by need not be written in the client's encoding, nor read.
    encoding = unwritable(e.session.alive) if step.hidden and len(tasks) > 1 else None
    if encoding is not None and ";" not in tasks[0].sql.text:
        return _merge_exactly(e, step, tasks, _described(e, tasks), encoding)
    cursors, castings = asked(e, tasks, as_text)
    first = next(iter(cursors))
    description = cursors[first].description
    if description is None:
        raise errors.ProgrammingError("the statement gives no rows")
    check_page(e, cursors.values())
    sorts = len(cursors) > 1 and bool(step.sort)
    if sorts and any_spoilt(e, (description[key.column].type_code for key in step.sort)):
        return _merge_exactly(e, step, tasks, description)
    try:
        rows: list[Row] | None = all_of(cursors)
    except UnicodeDecodeError:
        raise  # nobody could read it
    except UNREADABLE:
        return None  # a date beyond Python's; as text it fails when it is fetched, as it should
    if sorts:
        comparison = Comparison(e, first, description, castings[first])
        rows = comparison.ordered(rows or [], step.sort)
    if rows is None:
        return None
    return _answer(e, step, rows, description, first, castings[first])


def _described(e: Planned, tasks: Stage) -> Sequence[Any]:
    """The columns; no row of them is asked for. Switches: yes."""
    sql = replace(tasks[0].sql, text=f"SELECT * FROM ({tasks[0].sql.text}\n) AS g LIMIT 0")
    cursors, _ = asked(e, (replace(tasks[0], sql=sql),), AsText.ALL)
    e.stages = None
    return next(iter(cursors.values())).description or ()


def _merge_exactly(
    e: Planned,
    step: Scatter,
    tasks: Stage,
    description: Sequence[Any],
    encoding: str | None = None,
) -> BufferedAnswer | None:
    """Merge by what does not come as the servers have sorted it: it comes once more, as text.

    Args:
        e: The execution.
        step: The step.
        tasks: What the shards were asked.
        description: The columns, which are known only then.
        encoding: As `unwritable` says: then what it is sorted by comes as bytes, and only so.
    """
    width, keys = len(description), step.sort
    names = [f"c{at}" for at in range(width)]
    unseen = [] if encoding is None else ["NULL"] * step.hidden
    shown = [
        *names[: width - len(unseen)],
        *unseen,
        *(sending_cell(as_written(names[key.column]), encoding) for key in keys),
    ]
    asks = tasks[0].sql  # all ask the same
    # It would end the statement within another one.
    if ";" in asks.text:
        check_types(e, (description[key.column].type_code for key in keys))
    sql = replace(asks, text=written(f"{asks.text}\n", names, shown))
    e.stages = None
    cursors, castings = asked(e, tuple(replace(task, sql=sql) for task in tasks), AsText.ALL)
    check_page(e, cursors.values())
    first = next(iter(cursors))
    behind = [replace(key, column=width + at) for at, key in enumerate(keys)]
    columns = [*description, *(description[key.column] for key in keys)]
    comparison = Comparison(e, first, columns, castings[first], encoding)
    rows = comparison.ordered(all_of(cursors), behind)
    if rows is None:
        return None
    kept = [row[:width] for row in rows]
    return _answer(e, step, kept, description, first, castings[first])


def asked(
    e: Planned, tasks: Stage, as_text: AsText
) -> tuple[Mapping[str, RawCursor], Mapping[str, Casting]]:
    """The cursors of the shards that have answered, and what puts typecasters aside.

    Switches: yes.
    """
    shards = [task.place.shard for task in tasks]
    cursors = e.parts.plain(shards, e.timeout)
    zones = e.parts.own_time_zones
    castings = {shard: Casting(cursor, as_text, zones) for shard, cursor in cursors.items()}
    outcome = e.first_stage(shards, e.calls(tasks, cursors), cursors)
    cursors = {shard: cursors[shard] for shard in outcome.jobs}
    check_columns(cursors, e.session, e.timeout)
    return cursors, castings


def _answer(
    e: Planned,
    step: Scatter,
    rows: Sequence[Row],
    description: Sequence[Any],
    shard: str,
    casting: Casting,
) -> BufferedAnswer:
    """What the user gets of all rows in their order."""
    count, offset = read_slice(step.slice, e.given)
    # Sort keys were put behind the user's columns, and go again.
    visible = description[: len(description) - step.hidden]
    cast = casting.casting(column.type_code for column in visible)
    return buffered(e, cut(rows, count, offset, step.hidden), visible, shard, cast)


def buffered(
    e: Planned,
    rows: Sequence[Row],
    description: Sequence[Any],
    shard: str,
    cast: Callable[[Row], Row] | None = None,
    status: str | None = None,
) -> BufferedAnswer:
    """An answer of rows that are cast, and made for the user's cursor, when they are fetched.

    Args:
        e: The execution.
        rows: Their values.
        description: The columns.
        shard: The one whose types these have.
        cast: What is done with a row's values.
        status: The command tag; None: a query's.
    """
    shaping = partial(e.parts.shaping, cast)
    stages = e.stages or Stages()
    return BufferedAnswer(BufferedRows(rows, shaping), description, shard, stages, status)
