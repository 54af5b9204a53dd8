"""A connection that is busy in one greenlet refuses calls from another, and never freezes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parent / "scripts"


def run_script(name, *arguments):
    """Run a script with the repository's packages; returns what it printed, line by line."""
    process = subprocess.Popen(
        [sys.executable, "-W", "error", SCRIPTS / name, *arguments],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    # The scripts limit their own time, and that of their children.
    said, complaint = process.communicate()
    assert (process.returncode, complaint) == (0, ""), said + complaint
    return [json.loads(line) for line in said.splitlines()]


@pytest.mark.parametrize("what", ["all", "with"])
@pytest.mark.parametrize("count", [1, 3], ids=["one shard", "three shards"])
def test_calls_on_a_busy_connection(scene, what, count):
    lines = run_script("busy.py", what, *[shard.dsn for shard in scene.shards][:count])
    assert lines[-1] == {"finished": True}
    guarded = {line["guarded"]: line["outcome"] for line in lines if "guarded" in line}
    assert len(guarded) > (20 if what == "all" else 0)
    assert {name: code for name, code in guarded.items() if code != "GS302"} == {}
    ended = {line["outcome"] for line in lines if "ended" in line}
    assert ended <= {"QueryCanceled", "GS201"}
    undisturbed = {line["undisturbed"]: line["outcome"] for line in lines if "undisturbed" in line}
    assert set(undisturbed.values()) == {"ok"}
    assert [line["rows"] for line in lines if "polled" in line] == [[["mine"]] * count]
