"""The statement runs on one shard, which has all that it needs.

This is the way of most statements of most programs, and so a short one: nothing is compared or put
together. A statement that any one shard can answer ("reference") is run in the same way.
"""

from __future__ import annotations

from greenshard.executor.answers.answer import Answer
from greenshard.executor.planned import Planned
from greenshard.planner.tasks import Task


def route(e: Planned, task: Task) -> Answer:
    """Run the only task that there is.

    Switches: yes.
    """
    # Another text than the user's is sent, and psycopg2 would find the fault in that one.
    if task.sql.binds is not None:
        e.check_parameters()
    shards = (task.place.shard,)
    cursors = e.parts.ready(shards, e.timeout)
    return e.answer_of(cursors, e.run(shards, e.calls((task,), cursors)))
