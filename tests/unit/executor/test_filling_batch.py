from __future__ import annotations

import pytest

from greenshard.executor.strategies import filling
from greenshard.executor.strategies.filling import Batch
from greenshard.executor.strategies.table_rows import Rows
from greenshard.planner.plan import GatheredColumn, GatheredTable
from greenshard.sql.text import Sql


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


class Quoting:
    def mogrify(self, text, values=()):
        assert not values
        return text.encode()


def test_a_table_without_rows_has_columns_that_no_plan_sees_to_be_empty():
    columns = (GatheredColumn("n", "integer"), GatheredColumn("a", "point[]", is_array=True))
    table = GatheredTable("t", '"public"."t"', columns, Sql("SELECT"))
    text = filling.inlined(b"SELECT n FROM t", [Rows(table, 0, (), None)], Quoting())
    assert text == (
        b'WITH "t" ("n", "a") AS (SELECT pg_catalog.unnest(\'{}\'::integer[])::integer,'
        b" pg_catalog.unnest('{}'::pg_catalog.text[])::point[]::point[]) SELECT n FROM t"
    )
