"""How many statements may be refused, for each reason: no rule may refuse more unnoticed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

#: For each reason how many of 1,000 statements may be refused for it: about twice as many as are.
PER_THOUSAND = {
    "GS410 a whole row would be of the gathered table's type": 3.0,
}
#: So many more may be, by chance.
CHANCE = 3


def excesses(refusals: Mapping[str, int], statements: int, *, new: int = 0) -> Iterator[str]:
    """What is refused too often, or for a reason that was none before.

    Args:
        refusals: How many statements were refused, for each reason.
        statements: How many there were.
        new: How many may be for a reason that was none before. In a short run one statement in a
            thousand must not hold up an unlike change; the nightly run allows none.
    """
    for reason, count in refusals.items():
        most = PER_THOUSAND.get(reason)
        if most is None and count > new:
            yield f"refused for a new reason: {reason}"
        elif most is not None and count > (allowed := CHANCE + most * statements / 1000):
            yield f"{count} statements of {statements} refused, not at most {allowed:.0f}: {reason}"
