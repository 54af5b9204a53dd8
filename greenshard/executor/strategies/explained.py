"""EXPLAIN over several shards: each tells its own plan of what it would run.

    EXPLAIN SELECT count(*) FROM orders

    strategy: combine                                    as ``conn.explain`` tells it
    ...
    plan on s0:                                          what PostgreSQL tells there of its part
        Aggregate  (cost=...)
    plan on s1:
        Aggregate  (cost=...)

What is run over the shards' rows then, PostgreSQL could plan only when they have come; so it is
shown as SQL. With ANALYZE the shards really run their parts: a write has written afterwards, in one
transaction like any other.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from greenshard import errors
from greenshard.executor.answers.answer import Answer
from greenshard.executor.atomic import atomically
from greenshard.executor.planned import Planned
from greenshard.planner.plan import Broadcast, Combine, Explained, Gather, Insert, Scatter
from greenshard.planner.tasks import Stage, Task

_Plans = list[tuple[Task, list[Any]]]

_LINES = (
    'SELECT line AS "QUERY PLAN" '
    "FROM pg_catalog.unnest(%s::pg_catalog.text[]) WITH ORDINALITY AS t (line, n) ORDER BY n"
)
_DOCUMENT = 'SELECT %s::pg_catalog.json AS "QUERY PLAN"'


def explain(e: Planned, step: Explained, stages: Sequence[Stage]) -> Answer:
    """Ask the shards for their plans.

    Args:
        e: The execution.
        step: What is explained.
        stages: Its tasks.

    Raises:
        errors.Error: A shard failed, time is up, or it cannot be explained so.

    Switches: yes.
    """
    if e.streaming is not None:
        raise errors.refused('syntax error at or near "EXPLAIN"', pgcode="42601")
    # The rows, or values, that come first are not there.
    complete = isinstance(step.step, (Broadcast, Scatter, Combine, Gather)) or (
        isinstance(step.step, Insert) and bool(stages) and not step.step.computing
    )
    if step.analyzes and not complete:
        raise errors.NotSupportedError(
            "EXPLAIN ANALYZE of a write that needs values from servers first",
            code="GS410",
            hint="EXPLAIN it without ANALYZE; or run it, and measure it on one shard with conn.on.",
        )
    e.check_parameters()
    tasks = [tuple(_told(e, stage, complete=complete)) for stage in stages]
    shards = tuple(dict.fromkeys(task.place.shard for stage in tasks for task in stage))
    run = partial(_explain, e, step, tasks)
    return run() if e.reads or not shards else atomically(e, shards, run)


def _told(e: Planned, stage: Stage, *, complete: bool) -> Iterator[Task]:
    """The tasks of a stage whose texts are there."""
    for task in stage:
        if task.table is None and not complete:
            continue
        # Beside gathered tables, those of references are there already.
        if task.table is None or not task.table.reference or e.gathers_references:
            yield task


def _explain(e: Planned, step: Explained, stages: Sequence[Stage]) -> Answer:
    plans: _Plans = []
    for stage in stages:
        for tasks in _rounds(stage):
            plans += _asked(e, step, tasks)
    told = e.database.explain(e.text, replace(e.plan, step=step.step), e.given, verbose=False)
    shard = e.any_shard()
    if step.as_json:
        answer = e.last_stage(shard, _DOCUMENT, (_document(step, told, plans),))
    else:
        answer = e.last_stage(shard, _LINES, (_lines(told, plans),))
    answer.command = "EXPLAIN"
    return answer


def _rounds(stage: Stage) -> Iterator[Stage]:
    """The tasks of a stage, each shard once at a time."""
    left = list(stage)
    while left:
        now = {task.place.shard: task for task in reversed(left)}
        yield tuple(now[shard] for shard in dict.fromkeys(t.place.shard for t in left))
        left = [task for task in left if task is not now[task.place.shard]]


def _asked(e: Planned, step: Explained, tasks: Stage) -> _Plans:
    """What the shards tell of some tasks. Switches: yes."""
    shards = [task.place.shard for task in tasks]
    cursors: Any = e.parts.plain(shards, e.timeout)
    texts = {
        id(task.sql): replace(task.sql, text=step.prefix + task.sql.text.lstrip()) for task in tasks
    }
    calls = e.calls(tuple(replace(task, sql=texts[id(task.sql)]) for task in tasks), cursors)
    e.first_stage(shards, calls, cursors)
    return [(task, [row[0] for row in cursors[task.place.shard].fetchall()]) for task in tasks]


def _where(task: Task) -> str:
    part = "" if task.table is None else f", its part of {task.table.relation}"
    return f"plan on {task.place}{part}:"


def _lines(told: str, plans: _Plans) -> list[str]:
    lines = told.splitlines()
    for task, plan in plans:
        lines += [_where(task), *_indented(plan)]
    return lines


def _indented(lines: Iterable[str]) -> list[str]:
    return [f"    {line}" for line in lines]


def _document(step: Explained, told: str, plans: _Plans) -> str:
    # psycopg2 has read the documents, unless the program has registered something else.
    found = [
        {
            "Shard": str(task.place),
            **({} if task.table is None else {"Table": task.table.relation}),
            "Plan": json.loads(plan[0]) if isinstance(plan[0], str) else plan[0],
        }
        for task, plan in plans
    ]
    document = {"Strategy": step.step.strategy, "Plan": told.splitlines(), "Shards": found}
    return json.dumps([document])
