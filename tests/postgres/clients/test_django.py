"""Django over four shards does what it does over one."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("django")

SCRIPT = Path(__file__).parent / "scripts" / "django_shop.py"


def started(*dsns):
    return subprocess.Popen(
        [sys.executable, "-W", "error", SCRIPT, *dsns],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(process):
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err[-3000:]
    return dict(map(json.loads, out.splitlines()))


@pytest.fixture(scope="module")
def databases(greenshard_shards):
    """Five databases on the two servers of the session."""
    with (
        greenshard_shards.databases() as first,
        greenshard_shards.databases() as second,
        greenshard_shards.databases() as third,
    ):
        yield [*first.values(), *second.values(), third["s0"]]


def test_django_over_four_shards_does_what_it_does_over_one(databases):
    *four, one = databases
    processes = [started(*four), started(one)]
    here, there = map(ended, processes)
    assert (here.pop("shards"), there.pop("shards")) == (4, 1)
    made_by_init = {"greenshard"}  # a schema of its own, so that Django sees no more tables
    assert not made_by_init & set(here["migrate"])
    assert list(here) == list(there)
    for step, outcome in there.items():
        assert here[step] == outcome, step
