from __future__ import annotations

import pytest

from greenshard.merge.status import merge_status


@pytest.mark.parametrize(
    ("messages", "merged"),
    [
        ([], None),
        ([None], None),
        ([None, None], None),
        (["SELECT 3"], "SELECT 3"),
        (["SELECT 3", "SELECT 0", "SELECT 12"], "SELECT 15"),
        (["SELECT 3", None], "SELECT 3"),
        ([None, "DELETE 1", "DELETE 2"], "DELETE 3"),
        (["INSERT 0 1", "INSERT 0 2"], "INSERT 0 3"),
        (["CREATE TABLE", "CREATE TABLE"], "CREATE TABLE"),
        (["BEGIN", "BEGIN"], "BEGIN"),
        (["", ""], ""),
        (["UPDATE 1", "DELETE 2"], "UPDATE 1"),
        (["MOVE 1", "MOVE ALL"], "MOVE 1"),
        (["MERGE 99999999999", "MERGE 1"], "MERGE 100000000000"),
    ],
)
def test_row_counts_are_added_and_everything_else_is_the_first_shards(messages, merged):
    assert merge_status(messages) == merged
