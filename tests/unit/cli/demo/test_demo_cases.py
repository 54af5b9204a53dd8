from __future__ import annotations

from greenshard.cli.demo.cases import CASES


def test_cases_fit_eighty_columns() -> None:
    assert max(len(line) for case in CASES for line in case.remark.splitlines()) <= 77
    assert max(len(line) for case in CASES for line in case.sql.splitlines()) <= 76


def test_there_is_a_case_for_each_strategy() -> None:
    assert {case.strategy for case in CASES} == {
        "route", "reference", "concatenate", "merge", "combine", "gather",
    }  # fmt: skip


def test_a_case_promises_an_order_only_if_it_asks_for_one() -> None:
    assert [case.ordered for case in CASES] == ["ORDER BY" in _tail(case.sql) for case in CASES]


def _tail(sql: str) -> str:
    """What follows the last parenthesis: percentiles have an ORDER BY of their own."""
    return sql.rpartition(")")[2]
