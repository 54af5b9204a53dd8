"""Names of columns; tests/postgres/one_database/test_naming.py compares many with a server's."""

from __future__ import annotations

from typing import Any

import pytest

from greenshard.sql.column_names import column_name, is_named_by_value
from greenshard.sql.nodes import select


def target(text: str) -> Any:
    return select(f"SELECT {text}").target_list[0].res_target


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("a", "a"),
        ("t.a", "a"),
        ("a AS b", "b"),
        ("1", "?column?"),
        ("a + 1", "?column?"),
        ("a::int", "a"),
        ("1::int", "int4"),
        ("true", "?column?"),
        ("s.f(a)", "f"),
        ("f(a)::int", "f"),
        ("CASE WHEN a THEN 1 ELSE b END", "b"),
        ("CASE WHEN a THEN 1 ELSE 2 END", "case"),
        ("CASE WHEN a THEN 1 ELSE 2::int END", "case"),
        ("(SELECT a)", "a"),
        ("(SELECT a UNION SELECT b)", "a"),
        ("(VALUES (1))", "column1"),
        ("EXISTS (SELECT 1)", "exists"),
        ("a IN (SELECT 1)", "?column?"),
        ("ARRAY(SELECT 1)", "array"),
        ("a[1]", "a"),
        ("(a).b", "b"),
        ("current_timestamp(3)", "current_timestamp"),
        ("JSON_VALUE(a, '$')", "json_value"),
    ],
)
def test_a_column_has_the_name_that_postgresql_gives_it(text: str, name: str) -> None:
    assert column_name(target(text)) == name


@pytest.mark.parametrize("text", ["$1", "$1::int", "($1)[1]", "CASE WHEN a THEN 1 ELSE $1 END"])
def test_a_placeholder_s_column_is_named_by_its_value(text: str) -> None:
    assert is_named_by_value(target(text))


@pytest.mark.parametrize("text", ["$1 AS a", "f($1)", "$1 + 1", "a", "1"])
def test_other_columns_are_not(text: str) -> None:
    assert not is_named_by_value(target(text))
