"""One statement, as a cursor asks for it."""

from __future__ import annotations

from dataclasses import dataclass

from greenshard.executor.answers.parts import Parts
from greenshard.executor.execution import Execution
from greenshard.executor.record import Record
from greenshard.links.deadline import Deadline
from greenshard.planner.target import Target


@dataclass(slots=True, eq=False)
class Asked:
    """What a cursor asks for with one statement.

    Attributes:
        parts: The shards' cursors; they get the answer.
        timeout: What it may take.
        partial: Whether the rows of some shards are good enough, if it only reads.
        target: The shards that the cursor was made for; None if it follows its connection.
        sets: How many sets of parameters it has, of ``executemany``; None for other calls.
        record: Where its calls are noted; None while nobody listens.
    """

    parts: Parts
    timeout: Deadline
    partial: bool
    target: Target | None
    sets: int | None = None
    record: Record | None = None

    def follow(self, execution: Execution) -> None:
        """Let an execution note its calls where the listener looks."""
        if self.record is not None:
            self.record.follow(execution)
