"""The short form of benchmarks/longrun.py: nothing grows with the number of statements."""

from __future__ import annotations

from benchmarks import longrun


def test_thousands_of_executes_leave_nothing_behind():
    first, last = longrun.run(2000, say=lambda line: None)
    assert longrun.faults(first, last) == []
