"""Which texts end a transaction."""

from __future__ import annotations

import pytest

from greenshard.sql.ending import Ending, EndKind, ending_of

COMMIT, ROLLBACK, TWO_PHASE = EndKind


@pytest.mark.parametrize(
    ("text", "end", "chains"),
    [
        ("COMMIT", COMMIT, False),
        (" commit work ;", COMMIT, False),
        ("END", COMMIT, False),
        ("end transaction and no chain", COMMIT, False),
        ("/* all /* done */ */ COMMIT", COMMIT, False),
        ("-- note\nCOMMIT -- %s", COMMIT, False),
        (";;COMMIT WORK", COMMIT, False),
        ("\u00a0".strip() + "\fCOMMIT/**/AND CHAIN", COMMIT, True),
        ("ROLLBACK", ROLLBACK, False),
        ("rollback transaction and chain", ROLLBACK, True),
        ("ABORT", ROLLBACK, False),
        ("PREPARE TRANSACTION 'x'", TWO_PHASE, False),
        ("COMMIT PREPARED 'x'", TWO_PHASE, False),
        ("ROLLBACK PREPARED %s", TWO_PHASE, False),
    ],
)
def test_ends_the_transaction(text, end, chains):
    assert ending_of(text) == Ending(end, chains, alone=True)


@pytest.mark.parametrize("text", ["SELECT 1; COMMIT", "COMMIT; SELECT ';'", "BEGIN; COMMIT"])
def test_ends_it_beside_other_statements(text):
    ending = ending_of(text)
    assert (ending.end, ending.alone, ending.is_done) == (COMMIT, False, False)


@pytest.mark.parametrize(
    "text",
    ["ROLLBACK TO a", "ROLLBACK WORK TO SAVEPOINT a", "RELEASE a", "SELECT 1", "committed",
     "PREPARE p AS SELECT 1", "", "SELECT CASE WHEN a THEN b END;", "SELECT ';COMMIT'",
     "EXPLAIN SELECT 1", "COMMIT '", '"commit"'],
)  # fmt: skip
def test_does_not(text):
    assert ending_of(text) is None
