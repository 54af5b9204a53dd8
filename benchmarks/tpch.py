"""TPC-H over four shards beside one server with every row: the 22 queries, their strategies.

    make bench-tpch                          scale 0.1
    make bench-tpch ARGS="--scale 0.01"      a quick look
    make bench-tpch ARGS="--query 9 --query 18"
    make bench-tpch ARGS="--json > tpch.json"

README.rst beside this file says what is measured, and how to read it.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import psycopg2
import report
import tpch_data
from cells import Cell
from environment import environment
from rich.console import Console
from rich.progress import track
from tpch_contestants import WAYS
from tpch_data import QUERIES, Query
from workers import Effort, Worker, check, take_turns, workers

import greenshard
from greenshard.testing import Shards

SHARDS = 4
ONE, OURS = "one server", "greenshard"
#: Of every server, the single one and the shards.
SETTINGS = {"shared_buffers": "256MB", "work_mem": "32MB"}
SHOWN_SETTINGS = (*SETTINGS, "max_parallel_workers_per_gather", "jit", "server_version")
#: Citus 13.2 refuses these, as correlated subqueries that its planner cannot push down.
NOT_IN_CITUS = (17, 20, 22)
MOST_TIMES_ONE_SERVER = 3.0

ROUNDS, QUICK_ROUNDS = 15, 5
TURN_S = 0.02
#: A query that both together need longer for than this is measured once.
SLOW_S = 8.0
ONCE = Effort(rounds=1, seconds=1e-6)
HEADINGS = ("query", "strategy", "one server ms", "greenshard ms", "ratio", "quartiles")


@dataclass(frozen=True)
class Result:
    """What came of one query.

    Attributes:
        query: It.
        strategy: How greenshard answered it.
        cell: The times; None if greenshard refused it or gave another answer.
        problem: Why there are no times.
    """

    query: Query
    strategy: str
    cell: Cell | None = None
    problem: str = ""

    def as_json(self) -> dict[str, Any]:
        return {
            "query": self.query.name,
            "strategy": self.strategy,
            "problem": self.problem,
            "times": self.cell and self.cell.as_json(),
        }


@contextmanager
def databases(scale: float, indexes: bool) -> Iterator[tuple[str, list[str]]]:
    """The DSNs of the single server and of the shards, loaded; each is a server of its own."""
    with Shards(SHARDS + 1, settings=SETTINGS) as servers, tempfile.TemporaryDirectory() as files:
        tpch_data.generate(scale, Path(files))
        *shards, single = servers.dsns.values()
        tpch_data.load(Path(files), single, shards, indexes=indexes)
        yield single, shards


def settings(dsn: str) -> dict[str, str]:
    """Those that the times depend on, as a server has them."""
    with closing(psycopg2.connect(dsn)) as connection, connection.cursor() as cursor:
        shown = {}
        for name in SHOWN_SETTINGS:
            cursor.execute("SELECT current_setting(%s)", (name,))
            shown[name] = cursor.fetchone()[0]
        return shown


def measure(
    queries: Sequence[Query], scale: float, indexes: bool, rounds: int
) -> tuple[list[Result], dict[str, str]]:
    """Ask each query of both sides, in turns.

    Returns:
        The results, and the servers' settings.
    """
    console = Console(stderr=True)
    with ExitStack() as stack:
        with console.status(f"{SHARDS + 1} servers, TPC-H at scale {scale}"):
            single, shards = stack.enter_context(databases(scale, indexes))
        staff = stack.enter_context(workers("tpch_contestants.py", list(WAYS)))
        for worker in staff:
            worker.call("open", [single] if worker.name == ONE else shards)
        cluster = tpch_data.cluster(shards)
        connection = stack.enter_context(closing(greenshard.connect(cluster)))
        results = [
            measure_query(query, query.sql(scale), staff, connection, rounds)
            for query in track(queries, "TPC-H", console=console, transient=True)
        ]
        return results, settings(single)


def measure_query(
    query: Query, sql: str, staff: Sequence[Worker], connection: Any, rounds: int
) -> Result:
    """Check that both sides give the same answer, then let them take turns."""
    strategy = ""
    try:
        strategy = connection.explain(sql).splitlines()[0].removeprefix("strategy: ")
        started = time.perf_counter()
        check(staff, sql)
        slow = time.perf_counter() - started > SLOW_S
    except Exception as error:  # whatever it is, the other queries can be measured
        return Result(query, strategy, problem=" ".join(repr(error).split()))
    turns = take_turns(staff, sql, ONCE if slow else Effort(rounds, TURN_S))
    return Result(query, strategy, Cell(query.name, SHARDS, turns))


def rows(results: Sequence[Result]) -> Iterator[list[str]]:
    """Those of the table."""
    for result in results:
        first = [result.query.name, result.strategy]
        if result.cell is None:
            yield [*first, "", "", "", "see below"]
            continue
        ms = [f"{result.cell.median_s(name) * 1e3:.1f}" for name in (ONE, OURS)]
        low, high = result.cell.quartiles(OURS, ONE)
        yield [*first, *ms, f"{result.cell.ratio(OURS, ONE):.2f}", f"{low:.2f} to {high:.2f}"]


def sum_row(name: str, cells: Sequence[Cell]) -> list[str]:
    """The sum of the medians."""
    one, ours = (sum(cell.median_s(side) for cell in cells) for side in (ONE, OURS))
    ratio = f"{ours / one:.2f}" if cells else ""
    return [f"{name} ({len(cells)})", "", f"{one * 1e3:.1f}", f"{ours * 1e3:.1f}", ratio, ""]


def sum_rows(results: Sequence[Result]) -> list[list[str]]:
    """The sums, over as many queries as have times."""
    measured = [(result.query.number, result.cell) for result in results if result.cell]
    in_citus = [cell for number, cell in measured if number not in NOT_IN_CITUS]
    return [
        sum_row("all", [cell for _, cell in measured]),
        sum_row("in Citus", in_citus),
    ]


def notes(results: Sequence[Result]) -> Iterator[str]:
    """What went wrong, and what is slower than it is to be."""
    cells = [result.cell for result in results if result.cell]
    yield f"equal answers: {len(cells)} of {len(results)}"
    for result in results:
        if result.problem:
            yield f"{result.query.name}: {result.problem}"
    for cell in cells:
        if cell.ratio(OURS, ONE) > MOST_TIMES_ONE_SERVER:
            yield report.aim(cell.workload, cell.ratio(OURS, ONE), ONE, MOST_TIMES_ONE_SERVER)


@click.command()
@click.option("--scale", default=0.1, show_default=True, help="1 is a gigabyte.")
@click.option(
    "--query", "numbers", type=click.IntRange(1, len(QUERIES)), multiple=True,
    help="Only this query; can be repeated.",
)  # fmt: skip
@click.option("--indexes", is_flag=True, help="Index the foreign keys too, on every server.")
@click.option("--quick", is_flag=True, help="Fewer turns.")
@click.option("--json", "as_json", is_flag=True, help="Print every figure as JSON.")
@click.option("--rst", "as_rst", is_flag=True, help="Print the table as reStructuredText.")
def main(
    scale: float,
    numbers: tuple[int, ...],
    indexes: bool,
    quick: bool,
    as_json: bool,
    as_rst: bool,
) -> None:
    """Answer TPC-H over four shards and on one server, and compare answers and times."""
    queries = [query for query in QUERIES if not numbers or query.number in numbers]
    results, shown = measure(queries, scale, indexes, QUICK_ROUNDS if quick else ROUNDS)
    facts = {"scale": str(scale), **environment(), **shown}
    if as_json:
        found = [result.as_json() for result in results]
        print(json.dumps({"environment": facts, "results": found}, indent=2))
        return
    groups = [list(rows(results)), sum_rows(results)]
    said = [*notes(results), report.facts(facts)]
    title = f"TPC-H, {SHARDS} shards and one server"
    report.print_groups(title, HEADINGS, groups, said, "rst" if as_rst else "table", texts=2)


if __name__ == "__main__":
    main()
