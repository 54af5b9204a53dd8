"""A view in one web worker: greenshard's pool beside code by hand, threads, and asyncpg.

    make bench-web                                all of it, a quarter of an hour
    make bench-web ARGS="--quick"                 two minutes, rougher
    make bench-web ARGS="--clients 20 --kind waiting"

README.rst beside this file says what is measured, and how to read it.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import click
import report
from cells import percentile
from environment import environment
from rich.console import Console
from rich.progress import track
from web_scene import CLIENT_COUNTS, POOL_SIZE, SHARDS, STATEMENTS, databases
from web_servers import (
    BY_HAND,
    BY_HAND_IN_TRANSACTION,
    CONTESTANTS,
    NOTHING,
    OURS,
    OURS_IN_TRANSACTION,
    servers,
)
from workers import ContestantFailed, Effort, Worker, workers

SCRIPT = "web_load.py"
FULL, QUICK = Effort(rounds=9, seconds=2.0), Effort(rounds=3, seconds=0.5)
#: So many bodies are compared, for each statement.
CHECKS = 20

MOST_TIMES_BY_HAND = 1.05
PACKAGES = ("gunicorn", "asyncpg", "uvicorn", "uvloop")
HEADINGS = (
    "shards", "clients", "contestant", "CPU ms", "x by hand", "quartiles",
    "50 % ms", "99 % ms", "99.9 % ms",
)  # fmt: skip


@dataclass(frozen=True)
class Cell:
    """The figures of one statement and one number of clients.

    Attributes:
        turns: For each contestant its turns, as `web_load.Load.measure` gives them. Those of the
            same number were taken one after the other.
    """

    kind: str
    clients: int
    turns: dict[str, list[dict[str, Any]]]

    def rates(self, name: str) -> list[float]:
        """Requests answered in a second, for each turn."""
        return [len(turn["times_us"]) / turn["seconds"] for turn in self.turns[name]]

    def times_ms(self, name: str) -> list[float]:
        """How long each request took, the shortest first."""
        return sorted(us / 1e3 for turn in self.turns[name] for us in turn["times_us"])

    def ratios(self, name: str, to: str) -> list[float]:
        """For each round, what one contestant used over what the other did; sorted."""
        pairs = zip(self.used_ms(name), self.used_ms(to), strict=True)
        return sorted(one / other for one, other in pairs)

    def used_ms(self, name: str) -> list[float]:
        """Processor time of the server's process for one request, for each turn."""
        return [turn["used_s"] / len(turn["times_us"]) * 1e3 for turn in self.turns[name]]

    def as_json(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "clients": self.clients,
            "contestants": {name: self._figures(name) for name in self.turns},
        }

    def _figures(self, name: str) -> dict[str, Any]:
        times = self.times_ms(name)
        others = [other for other in self.turns if other != name]
        return {
            "requests": len(times),
            "used_ms": median(self.used_ms(name)),
            "rates": self.rates(name),
            "ms": {str(share): percentile(times, share) for share in (0.5, 0.99, 0.999)},
            "ratios": {other: self.ratios(name, other) for other in others},
        }


def measure(load: Worker, sockets: dict[str, str], kind: str, clients: int, effort: Effort) -> Cell:
    """Let the contestants take turns; each round in another order."""
    turns: dict[str, list[dict[str, Any]]] = {name: [] for name in sockets}
    order = list(sockets)
    for _ in range(effort.rounds):
        random.shuffle(order)
        for name in order:
            turn = load.call("measure", sockets[name], kind, clients, effort.seconds)
            turns[name].append(turn)
    return Cell(kind, clients, turns)


def check(load: Worker, sockets: dict[str, str]) -> None:
    """Compare the contestants' answers.

    Raises:
        ContestantFailed: They differ.
    """
    for kind in STATEMENTS:
        found = {name: load.call("check", path, kind, CHECKS) for name, path in sockets.items()}
        if len(set(found.values())) != 1:
            raise ContestantFailed(f"the contestants' answers differ: {kind}, {found}")


