"""One time for all servers."""

from __future__ import annotations

import pytest

from greenshard.sql.deparsing import write
from greenshard.sql.now import replace_now, tells_time
from greenshard.sql.parser import parse
from greenshard.sql.placeholders import translate

_NOW = "(%(now)s)::timestamp with time zone"


def replaced(sql: str) -> str:
    (tree,) = parse(sql)
    assert replace_now(tree, 1)
    assert not tells_time(tree)
    return write(tree, translate("", False)).text


@pytest.mark.parametrize(
    ("expression", "made"),
    [
        ("now()", "NOW AS now"),
        ("pg_catalog.now()", "NOW AS now"),
        ("transaction_timestamp()", "NOW AS transaction_timestamp"),
        ("current_date", 'NOW::pg_catalog.date AS "current_date"'),
        ("current_time", 'NOW::time with time zone AS "current_time"'),
        ("current_time(2)", 'NOW::time (2) with time zone AS "current_time"'),
        ("current_timestamp", 'NOW AS "current_timestamp"'),
        ("current_timestamp(0)", 'NOW::timestamp (0) with time zone AS "current_timestamp"'),
        ("localtime", 'NOW::time AS "localtime"'),
        ("localtimestamp(3)", 'NOW::timestamp(3) AS "localtimestamp"'),
        ("now() AS n", "NOW AS n"),
        ("now() + '1 day'", "NOW + '1 day'"),
        ("now()::date", "NOW::date AS now"),
        ("f(now())", "f(NOW) AS f"),
        ("age(a)", "pg_catalog.age(NOW::pg_catalog.date, a) AS age"),
        ("age(now())", "pg_catalog.age(NOW::pg_catalog.date, NOW) AS age"),
        ("'today'::date", "NOW::pg_catalog.date::pg_catalog.date AS date"),
        (
            "date ' Tomorrow '",
            "(NOW::pg_catalog.date OPERATOR(pg_catalog.+) 1)::pg_catalog.date AS date",
        ),
        ("timestamp 'now'", 'NOW::timestamp AS "timestamp"'),
        ("time 'now'", 'NOW::time AS "time"'),
        ("CASE WHEN a THEN now() END", 'CASE WHEN a THEN NOW END AS "case"'),
    ],
)
def test_what_tells_the_time_is_a_placeholder_and_keeps_its_name(
    expression: str, made: str
) -> None:
    assert replaced(f"SELECT {expression}") == f"SELECT {made.replace('NOW', _NOW)}"


@pytest.mark.parametrize(
    "expression",
    [
        "a",
        "'now'",
        "'now'::text",
        "'today'::time",
        "'today'::date[]",
        "'epoch'::timestamp",
        "s.now()",
        "now(1)",
        "age(a, b)",
        "clock_timestamp()",
        "statement_timestamp()",
        "current_user",
        "current_schema",
    ],
)
def test_what_tells_no_time_stays(expression: str) -> None:
    (tree,) = parse(f"SELECT {expression}")
    before = tree.SerializeToString()
    assert not replace_now(tree, 1)
    assert tree.SerializeToString() == before


def test_names_are_written_down_at_every_level_and_in_returning() -> None:
    inner = replaced("SELECT d FROM (SELECT current_date) x(d) UNION SELECT now()")
    assert inner == (
        f'SELECT d FROM (SELECT {_NOW}::pg_catalog.date AS "current_date") x(d) UNION '
        f"SELECT {_NOW} AS now"
    )
    update = replaced("UPDATE t SET a = now() RETURNING now(), a")
    assert update == f"UPDATE t SET a = {_NOW} RETURNING {_NOW} AS now, a"


def test_a_column_that_is_named_by_a_value_is_not_renamed() -> None:
    (tree,) = parse("SELECT CASE WHEN now() > a THEN 1 ELSE $1 END")
    assert replace_now(tree, 2)
    assert " AS " not in write(tree, translate("%s", True)).text
