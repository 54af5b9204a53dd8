"""Statements that any one shard may run, and those among them that are the first one's, always."""

from __future__ import annotations

import pytest

from greenshard.planner.plan import Anywhere
from tests.unit.planner import scene

PLANNER = scene.planner()


@pytest.mark.parametrize(
    ("sql", "first"),
    [
        ("SELECT 1::int4", False),
        ("SELECT c_custkey FROM customer", False),
        ("SELECT c_custkey::text FROM customer", False),
        ("SELECT pg_sleep(1), clock_timestamp()", False),  # any server's will do
        ("SELECT 'customer'::regclass", False),
        ("SELECT 'customer'::regclass::oid", True),  # each server counts its own
        ("SELECT 'customer'::regclass::oid, 1::text FROM customer", True),
        ("SELECT nextval('numbers')", True),
        ("SELECT setseed(0.5)", True),
        ("SELECT random()", True),
        ("SELECT c_custkey FROM customer FOR UPDATE", True),
    ],
)
def test_what_is_another_one_on_each_shard_is_the_first_one_s(sql, first):
    step = PLANNER.plan(sql, False, scene.PATH).step
    assert isinstance(step, Anywhere)
    assert step.first is first
