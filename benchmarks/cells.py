"""The figures of one workload over one number of shards."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any


@dataclass(frozen=True)
class Cell:
    """What was measured.

    Attributes:
        workload: Its name.
        shards: How many there were.
        turns: For each contestant and each of its turns, how many seconds each call took. The
            contestants' turns of the same number were taken one after the other.
    """

    workload: str
    shards: int
    turns: dict[str, list[list[float]]]

    def times(self, name: str) -> list[float]:
        """All calls of a contestant, in seconds, the shortest first."""
        return sorted(time for turn in self.turns[name] for time in turn)

    def median_s(self, name: str) -> float:
        return median(self.times(name))

    def p99_s(self, name: str) -> float:
        """The 99th percentile; of fewer than 100 calls the longest."""
        return percentile(self.times(name), 0.99)

    def ratios(self, name: str, to: str) -> list[float]:
        """For each round, the median call of one contestant over that of the other; sorted."""
        pairs = zip(self.turns[name], self.turns[to], strict=True)
        return sorted(median(one) / median(other) for one, other in pairs)

    def ratio(self, name: str, to: str) -> float:
        """The median of `ratios`: what loads the machine for some rounds does not change it."""
        return median(self.ratios(name, to))

    def quartiles(self, name: str, to: str) -> tuple[float, float]:
        """The lower and the upper quartile of `ratios`."""
        ratios = self.ratios(name, to)
        return percentile(ratios, 0.25), percentile(ratios, 0.75)

    def as_json(self) -> dict[str, Any]:
        return {
            "workload": self.workload,
            "shards": self.shards,
            "contestants": {name: self._figures(name) for name in self.turns},
        }

    def _figures(self, name: str) -> dict[str, Any]:
        others = [other for other in self.turns if other != name]
        return {
            "calls": len(self.times(name)),
            "median_ms": self.median_s(name) * 1e3,
            "p99_ms": self.p99_s(name) * 1e3,
            "ratios": {other: self.ratio(name, other) for other in others},
            "ratio_quartiles": {other: self.quartiles(name, other) for other in others},
        }


def percentile(ordered: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` of all are not above.

    >>> percentile([1, 2, 3, 4], 0.5)
    2
    """
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]
