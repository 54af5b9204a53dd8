"""Runs tests/golden/plans/: a statement and its whole plan.

With GREENSHARD_WRITE_PLANS=1 the files are written anew: read what has changed (git diff), line by
line, before it is committed. A golden file with a wrong plan is worse than none.
"""

from __future__ import annotations

import os

import pytest

from greenshard.planner.explanation import explain
from tests.unit.planner import scene
from tests.unit.planner.plan_cases import PlanCase, plan_cases, write_plans

CASES = plan_cases()
PLANNERS = {alone: scene.planner(alone=alone) for alone in (False, True)}


def planned(title: str, case: PlanCase) -> str:
    planner = PLANNERS[title.startswith("one_shard.txt")]
    plan = planner.plan(case.sql, case.has_parameters, scene.PATH)
    return explain(plan, scene.SHARDS, case.given, verbose=True)


@pytest.mark.skipif("GREENSHARD_WRITE_PLANS" not in os.environ, reason="plans are compared")
def test_plans_are_written_anew() -> None:
    write_plans({title: planned(title, case) for title, case in CASES.items()})
    pytest.skip("tests/golden/plans/ is written anew: now read `git diff tests/golden/plans`")


@pytest.mark.skipif("GREENSHARD_WRITE_PLANS" in os.environ, reason="plans are written")
@pytest.mark.parametrize("title", CASES)
def test_a_plan_is_as_in_the_golden_file(title: str) -> None:
    assert planned(title, CASES[title]) == CASES[title].plan
