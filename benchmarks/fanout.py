"""What a fan-out costs: greenshard beside a hand-written gevent loop, threads, and a plain loop.

    make bench                              all of it, five minutes
    make bench ARGS="--quick"               two minutes, rougher
    make bench ARGS="--json > fanout.json"  every figure
    make bench ARGS="--profile"             where the time of SELECT 1 goes

README.rst beside this file says what is measured, and how to read it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click
import report
from cells import Cell
from contestants import WAYS
from environment import environment
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from scene import SHARD_COUNTS, WORKLOADS, Workload, databases
from workers import Effort, Worker, check, take_turns, workers

SCRIPT = "contestants.py"

# Many short turns: what else the machine does meanwhile then hits all contestants alike.
FULL, QUICK = Effort(rounds=61, seconds=0.05), Effort(rounds=9, seconds=0.03)


def measure(workload: Workload, shards: int, staff: Sequence[Worker], effort: Effort) -> Cell:
    """Check that all contestants give the same rows, then let them take turns."""
    sql = workload.sql(shards)
    check(staff, sql)
    return Cell(workload.name, shards, take_turns(staff, sql, effort))


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
        with databases() as dsns, workers(SCRIPT, list(WAYS)) as staff:
            for shards in counts:
                for worker in staff:
                    worker.call("open", dsns[:shards])
                for workload in workloads:
                    progress.update(task, description=f"{workload.name}, {shards} shards")
                    cells.append(measure(workload, shards, staff, effort))
                    progress.advance(task)
    return cells


def profile(counts: Sequence[int], seconds: float) -> dict[str, dict[str, Any]]:
    """For each number of shards, the samples of greenshard and of the hand-written loop."""
    with databases() as dsns, workers(SCRIPT, ["greenshard", "by hand"]) as staff:
        found: dict[str, dict[str, Any]] = {}
        for shards in counts:
            for worker in staff:
                worker.call("open", dsns[:shards])
            profiles = {w.name: w.call("profile", "SELECT 1", seconds) for w in staff}
            found[f"SELECT 1 over {shards}"] = profiles
        return found


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
