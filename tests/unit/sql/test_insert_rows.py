"""INSERT is cut into its rows, whatever stands in them."""

from __future__ import annotations

import pytest

from greenshard.sql.insert_rows import InsertRows, cut
from greenshard.sql.parser import parse
from greenshard.sql.placeholders import translate
from greenshard.sql.tree import same_text


def parts(sql: str, has_parameters: bool = False) -> InsertRows:
    translation = translate(sql, has_parameters)
    (statement,) = parse(translation.text)
    return cut(translation.text, statement.stmt.insert_stmt, translation)


@pytest.mark.parametrize(
    ("sql", "rows"),
    [
        ("INSERT INTO t VALUES (1)", ["(1)"]),
        ("INSERT INTO t (a, b) VALUES (1, 2), (3, 4)", ["(1, 2)", "(3, 4)"]),
        ("INSERT INTO t VALUES ('),(', 2),(3, 'é''(')", ["('),(', 2)", "(3, 'é''(')"]),
        ("INSERT INTO t VALUES ((1), (f(2, 3))), (ARRAY[4], (5))", None),
        ("INSERT INTO t VALUES (1 /* ), ( */), /* , ( */ (2) -- ), (", ["(1 /* ), ( */)", "(2)"]),
        ("INSERT INTO t VALUES (-1), (- 2)", ["(-1)", "(- 2)"]),
        ("INSERT INTO t VALUES (DEFAULT), (NULL)", ["(DEFAULT)", "(NULL)"]),
        ("INSERT INTO t VALUES ($$),($$), (E'\\'),(')", ["($$),($$)", "(E'\\'),(')"]),
        ('INSERT INTO "va(lues" ("a)", b) VALUES (1, 2), (3, 4)', ["(1, 2)", "(3, 4)"]),
        ("INSERT INTO values (values) VALUES (1), (2)", ["(1)", "(2)"]),
        ("WITH v AS (VALUES (1), (2)) INSERT INTO t VALUES ((SELECT 1)), (3)", None),
        ("INSERT INTO t VALUES (1), (2) RETURNING (a), (b)", ["(1)", "(2)"]),
        ("INSERT INTO t VALUES (1), (2) ON CONFLICT (a) DO UPDATE SET (a, b) = (1, 2)", None),
        ("INSERT INTO t VALUES (a[1]), ((ARRAY(VALUES (1), (2)))[1])", None),
        ("INSERT INTO t VALUES (1), (2);", ["(1)", "(2)"]),
    ],
)
def test_rows_are_cut_where_the_parser_sees_them(sql: str, rows: list[str] | None) -> None:
    found = parts(sql)
    if rows is not None:
        assert [row.text for row in found.rows] == rows
    every = found.with_rows(range(len(found.rows)))
    (whole,), (again,) = parse(sql), parse(every.text)
    assert same_text(whole.stmt) == same_text(again.stmt)
    for number, row in enumerate(whole.stmt.insert_stmt.select_stmt.select_stmt.values_lists):
        (one,) = parse(found.with_rows([number]).text)
        (only,) = one.stmt.insert_stmt.select_stmt.select_stmt.values_lists
        assert same_text(only) == same_text(row)


def test_parameters_go_with_their_rows() -> None:
    found = parts("INSERT INTO t VALUES (%s, 'a%%'), (%s, %s), (1, '%%') RETURNING %s", True)
    some = found.with_rows([2, 1])
    assert some.text == ("INSERT INTO t VALUES (1, '%%'), ((%(p2)s), (%(p3)s)) RETURNING (%(p4)s)")
    assert some.values((0, 1, 2, 3)) == {"p2": 1, "p3": 2, "p4": 3}


def test_a_tuple_is_a_row_of_its_own() -> None:
    found = parts("INSERT INTO t VALUES %s RETURNING a", True)
    assert found.with_rows([0]).text == "INSERT INTO t VALUES %(p1)s RETURNING a"
    assert found.with_rows([0]).values(((1, 2),)) == {"p1": (1, 2)}


def test_percent_signs_are_single_where_nothing_is_a_parameter() -> None:
    assert parts("INSERT INTO t VALUES (1 % 2)").with_rows([0]).text.endswith("(1 % 2)")
    found = parts("INSERT INTO t VALUES (%s), ('%%')", True)
    assert found.with_rows([1]).text == "INSERT INTO t VALUES ('%')"
    assert found.with_rows([1]).values((5,)) is None
