"""How the benchmarks of TPC-H and TPC-DS tell equal answers from different ones."""

from __future__ import annotations

import pytest

from benchmarks.tpc_answers import Answer, Likeness, compare

COLUMNS = [("a", 23), ("b", 25)]


@pytest.mark.parametrize(
    ("ending", "rows", "others", "likeness"),
    [
        ("", [(1, "x")], [(1, "x")], Likeness.EQUAL),
        ("", [(1, "x"), (2, "y")], [(2, "y"), (1, "x")], Likeness.EQUAL),
        ("", [(1, "x")], [(1, "x"), (1, "x")], Likeness.DIFFERENT),
        ("", [(1, "x")], [(1, "y")], Likeness.DIFFERENT),
        ("ORDER BY a", [(1, "x"), (2, "y")], [(2, "y"), (1, "x")], Likeness.DIFFERENT),
        ("ORDER BY a", [(1, "x"), (1, "y")], [(1, "y"), (1, "x")], Likeness.EQUAL),
        ("ORDER BY a", [(1, "x"), (1, "y")], [(1, "y"), (1, "z")], Likeness.DIFFERENT),
        ("ORDER BY a LIMIT 2", [(1, "x"), (1, "y")], [(1, "y"), (1, "z")], Likeness.TIED),
        ("ORDER BY a LIMIT 3", [(1, "x"), (1, "y")], [(1, "y"), (1, "z")], Likeness.DIFFERENT),
        ("ORDER BY a LIMIT 2", [(1, "x"), (2, "y")], [(1, "z"), (2, "y")], Likeness.DIFFERENT),
        ("ORDER BY a LIMIT 2", [(1, "x"), (2, "y")], [(1, "x"), (3, "y")], Likeness.DIFFERENT),
        ("ORDER BY 2 DESC LIMIT 2", [(1, "x"), (2, "x")], [(2, "x"), (1, "x")], Likeness.EQUAL),
        (
            "ORDER BY t.a NULLS FIRST, b LIMIT 2",
            [(None, "x"), (None, "y")],
            [(None, "x"), (None, "z")],
            Likeness.DIFFERENT,
        ),
        (
            "ORDER BY coalesce(a, 1, 2), b",
            [(1, "x"), (2, "y")],
            [(2, "y"), (1, "x")],
            Likeness.EQUAL,
        ),
        ("WHERE a IN (SELECT a FROM t ORDER BY a)", [(1, "x")], [(1, "x")], Likeness.EQUAL),
        (
            "WHERE a IN (SELECT a FROM t ORDER BY a)",
            [(1, "x"), (2, "y")],
            [(2, "y"), (1, "x")],
            Likeness.EQUAL,
        ),
    ],
)
def test_answers_are_compared_as_far_as_the_query_decides_them(ending, rows, others, likeness):
    sql = f"SELECT a, b FROM t {ending}"
    assert compare(sql, Answer(COLUMNS, rows), Answer(COLUMNS, others)) is likeness


def test_values_are_compared_by_their_texts_and_floats_by_their_first_digits():
    assert _compare(0.1 + 0.2, 0.3) is Likeness.EQUAL
    assert _compare(0.3001, 0.3) is Likeness.DIFFERENT
    assert _compare("0.30", "0.3") is Likeness.DIFFERENT


def test_names_and_types_of_columns_count():
    one = Answer([("a", 23)], [(1,)])
    assert compare("SELECT a", one, Answer([("b", 23)], [(1,)])) is Likeness.DIFFERENT
    assert compare("SELECT a", one, Answer([("a", 20)], [(1,)])) is Likeness.DIFFERENT


def _compare(value, other):
    columns = [("a", 701)]
    return compare("SELECT a", Answer(columns, [(value,)]), Answer(columns, [(other,)]))
