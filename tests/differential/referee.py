"""Runs statements on one database and on shards, and judges the answers."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

import psycopg2
from psycopg2 import extras

import greenshard
from tests.differential.answers import Answer, answer, difference
from tests.differential.databases import Databases
from tests.differential.draft import Statement
from tests.differential.statements import statement

#: How many statements are tried until one gives rows.
TRIES = 3
#: How many are run through named cursors, and the pages that these fetch.
NAMED_SHARE = 0.15
ITERSIZES = (1, 2, 7, 1000)
#: Classes of errors that a statement may raise or not, as PostgreSQL's plan has it.
_DATA_ERRORS = ("22", "21")
_SLOW = "57014"


@dataclass(frozen=True)
class Verdict:
    """How the shards did on one statement.

    Attributes:
        outcome: "equal", "refused", "error" (on both sides), "skipped" (too slow on the one
            database, or it is at fault), "rightly refused", or "wrong".
        shards: The number of shards.
        reason: Of a refusal; or what is wrong.
        strategy: Of the plan.
        loose: Whether the columns declare other sizes, precisions or scales.
    """

    outcome: str
    shards: int
    reason: str = ""
    strategy: str = ""
    loose: bool = False


@dataclass(frozen=True)
class Case:
    """A statement with its verdicts."""

    label: str
    statement: Statement
    expected: Answer
    verdicts: Sequence[Verdict] = field(default=())


class Referee:
    """Connections to the one database and to the clusters.

    Attributes:
        seed: Of the statements.
        one: The one database.
        clusters: The clusters, by their number of shards.
        types: The names of types, by OID.
        named_share: How many statements are run through named cursors, 0 to 1.
    """

    named_share = NAMED_SHARE

    def __init__(
        self, seed: object, one: Any, clusters: Mapping[int, Any], types: Mapping[int, str]
    ) -> None:
        self.seed = seed
        self.one = one
        self.clusters = clusters
        self.types = types

    def case(self, number: object, *, everywhere: bool = True) -> Case:
        """Make the statement of a number, run it and judge.

        Args:
            number: Of the statement.
            everywhere: Whether on all clusters; else on one, mostly the largest.
        """
        label, made, expected = self._choose(number)
        pick = Random(f"{label}/named")
        named = pick.random() < self.named_share
        counts = list(self.clusters)
        some = counts if everywhere else [pick.choice([*counts, *counts[-1:] * 4])]
        return self.judge(label, made, expected, "named" if named else None, some)

    def _choose(self, number: object) -> tuple[str, Statement, Answer]:
        """A statement with rows, mostly: one without tells less."""
        for turn in range(TRIES):
            label = f"{self.seed}/{number}/{turn}"
            made = statement(label)
            expected = self._expect(made)
            if expected.rows or expected.error:
                break
        return label, made, expected

    def judge(
        self,
        label: str,
        made: Statement,
        expected: Answer | None = None,
        name: str | None = None,
        counts: Sequence[int] = (),
    ) -> Case:
        """Run a statement on the clusters, or those of some numbers of shards, and compare."""
        expected = expected or self._expect(made)
        if expected.sqlstate == _SLOW or self._orders_wrongly(made):
            return Case(label, made, expected, [Verdict("skipped", 0)])
        verdicts = [
            self._verdict(count, conn, made, expected, name)
            for count, conn in self.clusters.items()
            if count in (counts or self.clusters)
        ]
        return Case(label, made, expected, verdicts)

    def _orders_wrongly(self, made: Statement) -> bool:
        """Whether the one database may be at fault.

        PostgreSQL before 18 takes a column that WHERE compares with a constant for constant in
        ORDER BY, too, where grouping sets have made it NULL.
        """
        return self.one.server_version < 180000 and {"grouping sets", "ORDER BY"} <= made.features

    def _expect(self, made: Statement) -> Answer:
        expected = answer(self.one, made, self.types)
        if expected.error:
            self.one.rollback()
        return expected

    def _verdict(
        self, count: int, conn: Any, made: Statement, expected: Answer, name: str | None
    ) -> Verdict:
        strategy = self.strategy(conn, made)
        got = answer(conn, made, self.types, name, Random(made.text).choice(ITERSIZES))
        if made.refused:
            conn.rollback()
            return Verdict(*_only_refused(got, count), strategy)
        if got.error:
            conn.rollback()
            return Verdict(*_failed(made, expected, got.error, count), strategy)
        if expected.error:
            if made.risky and str(expected.sqlstate).startswith(_DATA_ERRORS):
                return Verdict("error", count, "", strategy)
            return Verdict("wrong", count, f"rows instead of the error {expected.error}", strategy)
        wrong = difference(expected, got, made)
        if wrong:
            return Verdict("wrong", count, wrong, strategy)
        loose = expected.modifiers != got.modifiers
        return Verdict("equal", count, "", strategy, loose)

    def strategy(self, conn: Any, made: Statement) -> str:
        """The name of the strategy that the plan of a statement has."""
        if isinstance(conn, psycopg2.extensions.connection) and not hasattr(conn, "explain"):
            return ""
        try:
            first = conn.explain(made.text, made.args).partition("\n")[0]
        except psycopg2.Error:
            return "none"
        except Exception as exc:
            return type(exc).__name__
        return str(first.partition(":")[2].strip() or first)

    def rollback(self) -> None:
        for conn in (self.one, *self.clusters.values()):
            conn.rollback()


def _only_refused(got: Answer, count: int) -> tuple[str, int, str]:
    """The outcome of a statement that several shards have to refuse, and one may."""
    if got.error is None:
        return ("wrong", count, "rows of several shards") if count > 1 else ("skipped", count, "")
    if isinstance(got.error, psycopg2.NotSupportedError) and not got.error.pgcode:
        return "rightly refused", count, ""
    return "wrong", count, f"{type(got.error).__name__} {got.error} instead of a refusal"


def _failed(
    made: Statement, expected: Answer, error: psycopg2.Error, count: int
) -> tuple[str, int, str]:
    """The outcome of an error of the shards."""
    if isinstance(error, psycopg2.NotSupportedError) and not error.pgcode:
        return "refused", count, reason(error)
    if expected.error and error.pgcode == expected.sqlstate:
        # One shard gets psycopg2's own DECLARE of a named cursor: places are counted from that.
        misplaced = _misplaced(expected.error, error) if count > 1 else None
        return ("error", count, "") if misplaced is None else ("wrong", count, misplaced)
    codes = {getattr(each, "pgcode", None) for each in _single(error)}
    if made.risky and all(str(code).startswith(_DATA_ERRORS) for code in codes):
        return "error", count, ""
    instead = f"the error {expected.error}" if expected.error else "rows"
    return "wrong", count, f"{type(error).__name__} {error} instead of {instead}"


def _misplaced(expected: psycopg2.Error, error: psycopg2.Error) -> str | None:
    """What is wrong with the place in the text that an error tells, or each shard's."""
    right = expected.diag.statement_position
    for each in (error, *_single(error)):
        diag = getattr(each, "diag", None)
        if diag is None or diag.message_primary != expected.diag.message_primary:
            continue
        if diag.statement_position not in (None, right):
            return f"position {diag.statement_position} instead of {right}: {each}"
    return None


def _single(error: psycopg2.Error) -> list[BaseException]:
    """The error, or those of the shards that it is made of."""
    failures: Mapping[str, BaseException] = getattr(error, "failures", {})
    return [*failures.values()] or [error]


def reason(error: psycopg2.Error) -> str:
    """Why a statement is refused: the code and the words that do not belong to it alone."""
    refusals: Sequence[Any] = getattr(error, "refusals", ())
    text = refusals[-1].reason if refusals else str(error).strip().partition("\n")[0]
    text = re.sub(r"\d+", "N", re.sub(r'"[^"]*"', '"..."', text))[:120]
    return f"{getattr(error, 'code', None)} {text}"


@contextlib.contextmanager
def referee(databases: Databases, seed: object, counts: Sequence[int]) -> Iterator[Referee]:
    """A referee over clusters of these numbers of shards."""
    extras.register_uuid()
    with contextlib.ExitStack() as opened:
        one = opened.enter_context(contextlib.closing(psycopg2.connect(databases.one)))
        clusters = {
            count: opened.enter_context(
                contextlib.closing(greenshard.connect(databases.clusters[count], timeout=60.0))
            )
            for count in counts
        }
        yield Referee(seed, one, clusters, databases.types)
