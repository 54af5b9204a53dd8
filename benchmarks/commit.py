"""Commits over several shards: what it costs that none is half done, or seen so.

    make bench-commit
    make bench-commit ARGS="--quick"
    TMPDIR=/a/real/disk make bench-commit

README.rst beside this file says what is measured, and how to read it.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import click
import report
from cells import Cell, percentile
from commit_contestants import READERS, WAYS, WRITERS
from commit_scene import SHARDS, servers, slowed
from environment import environment
from rich.console import Console
from rich.progress import track
from workers import Effort, Worker, take_turns, workers

SCRIPT = "commit_contestants.py"
OURS, BY_HAND, SNAPSHOT = "greenshard", "by hand", "in a snapshot"
COUNTS = (1, 2, SHARDS)
FULL, QUICK = Effort(rounds=41, seconds=0.25), Effort(rounds=5, seconds=0.1)
#: How long a message is on its way when round trips are counted: much longer than a commit takes.
DELAY_S = 0.1

MOST_TIMES_BY_HAND = 1.2
HEADINGS = ("", "contestant", "trips", "ms", "p99 ms", "greenshard x", "quartiles")


@dataclass
class Found:
    """What was measured.

    Attributes:
        commits: The times of commits, by the number of shards.
        snapshots: Those of reads, by what else goes on.
        held_up: How many seconds the writers' commits took, by what else goes on.
        round_trips: By contestant and number of shards.
    """

    commits: list[Cell] = field(default_factory=list)
    snapshots: list[Cell] = field(default_factory=list)
    held_up: dict[str, list[float]] = field(default_factory=dict)
    round_trips: dict[str, dict[str, int]] = field(default_factory=dict)


def run(effort: Effort) -> Found:
    """Measure all of it."""
    found = Found()
    console = Console(stderr=True)
    with (
        servers() as dsns,
        workers(SCRIPT, list(WAYS)) as staff,
        workers(SCRIPT, list(READERS)) as readers,
        workers(SCRIPT, list(WRITERS)) as writers,
    ):
        with slowed(dsns, DELAY_S) as slow_dsns:
            for worker in (*staff, *readers):
                found.round_trips[worker.name] = round_trips(worker, slow_dsns)
        for worker in (*staff, *readers, *writers):
            worker.call("open", dsns)
        for count in track(COUNTS, "commits", console=console, transient=True):
            turns = take_turns(staff, str(count), effort)
            found.commits.append(Cell(f"{count} shards", count, turns))
        beside_each_other(found, readers, writers, effort)
    return found


def beside_each_other(
    found: Found, readers: Sequence[Worker], writers: Sequence[Worker], effort: Effort
) -> None:
    """Measure what snapshots and writers cost each other."""
    everywhere = str(SHARDS)
    with commits(writers) as found.held_up["alone"]:
        time.sleep(effort.rounds * effort.seconds)
    idle = take_turns(readers, everywhere, effort)
    with commits(writers) as found.held_up["beside readers"]:
        busy = take_turns(readers, everywhere, effort)
    beside = f"beside {len(writers)} writers"
    found.snapshots += [Cell("idle", SHARDS, idle), Cell(beside, SHARDS, busy)]
    snapshots, *_ = readers
    with commits(writers) as found.held_up["beside snapshots without a pause"]:
        snapshots.call("measure", everywhere, effort.rounds * effort.seconds)


@contextmanager
def commits(writers: Sequence[Worker]) -> Iterator[list[float]]:
    """Let writers commit over two shards meanwhile; how many seconds each commit took."""
    times: list[float] = []
    over = threading.Event()

    def work(writer: Worker) -> None:
        while not over.is_set():
            times.extend(writer.call("measure", "2", 0.2))

    threads = [threading.Thread(target=work, args=(writer,)) for writer in writers]
    for thread in threads:
        thread.start()
    try:
        yield times
    finally:
        over.set()
        for thread in threads:
            thread.join()


def round_trips(worker: Worker, slow_dsns: Sequence[str]) -> dict[str, int]:
    """How often a commit waits for a message to arrive, by the number of shards."""
    worker.call("open", slow_dsns)
    return {
        str(count): int(min(worker.call("measure", str(count), DELAY_S * 20)) / DELAY_S)
        for count in COUNTS
    }


def rows(cell: Cell, trips: dict[str, dict[str, int]], ours: str) -> Iterator[list[str]]:
    """Those of the table."""
    for name in cell.turns:
        low, high = cell.quartiles(ours, name)
        ratio = [f"{cell.ratio(ours, name):.2f}", f"{low:.2f} to {high:.2f}"]
        ms = [f"{seconds * 1e3:.2f}" for seconds in (cell.median_s(name), cell.p99_s(name))]
        trip = str(trips[name][str(cell.shards)])
        yield [cell.workload, name, trip, *ms, *(["", ""] if name == ours else ratio)]


def held_up(what: str, times: Sequence[float]) -> str:
    """What commits of the writers took, in words."""
    ordered = sorted(times)
    figures = [percentile(ordered, share) * 1e3 for share in (0.5, 0.99, 1)]
    middle, high, longest = (f"{ms:.2f}" for ms in figures)
    return f"commits over two shards, {what}: {middle} ms, 99 % in {high}, the longest {longest}"


def aim(cell: Cell) -> str:
    """What greenshard is to reach, and whether it does."""
    what = f"commit over {cell.workload}"
    return report.aim(what, cell.ratio(OURS, BY_HAND), BY_HAND, MOST_TIMES_BY_HAND)


def print_found(found: Found, form: str) -> None:
    trips = found.round_trips
    said = [*map(aim, found.commits), report.facts(environment())]
    groups = [list(rows(cell, trips, OURS)) for cell in found.commits]
    report.print_groups("Commits, fsync on", HEADINGS, groups, said, form, texts=2)
    held = [held_up(what, times) for what, times in found.held_up.items()]
    groups = [list(rows(cell, trips, SNAPSHOT)) for cell in found.snapshots]
    headings = [heading.replace(OURS, SNAPSHOT) for heading in HEADINGS]
    report.print_groups(f"Reads of {SHARDS} shards", headings, groups, held, form, texts=2)


@click.command()
@click.option("--quick", is_flag=True, help="Fewer and shorter turns.")
@click.option("--json", "as_json", is_flag=True, help="Print every figure as JSON.")
@click.option("--rst", "as_rst", is_flag=True, help="Print the tables as reStructuredText.")
def main(quick: bool, as_json: bool, as_rst: bool) -> None:
    """Compare commits of greenshard with hand-written ones; the servers write to a disk."""
    found = run(QUICK if quick else FULL)
    if not as_json:
        print_found(found, "rst" if as_rst else "table")
        return
    facts = {
        "environment": environment(),
        "round_trips": found.round_trips,
        "commits": [cell.as_json() for cell in found.commits],
        "snapshots": [cell.as_json() for cell in found.snapshots],
        "held_up": found.held_up,
    }
    print(json.dumps(facts, indent=2))


if __name__ == "__main__":
    main()
