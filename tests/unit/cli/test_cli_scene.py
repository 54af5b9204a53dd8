from __future__ import annotations

import io

import pytest
from rich.console import Console

from greenshard.cli.cases import CASES, Measurement, ShardPart
from greenshard.cli.scene import Scene, preview

ANSWER = Measurement(
    columns=("tailnum", "miles", "destination"),
    rows=[
        ("N1", 1200, "Hartsfield Jackson Atlanta Intl"),
        ("N2", None, "x[bold]y"),
        ("N3", 7, "Tampa"),
    ],
    parts=(ShardPart("s0", 2, 0.012), ShardPart("s1", 0, 0.0005), ShardPart("s2", 1, 0.003)),
    fanout_s=0.013,
    sequential_s=0.026,
    ratios=(1.1, 1.5, 2.0, 2.6, 9.0),
)


def printed(
    encoding: str = "utf-8", terminal: bool = False, answer: Measurement = ANSWER, load: float = 0.1
) -> str:
    buffer = io.BytesIO()
    file = io.TextIOWrapper(buffer, encoding)
    colours = "standard" if terminal else None
    console = Console(
        file=file, width=80, highlight=False, force_terminal=terminal, color_system=colours
    )
    scene = Scene(console)
    scene.stage("servers", "three of PostgreSQL", 1.25)
    scene.split(["s0", "s1", "s2"], [2, 0, 1])
    scene.case(1, CASES[0], answer)
    scene.closing(3, 2, load)
    scene.connect_help({"s0": "host=/tmp/it's here dbname=x", "s1": "dbname=y"}, "psql")
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


def test_scene_shows_the_ratio_with_its_spread() -> None:
    assert "2.0x as fast; half of 5 runs: 1.5x to 2.6x" in printed()


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
    assert "Hartsfield Jacks…" in printed()


def test_scene_prints_an_answer_without_rows() -> None:
    nobody = tuple(ShardPart(part.shard, 0, 0.001) for part in ANSWER.parts)
    empty = Measurement(ANSWER.columns, [], nobody, 0.001, 0.002, (2.0,))
    assert "all 0 rows" in printed(answer=empty)


def test_connect_help_quotes_for_the_shell() -> None:
    assert """psql 'host=/tmp/it'"'"'s here dbname=x'""" in printed()


@pytest.mark.parametrize(
    ("rows", "limit", "shown"),
    [
        ([0, 0], 8, []),
        ([3, 3], 4, [0, 1, 3, 4]),
        ([1, 9, 0, 9], 5, [0, 1, 2, 10, 11]),
        ([100], 3, [0, 1, 2]),
        ([1] * 16, 8, list(range(8))),
    ],
)
def test_preview_takes_the_first_rows_of_each_shard(
    rows: list[int], limit: int, shown: list[int]
) -> None:
    parts = [ShardPart(f"s{number}", count, 0.0) for number, count in enumerate(rows)]
    assert [at for _, at in preview(parts, limit)] == shown
