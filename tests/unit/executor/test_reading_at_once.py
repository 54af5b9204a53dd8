"""Rows are read at once only if no shard has many, whichever shard answers last."""

from __future__ import annotations

from typing import Any

from greenshard.executor.strategies import table_rows
from greenshard.executor.strategies.table_rows import _Budget, _read
from greenshard.planner.plan import GatheredColumn, GatheredTable
from greenshard.sql.text import Sql

TABLE = GatheredTable("orders", "public.orders", (GatheredColumn("id", "bigint"),), Sql(""))


class Cursor:
    """Gives so many rows, after what happens meanwhile."""

    def __init__(self, count: int, meanwhile: Any = None) -> None:
        self._count = count
        self._meanwhile = meanwhile

    def execute(self, _: str, __: Any) -> None:
        if self._meanwhile is not None:
            self._meanwhile()

    def fetchall(self) -> list[tuple[str, ...]]:
        return [(str(self._count), "{}")]


def read(cursor: Cursor, budget: _Budget) -> None:
    _read(cursor, {TABLE: ("", {})}, budget)  # type: ignore[arg-type]


def test_shard_with_few_rows_does_not_hide_one_with_many(monkeypatch: Any) -> None:
    monkeypatch.setattr(table_rows, "ONCE_VALUES", 2)
    budget = _Budget(100, once=True)
    read(Cursor(1, meanwhile=lambda: read(Cursor(3), budget)), budget)
    assert budget.exceeded
    assert budget.left == 96
