from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenshard.sql.placeholders import Translation, translate

# What psycopg2 2.9's mogrify refuses, tried one by one on a connection.
REFUSED = [
    "SELECT %d",
    "SELECT %5s",
    "SELECT %-5s",
    "SELECT %.1s",
    "SELECT %*s",
    "SELECT %ls",
    "SELECT % s",
    "SELECT %S",
    "SELECT %(a)d",
    "SELECT %(a) s",
    "SELECT %(a)(b)s",
    "SELECT %(a(b))s",
    "SELECT %(a",
    "SELECT %(a)",
    "SELECT %(a%b)",
    "SELECT 100%",
    "SELECT %\n",
]

BITS = ["%%", " ", "a", "'", "$", "$1", "0", "é", "(", ")", "IN ", "values", "=", "-- ", "\n"]
positional = st.lists(st.sampled_from([*BITS, "%s"])).map("".join)
named = st.lists(st.sampled_from([*BITS, "%(a)s", "%(b c)s", "%()s", "%(é)s"])).map("".join)


def put_in(translation: Translation, values: Mapping[int | str, str]) -> str:
    """Format as psycopg2 does, from what the translation says."""
    done = 0
    pieces = []
    for edit in translation.edits:
        pieces.append(translation.text[done : edit.start])
        mark = translation.text[edit.start : edit.end].strip(" ()")
        pieces.append("%" if mark == "%" else values[translation.parameters[int(mark[1:]) - 1]])
        done = edit.end
    return "".join([*pieces, translation.text[done:]])


@given(positional)
def test_positional_placeholders_are_those_of_percent_formatting(sql: str) -> None:
    count = sql.replace("%%", "").count("%s")
    values = [f"<{index}>" for index in range(count)]

    translation = translate(sql, has_parameters=True)

    assert translation.parameters == tuple(range(count))
    assert put_in(translation, dict(enumerate(values))) == sql % tuple(values)


@given(named)
def test_named_placeholders_are_those_of_percent_formatting(sql: str) -> None:
    values = {"a": "<a>", "b c": "<b c>", "": "<>", "é": "<é>"}

    translation = translate(sql, has_parameters=True)

    assert put_in(translation, values) == sql % values


@given(positional | named)
def test_each_position_leads_back_to_where_it_came_from(sql: str) -> None:
    translation = translate(sql, has_parameters=True)

    inside = {
        position: edit.old_start
        for edit in translation.edits
        for position in range(edit.start, edit.end)
    }
    for position, character in enumerate(translation.text):
        old = translation.old_position(position)
        if position in inside:
            assert old == inside[position]
        else:
            assert sql[old] == character
    assert translation.old_position(len(translation.text)) == len(sql)


@given(positional)
def test_without_parameters_a_text_stays_as_it_is(sql: str) -> None:
    assert translate(sql, has_parameters=False) == Translation(sql)


@pytest.mark.parametrize("sql", REFUSED)
def test_what_psycopg2_refuses_is_left_to_it(sql: str) -> None:
    assert translate(sql, has_parameters=True) == Translation(sql)


@pytest.mark.parametrize(
    ("sql", "text"),
    [
        ("k=%s", "k=$1"),
        ("LIMIT%s", "LIMIT $1"),
        ("%sAND", "$1 AND"),
        ("1%s2", "1 $1 2"),
        ("é%s", "é $1"),
        ("$%s$", "$ $1 $"),
        ("%s%s", "$1 $2"),
        ("(%s,%s)", "($1,$2)"),
        ("a IN %s", "a IN ($1)"),
        ("a NOT in\n %s", "a NOT in\n ($1)"),
        ("min %s", "min $1"),
        ("VALUES %s", "VALUES ($1)"),
        ("'%s' like '%%'", "'$1' like '%'"),
    ],
)
def test_a_placeholder_keeps_apart_from_its_neighbours(sql: str, text: str) -> None:
    assert translate(sql, has_parameters=True).text == text


def test_a_name_used_twice_is_one_parameter() -> None:
    translation = translate("%(a)s + %(b)s + %(a)s", has_parameters=True)

    assert translation.text == "$1 + $2 + $1"
    assert translation.parameters == ("a", "b")
