"""Texts of several statements are cut where the parser says, and literals are lifted out."""

from __future__ import annotations

from decimal import Decimal

import pytest

from greenshard.sql.lifting import lifted
from greenshard.sql.parser import parse
from greenshard.sql.placeholders import translate
from greenshard.sql.splitting import Control, Part, parts_of


def cut(text, bound=False):
    translation = translate(text, bound)
    return parts_of(text, translation, parse(translation.text))


def test_statements_end_where_the_parser_says():
    text = (
        """SELECT 'é;' -- ;\n; /* ; */ UPDATE t SET a = $q$;$q$ ;; \n END AND CHAIN; SELECT ";" """
    )
    reads, writes, ends, last = cut(text)
    assert (reads.text, reads.reads, reads.writes) == ("SELECT 'é;' -- ;", True, False)
    assert (writes.text, writes.reads, writes.writes) == ("UPDATE t SET a = $q$;$q$", False, True)
    assert (ends.text, ends.control, ends.chains) == ("END AND CHAIN", Control.ENDS, True)
    assert last.text == 'SELECT ";"'


@pytest.mark.parametrize(
    ("text", "control"),
    [("BEGIN", Control.BEGINS), ("START TRANSACTION", Control.BEGINS), ("END", Control.ENDS),
     ("ABORT", Control.ENDS), ("SAVEPOINT a", Control.SAVES), ("RELEASE a", Control.SAVES),
     ("ROLLBACK TO a", Control.SAVES), ("SET a = 1", None)],
)  # fmt: skip
def test_control_of_the_block_is_told(text, control):
    assert cut(text) == (Part(text, control=control),)


def test_each_statement_gets_its_own_parameters():
    text = "UPDATE t SET é=%s, b = '%%' WHERE a IN %s; SELECT 'é%%'; SELECT %s"
    found = cut(text, bound=True)
    assert [part.text for part in found] == [each.strip() for each in text.split(";")]
    assert [part.given([1, (2, 3), 4]) for part in found] == [(1, (2, 3)), (), (4,)]
    assert [part.given(None) for part in found] == [None] * 3
    named = cut("SELECT %(a)s; SELECT %(b)s, %(a)s", bound=True)
    assert [part.given({"a": 1, "b": 2}) for part in named] == [{"a": 1, "b": 2}] * 2


def test_thousands_of_statements_are_cut():
    found = cut("UPDATE t SET é = 'é' WHERE id = 1;" * 5000)
    assert len(found) == 5000
    assert {part.text for part in found} == {"UPDATE t SET é = 'é' WHERE id = 1"}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("UPDATE t SET a='it''s', b1 = -5 WHERE c>1.50", ("it's", -5, Decimal("1.50"))),
        ("UPDATE t SET \"a'1\" = 'x' WHERE b- 5 > t.x2", ("x", 5)),
        ("INSERT INTO t VALUES (1, 'é;', NULL, 1e5, B'101', '')", (1, "é;", "")),
        ("UPDATE t SET a = N'x y', b = 2", (2,)),
    ],
)
def test_literals_are_lifted(text, found):
    made, values = lifted(text)
    assert values == found
    quoted = (
        "'" + each.replace("'", "''") + "'" if isinstance(each, str) else str(each)
        for each in values
    )
    # Written back, it is the same text.
    assert made.replace("%s", "{}").format(*quoted) == text


@pytest.mark.parametrize(
    "text",
    [r"SELECT E'\''", r"SELECT '\'", "SELECT 1 -- '", "SELECT 1 /* ' */", "SELECT $$1$$",
     "SELECT '100%'", "SELECT U&'x'", "SELECT 'a'\n'b'", "SELECT 1::numeric(5,2)",
     "SELECT CAST(1 AS numeric (5,2))", "SELECT a FROM t"],
)  # fmt: skip
def test_a_text_that_may_hold_something_else_is_left_alone(text):
    assert lifted(text) is None
