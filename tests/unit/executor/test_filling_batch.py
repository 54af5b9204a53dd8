from __future__ import annotations

import pytest

from greenshard.executor.strategies import filling
from greenshard.executor.strategies.filling import Batch


class Cursor:
    def __init__(self):
        self.sent = []

    def execute(self, text, values=()):
        self.sent.append((text, list(values)))


@pytest.mark.parametrize("first", [(), ("BEGIN",)])
def test_batch_that_begins_with_a_large_statement_sends_no_empty_text(monkeypatch, first):
    monkeypatch.setattr(filling, "_BATCH_CHARACTERS", 5)
    batch, cursor = Batch(*first), Cursor()
    for values in (["0123456789"], ["a"], ["0123456789"]):
        batch.add("SELECT %s", values)
    batch.send(cursor)
    assert all(text for text, _ in cursor.sent)
    assert [value.adapted for _, values in cursor.sent for value in values] == [
        "0123456789", "a", "0123456789",
    ]  # fmt: skip
