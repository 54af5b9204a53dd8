"""An INSERT of many plain rows is read as the parser reads it, or not at all."""

from __future__ import annotations

import pytest

from greenshard.sql.parser import parse
from greenshard.sql.plain_rows import plain_rows
from greenshard.sql.tree import same_text

PLAIN = [
    "1", "-2", "+3.50", "1e-5", "''", "'it''s'", "'a, (b)'", "E'a\\'b\\\\'", "e'x'", "NULL",
    "true", "FALSE", "'2020-01-01'::date", "'x'::text", "'{1,2}'::int4[]", "ARRAY[1, 2]",
    "ARRAY['a', NULL]::text[]", "'\\x00'::bytea", "12::int8", "'ü\n'",
]  # fmt: skip
OTHER = [
    "f(1)", "now()", "1 + 2", "(1)", "DEFAULT", "'a'::mood", "'a'::varchar(3)", "$1", "a", ".5",
    "'a' 'b'", "1a", "1.2.3", "'a'::text::date", "(SELECT 1)", "ROW(1, 2)", "x'1f'", "b'1'",
    "U&'a'", "$$a$$", "E'a\\'", "1 -- x", "/* x */ 1", "CURRENT_DATE", "ARRAY[[1]]", "nulls",
    "'a'::pg_catalog.text", "'a'::text COLLATE \"C\"", "'a'::dates", "interval '1 day'",
    "1::int",
]  # fmt: skip


@pytest.mark.parametrize("value", PLAIN)
def test_plain_values_are_read_as_the_parser_reads_them(value: str) -> None:
    text = "INSERT INTO t (a, b) VALUES " + ", ".join(f"({n}, {value})" for n in range(20))
    found = plain_rows(text + " RETURNING a, (b)")
    assert found is not None
    assert found.width == 2
    assert found.column(0) == [str(number) for number in range(20)]
    assert found.column(1) == [value] * 20
    assert found.skeleton.endswith(" RETURNING a, (b)")
    (whole,), (few,) = parse(text), parse(found.skeleton)
    rows = whole.stmt.insert_stmt.select_stmt.select_stmt.values_lists
    assert [len(row.list.items) for row in rows] == [2] * 20
    few_rows = few.stmt.insert_stmt.select_stmt.select_stmt.values_lists
    assert [len(row.list.items) for row in few_rows] == [2, 2]


@pytest.mark.parametrize("value", OTHER)
@pytest.mark.parametrize("place", [0, 7, 19])
def test_with_any_other_value_no_row_is_read(value: str, place: int) -> None:
    rows = [f"({value}, 1)" if n == place else f"({n}, 1)" for n in range(20)]
    assert plain_rows(f"INSERT INTO t (a, b) VALUES {', '.join(rows)}") is None


def test_each_pattern_has_a_row_in_the_skeleton() -> None:
    rows = ["(1, 'a')", "(2, NULL)", "(NULL, 'b')"] * 5
    found = plain_rows(f"INSERT INTO s.t VALUES {','.join(rows)} ON CONFLICT (a) DO NOTHING")
    assert found is not None
    assert found.skeleton == (
        "INSERT INTO s.t VALUES (0, ''), (0, ''), (0, NULL), (NULL, '') ON CONFLICT (a) DO NOTHING"
    )
    assert found.rows[:3] == ("1, 'a'", "2, NULL", "NULL, 'b'")


@pytest.mark.parametrize(
    "text",
    [
        "INSERT INTO t VALUES " + ", ".join(["(1)"] * 3),
        "INSERT INTO t VALUES " + ", ".join(["(1)"] * 10 + ["(1, 2)"]),
        "INSERT INTO t VALUES " + ", ".join(["(1)"] * 10) + ", (2",
        "INSERT INTO t VALUES " + ", ".join(["(1)"] * 10 + ["()"]),
        "INSERT INTO t SELECT 1 FROM (VALUES " + ", ".join(["(1)"] * 10) + ") x",
        "WITH x AS (SELECT 1) INSERT INTO t VALUES " + ", ".join(["(1)"] * 10),
        "INSERT INTO t AS u VALUES " + ", ".join(["(1)"] * 10),
        "SELECT 1",
    ],
)
def test_another_text_is_not_read(text: str) -> None:
    assert plain_rows(text) is None


def test_the_skeleton_of_a_skeleton_is_none() -> None:
    found = plain_rows("INSERT INTO t VALUES " + ", ".join(["(1)", "('a')", "(NULL)"] * 9))
    assert found is not None
    assert plain_rows(found.skeleton) is None


def test_what_follows_the_rows_is_the_parser_s_to_read() -> None:
    text = "INSERT INTO t VALUES " + ", ".join(["(1)"] * 10) + "; DROP TABLE t"
    found = plain_rows(text)
    assert found is not None
    assert len(parse(found.skeleton)) == 2
    assert same_text(parse(found.skeleton)[1].stmt) == same_text(parse("DROP TABLE t")[0].stmt)
