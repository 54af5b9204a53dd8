"""How often something took how long."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from itertools import accumulate

#: Upper ends of the buckets, in seconds; one more bucket holds what took longer.
BOUNDS_S = (
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1,
    0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Durations:
    """A histogram at one moment.

    Attributes:
        counts: How many took at most ``BOUNDS_S[i]`` and more than the bound before; one more for
            those that took longer than all bounds.
        sum_s: Seconds of all together.
    """

    counts: tuple[int, ...] = (0,) * (len(BOUNDS_S) + 1)
    sum_s: float = 0.0

    @property
    def count(self) -> int:
        """How many there were."""
        return sum(self.counts)

    @property
    def cumulative(self) -> tuple[int, ...]:
        """How many took at most ``BOUNDS_S[i]``; the last is all of them, as Prometheus counts."""
        return tuple(accumulate(self.counts))

    def quantile_s(self, part: float) -> float | None:
        """Seconds within which a part (0 to 1) of them ended, to the precision of the buckets.

        Returns:
            None if there were none; the last bound if it took longer than that.
        """
        if not self.count:
            return None
        wanted, before = part * self.count, 0
        for low, high, count in zip((0.0, *BOUNDS_S), BOUNDS_S, self.counts, strict=False):
            # Between the bounds as if they were evenly spread, as Prometheus's histogram_quantile()
            # does.
            if count and before + count >= wanted:
                return low + (high - low) * max(0.0, wanted - before) / count
            before += count
        return BOUNDS_S[-1]


class Histogram:
    """Counts durations."""

    __slots__ = ("_counts", "_sum_s")

    def __init__(self) -> None:
        self._counts = [0] * (len(BOUNDS_S) + 1)
        self._sum_s = 0.0

    def observe(self, seconds: float) -> None:
        """Count one."""
        # A bound belongs to its bucket, as Prometheus's "le" says.
        self._counts[bisect_left(BOUNDS_S, seconds)] += 1
        self._sum_s += seconds

    def value(self) -> Durations:
        """What was counted so far."""
        return Durations(tuple(self._counts), self._sum_s)
