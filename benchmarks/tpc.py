"""What the benchmarks of TPC-H and TPC-DS share: four shards beside one server with every row."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import click
import psycopg2
import report
from cells import Cell
from environment import environment
from rich.console import Console
from rich.progress import track
from tpc_answers import Answer, Likeness, compare
from tpc_contestants import WAYS
from tpc_data import Dataset, Query
from workers import Effort, Worker, take_turns, workers

import greenshard
from greenshard.testing import Shards

SHARDS = 4
ONE, OURS = "one server", "greenshard"
#: Of every server, the single one and the shards.
SETTINGS = {"shared_buffers": "256MB", "work_mem": "32MB"}
SHOWN_SETTINGS = (*SETTINGS, "max_parallel_workers_per_gather", "jit", "server_version")
MOST_TIMES_ONE_SERVER = 3.0
#: A query for which one server needs longer is left out.
ONE_LIMIT_S = 60
#: Then greenshard has missed its aim by far.
OUR_LIMIT_S = 2 * MOST_TIMES_ONE_SERVER * ONE_LIMIT_S

ROUNDS, QUICK_ROUNDS = 15, 5
QUICK_SCALE = 0.01
TURN_S = 0.02
#: A query that both together need longer for than this is measured once.
SLOW_S = 8.0
ONCE = Effort(rounds=1, seconds=1e-6)
HEADINGS = ("query", "strategy", "one ms", "ours ms", "ratio", "quartiles", "rows")
BEFORE = "before"

#: The queries of a sum, by its name.
Sums = Mapping[str, Sequence[Query]]


@dataclass(frozen=True)
class Result:
    """What came of one query.

    Attributes:
        query: It.
        strategy: How greenshard answered it.
        travelled: How many rows the shards have given for it.
        likeness: How alike the answers were; None if there were not two.
        cell: The times, if the answers were alike.
        problem: Why there are no times.
    """

    query: Query
    strategy: str = ""
    travelled: int | None = None
    likeness: Likeness | None = None
    cell: Cell | None = None
    problem: str = ""

    def as_json(self) -> dict[str, Any]:
        return {
            "query": self.query.name,
            "strategy": self.strategy,
            "rows": self.travelled,
            "answers": self.likeness and self.likeness.value,
            "problem": self.problem,
            "times": self.cell and self.cell.as_json(),
        }


@contextmanager
def databases(dataset: Dataset, scale: float, indexes: bool) -> Iterator[tuple[str, list[str]]]:
    """The DSNs of the single server and of the shards, loaded; each is a server of its own."""
    with Shards(SHARDS + 1, settings=SETTINGS) as servers, tempfile.TemporaryDirectory() as files:
        dataset.generate(scale, Path(files))
        *shards, single = servers.dsns.values()
        dataset.load(Path(files), single, shards, indexes=indexes)
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
    dataset: Dataset, queries: Sequence[Query], scale: float, indexes: bool, rounds: int
) -> tuple[list[Result], dict[str, str]]:
    """Ask each query of both sides, in turns.

    Returns:
        The results, and the servers' settings.
    """
    console = Console(stderr=True)
    with ExitStack() as stack:
        with console.status(f"{SHARDS + 1} servers, {dataset.name} at scale {scale}"):
            single, shards = stack.enter_context(databases(dataset, scale, indexes))
        staff = stack.enter_context(workers("tpc_contestants.py", list(WAYS)))
        for worker in staff:
            worker.call("open", [dataset.name, *([single] if worker.name == ONE else shards)])
        limit = f"-c statement_timeout={ONE_LIMIT_S}s"
        one = stack.enter_context(closing(psycopg2.connect(single, options=limit)))
        cluster = dataset.cluster(shards)
        ours = stack.enter_context(closing(greenshard.connect(cluster, timeout=OUR_LIMIT_S)))
        one.autocommit = ours.autocommit = True
        results = [
            measure_query(query, query.sql(scale), one, ours, staff, rounds)
            for query in track(queries, dataset.name, console=console, transient=True)
        ]
        return results, settings(single)


def measure_query(
    query: Query, sql: str, one: Any, ours: Any, staff: Sequence[Worker], rounds: int
) -> Result:
    """Check that both sides give the same answer, then let them take turns.

    Args:
        query: The query.
        sql: Its text.
        one: A connection to the one server.
        ours: One to the shards.
        staff: The contestants.
        rounds: How many turns they take.
    """
    strategy = ""
    started = time.perf_counter()
    try:
        expected, _ = answer(one, sql)
    except psycopg2.errors.QueryCanceled:
        return Result(query, problem=f"one server needs more than {ONE_LIMIT_S} s")
    try:
        strategy = ours.explain(sql).splitlines()[0].removeprefix("strategy: ")
        found, cursor = answer(ours, sql)
    except psycopg2.Error as error:  # whatever it is, the other queries can be measured
        return Result(query, strategy, problem=" ".join(repr(error).split()))
    slow = time.perf_counter() - started > SLOW_S
    travelled = sum(timing.rows for timing in cursor.timings.values())
    likeness = compare(sql, expected, found)
    if likeness is Likeness.DIFFERENT:
        return Result(query, strategy, travelled, likeness, problem="the answers are different")
    if not slow:
        take_turns(staff, sql, ONCE)  # the contestants have not seen it yet
    turns = take_turns(staff, sql, ONCE if slow else Effort(rounds, TURN_S))
    return Result(query, strategy, travelled, likeness, Cell(query.name, SHARDS, turns))


def answer(connection: Any, sql: str) -> tuple[Answer, Any]:
    """What a query gives, and the cursor that has executed it."""
    cursor = connection.cursor()
    cursor.execute(sql)
    columns = [(column.name, column.type_code) for column in cursor.description]
    return Answer(columns, cursor.fetchall()), cursor


def rows(results: Sequence[Result], before: Mapping[str, int | None]) -> Iterator[list[str]]:
    """Those of the table."""
    for result in results:
        first = [result.query.name, result.strategy]
        travelled = [shown(result.travelled)]
        if before:
            travelled.append(shown(before.get(result.query.name)))
        if result.cell is None:
            yield [*first, "", "", "", "see below", *travelled]
            continue
        ms = [f"{result.cell.median_s(name) * 1e3:.1f}" for name in (ONE, OURS)]
        low, high = result.cell.quartiles(OURS, ONE)
        ratio = f"{result.cell.ratio(OURS, ONE):.2f}"
        yield [*first, *ms, ratio, f"{low:.2f} to {high:.2f}", *travelled]


def sum_rows(
    results: Sequence[Result], sums: Sums, before: Mapping[str, int | None]
) -> Iterator[list[str]]:
    """The sums of the medians and of the rows, over as many queries as have times."""
    for name, queries in sums.items():
        measured = [r for r in results if r.cell is not None and r.query in queries]
        cells = [result.cell for result in measured if result.cell is not None]
        one, ours = (sum(cell.median_s(side) for cell in cells) for side in (ONE, OURS))
        ratio = f"{ours / one:.2f}" if cells else ""
        row = [f"{name} ({len(cells)})", "", f"{one * 1e3:.1f}", f"{ours * 1e3:.1f}", ratio, ""]
        row.append(shown(sum(result.travelled or 0 for result in measured)))
        if before:
            row.append(shown(sum(before.get(each.query.name) or 0 for each in measured)))
        yield row


def shown(number: int | None) -> str:
    return "" if number is None else f"{number:,}"


def notes(results: Sequence[Result]) -> Iterator[str]:
    """What went wrong, and what is slower than it is to be."""
    cells = [result.cell for result in results if result.cell]
    yield f"equal answers: {len(cells)} of {len(results)}"
    for result in results:
        if result.problem or result.likeness is Likeness.TIED:
            yield f"{result.query.name}: {result.problem or Likeness.TIED.value}"
    for cell in cells:
        if cell.ratio(OURS, ONE) > MOST_TIMES_ONE_SERVER:
            yield report.aim(cell.workload, cell.ratio(OURS, ONE), ONE, MOST_TIMES_ONE_SERVER)


def command(dataset: Dataset, usual_scale: float, sums: Sums) -> click.Command:
    """The command that measures a dataset.

    Args:
        dataset: It.
        usual_scale: At which scale, if nothing is said.
        sums: The sums that are shown.
    """
    queries = dataset.queries()

    @click.command()
    @click.option("--scale", type=float, help=f"1 is a gigabyte.  [default: {usual_scale}]")
    @click.option(
        "--query", "numbers", type=click.IntRange(1, len(queries)), multiple=True,
        help="Only this query; can be repeated.",
    )  # fmt: skip
    @click.option("--indexes", is_flag=True, help="Index the foreign keys too, on every server.")
    @click.option("--quick", is_flag=True, help=f"Fewer turns, at scale {QUICK_SCALE}.")
    @click.option(
        "--before", type=click.File(),
        help="What --json has printed at an earlier commit: its rows are shown, too.",
    )  # fmt: skip
    @click.option("--json", "as_json", is_flag=True, help="Print every figure as JSON.")
    @click.option("--rst", "as_rst", is_flag=True, help="Print the table as reStructuredText.")
    def main(
        scale: float | None,
        numbers: tuple[int, ...],
        indexes: bool,
        quick: bool,
        before: IO[str] | None,
        as_json: bool,
        as_rst: bool,
    ) -> None:
        """Answer queries over four shards and on one server, and compare answers and times."""
        scale = scale or (QUICK_SCALE if quick else usual_scale)
        earlier = read_before(before) if before else {}
        asked = [query for query in queries if not numbers or query.number in numbers]
        rounds = QUICK_ROUNDS if quick else ROUNDS
        results, found = measure(dataset, asked, scale, indexes, rounds)
        facts = {"scale": str(scale), **environment(), **found}
        if as_json:
            each = [result.as_json() for result in results]
            print(json.dumps({"environment": facts, "results": each}, indent=2))
            return
        groups = [list(rows(results, earlier)), list(sum_rows(results, sums, earlier))]
        headings = (*HEADINGS, BEFORE) if earlier else HEADINGS
        said = [*notes(results), report.facts(facts)]
        title = f"{dataset.name}, {SHARDS} shards and one server"
        report.print_groups(title, headings, groups, said, "rst" if as_rst else "table", texts=2)

    return main


def read_before(file: IO[str]) -> dict[str, int | None]:
    """How many rows travelled for each query."""
    return {each["query"]: each["rows"] for each in json.load(file)["results"]}
