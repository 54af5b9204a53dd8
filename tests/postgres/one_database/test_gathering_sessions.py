"""The session that gathers is like the one that the program has, and is given what it needs."""

from __future__ import annotations

import contextlib

import psycopg2
import pytest

import greenshard
from tests.postgres.one_database.conftest import TABLES

READS_ONLY = "current_setting('transaction_read_only')"
TOLD = (
    "SELECT cardinality(array_agg(DISTINCT coalesce(customer))),"
    " current_setting('transaction_isolation'),"
    f" {READS_ONLY} FROM orders"
)
JOINED = (
    "SELECT cardinality(array_agg(DISTINCT coalesce(a.customer))), max(n.name)"
    " FROM orders a JOIN nation n ON n.id = a.id"
    " WHERE a.id < 3"
)
SETTINGS = [
    "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ",
    "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE, READ ONLY, DEFERRABLE",
    "SET TRANSACTION READ ONLY",
    "SET default_transaction_isolation = 'serializable'",
]


@pytest.mark.parametrize("large", [False, True])
def test_transaction_that_gathers_is_told_as_the_users_own(conn, single, monkeypatch, large):
    if large:  # in temporary tables
        monkeypatch.setattr("greenshard.executor.strategies.filling._BATCH_CHARACTERS", 10)
    for setting in SETTINGS:
        rows = []
        for connection in (conn, single):
            cur = connection.cursor()
            cur.execute(setting)
            cur.execute(TOLD)
            rows.append(cur.fetchall())
            connection.rollback()
        assert rows[0] == rows[1], setting
    for level in ("REPEATABLE READ", "SERIALIZABLE"):
        for connection in (conn, single):
            connection.set_session(isolation_level=level, readonly=True)
            cur = connection.cursor()
            cur.execute(TOLD)
            rows.append(cur.fetchall())
            connection.rollback()
        assert rows[-1] == rows[-2] == [(8, level.lower(), "on")]


def test_pages_are_combined_as_in_the_users_own_transaction(conn):
    """The server that makes a named cursor's answer makes a table for it, and then only reads."""
    conn.cursor().execute("SET TRANSACTION READ ONLY")
    cur = conn.cursor("named")
    cur.itersize = 1
    query = f"SELECT customer, avg(id), {READS_ONLY} FROM orders GROUP BY customer"
    assert "strategy: combine" in conn.explain(query)
    cur.execute(query)
    assert {row[2] for row in cur.fetchall()} == {"on"}


def test_reference_tables_come_only_where_the_transaction_sees_others(shop):
    with contextlib.closing(greenshard.connect(shop.cluster, gather_limit=3)) as conn:
        cur = conn.cursor()
        for setting in ("application_name = 'x'", "work_mem = '5MB'", "TimeZone = 'Asia/Tokyo'"):
            cur.execute(f"SET {setting}")
            cur.execute(JOINED)
            assert cur.fetchone() == (2, "Peru")
            assert "brought whole" not in conn.explain(JOINED)
        conn.rollback()
        cur.execute("UPDATE nation SET name = name")
        assert "beside them are brought whole" in conn.explain(JOINED)
        with pytest.raises(greenshard.errors.NotSupportedError, match="GS405"):
            cur.execute(JOINED)


@pytest.mark.parametrize("setting", SETTINGS[:2])
def test_gathering_sees_reference_rows_of_the_transactions_snapshot(conn, plain, setting):
    cur = conn.cursor()
    cur.execute(setting)
    cur.execute("SELECT count(*) FROM nation")
    cur.execute(JOINED)
    before = cur.fetchall()
    try:
        for connection in plain.values():
            connection.cursor().execute("UPDATE nation SET name = 'Zaire' WHERE id = 1")
        cur.execute(JOINED)
        assert cur.fetchall() == before
    finally:
        conn.rollback()
        for connection in plain.values():
            connection.cursor().execute("UPDATE nation SET name = 'Peru' WHERE id = 1")


def test_table_without_columns_is_gathered(shop):
    for dsn in shop.dsns.values():
        with contextlib.closing(psycopg2.connect(dsn)) as conn, conn, conn.cursor() as cur:
            cur.execute("CREATE TABLE marks (); INSERT INTO marks DEFAULT VALUES")
    cluster = greenshard.Cluster(shop.dsns, {**TABLES, "marks": greenshard.Reference()})
    with contextlib.closing(greenshard.connect(cluster)) as conn:
        cur = conn.cursor()
        cur.execute("INSERT INTO nation VALUES (9, NULL)")
        query = (
            "SELECT cardinality(array_agg(DISTINCT coalesce(customer))),"
            " (SELECT count(*) FROM marks) FROM orders"
        )
        assert "strategy: gather" in conn.explain(query)
        cur.execute(query)
        assert cur.fetchone() == (8, 1)
        with pytest.raises(greenshard.errors.NotSupportedError, match="has no columns"):
            cur.execute(query.replace("FROM marks", "FROM (SELECT * FROM marks) m"))
