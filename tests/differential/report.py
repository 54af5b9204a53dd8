"""What is said of statements: one that went wrong, and many."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.differential.referee import Case, Referee

_WIDTH = 2000
_OUTCOMES = ("equal", "error", "refused", "rightly refused", "skipped", "wrong")


def told(case: Case, referee: Referee | None = None) -> str:
    """All that is needed to look into a statement whose answer was wrong."""
    made = case.statement
    lines = [
        f"statement {case.label}, order {made.order!r}{', by value' if made.by_value else ''}",
        f"execute({made.text!r}, {made.args!r})",
    ]
    if referee is not None:
        lines.append(_mogrified(referee.one, case))
    for verdict in case.verdicts:
        lines.append(f"{verdict.shards} shards, {verdict.strategy}: {verdict.outcome}")
        if verdict.outcome == "wrong":
            lines.append(verdict.reason[:_WIDTH])
            lines += _explained(referee, verdict.shards, case)
    return "\n".join(lines)


def _mogrified(conn: Any, case: Case) -> str:
    with conn.cursor() as cur:
        text: bytes = cur.mogrify(case.statement.text, case.statement.args)
    return text.decode()


def _explained(referee: Referee | None, shards: int, case: Case) -> Iterator[str]:
    if referee is None:
        return
    conn = referee.clusters[shards]
    try:
        yield str(conn.explain(case.statement.text, case.statement.args, verbose=True))
    except Exception as error:
        yield f"explain: {type(error).__name__}: {error}"


@dataclass
class Tally:
    """Counts over many statements.

    Attributes:
        outcomes: Of each outcome, over all numbers of shards.
        strategies: Of each strategy, on the largest cluster.
        refusals: Of each reason, on the largest cluster.
        features: Of each feature of the statements.
        loose: Statements whose columns declare other sizes, precisions or scales.
        examples: The label of one statement for each reason.
    """

    outcomes: Counter[str] = field(default_factory=Counter)
    strategies: Counter[str] = field(default_factory=Counter)
    refusals: Counter[str] = field(default_factory=Counter)
    features: Counter[str] = field(default_factory=Counter)
    loose: int = 0
    empty: int = 0
    examples: dict[str, str] = field(default_factory=dict)

    def add(self, case: Case) -> None:
        for verdict in case.verdicts:
            self.outcomes[verdict.outcome] += 1
        last = case.verdicts[-1]
        self.strategies[last.strategy] += 1
        self.features.update(case.statement.features)
        self.loose += last.loose
        self.empty += not case.expected.rows
        if last.outcome == "refused":
            self.refusals[last.reason] += 1
            self.examples.setdefault(last.reason, case.label)

    @property
    def total(self) -> int:
        return self.strategies.total()

    @property
    def refused_share(self) -> float:
        return self.refusals.total() / max(1, self.total)

    def lines(self, *, features: bool = False) -> Iterator[str]:
        """The counts, as lines of text."""
        yield f"outcomes    {_counts(self.outcomes)}"
        yield f"strategies  {_counts(self.strategies)}"
        yield f"empty       {self.empty}"
        yield f"loose       {self.loose}  (columns that declare another size, precision or scale)"
        yield f"refused     {self.refused_share:.2%}"
        yield from self.refused_lines()
        if features:
            yield from (f"  {count:6} {name}" for name, count in self.features.most_common())

    def refused_lines(self) -> Iterator[str]:
        """What was refused, by reason."""
        for reason, count in self.refusals.most_common():
            yield f"  {count:6} {reason}  (as {self.examples[reason]})"


def table(tallies: Mapping[str, Tally]) -> Iterator[str]:
    """For each kind how many runs, one for each cluster, came out how, and what was refused."""
    yield f"{'kind':66}{'runs':>7}" + "".join(f"{name:>17}" for name in _OUTCOMES)
    for kind, tally in tallies.items():
        counts = (tally.outcomes[name] for name in _OUTCOMES)
        yield f"{kind:66}{tally.outcomes.total():>7}" + "".join(f"{count:>17}" for count in counts)
        yield from tally.refused_lines()


def _counts(counter: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counter.most_common())
