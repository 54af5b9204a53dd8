"""The rows of the shards follow one another."""

from __future__ import annotations

from collections.abc import Sequence

from greenshard.executor.answers.answer import Answer
from greenshard.executor.planned import Planned
from greenshard.links.fanout import Job
from greenshard.links.session import Outcome
from greenshard.planner.tasks import Stage


def concatenate(e: Planned, stages: Sequence[Stage]) -> Answer:
    """Run the tasks, stage by stage; the answer is the rows of all, in the tasks' order.

    If a stage fails, the next ones do not begin.

    Switches: yes.
    """
    if any(task.sql.binds is not None for stage in stages for task in stage):
        e.check_parameters()
    shards = dict.fromkeys(task.place.shard for stage in stages for task in stage)
    cursors = e.parts.ready(shards, e.timeout)
    if len(stages) > 1 and not e.tolerant:
        # No shard shall be found out of reach when others have written.
        for shard in shards:
            e.session.physical(shard)
    jobs: dict[str, Job] = {}
    failures: dict[str, BaseException] = {}
    for stage in stages:
        names = [task.place.shard for task in stage]
        calls = e.reading(cursors, e.calls(stage, cursors))
        # The first stage of a write to a reference table is its first shard alone, see
        # `Broadcast.first_alone`.
        outcome = e.run(names, calls, before=tuple(jobs.values()))
        jobs |= outcome.jobs
        failures |= outcome.failures
    return e.answer_of(cursors, Outcome(jobs, failures))
