"""What rows of several shards are merged by, which plans as text do not tell in whole."""

from __future__ import annotations

import pytest

from greenshard.planner.plan import Scatter, SortKey
from tests.unit.planner import scene

PLANNER = scene.planner()
C = 'pg_catalog."C"'


def keys(sql: str) -> tuple[SortKey, ...]:
    step = PLANNER.plan(sql, False, scene.PATH).step
    assert isinstance(step, Scatter)
    assert step.hidden == sum(key.column < 0 for key in step.sort)
    return step.sort


@pytest.mark.parametrize(
    ("order", "descending", "nulls_first"),
    [
        ("", False, False),
        ("ASC NULLS FIRST", False, True),
        ("ASC NULLS LAST", False, False),
        ("DESC", True, True),
        ("DESC NULLS FIRST", True, True),
        ("DESC NULLS LAST", True, False),
    ],
)
def test_nulls_are_the_greatest_unless_it_is_said_where_they_go(
    order: str, descending: bool, nulls_first: bool
) -> None:
    sql = f"SELECT o_totalprice FROM orders ORDER BY o_totalprice {order}"
    assert keys(sql) == (SortKey(0, descending, nulls_first),)


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT email, nick FROM account ORDER BY nick", [SortKey(1, collation=C)]),
        ("SELECT email, nick FROM account ORDER BY 2", [SortKey(1, collation=C)]),
        ("SELECT * FROM account ORDER BY 3", [SortKey(2, collation=C)]),
        ("SELECT nick AS n FROM account ORDER BY n", [SortKey(0, collation=C)]),
        ("SELECT email FROM account ORDER BY nick", [SortKey(-1, collation=C)]),
        ("SELECT nick, name FROM account ORDER BY name, nick",
         [SortKey(1), SortKey(0, collation=C)]),
        ("SELECT nick FROM account ORDER BY name, nick", [SortKey(-1), SortKey(0, collation=C)]),
        ('SELECT email FROM account ORDER BY name COLLATE pg_catalog."C"',
         [SortKey(-1, collation='"pg_catalog"."C"')]),
        ('SELECT name COLLATE "C" AS n, nick FROM account ORDER BY 1',
         [SortKey(0, collation='"C"')]),
        ('SELECT name COLLATE "C" AS n, nick FROM account ORDER BY n',
         [SortKey(0, collation='"C"')]),
        ('SELECT name FROM account ORDER BY nick COLLATE "POSIX"',
         [SortKey(-1, collation='"POSIX"')]),
        ("SELECT o FROM orders o ORDER BY o", [SortKey(0)]),
        ("SELECT o_custkey AS o, o_orderkey FROM orders o ORDER BY o.o_orderkey", [SortKey(-1)]),
        ("SELECT 1, 2, o_custkey + 1 FROM orders ORDER BY o_custkey + 1", [SortKey(2)]),
        ("SELECT v.*, v.*, at - at FROM moment v ORDER BY at - at", [SortKey(4)]),
        ("SELECT (v).*, at - at FROM moment v ORDER BY at - at", [SortKey(-1)]),
        ("SELECT (v).*, what FROM moment v ORDER BY v", [SortKey(-1)]),
        ("SELECT o_orderkey FROM orders ORDER BY 'a'", [SortKey(-1)]),  # the server's error
        ("SELECT 5, o_custkey AS a, o_custkey AS a FROM orders ORDER BY a", [SortKey(1)]),
        ("SELECT 5, o_custkey + 1 AS a, o_custkey + 1 AS a FROM orders ORDER BY a", [SortKey(1)]),
        (("SELECT 5, o_orderkey AS k FROM orders UNION ALL SELECT 6, l_orderkey FROM lineitem"
          " ORDER BY k"), [SortKey(1)]),
    ],
)  # fmt: skip
def test_a_key_is_compared_by_the_collation_of_its_column_or_its_own(
    sql: str, expected: list[SortKey]
) -> None:
    assert list(keys(sql)) == expected


@pytest.mark.parametrize(
    ("sql", "reason"),
    [
        ("SELECT nick FROM account ORDER BY lower(nick)", "the collation of a sort key"),
        ("SELECT lower(nick) AS l FROM account ORDER BY l", "the collation of a sort key"),
        ("SELECT nick FROM account UNION ALL SELECT name FROM account ORDER BY nick",
         "the collation of a sort key"),
        ("SELECT nick FROM account ORDER BY 2", "the collation of a sort key"),
        ("SELECT o_custkey + 1 AS a, o_custkey + 2 AS a FROM orders ORDER BY a",
         "several columns of the answer are called a"),
        ("SELECT score + 1 AS name, account.* FROM account ORDER BY name",
         "several columns of the answer are called name"),
        ("SELECT nick, j.* FROM account, json_to_record('{}') j ORDER BY 1",
         "the collation of a sort key"),
        (("SELECT o_orderkey FROM orders UNION ALL SELECT l_orderkey FROM lineitem"
          " ORDER BY o_orderkey + 1"), "ORDER BY names no column of the answer"),
        (("SELECT o_orderkey AS k, j.* FROM orders, json_to_record('{}') j"
          " UNION ALL SELECT l_orderkey, j.* FROM lineitem, json_to_record('{}') j ORDER BY k"),
         "it is not known which column of the answer k is"),
    ],
)  # fmt: skip
def test_a_key_of_which_that_is_not_known_is_not_merged_by(sql: str, reason: str) -> None:
    refusals = PLANNER.plan(sql, False, scene.PATH).refusals
    (found,) = [each.reason for each in refusals if each.strategy == "merge"]
    assert reason in found
