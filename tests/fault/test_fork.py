"""A connection that was inherited through a fork."""

from __future__ import annotations

import pytest

from tests.fault.test_busy import run_script


@pytest.mark.parametrize("end", ["exit", "_exit"])
def test_inherited_connection_refuses_and_leaves_the_parents_alone(scene, end):
    lines = run_script("fork.py", end, *(shard.dsn for shard in scene.shards))
    assert lines[-1] == {"finished": True}
    assert {"closed": [2, 2]} in lines  # a pool opens another one
    calls = {line["call"]: line["outcome"] for line in lines if "call" in line}
    assert len(calls) > 40
    assert {name: got for name, got in calls.items() if got != [True, "GS303"]} == {}
