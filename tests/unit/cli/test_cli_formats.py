from __future__ import annotations

import csv as reference
import io
import json as parser
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenshard.cli.formats import Column, Row, SameName, csv, json, table

INT, TEXT = 23, 25
COLUMNS = (Column("n", INT), Column("t", TEXT))


def test_table_aligns_numbers_right_and_shows_null() -> None:
    rows = [["7", "a"], ["10", None]]
    assert list(table(COLUMNS, rows, "-")) == [" n | t", "---+--", " 7 | a", "10 | -"]


def test_csv_tells_null_from_empty_text() -> None:
    assert list(csv(COLUMNS, [[None, ""]], "")) == ["n,t", ',""']


def test_csv_quotes_text_that_looks_like_null() -> None:
    assert list(csv(COLUMNS, [[None, "NA"]], "NA"))[1] == 'NA,"NA"'


def test_csv_quotes_the_line_that_ends_data_for_copy() -> None:
    assert list(csv(COLUMNS[1:], [["\\."]], ""))[1] == '"\\."'


def test_csv_quotes_headings() -> None:
    assert next(iter(csv([Column("a,b", TEXT)], [], ""))) == '"a,b"'


@given(st.lists(st.tuples(st.text(min_size=1), st.text(min_size=1)), min_size=1))
def test_csv_reads_back(rows: list[tuple[str, str]]) -> None:
    text = "".join(line + "\n" for line in csv(COLUMNS, rows, ""))
    read = list(reference.reader(io.StringIO(text, newline="")))
    assert [tuple(row) for row in read[1:]] == rows


def test_json_without_rows_is_an_empty_array() -> None:
    assert parser.loads("\n".join(json(COLUMNS, [], ""))) == []


def test_json_has_one_object_a_line() -> None:
    lines = list(json(COLUMNS, [["1", "é"], ["2", None]], ""))
    assert lines == ["[", '{"n": 1, "t": "é"},', '{"n": 2, "t": null}', "]"]


def test_json_refuses_two_columns_of_one_name() -> None:
    with pytest.raises(SameName, match="'id'"):
        list(json([Column("id", INT), Column("id", INT)], [["1", "2"]], ""))


@pytest.mark.parametrize("write", [csv, json])
def test_lines_come_before_the_last_row_was_asked_for(write: object) -> None:
    asked: list[int] = []

    def rows() -> Iterator[Row]:
        for number in range(100):
            asked.append(number)
            yield [str(number), "x"]

    lines = write(COLUMNS, rows(), "")  # type: ignore[operator]
    next(lines), next(lines)
    assert len(asked) <= 2
