"""What the templates draw: numbers in, places and sizes out. Jinja's filters.

Nothing here knows SVG; the templates do.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from greenshard.pool.histogram import BOUNDS_S, Durations

#: The histogram shows the buckets up to here, and one more for all that took longer.
LAST_BOUND_S = 1.0


@dataclass(frozen=True)
class Bar:
    """A bar, in percent of the picture."""

    start: float
    size: float


def shares(values: Iterable[float | None]) -> list[float]:
    """Each value in percent of the largest.

    >>> shares([5, 10, None])
    [50.0, 100.0, 0.0]
    """
    numbers = [value or 0 for value in values]
    largest = max(numbers, default=0) or 1
    return [round(100 * max(0, number) / largest, 2) for number in numbers]


def diverging(values: Iterable[float | None]) -> list[Bar]:
    """Bars to both sides of a common zero.

    >>> diverging([30, -10])
    [Bar(start=25.0, size=75.0), Bar(start=0.0, size=25.0)]
    """
    numbers = [value or 0 for value in values]
    low, high = min(0, *numbers, 0), max(0, *numbers, 0)
    scale = 100 / ((high - low) or 1)
    return [Bar((min(0, n) - low) * scale, abs(n) * scale) for n in numbers]


@dataclass(frozen=True)
class Latencies:
    """The histogram of one shard.

    Attributes:
        counts: How many statements each bucket has, those of the last took longer than all bounds.
        heights: The same, in percent of the highest of all shards.
        median, p99: Where they are, in percent of the width; None if there are none.
    """

    counts: list[int]
    heights: list[float]
    median: float | None
    p99: float | None


def latencies(shards: Sequence[Durations]) -> list[Latencies]:
    """The histograms of several shards, drawn to one scale."""
    shown = BOUNDS_S.index(LAST_BOUND_S) + 1
    counts = [[*shard.counts[:shown], sum(shard.counts[shown:])] for shard in shards]
    highest = max((max(one) for one in counts), default=0) or 1
    return [
        Latencies(
            counts=one,
            heights=[100 * count / highest for count in one],
            median=place(shard.quantile_s(0.5), shown),
            p99=place(shard.quantile_s(0.99), shown),
        )
        for one, shard in zip(counts, shards, strict=True)
    ]


def place(seconds: float | None, shown: int) -> float | None:
    """Where a duration is on the axis, whose buckets are all equally wide.

    >>> place(0.001, shown=3), place(60.0, shown=3)
    (50.0, 100.0)
    """
    if seconds is None:
        return None
    low = 0.0
    for number, high in enumerate(BOUNDS_S[:shown]):
        if seconds <= high:
            return 100 * (number + (seconds - low) / (high - low)) / (shown + 1)
        low = high
    return 100.0


FILTERS = {"shares": shares, "diverging": diverging, "latencies": latencies}
