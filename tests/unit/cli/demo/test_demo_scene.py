from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from greenshard.cli.demo import flights
from greenshard.cli.demo.cases import CASES, Case
from greenshard.cli.demo.measuring import Measurement, ShardPart
from greenshard.cli.demo.scene import Scene

ANSWER = Measurement(
    strategy="merge",
    columns=("tailnum", "miles", "destination"),
    rows=[
        ("N1", 1200, "Hartsfield Jackson Atlanta Intl"),
        ("N2", None, "x[bold]y"),
        ("N3", 7, "Tampa"),
    ],
    parts=(ShardPart("s0", 2, 0.012), ShardPart("s1", 0, 0.0005), ShardPart("s2", 1, 0.003)),
    shards_s=0.013,
    single_s=0.026,
    ratios=(1.1, 1.5, 2.0, 2.6, 9.0),
)
DECLARATION = flights.declaration({"s0": "dbname=a"})
CASE = next(case for case in CASES if case.ordered)


def printed(
    encoding: str = "utf-8",
    terminal: bool = False,
    answer: Measurement = ANSWER,
    load: float = 0.1,
    case: Case = CASE,
) -> str:
    buffer = io.BytesIO()
    file = io.TextIOWrapper(buffer, encoding)
    colours = "standard" if terminal else None
    console = Console(
        file=file, width=80, highlight=False, force_terminal=terminal, color_system=colours
    )
    scene = Scene(console)
    scene.stage("servers", "three of PostgreSQL", 1.25)
    scene.rows({"s0": 2, "s1": 0, "s2": 1, "one server": 3})
    scene.declared(DECLARATION)
    scene.case(1, case, answer)
    scene.closing(3, 2, load)
    dsns = {"s0": "host=/tmp/it's here dbname=x", "s1": "dbname=y", "one server": "dbname=z"}
    scene.connect_help(Path("/tmp/it's/cluster.toml"), dsns, "psql")
    file.flush()
    return buffer.getvalue().decode(encoding)


def test_scene_fits_eighty_columns() -> None:
    head, _, _ = printed().partition("export ")
    assert max(map(len, head.splitlines())) <= 80


def test_scene_shows_each_shard_with_rows_and_milliseconds() -> None:
    lines = printed().splitlines()
    assert any(line.split()[0] == "s0" and line.endswith("12.0 ms") for line in lines if line)
    assert any("0 rows" in line and line.endswith(" 0.5 ms") for line in lines)
    assert any("1 row " in line for line in lines)


def test_scene_says_which_shards_were_not_asked() -> None:
    parts = (ShardPart("s0", 0, None), ShardPart("s1", 3, 0.001), ShardPart("s2", 0, None))
    lines = printed(answer=replace(ANSWER, parts=parts)).splitlines()
    assert [line.split()[0] for line in lines if line.endswith("not asked")] == ["s0", "s2"]


def test_scene_shows_the_ratio_with_its_spread() -> None:
    assert "2.0x as fast as one server; half of 5 runs: 1.5x to 2.6x" in printed()


def test_scene_says_so_when_the_shards_took_longer() -> None:
    slower = replace(ANSWER, ratios=(0.25, 0.4, 0.5, 0.8, 1.0))
    assert "2.0x as long as one server; half of 5 runs: 1.2x to 2.5x" in printed(answer=slower)


def test_scene_says_that_the_answer_is_one_servers() -> None:
    assert "    equal to one PostgreSQL: 3 rows in this order\n" in printed()
    unordered = next(case for case in CASES if not case.ordered)
    assert "equal to one PostgreSQL: 3 rows; no order is asked for\n" in printed(case=unordered)


def test_scene_shows_the_strategy_at_the_right_edge() -> None:
    (head,) = (line for line in printed().splitlines() if line.startswith(f"1  {CASE.title}"))
    assert len(head) == 80
    assert head.endswith(" merge")


def test_scene_shows_what_is_declared_of_tables() -> None:
    assert '    flights  = { shard_key = "tailnum" }\n' in printed()
    assert "slots" not in printed()


def test_scene_shows_the_first_rows_and_how_many_more_there_are() -> None:
    many = replace(ANSWER, rows=[(f"N{number}", number, "x") for number in range(1_100)])
    lines = printed(answer=many).splitlines()
    assert "    … and 1,094 more" in lines
    assert sum(line.startswith("    N") for line in lines) == 6


def test_scene_says_when_the_machine_was_busy() -> None:
    assert "load 4.9 on 2 cores" in printed(load=4.9)
    assert "load" not in printed(load=0.1)


def test_scene_has_no_escape_codes_off_a_terminal() -> None:
    assert "\x1b" not in printed()


def test_scene_has_colour_on_a_terminal() -> None:
    assert "\x1b[" in printed(terminal=True)


def test_scene_prints_in_ascii_where_nothing_else_can_be() -> None:
    assert printed("ascii").isascii()


def test_scene_takes_no_value_for_markup() -> None:
    assert "x[bold]y" in printed()


def test_scene_clips_long_cells() -> None:
    assert "Hartsfield Jackson…" in printed()


def test_scene_prints_an_answer_without_rows() -> None:
    nobody = tuple(ShardPart(part.shard, 0, 0.001) for part in ANSWER.parts)
    empty = replace(ANSWER, rows=[], parts=nobody)
    assert "equal to one PostgreSQL: 0 rows" in printed(answer=empty)


def test_connect_help_quotes_for_the_shell() -> None:
    assert """export GREENSHARD_CLUSTER='/tmp/it'"'"'s/cluster.toml'""" in printed()
    assert "psql dbname=z  # one server" in printed()
    assert """psql 'host=/tmp/it'"'"'s here dbname=x'""" in printed()
