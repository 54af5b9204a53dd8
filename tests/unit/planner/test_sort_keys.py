"""Rows are merged by the collation that the shards have sorted them by."""

from __future__ import annotations

import pytest

from greenshard.planner.plan import Scatter
from tests.unit.planner import scene

PLANNER = scene.planner()


@pytest.mark.parametrize(
    ("select", "order", "collations"),
    [
        ("email", "name", [None]),
        ("email", 'name COLLATE "POSIX"', ['"POSIX"']),
        ("email", 'name COLLATE pg_catalog."C"', ['"pg_catalog"."C"']),
        ('name COLLATE "POSIX" AS n', "n", ['"POSIX"']),
        ('name COLLATE "POSIX" AS n', "1", ['"POSIX"']),
        ('name COLLATE "POSIX" AS n', "n, name, email", ['"POSIX"', None, None]),
        ("nick", "nick", ['pg_catalog."C"']),
        ("nick", "1 DESC", ['pg_catalog."C"']),
        ("email", "nick, email", ['pg_catalog."C"', None]),
        ("*", "nick, name", ['pg_catalog."C"', None]),
        ("*, score AS n", "n, 3", [None, 'pg_catalog."C"']),
    ],
)
def test_a_sort_key_has_its_collation(select, order, collations) -> None:
    sql = f"SELECT {select} FROM account ORDER BY {order}"
    step = PLANNER.plan(sql, False, scene.PATH).step
    assert isinstance(step, Scatter)
    assert [key.collation for key in step.sort] == collations
