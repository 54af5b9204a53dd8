"""The short form of ``make soak``."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_nothing_is_amiss_after_a_short_soak():
    ended = subprocess.run(
        [sys.executable, "-W", "error", "-m", "tests.soak", "--short", "--minutes", "0.15"],
        cwd=ROOT,
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=220,
    )
    assert ended.returncode == 0, ended.stdout
    assert ended.stdout.endswith("\n0 violations\n")
