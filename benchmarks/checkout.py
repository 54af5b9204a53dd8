"""What it costs to take a connection from a pool and to give it back, nothing else being wanted.

    make bench-checkout
    make bench-checkout ARGS="--quick"

README.rst beside this file says what is measured, and how to read it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

import click
import report
from cells import Cell
from checkout_contestants import QUESTIONS, WAYS
from environment import environment
from rich.console import Console
from rich.progress import track
from workers import Effort, Worker, check, take_turns, workers

from greenshard.testing import Shards

SCRIPT = "checkout_contestants.py"
OURS = "greenshard"
SHARDS = 4
FULL, QUICK = Effort(rounds=61, seconds=0.05), Effort(rounds=9, seconds=0.03)
HEADINGS = ("what", "pool", "us", "p99 us", "greenshard x", "quartiles")


def measure(question: str, staff: Sequence[Worker], effort: Effort) -> Cell:
    check(staff, question)
    return Cell(question, SHARDS, take_turns(staff, question, effort))


def run(effort: Effort) -> list[Cell]:
    console = Console(stderr=True)
    with Shards(SHARDS) as shards, workers(SCRIPT, list(WAYS)) as staff:
        for worker in staff:
            worker.call("open", list(shards.dsns.values()))
        shown = track(QUESTIONS, "pools", console=console, transient=True)
        return [measure(question, staff, effort) for question in shown]


def rows(cell: Cell) -> Iterator[list[str]]:
    """Those of the table."""
    for name in cell.turns:
        low, high = cell.quartiles(OURS, name)
        ratio = [f"{cell.ratio(OURS, name):.2f}", f"{low:.2f} to {high:.2f}"]
        us = [f"{seconds * 1e6:.1f}" for seconds in (cell.median_s(name), cell.p99_s(name))]
        yield [cell.workload, name, *us, *(["", ""] if name == OURS else ratio)]


@click.command()
@click.option("--quick", is_flag=True, help="Fewer and shorter turns.")
@click.option("--json", "as_json", is_flag=True, help="Print every figure as JSON.")
@click.option("--rst", "as_rst", is_flag=True, help="Print the table as reStructuredText.")
def main(quick: bool, as_json: bool, as_rst: bool) -> None:
    """Compare pools: a connection is taken and given back, with and without a statement."""
    cells = run(QUICK if quick else FULL)
    facts = environment(("psycopg", "psycopg-pool"))
    if as_json:
        found = [cell.as_json() for cell in cells]
        print(json.dumps({"environment": facts, "cells": found}, indent=2))
        return
    title = "Taking a connection from a pool, and giving it back"
    groups = [list(rows(cell)) for cell in cells]
    notes = [report.facts(facts)]
    report.print_groups(title, HEADINGS, groups, notes, "rst" if as_rst else "table", texts=2)


if __name__ == "__main__":
    main()
