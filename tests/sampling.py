"""Of many like cases ``make test`` runs some: others with each seed, and all when it is asked to.

    @pytest.mark.parametrize("statement", few(STATEMENTS, 20))

``GREENSHARD_EVERY_CASE=1 make test`` runs all of them. Cases of which each is there for a fault of
its own are not sampled.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from random import Random
from typing import TypeVar

_Case = TypeVar("_Case")


def few(cases: Sequence[_Case], count: int) -> list[_Case]:
    """So many of the cases, in their order; pytest-xdist's processes choose the same.

    Args:
        cases: All of them.
        count: How many at most.
    """
    # tests/conftest.py has set it before any file with tests is read.
    if os.environ.get("GREENSHARD_EVERY_CASE") or len(cases) <= count:
        return list(cases)
    chosen = Random(f"{os.environ['GREENSHARD_SEED']}/{len(cases)}").sample(
        range(len(cases)), count
    )
    return [cases[number] for number in sorted(chosen)]
