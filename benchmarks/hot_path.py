"""The client's processor time of small calls: greenshard now, an older one, and code by hand.

    make bench-hot
    make bench-hot ARGS="--quick"
    git worktree add --detach /tmp/older c7fb5d7
    make bench-hot ARGS="--before /tmp/older"

README.rst beside this file says what is measured, and how to read it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import click
import report
from cells import percentile
from environment import environment
from hot_path_contestants import QUESTIONS, WAYS
from rich.console import Console
from rich.progress import track
from small_scene import databases
from workers import Effort, Worker, check, take_turns, workers

SCRIPT = "hot_path_contestants.py"
NOW, BEFORE, BY_HAND, GREEN = "greenshard", "before", "by hand", "green psycopg2"
FULL, QUICK = Effort(rounds=61, seconds=0.1), Effort(rounds=9, seconds=0.05)
#: The most that greenshard is to take, times another contestant.
AIMS = {
    ("key lookup", BY_HAND): 1.0,
    ("key lookup", GREEN): 1.3,
    ("SELECT 1 on 4 shards", BY_HAND): 0.9,
    ("1,000 rows of each shard", BY_HAND): 1.03,
    ("transaction of a pool", BY_HAND): 1.3,
}
HEADINGS = ("what", "contestant", "CPU us", "greenshard x", "quartiles")


@dataclass(frozen=True)
class Costs:
    """What one call costs, by contestant: for each of its turns, microseconds of the processor."""

    question: str
    turns: dict[str, list[float]]

    def ratios(self, to: str) -> list[float]:
        """For each round, greenshard's over another's; sorted."""
        return sorted(
            one / other for one, other in zip(self.turns[NOW], self.turns[to], strict=True)
        )

    def rows(self) -> Iterator[list[str]]:
        """Those of the table."""
        for name, costs in self.turns.items():
            ratios = self.ratios(name)
            low, high = percentile(ratios, 0.25), percentile(ratios, 0.75)
            compared = [f"{median(ratios):.2f}", f"{low:.2f} to {high:.2f}"]
            yield [
                self.question,
                name,
                f"{median(costs):.1f}",
                *(compared if name != NOW else ["", ""]),
            ]

    def aims(self) -> Iterator[str]:
        """What greenshard is to reach, and whether it does."""
        for (question, other), most in AIMS.items():
            if question == self.question and other in self.turns:
                yield report.aim(question, median(self.ratios(other)), other, most)

    def as_json(self) -> dict[str, Any]:
        return {"question": self.question, "cpu_us": self.turns}


def measure(question: str, staff: Sequence[Worker], effort: Effort) -> Costs:
    """Check that all contestants give the same rows, then let them take turns."""
    asked = [w for w in staff if w.name != GREEN or question == "key lookup"]
    for _ in range(5):
        check(asked, question)
    return Costs(question, take_turns(asked, question, effort))


def run(questions: Sequence[str], before: str | None, effort: Effort) -> list[Costs]:
    names = [name for name in WAYS if name != BEFORE or before is not None]
    older = {} if before is None else {BEFORE: {"PYTHONPATH": before}}
    console = Console(stderr=True)
    with databases() as dsns, workers(SCRIPT, names, older) as staff:
        for worker in staff:
            worker.call("open", dsns)
        shown = track(questions, "small calls", console=console, transient=True)
        return [measure(question, staff, effort) for question in shown]


@click.command()
@click.option("--quick", is_flag=True, help="Fewer and shorter turns.")
@click.option("--json", "as_json", is_flag=True, help="Print every figure as JSON.")
@click.option("--rst", "as_rst", is_flag=True, help="Print the table as reStructuredText.")
@click.option(
    "--before", type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="A checkout of an older commit, to compare with.",
)  # fmt: skip
@click.option(
    "--question", "questions", type=click.Choice(QUESTIONS), multiple=True,
    help="Only this one; can be repeated.",
)  # fmt: skip
def main(
    quick: bool, as_json: bool, as_rst: bool, before: Path | None, questions: tuple[str, ...]
) -> None:
    """Compare the processor time of small calls."""
    path = None if before is None else str(before.resolve())
    costs = run(questions or QUESTIONS, path, QUICK if quick else FULL)
    facts = environment()
    if as_json:
        found = [each.as_json() for each in costs]
        print(json.dumps({"environment": facts, "costs": found}, indent=2))
        return
    said = [*(said for each in costs for said in each.aims()), report.facts(facts)]
    groups = [list(each.rows()) for each in costs]
    title = "Processor time of the client, for one call"
    report.print_groups(title, HEADINGS, groups, said, "rst" if as_rst else "table", texts=2)


if __name__ == "__main__":
    main()
