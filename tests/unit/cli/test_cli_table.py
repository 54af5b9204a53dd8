from __future__ import annotations

from greenshard.cli.table import table_lines


def test_table_without_rows_has_heading_and_rule() -> None:
    assert table_lines(["a", "bc"], [], right=[False, False]) == ["a | bc", "--+---"]


def test_table_without_columns_is_empty() -> None:
    assert table_lines([], [], right=[]) == ["", ""]


def test_wide_characters_count_for_two_columns() -> None:
    lines = table_lines(["name", "n"], [["東京", "1"], ["x", "22"]], right=[False, True])
    assert lines == ["name |  n", "-----+---", "東京 |  1", "x    | 22"]


def test_control_characters_cannot_break_lines_or_reach_the_terminal() -> None:
    lines = table_lines(["a"], [["x\ny\t\x1b[31m\x7f"]], right=[False])
    assert lines[2] == r"x\ny\t\x1b[31m\x7f"


def test_no_cell_is_cut() -> None:
    assert table_lines(["a"], [["x" * 500]], right=[False])[2] == "x" * 500


def test_lines_do_not_end_in_spaces() -> None:
    lines = table_lines(["a", "b"], [["1", ""], ["1", "long"]], right=[False, False])
    assert lines[2] == "1 |"
