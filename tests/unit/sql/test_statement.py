from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenshard.sql import statement as statement_module
from greenshard.sql.statement import Statement, Unreadable, read_statement

ROWS = ",".join(f"({row},'abcdef')" for row in range(50_000))
SOME_ROWS = ROWS[: ROWS.index(",(2000,")]
LONG_STRING = "'" + "x" * statement_module.MAX_CACHED_CHARACTERS + "'"

trigger_words = ["insert", "INSERT INTO", "Merge", "copy", "do", "values (1)", "select 1", "t"]
near_sql = st.lists(
    st.sampled_from([*trigger_words, " ", "\n", "'", '"', "(", ")", ";", "--", "/*", "*/", "$$"])
    | st.text(max_size=3)
).map(" ".join)


@given(near_sql, st.booleans())
def test_any_text_has_facts_or_is_unreadable(sql: str, has_parameters: bool) -> None:
    found = read_statement(sql, has_parameters)

    if isinstance(found, Unreadable):
        assert found.position is None or 0 <= found.position <= len(sql)
    else:
        assert found.inserts == (found.position is not None)
        assert not (found.inserts and found.reads)


@given(st.text(alphabet=st.characters(codec="utf-8", exclude_characters="'\0\\")))
def test_nothing_within_a_string_inserts(body: str) -> None:
    found = read_statement(f"SELECT 'insert {body}'", has_parameters=False)

    assert isinstance(found, Statement)
    assert not found.inserts


@pytest.mark.parametrize(
    ("sql", "position"),
    [
        (f"INSERT INTO t VALUES {ROWS}", 0),
        (f"WITH d AS (VALUES {ROWS}) INSERT INTO t TABLE d", len(ROWS) + 20),
        (f"WITH d AS (INSERT INTO t VALUES {ROWS}) SELECT 1", 11),
        (f"WITH ä AS (VALUES {SOME_ROWS}) /**/INSERT INTO t TABLE ä", len(SOME_ROWS) + 24),
        (f"EXPLAIN ANALYZE INSERT INTO t VALUES {SOME_ROWS}", 16),
    ],
    ids=["leading", "after WITH", "in WITH", "after a comment", "explain"],
)
def test_a_long_text_inserts(sql: str, position: int) -> None:
    found = read_statement(sql, has_parameters=False)

    assert (found.position, found.inserts) == (position, True)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "sql",
    [
        f"UPDATE t SET a = d.a FROM (VALUES {ROWS}) d (a, b) WHERE b = 'do insert into'",
        f"WITH d AS (VALUES {SOME_ROWS}) SELECT 'insert into', (insert), insert FROM d",
        f"EXPLAIN INSERT INTO t VALUES {SOME_ROWS}",
        f"CREATE RULE r AS ON UPDATE TO t DO INSERT INTO u VALUES {SOME_ROWS}",
    ],
    ids=["update", "select", "explain", "rule"],
)
def test_a_long_text_does_not_insert(sql: str) -> None:
    assert not read_statement(sql, has_parameters=False).inserts  # type: ignore[union-attr]


def test_a_short_text_is_read_once() -> None:
    sql = "SELECT 'read once'"

    assert read_statement(sql, True) is read_statement(sql, True)
    assert read_statement(sql, True) is not read_statement(sql, False)


def test_a_long_text_is_not_kept() -> None:
    sql = f"SELECT {LONG_STRING}"

    assert read_statement(sql, True) is not read_statement(sql, True)


def test_a_half_surrogate_pair_cannot_be_read() -> None:
    found = read_statement("SELECT '\ud800', insert", has_parameters=False)

    assert found == Unreadable("the statement holds half of a surrogate pair", 8)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT " + "+".join(["1"] * 2000),
        " UNION ALL ".join(["SELECT 1 AS a, 2 AS b FROM t WHERE a = 1"] * 1000),
        "SELECT " + "f(" * 300 + "1" + ")" * 300,
        "SELECT 1 WHERE " + " OR ".join(["(a = 1 AND b = 2)"] * 2000),
    ],
    ids=["operators", "set operations", "calls", "a flat list"],
)
def test_nested_statements_are_read(sql: str) -> None:
    found = read_statement(f"{sql}; INSERT INTO t VALUES (1)", has_parameters=False)

    assert found.position == len(sql) + 2
    assert read_statement(sql, has_parameters=False).reads  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT " + "+".join(["1"] * 40_000),
        " UNION ALL ".join(["SELECT 1, 2"] * 40_000),
        "SELECT 1" + "::int" * 40_000,
        "SELECT * FROM a" + " JOIN b ON c AND f(d, e)" * 40_000,
        "SELECT " + "CASE WHEN a AND " * 40_000,
    ],
    ids=["operators", "set operations", "casts", "joins", "cases"],
)
def test_nesting_that_would_overflow_the_stack_cannot_be_read(sql: str) -> None:
    found = read_statement(f"{sql}; INSERT INTO t VALUES (1)", has_parameters=False)

    assert found == Unreadable("the statement is nested too deeply", None)
    assert not read_statement(sql, has_parameters=False).reads  # type: ignore[union-attr]
