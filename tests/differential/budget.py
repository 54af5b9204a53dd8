"""How many statements may be refused, for each reason: no rule may refuse more unnoticed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from math import sqrt

#: For each reason, or the words with which several begin, how many of 1,000 statements may be
#: refused for it: about twice as many as are. A kind of `kinds` has its own in its file.
PER_THOUSAND = {
    "GS410 a whole row would be of the gathered table's type": 3.0,
    # Of what a role with policies asks, one in twenty.
    "GS410 view public.turnover reads public.entry as": 20.0,
}
#: So many more may be, by chance.
CHANCE = 3


def excesses(
    refusals: Mapping[str, int],
    statements: int,
    allowed: Mapping[str, float] = PER_THOUSAND,
    *,
    new: int = 0,
) -> Iterator[str]:
    """What is refused too often, or for a reason that was none before.

    Args:
        refusals: How many statements were refused, for each reason.
        statements: How many there were.
        allowed: How many of 1,000 may be, by the first words of the reason.
        new: How many may be for a reason that was none before. In a short run one statement in a
            thousand must not hold up an unlike change; the nightly run allows none.
    """
    counts: Counter[str] = Counter()
    for reason, count in refusals.items():
        words = next((words for words in allowed if reason.startswith(words)), None)
        if words is not None:
            counts[words] += count
        elif count > new:
            yield f"refused for a new reason: {reason}"
    for words, count in counts.items():
        expected = allowed[words] * statements / 1000
        # Each run looks at dozens of reasons: more than three standard deviations, and some.
        if count > (most := expected + CHANCE + 3 * sqrt(expected)):
            yield f"{count} statements of {statements} refused, not at most {most:.0f}: {words}"
