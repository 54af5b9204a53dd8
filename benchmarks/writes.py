"""Writes over a declared cluster: what greenshard adds to what one would write by hand.

    make bench-writes
    make bench-writes ARGS="--quick"
    make bench-writes ARGS="--statement 'insert one row' --profile"

README.rst beside this file says what is measured, and how to read it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

import click
import report
from cells import Cell
from environment import environment
from rich.console import Console
from rich.progress import track
from workers import Effort, Worker, check, take_turns, workers
from writes_contestants import WAYS
from writes_scene import SHARDS, STATEMENTS, databases

SCRIPT = "writes_contestants.py"
OURS = "greenshard"
#: What by hand does is done on all shards or none, as with greenshard.
BY_HAND = "by hand, as safe"
FULL, QUICK = Effort(rounds=61, seconds=0.05), Effort(rounds=9, seconds=0.03)
#: So often the answers are compared, where each call has another parameter.
CHECKS = 20
PROFILE_S = 5.0

MOST_TIMES_BY_HAND = 1.15
HEADINGS = ("statement", "contestant", "ms", "p99 ms", "greenshard x", "quartiles")


def measure(name: str, staff: Sequence[Worker], effort: Effort) -> Cell:
    """Check that all tell the same, then let them take turns."""
    for _ in range(CHECKS):
        check(staff, name)
    return Cell(name, SHARDS, take_turns(staff, name, effort))


def run(names: Sequence[str], effort: Effort) -> list[Cell]:
    console = Console(stderr=True)
    with databases(list(WAYS)) as dsns, workers(SCRIPT, list(WAYS)) as staff:
        for worker in staff:
            worker.call("open", dsns[worker.name])
        shown = track(names, "writes", console=console, transient=True)
        return [measure(name, staff, effort) for name in shown]


def profile(names: Sequence[str], as_json: bool) -> None:
    """Print where the processor's time of greenshard and of the hand-written code goes."""
    with databases(list(WAYS)) as dsns, workers(SCRIPT, list(WAYS)) as staff:
        for worker in staff:
            worker.call("open", dsns[worker.name])
        found = {
            name: {worker.name: worker.call("profile", name, PROFILE_S) for worker in staff}
            for name in names
        }
    report.print_profile(found, as_json)


def rows(cell: Cell) -> Iterator[list[str]]:
    """Those of the table."""
    for name in cell.turns:
        low, high = cell.quartiles(OURS, name)
        ratio = [f"{cell.ratio(OURS, name):.2f}", f"{low:.2f} to {high:.2f}"]
        ms = [f"{seconds * 1e3:.3f}" for seconds in (cell.median_s(name), cell.p99_s(name))]
        yield [cell.workload, name, *ms, *(["", ""] if name == OURS else ratio)]


def aim(cell: Cell) -> str:
    """What greenshard is to reach, and whether it does."""
    return report.aim(cell.workload, cell.ratio(OURS, BY_HAND), BY_HAND, MOST_TIMES_BY_HAND)


@click.command()
@click.option("--quick", is_flag=True, help="Fewer and shorter turns.")
@click.option("--json", "as_json", is_flag=True, help="Print every figure as JSON.")
@click.option("--rst", "as_rst", is_flag=True, help="Print the table as reStructuredText.")
@click.option("--profile", "wants_profile", is_flag=True, help="Where the time goes.")
@click.option(
    "--statement", "names", type=click.Choice(list(STATEMENTS)), multiple=True,
    help="Only this statement; can be repeated.",
)  # fmt: skip
def main(
    quick: bool, as_json: bool, as_rst: bool, wants_profile: bool, names: tuple[str, ...]
) -> None:
    """Compare writes of greenshard with hand-written code."""
    chosen = list(names or STATEMENTS)
    if wants_profile:
        profile(chosen, as_json)
        return
    cells = run(chosen, QUICK if quick else FULL)
    if as_json:
        found = [cell.as_json() for cell in cells]
        print(json.dumps({"environment": environment(), "cells": found}, indent=2))
        return
    said = [*map(aim, cells), report.facts(environment())]
    title = f"Writes, {SHARDS} shards"
    groups = [list(rows(cell)) for cell in cells]
    report.print_groups(title, HEADINGS, groups, said, "rst" if as_rst else "table", texts=2)


if __name__ == "__main__":
    main()
