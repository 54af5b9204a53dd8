"""Each shard writes its copy of a reference table by itself."""

from __future__ import annotations

from collections.abc import Sequence

from greenshard.executor.answers.answer import Answer
from greenshard.executor.planned import Planned
from greenshard.executor.strategies.concatenate import concatenate
from greenshard.planner.plan import Copies
from greenshard.planner.tasks import Stage, Task, own_place


def write_copies(e: Planned, copies: Copies | None, stages: Sequence[Stage]) -> Answer:
    """Write on the first shard, then on the others.

    Args:
        e: The execution; in a transaction.
        copies: What is written; None: no copies are, and this is `concatenate`.
        stages: The tasks.

    Raises:
        errors.Error: A shard failed, time is up, or copies came out otherwise.

    Switches: yes.
    """
    if copies is not None and copies.lock is not None:
        first, *others = e.database.cluster.names
        for shards in ((first,), tuple(others)):
            stage = tuple(Task(own_place(shard), copies.lock) for shard in shards)
            if stage:
                e.first_stage(shards, e.calls(stage, e.parts.plain(shards, e.timeout)))
    return concatenate(e, stages, copies)