def run(
    names: Sequence[str], kinds: Sequence[str], counts: Sequence[int], effort: Effort
) -> tuple[list[Cell], float]:
    """Measure; returns also how many requests a second the load generator can make."""
    wanted = [(kind, clients) for kind in kinds for clients in counts]
    console = Console(stderr=True)
    with (
        databases() as dsns,
        servers([*names, *NOTHING], dsns) as sockets,
        workers(SCRIPT, ["load"]) as [load],
    ):
        ceiling = measure(
            load, {name: sockets.pop(name) for name in NOTHING}, "at-once", max(counts), effort
        )
        check(load, sockets)
        shown = track(wanted, "a view", console=console, transient=True)
        cells = [measure(load, sockets, kind, clients, effort) for kind, clients in shown]
    return cells, median(ceiling.rates(*NOTHING))


def like(name: str) -> str:
    """The hand-written loop that does what a contestant does."""
    in_transaction = name in {OURS_IN_TRANSACTION, BY_HAND_IN_TRANSACTION}
    return BY_HAND_IN_TRANSACTION if in_transaction else BY_HAND


def rows(cell: Cell) -> Iterator[list[str]]:
    """Those of the table."""
    for name in cell.turns:
        times = cell.times_ms(name)
        shares = [f"{percentile(times, share):.1f}" for share in (0.5, 0.99, 0.999)]
        ratios = cell.ratios(name, like(name)) if like(name) in cell.turns else []
        compared = [f"{median(ratios):.2f}", _quartiles(ratios)] if ratios else ["", ""]
        used = f"{median(cell.used_ms(name)):.2f}"
        yield [cell.kind, str(cell.clients), name, used, *compared, *shares]


def _quartiles(ratios: Sequence[float]) -> str:
    return f"{percentile(ratios, 0.25):.2f} to {percentile(ratios, 0.75):.2f}"


def aims(cell: Cell) -> Iterator[str]:
    """What greenshard is to reach, and whether it does."""
    for name in (OURS, OURS_IN_TRANSACTION):
        if name in cell.turns and like(name) in cell.turns:
            what = f"{cell.kind}, {cell.clients} clients, {name}"
            ratio = median(cell.ratios(name, like(name)))
            yield report.aim(what, ratio, like(name), MOST_TIMES_BY_HAND)


@click.command()
@click.option("--quick", is_flag=True, help="Fewer and shorter turns.")
@click.option("--rounds", type=click.IntRange(1), help="How often each contestant has its turn.")
@click.option("--seconds", type=float, help="How long a turn is.")
@click.option("--json", "as_json", is_flag=True, help="Print every figure as JSON.")
@click.option("--rst", "as_rst", is_flag=True, help="Print the table as reStructuredText.")
@click.option(
    "--kind", "kinds", type=click.Choice(list(STATEMENTS)), multiple=True,
    help="Only shards that answer so; can be repeated.",
)  # fmt: skip
@click.option(
    "--clients", "counts", type=click.IntRange(1), multiple=True,
    help="Only so many clients at once; can be repeated.",
)  # fmt: skip
@click.option(
    "--contestant", "names", type=click.Choice(list(CONTESTANTS)), multiple=True,
    help="Only this one; can be repeated.",
)  # fmt: skip
def main(
    quick: bool,
    rounds: int | None,
    seconds: float | None,
    as_json: bool,
    as_rst: bool,
    kinds: tuple[str, ...],
    counts: tuple[int, ...],
    names: tuple[str, ...],
) -> None:
    """Compare a view that asks four shards, in one web worker."""
    usual = QUICK if quick else FULL
    effort = Effort(rounds or usual.rounds, seconds or usual.seconds)
    cells, ceiling = run(
        names or list(CONTESTANTS), kinds or list(STATEMENTS), counts or CLIENT_COUNTS, effort
    )
    facts = environment(PACKAGES)
    if as_json:
        found = [cell.as_json() for cell in cells]
        print(json.dumps({"environment": facts, "ceiling": ceiling, "cells": found}, indent=2))
        return
    said = [said for cell in cells for said in aims(cell)]
    said += [f"the load generator alone: {ceiling:,.0f} requests/s", report.facts(facts)]
    title = f"A view over {SHARDS} shards, one worker, {POOL_SIZE} connections to each shard"
    groups = [list(rows(cell)) for cell in cells]
    report.print_groups(title, HEADINGS, groups, said, "rst" if as_rst else "table", texts=3)


if __name__ == "__main__":
    main()
