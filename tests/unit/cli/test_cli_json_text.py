from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenshard.cli.json_text import ELEMENTS, json_text

TEXT, NUMERIC, DATE, BYTEA, MONEY = 25, 1700, 1082, 17, 790


@pytest.mark.parametrize(
    ("text", "oid", "value"),
    [
        ("t", 16, True),
        ("f", 16, False),
        ("-7", 23, -7),
        ("9223372036854775807", 20, 2**63 - 1),
        ("1e+20", 701, 1e20),
        ("-0", 701, 0.0),
        ("NaN", 701, "NaN"),
        ("-Infinity", 700, "-Infinity"),
        ("0.10", NUMERIC, "0.10"),
        ("NaN", NUMERIC, "NaN"),
        ("0044-03-15 BC", DATE, "0044-03-15 BC"),
        ("infinity", DATE, "infinity"),
        (r"\x00ff", BYTEA, r"\x00ff"),
        ("$1,000.00", MONEY, "$1,000.00"),
        ("", TEXT, ""),
        ("null", TEXT, "null"),
        ('{"a": [1, null]}', 114, {"a": [1, None]}),
        ("null", 3802, None),
        ("(1,2)", 99999, "(1,2)"),
    ],
)
def test_value_keeps_what_json_has_a_type_for(text: str, oid: int, value: object) -> None:
    assert json.loads(json_text(text, oid)) == value


def test_null_is_null_of_every_type() -> None:
    assert {json_text(None, oid) for oid in (16, 23, TEXT, 114, 1009)} == {"null"}


def test_embedded_json_keeps_digits() -> None:
    assert json_text("1.00000000000000000001", 3802) == "1.00000000000000000001"


@pytest.mark.parametrize(
    ("text", "oid", "value"),
    [
        ("{}", 1007, []),
        ("{1,2}", 1007, [1, 2]),
        ("{{1,2},{3,NULL}}", 1007, [[1, 2], [3, None]]),
        ("[0:1]={1,2}", 1007, [1, 2]),
        ('{NULL,"NULL",null}', 1009, [None, "NULL", "null"]),
        (
            r'{"a,b","{","say \"hi\"","back\\slash",""}',
            1009,
            ["a,b", "{", 'say "hi"', r"back\slash", ""],
        ),
        ("{0.10,NaN}", 1231, ["0.10", "NaN"]),
        ("{t,f}", 1000, [True, False]),
        (r'{"\\x00ff"}', 1001, [r"\x00ff"]),
        ('{"2013-01-01 10:00:00+00"}', 1185, ["2013-01-01 10:00:00+00"]),
        (r'{"{\"a\": [1, 2]}"}', 3807, [{"a": [1, 2]}]),
        ('{"two\nlines"}', 1009, ["two\nlines"]),
    ],
)
def test_array_becomes_a_list(text: str, oid: int, value: object) -> None:
    assert json.loads(json_text(text, oid)) == value


@given(st.lists(st.none() | st.text(st.characters(exclude_characters="\0", codec="utf-8"))))
def test_text_arrays_come_back_as_they_were(items: list[str | None]) -> None:
    quoted = ["NULL" if i is None else '"' + _escaped(i) + '"' for i in items]
    assert json.loads(json_text("{" + ",".join(quoted) + "}", 1009)) == items


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


def test_no_array_type_is_its_own_element() -> None:
    assert not set(ELEMENTS) & set(ELEMENTS.values())
