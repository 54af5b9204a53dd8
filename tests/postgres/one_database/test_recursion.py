"""Recursive WITH queries: those that PostgreSQL takes, and its errors for others."""

from __future__ import annotations

import psycopg2
import pytest

COUNTED = (
    "WITH RECURSIVE w AS (WITH b AS (SELECT 1 AS n) SELECT n FROM b UNION ALL SELECT n + 1 FROM w"
    " WHERE n < 3)"
)
TREE = (
    "WITH RECURSIVE w (a, b) AS (WITH s AS (SELECT id, customer FROM orders WHERE id > 50)"
    " SELECT id, customer FROM s UNION SELECT o.id, o.customer FROM orders o JOIN w"
    " ON w.b = o.id)"
)
STARRED = COUNTED.replace("SELECT n FROM b", "SELECT * FROM b")
READ = [
    (f"{COUNTED} SELECT * FROM w", "reference"),
    (
        (
            f"{COUNTED} SELECT cardinality(array_agg(DISTINCT coalesce(customer))),"
            f" (SELECT max(n) FROM w) FROM orders"
        ),
        "gather",
    ),
    (f"{COUNTED} SELECT id FROM orders JOIN w ON n = id ORDER BY id", "merge"),
    (f"{STARRED} SELECT n FROM w NATURAL JOIN (SELECT id AS n FROM orders) o ORDER BY n", "merge"),
    (f"{TREE} SELECT * FROM w ORDER BY a", "gather"),
]
INVALID = [
    "WITH RECURSIVE w AS (SELECT n + 1 FROM w) SELECT * FROM w",
    "WITH RECURSIVE w (n) AS (SELECT n FROM w UNION ALL SELECT 1) SELECT * FROM w",
    "WITH RECURSIVE w (n) AS (SELECT n FROM w UNION ALL SELECT id FROM orders) SELECT * FROM w",
    "WITH RECURSIVE w AS (SELECT id FROM orders UNION ALL SELECT count(*) FROM w) SELECT * FROM w",
    (
        "WITH RECURSIVE w (n) AS (WITH b AS (SELECT n FROM w) SELECT n FROM b UNION SELECT id"
        " FROM orders) SELECT * FROM w"
    ),
]


def test_recursion_begins_with_a_query_of_its_own(same):
    for statement, strategy in READ:
        same(statement, strategy=strategy, ordered="ORDER BY" in statement)


def test_what_is_no_recursion_is_an_error_of_postgresqls(conn, single):
    for statement in INVALID:
        for connection in (conn, single):
            with pytest.raises(psycopg2.errors.InvalidRecursion):
                connection.cursor().execute(statement)
            connection.rollback()
    with pytest.raises(psycopg2.errors.UndefinedTable):
        conn.cursor().execute(COUNTED.replace("FROM b", "FROM c") + " SELECT * FROM w")
