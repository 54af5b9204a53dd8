"""The contestants' processes, and the turns that they take.

psycopg2's wait callback is one for the whole process, and the blocking connections must not have
it: so each contestant is a process of its own.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Effort:
    """How long to measure.

    Attributes:
        rounds: How often each contestant has its turn, for each figure.
        seconds: How long a turn is; at least one call.
    """

    rounds: int
    seconds: float


class ContestantFailed(click.ClickException):
    """A contestant could not do what was asked."""


class Worker:
    """The process of one contestant; it works only inside a call of one of its methods.

    Args:
        script: The file beside this one that runs in the process; it ends with `contestants.serve`.
        name: Which of the script's contestants it is.
        environment: Variables that it has beside those of this process.
    """

    def __init__(
        self, script: str, name: str, environment: Mapping[str, str] | None = None
    ) -> None:
        self.name = name
        self._process = subprocess.Popen(
            [sys.executable, str(HERE / script), name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **(environment or {})},
        )

    def call(self, method: str, *arguments: object) -> Any:
        """Call a method of what `contestants.serve` was given there.

        Raises:
            ContestantFailed: The method raised, or the process ended; what it said is on the
                standard error.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps([method, *arguments]) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass
        answer = self._process.stdout.readline()
        if not answer:
            raise ContestantFailed(f"the contestant {self.name!r} ended")
        outcome = json.loads(answer)
        if "error" in outcome:
            raise ContestantFailed(f"{self.name}: {outcome['error']}")
        return outcome["value"]

    def close(self) -> None:
        self._process.communicate()


@contextmanager
def workers(
    script: str,
    names: Sequence[str],
    environments: Mapping[str, Mapping[str, str]] | None = None,
) -> Iterator[list[Worker]]:
    """The processes; `environments` are variables that some of them have, by their names."""
    with ExitStack() as stack:
        started = []
        for name in names:
            started.append(Worker(script, name, (environments or {}).get(name)))
            stack.callback(started[-1].close)
        yield started


def take_turns(staff: Sequence[Worker], question: str, effort: Effort) -> dict[str, Any]:
    """Let the contestants take turns; each round in another order, so that none is always first.

    Returns:
        For each contestant and each of its turns, how many seconds each call took.
    """
    turns: dict[str, list[list[float]]] = {worker.name: [] for worker in staff}
    order = list(staff)
    for _ in range(effort.rounds):
        random.shuffle(order)
        for worker in order:
            turns[worker.name].append(worker.call("measure", question, effort.seconds))
    return turns


def check(staff: Sequence[Worker], question: str) -> None:
    """Ask all contestants once.

    Raises:
        ContestantFailed: Their answers differ.
    """
    answers = {tuple(worker.call("check", question)) for worker in staff}
    if len(answers) != 1:
        raise ContestantFailed(f"the contestants' rows differ: {question}")
