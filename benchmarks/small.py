"""Small statements over a declared cluster: what greenshard adds to what one would write by hand.

    make bench-small
    make bench-small ARGS="--quick"
    make bench-small ARGS="--statement 'key lookup' --profile"

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
from small_contestants import WAYS
from small_scene import SHARDS, STATEMENTS, databases
from workers import Effort, Worker, check, take_turns, workers

SCRIPT = "small_contestants.py"
OURS, BY_HAND = "greenshard", "by hand"
FULL, QUICK = Effort(rounds=61, seconds=0.05), Effort(rounds=9, seconds=0.03)
#: So often the answers are compared, where each call has another parameter.
CHECKS = 20
PROFILE_S = 5.0

MOST_TIMES_BY_HAND = 1.15
MOST_TIMES_PSYCOPG2 = 1.5
HEADINGS = ("statement", "contestant", "ms", "p99 ms", "greenshard x", "quartiles")


def contestants(name: str) -> list[str]:
    """psycopg2 alone can do what needs one shard only."""
    return list(WAYS) if name == "key lookup" else [OURS, BY_HAND]


def measure(name: str, staff: Sequence[Worker], effort: Effort) -> Cell:
    """Check that all contestants give the same rows, then let them take turns."""
    asked = [worker for worker in staff if worker.name in contestants(name)]
    for _ in range(CHECKS):
        check(asked, name)
    return Cell(name, SHARDS, take_turns(asked, name, effort))


def run(names: Sequence[str], effort: Effort) -> list[Cell]:
    console = Console(stderr=True)
    with databases() as dsns, workers(SCRIPT, list(WAYS)) as staff:
        for worker in staff:
            worker.call("open", dsns)
        shown = track(names, "small statements", console=console, transient=True)
        return [measure(name, staff, effort) for name in shown]


def profile(names: Sequence[str], as_json: bool) -> None:
    """Print where the processor's time of greenshard and of the hand-written code goes."""
    with databases() as dsns, workers(SCRIPT, [OURS, BY_HAND]) as staff:
        for worker in staff:
            worker.call("open", dsns)
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


def aims(cell: Cell) -> Iterator[str]:
    """What greenshard is to reach, and whether it does."""
    wanted = {BY_HAND: MOST_TIMES_BY_HAND, "psycopg2": MOST_TIMES_PSYCOPG2}
    wanted["green psycopg2"] = MOST_TIMES_PSYCOPG2
    for name in cell.turns:
        if name in wanted:
            yield report.aim(cell.workload, cell.ratio(OURS, name), name, wanted[name])


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
    """Compare small statements of greenshard with hand-written code."""
    chosen = list(names or STATEMENTS)
    if wants_profile:
        profile(chosen, as_json)
        return
    cells = run(chosen, QUICK if quick else FULL)
    if as_json:
        found = [cell.as_json() for cell in cells]
        print(json.dumps({"environment": environment(), "cells": found}, indent=2))
        return
    said = [*(said for cell in cells for said in aims(cell)), report.facts(environment())]
    title = f"Small statements, {SHARDS} shards"
    groups = [list(rows(cell)) for cell in cells]
    report.print_groups(title, HEADINGS, groups, said, "rst" if as_rst else "table", texts=2)


if __name__ == "__main__":
    main()
