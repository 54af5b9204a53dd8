"""Trees become text that is parsed as the same trees."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenshard.sql.deparsing import Unwritable, now_number, write
from greenshard.sql.parser import ParserError, parse
from greenshard.sql.placeholders import translate
from greenshard.sql.text import Now
from greenshard.sql.tree import same_text
from tests.differential.statements import statement
from tests.unit.planner.plan_cases import plan_cases


def written(sql: str, has_parameters: bool = True) -> str:
    translation = translate(sql, has_parameters)
    (tree,) = parse(translation.text)
    return write(tree, translation).text


@pytest.mark.parametrize(
    ("sql", "text"),
    [
        ("select  A+1", "SELECT a + 1"),
        ("SELECT %s", "SELECT (%(p1)s)"),
        ("SELECT %(b)s, %(a)s, %(b)s", "SELECT (%(p1)s), (%(p2)s), (%(p1)s)"),
        ("SELECT %s::int2", "SELECT (%(p1)s)::int2"),
        ("SELECT 1 WHERE a IN %s", "SELECT 1 WHERE a IN %(p1)s"),
        ("SELECT 1 WHERE a NOT IN %s", "SELECT 1 WHERE a NOT IN %(p1)s"),
        ("SELECT 1 WHERE a IN (%s, %s)", "SELECT 1 WHERE a IN ((%(p1)s), (%(p2)s))"),
        ("SELECT 1 WHERE a = ANY(%s)", "SELECT 1 WHERE a = ANY((%(p1)s))"),
        ("SELECT a %% 2, 'x%%', %s", "SELECT a %% 2, 'x%%', (%(p1)s)"),
        ("SELECT a %% 2, 'x%%'", "SELECT a % 2, 'x%'"),
        ('SELECT "50%%", %s', 'SELECT "50%%", (%(p1)s)'),
        ("SELECT '$1', %s", "SELECT '$1', (%(p1)s)"),
        ("SELECT 'é', %s", "SELECT 'é', (%(p1)s)"),
        ("SELECT 1 LIMIT %s", "SELECT 1 LIMIT (%(p1)s)"),
    ],
)
def test_placeholders_are_psycopg2_s_again(sql: str, text: str) -> None:
    assert written(sql) == text


def test_without_placeholders_percent_signs_stay_single() -> None:
    sql = write(parse("SELECT a % 2")[0], translate("SELECT a % 2", False))
    assert (sql.text, sql.binds) == ("SELECT a % 2", ())
    assert sql.values(None) is None


def test_values_are_the_user_s_parameters_by_name() -> None:
    translation = translate("SELECT %s, %s", True)
    sql = write(parse(translation.text)[0], translation)
    assert sql.values(("a", "b")) == {"p1": "a", "p2": "b"}


def test_the_time_is_a_placeholder_of_its_own() -> None:
    translation = translate("SELECT %s", True)
    number = now_number(translation)
    sql = write(parse(f"SELECT $1, ${number}")[0], translation)
    assert sql.binds == (("p1", 0), ("now", Now.NOW))
    assert sql.needs_now
    assert sql.values(("a",), "12:00") == {"p1": "a", "now": "12:00"}


def test_a_placeholder_that_stands_for_nothing_cannot_be_written() -> None:
    with pytest.raises(Unwritable):
        write(parse("SELECT $7")[0], translate("SELECT 1", False))


_NASTY = r"""
SELECT (NOT a) IS NULL
SELECT (a AND b) IS TRUE
SELECT (a = b) IS DISTINCT FROM c
SELECT a IS DISTINCT FROM (b = c)
SELECT (a IS NULL) = b
SELECT a < (b < c), (a < b) < c
SELECT a BETWEEN (b AND c) AND d
SELECT (a LIKE b) LIKE c, a LIKE (b LIKE c)
SELECT a = ANY (b || c)
SELECT a AT TIME ZONE ('x' || b)
SELECT - (1::int2), (-1)::int2, -1::int2
SELECT a - (b - c), (a - b) - c, a * (b + c)
SELECT (a COLLATE "C") || b, (a || b) COLLATE "C"
SELECT (a::text)[1], (ARRAY[1, 2])[1], (ARRAY(SELECT 1))[1], (coalesce(a, b))[1]
SELECT (ARRAY(SELECT count(*) FROM t GROUP BY f(x)))[1], (ARRAY(SELECT sum(a)))[1] FROM u
SELECT (f(x)).y, (a.b).c, ((a.b).c).*, (ROW(1, 2)).f1
SELECT a[1:2], a[:2], a[1:], a[:]
SELECT a OPERATOR(s.+) b, a OPERATOR(s.=) ANY (ARRAY[1])
SELECT (a, b) IN (SELECT 1, 2), ROW(a) = ROW(b), (a, b) OVERLAPS (c, d)
SELECT 'it''s', E'a\nb\\c', $$dollar$$, U&'\00e9', B'101', 'back\slash'
SELECT interval '1' hour to minute, interval(3) '1.1', timestamp(3) with time zone 'now'
SELECT "select"."from" AS "A ""b"" c" FROM "select"
SELECT * FROM ROWS FROM (f(1), g(2) AS (a int)) WITH ORDINALITY AS t(x)
SELECT * FROM (a JOIN b USING (x) AS u) AS j(x, y) LEFT JOIN LATERAL f(j.x) c ON true
SELECT * FROM a LEFT JOIN b LEFT JOIN c ON true ON true
SELECT * FROM ONLY a TABLESAMPLE SYSTEM (10) REPEATABLE (5)
SELECT JSON_VALUE(j, '$.a' RETURNING int DEFAULT 1 ON EMPTY), JSON_ARRAYAGG(x ORDER BY y)
SELECT sum(a) FILTER (WHERE b) OVER (w ROWS 1 PRECEDING EXCLUDE TIES) FROM t WINDOW w AS ()
SELECT f(VARIADIC a), f(x => 1), percentile_cont(0.5) WITHIN GROUP (ORDER BY a DESC)
SELECT DISTINCT ON (a, b) a FROM t ORDER BY a, b NULLS FIRST, c USING <
SELECT a FROM t GROUP BY DISTINCT a, ROLLUP (b, c), GROUPING SETS ((a), ()) HAVING true
SELECT a FROM t ORDER BY 1 OFFSET 5 ROWS FETCH FIRST (1 + 1) ROWS WITH TIES
(SELECT 1 ORDER BY 1 LIMIT 1) UNION ALL (SELECT 2 INTERSECT SELECT 3) ORDER BY 1
WITH RECURSIVE a(x) AS NOT MATERIALIZED (SELECT 1) CYCLE x SET c USING p SELECT * FROM a
SELECT * FROM t FOR UPDATE OF t SKIP LOCKED FOR SHARE NOWAIT
UPDATE t AS x SET a = DEFAULT, (b, c) = (SELECT 1, 2), f[1] = 2 FROM u RETURNING x.*
INSERT INTO t (a) VALUES (DEFAULT) ON CONFLICT (a) WHERE b DO UPDATE SET a = excluded.a WHERE c
"""


@pytest.mark.parametrize("sql", _NASTY.strip().splitlines())
def test_what_is_written_is_parsed_as_it_was_meant(sql: str) -> None:
    (tree,) = parse(sql)
    (again,) = parse(written(sql, False))
    same = same_text(tree.stmt) == same_text(again.stmt)
    # Brackets that would get lost are put in as COALESCE or a query.
    assert same or any(word in written(sql, False) for word in ("COALESCE(", "(SELECT "))


@pytest.mark.parametrize("sql", ["SELECT (NOT a)[1]", 'SELECT (NOT a) COLLATE "C"'])
def test_what_libpg_query_cannot_write_is_not_sent(sql: str) -> None:
    with pytest.raises(Unwritable):
        written(sql, False)


def comes_back(sql: str, has_parameters: bool) -> bool:
    """Whether a statement, if it can be written, is the same once it is parsed again."""
    translation = translate(sql, has_parameters)
    try:
        (tree,) = parse(translation.text)
        text = write(tree, translation)
    except (ParserError, Unwritable, ValueError):
        return True
    again = translate(text.text, text.binds != ())
    (other,) = parse(again.text)
    rewritten = write(other, again)
    return rewritten.text.count("%(") == text.text.count("%(") and same_text(
        parse(translate(rewritten.text, rewritten.binds != ()).text)[0].stmt
    ) == same_text(other.stmt)


@given(st.integers())
def test_random_statements_come_back(seed: int) -> None:
    made = statement(str(seed))
    assert comes_back(made.text, made.args is not None)


def test_golden_statements_come_back() -> None:
    for title, case in plan_cases().items():
        assert comes_back(case.sql, case.has_parameters), title
