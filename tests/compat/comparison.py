"""What the two sides' outcomes say together, and with what was expected."""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from tests.compat.process import STATUSES, Outcome

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

SEVERITY = {"passed": 0, "skipped": 1, "failed": 2, "error": 2, "hung": 3, "crashed": 3}


@dataclass(frozen=True)
class Difference:
    """A test that ends worse with greenshard than with plain psycopg2, or that hangs at all."""

    test: str
    outcome: Outcome
    reason: str | None


@dataclass
class Comparison:
    """Both sides' outcomes by test name.

    Args:
        psycopg2: with plain psycopg2.
        greenshard: with greenshard; empty if only the baseline was run.
        expected: the reasons of the differences that are expected, by test name.
    """

    expected: Mapping[str, str]
    psycopg2: dict[str, Outcome] = field(default_factory=dict)
    greenshard: dict[str, Outcome] = field(default_factory=dict)

    def differences(self) -> list[Difference]:
        """Return the tests that are worse here than there."""
        return [
            Difference(test, here, self.expected.get(test))
            for test, here in self.greenshard.items()
            if is_worse(here, self.psycopg2[test])
        ]

    def gains(self) -> list[str]:
        """Return the tests that pass here and not there."""
        return [
            test
            for test, outcome in self.greenshard.items()
            if outcome.status == "passed" and self.psycopg2[test].status != "passed"
        ]

    def unexpected(self) -> list[Difference]:
        """Return the differences without a reason."""
        return [difference for difference in self.differences() if difference.reason is None]

    def stale(self) -> list[str]:
        """Return the expected differences, among the tests that were run, that are none."""
        found = {difference.test for difference in self.differences()}
        return [test for test in self.expected if test in self.greenshard and test not in found]

    def counts(self) -> dict[str, dict[str, int]]:
        """Return, for each side that was run, how many tests ended how."""
        sides = {"psycopg2": self.psycopg2, "greenshard": self.greenshard}
        return {name: count(outcomes) for name, outcomes in sides.items() if outcomes}

    def as_json(self) -> dict[str, Any]:
        """Return everything as plain values."""
        return {
            "counts": self.counts(),
            "baseline": {
                test: asdict(outcome)
                for test, outcome in self.psycopg2.items()
                if outcome.status not in {"passed", "skipped"}
            },
            "differences": [asdict(difference) for difference in self.differences()],
            "gains": self.gains(),
            "stale": self.stale(),
        }


def is_worse(here: Outcome, there: Outcome) -> bool:
    """Whether greenshard's outcome falls behind psycopg2's; a hang or crash always does."""
    severity = SEVERITY[here.status]
    return severity > SEVERITY[there.status] or severity == SEVERITY["hung"]


def count(outcomes: Mapping[str, Outcome]) -> dict[str, int]:
    """Return how many tests ended in each status, and in total."""
    found = Counter(outcome.status for outcome in outcomes.values())
    return {status: found[status] for status in STATUSES} | {"total": len(outcomes)}


def read_expected(path: Path) -> dict[str, str]:
    """Return the reasons of the expected differences, by test name."""
    with path.open("rb") as file:
        return dict(tomllib.load(file))
