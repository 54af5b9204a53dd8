"""Rows that are read on some shards are inserted on others.

What reads them is run as a statement of its own, whose values come as text. They go on as text, one
array for each column, as partial rows do in `combine`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from operator import itemgetter
from typing import Any

from greenshard.executor.answers.answer import Answer
from greenshard.executor.atomic import atomically
from greenshard.executor.execution import in_turns
from greenshard.executor.planned import Planned
from greenshard.executor.strategies.apart import Row, read_apart
from greenshard.executor.strategies.combine import partial_arrays, with_rows
from greenshard.executor.strategies.copies import write_copies
from greenshard.executor.strategies.insert import (
    as_key,
    as_stored,
    computed_rows,
    literal,
)
from greenshard.planner.plan import Keys, Refused, Transfer
from greenshard.planner.refusals import refusal_error
from greenshard.planner.strategies.completing import repeated
from greenshard.planner.strategies.transfer import ROWS_PLANNED
from greenshard.planner.tasks import Task, home_of_value, homes_of, own_place, uncertain_key
from greenshard.sql.text import Computed, Sql


def transfer(e: Planned, step: Transfer, run: Callable[[Planned], Answer]) -> Answer:
    """Read the rows, and insert them; those that RETURNING gives come in the order read.

    Args:
        e: The execution.
        step: The plan.
        run: Runs a planned statement.

    Raises:
        errors.Error: A row's shard is not known, a shard failed, or time is up.

    Switches: yes.
    """
    e.check_parameters()
    e.check_clock()
    names, rows, _ = read_apart(e, step.read, step.plan, run, "those that it inserts")
    if len(names) != step.columns:
        raise refusal_error(_wrong_width(len(names), step.columns), ())
    if step.computing:
        more, defaults = _defaults(e, step, len(rows))
        names = [*names, *more]
        rows = [(*row, *row2) for row, row2 in zip(rows, defaults, strict=True)]
    shards = e.database.cluster.names
    placed: dict[str, Sequence[int]] = dict.fromkeys(shards, range(len(rows)))
    if step.keys is not None:
        placed = _placed(e, step.table, step.keys, names, rows)
        if step.everywhere:
            placed = {shard: placed.get(shard, []) for shard in shards}
    text = with_rows(step.sql, names)
    given = e.parameters(step.sql, e.given) or {}
    tasks = tuple(
        Task(own_place(shard), Sql(text), {**given, **_arrays(rows, numbers, len(names))})
        for shard, numbers in placed.items()
    )
    stages = (tasks[:1], tasks[1:]) if step.in_turn and len(tasks) > 1 else (tasks,)
    if not step.in_turn:
        # Rows that are new are locked by nobody else: they go to all shards at once.
        e.effect = replace(e.effect, in_turn=False)
    answer = atomically(e, tuple(placed), partial(write_copies, e, step.copies, stages))
    if step.keys is None:
        return answer if step.of_each else answer.of_first()
    answer.weave(placed)
    return answer


def _wrong_width(given: int, wanted: int) -> Refused:
    """PostgreSQL's error for a SELECT that does not fit the columns."""
    more, fewer = ("expressions", "target columns")[:: 1 if given > wanted else -1]
    return Refused(f"INSERT has more {more} than {fewer}", "GS412", pgcode="42601")


def _defaults(e: Planned, step: Transfer, count: int) -> tuple[Sequence[str], Sequence[Row]]:
    """What the rows get that is computed: the names of its types, and for each row its values.

    Switches: yes.
    """
    (computing,) = step.computing
    every = repeated(computing, ROWS_PLANNED, count)
    if every is None:
        raise AssertionError(computing.text)
    return computed_rows(e, Task(own_place(e.database.cluster.names[0]), every))


def _placed(
    e: Planned, table: str, keys: Keys, names: Sequence[str], rows: Sequence[Row]
) -> dict[str, Sequence[int]]:
    """By shard, in order, the numbers of the rows that belong there; one shard at least.

    Switches: if there are many, or a key is of another type than its column.
    """
    shards, homes = e.database.cluster.names, dict[str | None, str | None]()
    of_rows: Sequence[str | None] = [None] * len(rows)
    if keys.values:
        (homes[None],) = homes_of(keys, shards, e.given)
    else:
        of_rows = list(map(itemgetter(keys.at), rows))
        cast = names[keys.at]
        for text in in_turns(dict.fromkeys(of_rows)):
            value = None if text is None else as_key(text, cast)
            homes[text] = home_of_value(keys, shards, value)
    unknown = [text for text, shard in homes.items() if shard is None]
    if unknown:
        if not keys.values:
            e.computed = [literal(e, text, names[keys.at]) for text in unknown]
            keys = replace(keys, values=tuple(map(Computed, range(len(unknown)))))
        stored = as_stored(e, keys, range(len(unknown)))
        for text, value in zip(unknown, stored, strict=True):
            homes[text] = home_of_value(keys, shards, value)
    if None in homes.values():
        raise refusal_error(uncertain_key(table, keys), ())
    found: dict[str, list[int]] = {}
    for number, text in enumerate(of_rows):
        found.setdefault(str(homes[text]), []).append(number)
    # Without rows, a server still tells what RETURNING gives, and what is wrong.
    return {shard: found[shard] for shard in shards if shard in found} or {shards[0]: []}


def _arrays(rows: Sequence[Row], numbers: Sequence[int], width: int) -> dict[str, Any]:
    return partial_arrays([[rows[number] for number in numbers]], width)
