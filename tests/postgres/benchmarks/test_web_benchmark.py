"""The short form of benchmarks/web.py: its seven servers start, agree, answer, and end."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

BENCHMARKS = Path(__file__).parents[3] / "benchmarks"
SHORT = ["--rounds=1", "--seconds=0.1", "--clients=3", "--json"]


def test_every_contestant_serves_the_same_view():
    script = [sys.executable, str(BENCHMARKS / "web.py"), *SHORT]
    ended = subprocess.run(script, capture_output=True, text=True, timeout=200, check=False)
    assert ended.returncode == 0, ended.stderr
    found = json.loads(ended.stdout)
    assert [cell["kind"] for cell in found["cells"]] == ["at-once", "waiting"]
    for cell in found["cells"]:
        requests = {name: figures["requests"] for name, figures in cell["contestants"].items()}
        assert len(requests) == 7
        assert min(requests.values()) >= 3, requests
    waiting = found["cells"][1]["contestants"]
    assert all(figures["ms"]["0.5"] >= 5 for figures in waiting.values())
