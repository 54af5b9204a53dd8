"""The verdict of `make compat` on outcomes made up here; no database."""

from __future__ import annotations

import pytest

from tests.compat.comparison import Comparison
from tests.compat.process import Batch, Outcome


def compare(there: str, here: str, expected: dict[str, str] | None = None) -> Comparison:
    return Comparison(expected or {}, {"t": Outcome(there)}, {"t": Outcome(here)})


@pytest.mark.parametrize(
    ("there", "here"),
    [
        ("passed", "failed"),
        ("passed", "skipped"),
        ("skipped", "error"),
        ("failed", "crashed"),
        ("hung", "hung"),
    ],
)
def test_worse_outcome_without_reason_is_unexpected(there: str, here: str) -> None:
    assert [difference.test for difference in compare(there, here).unexpected()] == ["t"]


@pytest.mark.parametrize(
    ("there", "here"),
    [("passed", "passed"), ("skipped", "passed"), ("failed", "error"), ("hung", "failed")],
)
def test_outcome_as_good_as_psycopg2s_is_no_difference(there: str, here: str) -> None:
    assert compare(there, here).differences() == []


def test_difference_with_reason_is_expected() -> None:
    comparison = compare("passed", "failed", {"t": "a reason"})
    assert [difference.reason for difference in comparison.differences()] == ["a reason"]
    assert comparison.unexpected() == []
    assert comparison.stale() == []


def test_reason_of_a_test_that_passes_is_stale() -> None:
    assert compare("passed", "passed", {"t": "a reason"}).stale() == ["t"]


def test_reason_of_a_test_that_was_not_run_is_not_stale() -> None:
    assert compare("passed", "passed", {"other": "a reason"}).stale() == []


def test_worst_report_of_a_test_counts() -> None:
    batch = Batch()
    for status in ("failed", "error", "passed"):
        event = {"event": "outcome", "test": "t", "status": status}
        batch.take({**event, "summary": f"why {status}", "detail": "traceback"})
    assert batch.outcomes == {"t": Outcome("error", "why error", "traceback")}
