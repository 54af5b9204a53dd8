"""The client's memory while it reads many rows, by each strategy: named cursors and ordinary ones.

    make bench-memory                                    0.2 and 2 million rows: some minutes
    make bench-memory ARGS="--millions 0.2"              a quick look
    make bench-memory ARGS="--millions 20 --cursor named"
    make bench-memory ARGS="--rst"

README.rst beside this file says what is measured, and how to read it.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click
import psycopg2
import report
from environment import environment
from rich.console import Console
from rich.progress import track

import greenshard
from greenshard import Cluster, Sharded
from greenshard.testing import Shards

SHARDS = 4
PEER = "psycopg2, one server"
#: By strategy; a char(n) is what only PostgreSQL can compare.
STATEMENTS = {
    PEER: "SELECT id, 'word ' || id, id % 1000 FROM generate_series(0::bigint, {rows} - 1) AS id",
    "union": "SELECT id, word, other FROM numbers",
    "concatenate": "SELECT id, word, other FROM numbers",
    "merge by bigint": "SELECT id, word, other FROM numbers ORDER BY id",
    "merge by char(n)": "SELECT id, word, other FROM numbers ORDER BY code, id",
    "combine": "SELECT id / 2, count(*), avg(other) FROM numbers GROUP BY 1",
    "distinct": "SELECT DISTINCT word, other FROM numbers",
    "gather": "SELECT id, word, row_number() OVER (ORDER BY id) FROM numbers",
}
CURSORS = ("named", "ordinary")
HEADINGS = ("strategy", "cursor", "million rows", "peak MB", "seconds", "thousand rows a second")

_FILL = """
CREATE TABLE keys (key bigint) PARTITION BY HASH (key);
CREATE TABLE numbers AS
SELECT id, 'word ' || id AS word, (id % 1000)::integer AS other,
       (id * 104729 % 999983)::text::char(8) AS code
FROM generate_series(0::bigint, {rows} - 1) AS id
WHERE satisfies_hash_partition('keys'::regclass, {count}, {number}, id);
DROP TABLE keys;
"""


@dataclass(frozen=True)
class Reading:
    """What it took to read an answer.

    Attributes:
        peak_mb: The most memory of the process, less what it had before: connected, one row read.
        rows: How many were read.
        seconds: How long it took.
    """

    strategy: str
    cursor: str
    millions: float
    peak_mb: float
    rows: int
    seconds: float


@contextmanager
def databases(rows: int) -> Iterator[list[str]]:
    """The DSNs of the shards, each with its part of the rows."""
    with Shards(SHARDS) as servers:
        dsns = list(servers.dsns.values())
        for number, dsn in enumerate(dsns):
            with closing(psycopg2.connect(dsn)) as connection, connection.cursor() as cursor:
                connection.autocommit = True
                cursor.execute(_FILL.format(rows=rows, count=SHARDS, number=number))
                cursor.execute("VACUUM (ANALYZE) numbers")
        yield dsns


def measure(strategy: str, cursor: str, millions: float, dsns: Sequence[str]) -> Reading:
    """Read an answer in a process of its own."""
    told = json.dumps([strategy, cursor, millions, list(dsns)])
    ended = subprocess.run(
        [sys.executable, str(Path(__file__).resolve()), "--read", told],
        capture_output=True,
        text=True,
        check=False,
    )
    if ended.returncode:
        raise click.ClickException(f"{strategy}, {cursor}: {ended.stderr[-2000:]}")
    return Reading(**json.loads(ended.stdout))


def read(strategy: str, cursor: str, millions: float, dsns: Sequence[str]) -> Reading:
    """Read an answer row by row, in this process."""
    rows = round(millions * 1_000_000)
    statement = STATEMENTS[strategy].format(rows=rows)
    with closing(_connection(strategy, rows, dsns)) as conn:
        with conn.cursor() as small:
            small.execute("SELECT 1")
            small.fetchall()
        before, start = _peak_mb(), time.perf_counter()
        with conn.cursor("memory" if cursor == "named" else None) as cur:
            cur.execute(statement)
            count = sum(1 for _ in cur)
        seconds = time.perf_counter() - start
        return Reading(strategy, cursor, millions, _peak_mb() - before, count, seconds)


def _connection(strategy: str, rows: int, dsns: Sequence[str]) -> Any:
    if strategy == PEER:
        return psycopg2.connect(dsns[0])
    if strategy == "union":
        return greenshard.connect(list(dsns))
    shards = {f"s{number}": dsn for number, dsn in enumerate(dsns)}
    cluster = Cluster(shards, {"numbers": Sharded("id")})
    return greenshard.connect(cluster, gather_limit=2 * rows, max_held_bytes=1 << 40)


def _peak_mb() -> float:
    """The most memory that this process has had; Linux tells."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise click.ClickException("/proc/self/status does not tell VmHWM")


def row(reading: Reading) -> list[str]:
    """That of the table."""
    return [
        reading.strategy,
        reading.cursor,
        f"{reading.millions:g}",
        f"{reading.peak_mb:.1f}",
        f"{reading.seconds:.1f}",
        f"{reading.rows / reading.seconds / 1000:.0f}",
    ]


@click.command()
@click.option("--millions", multiple=True, type=float, default=[0.2, 2.0], help="Of rows.")
@click.option("--cursor", "cursors", multiple=True, type=click.Choice(CURSORS), default=CURSORS)
@click.option(
    "--strategy", "strategies", type=click.Choice(list(STATEMENTS)), multiple=True,
    help="Only this one; can be repeated.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print every figure as JSON.")
@click.option("--rst", "as_rst", is_flag=True, help="Print the table as reStructuredText.")
@click.option("--read", "told", hidden=True)
def main(
    millions: Sequence[float],
    cursors: Sequence[str],
    strategies: Sequence[str],
    as_json: bool,
    as_rst: bool,
    told: str | None,
) -> None:
    """Measure the client's memory by strategy, named cursors beside ordinary ones."""
    if told is not None:
        print(json.dumps(asdict(read(*json.loads(told)))))
        return
    console, readings = Console(stderr=True), []
    for size in millions:
        wanted = [(s, c) for s in strategies or STATEMENTS for c in cursors]
        with databases(round(size * 1_000_000)) as dsns:
            for strategy, cursor in track(
                wanted, f"{size:g} million", console=console, transient=True
            ):
                readings.append(measure(strategy, cursor, size, dsns))
    if as_json:
        found = {"environment": environment(), "readings": [asdict(each) for each in readings]}
        print(json.dumps(found, indent=2))
        return
    groups = [[row(each) for each in readings if each.millions == size] for size in millions]
    notes = [report.facts(environment())]
    form = "rst" if as_rst else "table"
    report.print_groups("The client's memory", HEADINGS, groups, notes, form, texts=2)


if __name__ == "__main__":
    main()
