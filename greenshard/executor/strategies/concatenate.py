"""The rows of the shards follow one another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from greenshard.executor.answers.answer import Answer
from greenshard.executor.planned import Planned
from greenshard.links.fanout import Job
from greenshard.links.session import Outcome
from greenshard.planner.plan import Copies, Refused
from greenshard.planner.refusals import refusal_error
from greenshard.planner.tasks import Stage


def concatenate(e: Planned, stages: Sequence[Stage], copies: Copies | None = None) -> Answer:
    """Run the tasks, stage by stage; the answer is the rows of all, in the tasks' order.

    If a stage fails, the next ones do not begin.

    Args:
        e: The execution.
        stages: What is run.
        copies: Of what each shard writes its copy; None: of nothing.

    Raises:
        errors.Error: A shard failed, time is up, or copies came out otherwise.

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
        if copies is not None and not failures:
            # A row that the first shard does not have is another transaction's, from after this
            # statement: the others must not find it.
            if not any(cursors[shard].rowcount for shard in jobs):
                cursors = {shard: cursors[shard] for shard in jobs}
                break
            _check_alike(copies.table, {shard: cursors[shard].rowcount for shard in jobs})
    return e.answer_of(cursors, Outcome(jobs, failures))


def _check_alike(table: str, counts: Mapping[str, int]) -> None:
    (first, wanted), *others = counts.items()
    for shard, count in others:
        check_copy(table, first, wanted, shard, count)


def check_copy(table: str, first: str, wanted: int, shard: str, found: int) -> None:
    """Refuse to go on with copies that differ.

    Args:
        table: The reference table.
        first: The shard that was asked first.
        wanted: How many rows that one has written.
        shard: Another one.
        found: How many that one has.

    Raises:
        errors.Error: They differ: a serialization failure, for the usual cause is a commit that has
            reached one of the two shards.
    """
    if found != wanted:
        reason = f"{first} has written {wanted} rows of {table}, {shard} {found}"
        hint = (
            "Somebody has changed it meanwhile: try the transaction again. If it stays so, the "
            "copies differ: see `greenshard check`."
        )
        raise refusal_error(Refused(reason, "GS110", hint, pgcode="40001"), ())
