"""The short form of benchmarks/memory.py: each strategy reads its rows, in its own process."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

BENCHMARKS = Path(__file__).parents[3] / "benchmarks"


def test_every_strategy_is_measured():
    script = [sys.executable, str(BENCHMARKS / "memory.py"), "--millions=0.002", "--json"]
    script += ["--cursor", "named"]  # the others' way is the same
    ended = subprocess.run(script, capture_output=True, text=True, timeout=200, check=False)
    assert ended.returncode == 0, ended.stderr
    readings = json.loads(ended.stdout)["readings"]
    assert len(readings) == 8
    rows = {reading["strategy"]: reading["rows"] for reading in readings}
    assert rows.pop("combine") == 1_000
    assert set(rows.values()) == {2_000}
    assert all(reading["seconds"] > 0 for reading in readings)
