"""The table of docs/one-database.rst is true, statement by statement."""

from __future__ import annotations

import re
from contextlib import closing
from typing import Any

import psycopg2
import pytest

import greenshard
from tests.postgres.docs.conftest import ORDERS, Shop
from tests.postgres.docs.kinds import KINDS
from tests.postgres.docs.page import table_rows

STATEMENTS = [(sql, outcome) for statements in KINDS.values() for sql, outcome in statements]
OUTSIDE = ("VACUUM",)
"""What cannot be run in a transaction."""


def test_each_row_of_the_table_is_tried() -> None:
    assert list(table_rows()) == list(KINDS)


@pytest.mark.parametrize(
    ("sql", "outcome"), [each for each in STATEMENTS if not each[1].startswith("GS")]
)
def test_statement_is_run_by_its_strategy_as_one_server_does(
    shop: Shop, sql: str, outcome: str
) -> None:
    with closing(greenshard.connect(shop.cluster)) as conn:
        plan = conn.explain(sql)
        assert plan.startswith(f"strategy: {outcome.rstrip('*')}\n")
        answer = run(conn, sql)
    with closing(greenshard.connect(shop.single)) as single:
        expected = run(single, sql)
    if not outcome.endswith("*"):
        assert answer == expected


def run(conn: Any, sql: str) -> Any:
    """The columns' names, the rows in any order, their number and the command; rolled back."""
    conn.autocommit = sql.startswith(OUTSIDE)
    cursor = conn.cursor()
    cursor.execute(sql)
    columns = [column.name for column in cursor.description or ()]
    rows = sorted(map(repr, cursor.fetchall())) if columns else []
    conn.rollback()
    return columns, rows, cursor.rowcount, cursor.statusmessage


@pytest.mark.parametrize(("sql", "code"), [each for each in STATEMENTS if each[1].startswith("GS")])
def test_after_a_refusal_the_transaction_goes_on_unless_it_is_postgresqls(
    shop: Shop, sql: str, code: str
) -> None:
    with closing(greenshard.connect(shop.cluster)) as conn, conn.cursor() as cursor:
        with pytest.raises(greenshard.Error) as raised:
            cursor.execute(sql)
        assert raised.value.code == code
        if raised.value.pgcode is not None:
            with pytest.raises(psycopg2.errors.InFailedSqlTransaction):
                cursor.execute("SELECT count(*) FROM orders")
            return
        cursor.execute("SELECT count(*) FROM orders")
        assert cursor.fetchall() == [(len(ORDERS),)]


@pytest.mark.parametrize("kind", KINDS)
def test_row_of_the_table_links_the_codes_of_its_refusals(kind: str) -> None:
    codes = {outcome for _, outcome in KINDS[kind] if outcome.startswith("GS")}
    assert set(re.findall(r":ref:`(GS\d+) <gs\d+>`", table_rows()[kind])) == codes
