"""The ledger's judgement of what was found on the shards."""

from __future__ import annotations

import pytest

from tests.soak.ledger import ABSENT, COMMITTED, UNKNOWN, Ledger


def judged(outcome, found, committed=()):
    """What is wrong if of 2 rows for s0 and 1 for s1 these were found."""
    ledger = Ledger()
    entry = ledger.begin(7, {"s0": 2, "s1": 1})
    entry.outcome, entry.committed = outcome, committed
    rows = dict(zip(("s0", "s1", "s2"), found, strict=True))
    return list(ledger.judge({shard: [(7, n)] if n else [] for shard, n in rows.items()}))


@pytest.mark.parametrize(
    ("outcome", "found"),
    [
        (COMMITTED, (2, 1, 0)),
        (ABSENT, (0, 0, 0)),
        (UNKNOWN, (0, 0, 0)),
        (UNKNOWN, (2, 0, 0)),
        (UNKNOWN, (2, 1, 0)),
    ],
)
def test_what_may_be_there(outcome, found):
    assert judged(outcome, found) == []


@pytest.mark.parametrize(
    ("outcome", "found", "kind"),
    [
        (COMMITTED, (0, 1, 0), "lost write: s0 has 0 rows of request 7"),
        (COMMITTED, (1, 1, 0), "torn write: s0 has 1 rows"),
        (COMMITTED, (2, 2, 0), "doubled write: s1 has 2 rows"),
        (COMMITTED, (2, 1, 1), "unacknowledged write: s2 has 1 rows"),
        (ABSENT, (2, 0, 0), "unacknowledged write: s0 has 2 rows"),
        (UNKNOWN, (1, 0, 0), "torn write: s0 has 1 rows"),
        (UNKNOWN, (4, 1, 0), "doubled write: s0 has 4 rows"),
    ],
)
def test_what_may_not_be_there(outcome, found, kind):
    (told,) = judged(outcome, found)
    assert kind in told


def test_shard_that_is_said_to_be_committed_must_have_its_rows():
    assert judged(UNKNOWN, (2, 0, 0), committed=("s0",)) == []
    (told,) = judged(UNKNOWN, (0, 1, 0), committed=("s0",))
    assert "lost write: s0" in told


def test_shards_that_commit_together_all_have_it_or_none():
    ledger = Ledger()
    ledger.begin(7, {"s0": 2, "s1": 1}, together=True).outcome = UNKNOWN
    assert list(ledger.judge({})) == []
    assert list(ledger.judge({"s0": [(7, 2)], "s1": [(7, 1)]})) == []
    (told,) = ledger.judge({"s0": [(7, 2)], "s1": []})
    assert told == "half committed write: of request 7 only s0 has rows"


def test_rows_of_nobody():
    (told,) = Ledger().judge({"s0": [(9, 1)]})
    assert "request 9, which has written none" in told
