"""A sequence is set, on the first shard, to what has been read before."""

from __future__ import annotations

from collections.abc import Callable

from greenshard.executor.answers.answer import Answer
from greenshard.executor.planned import Planned
from greenshard.executor.strategies.apart import read_apart
from greenshard.executor.strategies.combine import partial_arrays, with_rows
from greenshard.executor.strategies.concatenate import concatenate
from greenshard.planner.plan import SetSequence
from greenshard.planner.tasks import Task, own_place
from greenshard.sql.text import Sql


def set_sequence(e: Planned, step: SetSequence, run: Callable[[Planned], Answer]) -> Answer:
    """Read the number, and set the sequence.

    Args:
        e: The execution.
        step: The plan.
        run: Runs a planned statement.

    Raises:
        errors.Error: A shard failed, or time is up.

    Switches: yes.
    """
    e.check_parameters()
    e.check_clock()
    names, rows, _ = read_apart(e, step.read, step.plan, run, "that it reads")
    text = with_rows(step.sql, names)
    given = {**(e.parameters(step.sql, e.given) or {}), **partial_arrays([rows], len(names))}
    place = own_place(e.database.cluster.names[0])
    return concatenate(e, ((Task(place, Sql(text), given),),)).of_first()
