"""A column of a subquery that nobody reads is computed where PostgreSQL computes it, and fails."""

from __future__ import annotations

import psycopg2
import pytest

BY_ZERO = "1 / (customer - 1) AS b, count(*) AS n"
GROUPED = f"(SELECT customer AS c, {BY_ZERO} FROM orders GROUP BY customer)"
#: Not read: PostgreSQL answers.
UNREAD = {
    "in FROM": f"SELECT c FROM {GROUPED} x",
    "beside others": f"SELECT c, i.n FROM {GROUPED} x JOIN items i ON i.n = c",
    "under an aggregate": f"SELECT count(*), max(c) FROM {GROUPED} x",
    "with a LIMIT": """
        SELECT count(*) FROM (SELECT id, 1 / (customer - 1) FROM orders ORDER BY id LIMIT 9) x""",
    "an aggregate": """
        SELECT c FROM (SELECT customer AS c, 1 / (sum(id) - min(id)) FROM orders GROUP BY 1) x""",
    "a cast": """
        SELECT c FROM (SELECT customer AS c, note::int AS b FROM orders GROUP BY 1, note) x""",
    "a subquery of several rows": """
        SELECT c FROM (SELECT customer AS c, (SELECT id FROM orders) AS b FROM orders
        GROUP BY customer) x""",
    "WITH": f"WITH x AS {GROUPED} SELECT c FROM x",
    "WITH by another name": f"WITH x AS {GROUPED} SELECT y.c FROM x y JOIN items i ON i.n = c",
    "by number": """
        WITH x AS (SELECT customer, 1 / (customer - 1) AS b, max(id) FROM orders GROUP BY 1)
        SELECT customer FROM x""",
    "a star of another": f"SELECT i.* FROM {GROUPED} x JOIN items i ON i.n = c",
}
#: Read, or computed anyhow: an error in PostgreSQL.
READ = {
    "by name": f"SELECT b FROM {GROUPED} x WHERE c IS NOT NULL",
    "in a condition": f"SELECT c FROM {GROUPED} x WHERE b IS NULL",
    "by a star": f"SELECT * FROM {GROUPED} x",
    "by a star of it": f"SELECT x.* FROM {GROUPED} x, nation",
    "as a row": f"SELECT x FROM {GROUPED} x",
    "as a row in a call": f"SELECT row_to_json(x) FROM {GROUPED} x",
    "by USING": f"SELECT c FROM {GROUPED} x JOIN (SELECT id AS b FROM nation) y USING (b)",
    "by NATURAL": f"SELECT c FROM {GROUPED} x NATURAL JOIN (SELECT id AS b FROM nation) y",
    "by another list": f"SELECT p FROM {GROUPED} x (p, q) WHERE q IS NULL",
    "from a LATERAL": f"SELECT c FROM {GROUPED} x, LATERAL (SELECT b FROM nation LIMIT 1) y",
    "by ORDER BY": """
        SELECT c FROM (SELECT customer AS c, 1 / (customer - 1) AS b FROM orders GROUP BY 1
        ORDER BY b) x""",
    "by GROUP BY": """
        SELECT c FROM (SELECT customer AS c, 1 / (customer - 1) FROM orders GROUP BY 1, 2) x""",
    "by DISTINCT": """
        SELECT c FROM (SELECT DISTINCT customer AS c, 1 / (customer - 1) FROM orders) x""",
    "by UNION": f"SELECT c FROM (SELECT c, b FROM {GROUPED} y UNION SELECT 1, 2) x",
    "MATERIALIZED": f"WITH x AS MATERIALIZED {GROUPED} SELECT c FROM x",
    "read twice": f"WITH x AS {GROUPED} SELECT x.c FROM x JOIN x y ON x.c = y.c",
    "beside chance": f"""
        WITH x AS (SELECT customer AS c, {BY_ZERO}, random() FROM orders GROUP BY 1)
        SELECT c FROM x""",
}


def told(connection, query):
    connection.autocommit = True
    with connection.cursor() as cur:
        try:
            cur.execute(query)
        except psycopg2.Error as error:
            several = [*getattr(error, "failures", {}).values()] or [error]
            return {each.pgcode for each in several}
        return sorted(cur.fetchall(), key=repr)


@pytest.mark.parametrize("kind", UNREAD)
def test_what_nobody_reads_does_not_fail(conn, single, kind):
    theirs = told(single, UNREAD[kind])
    assert isinstance(theirs, list)
    assert told(conn, UNREAD[kind]) == theirs


#: Wrong as they are written, whoever reads them.
WRONG = [
    "SELECT c FROM (SELECT customer AS c, 1 / id AS b FROM orders GROUP BY customer) x",
    "SELECT c FROM (SELECT customer AS c, 1 / nothing AS b FROM orders GROUP BY customer) x",
    "SELECT c FROM (SELECT customer AS c, 1 / day AS b FROM orders GROUP BY customer, day) x",
    "SELECT c FROM (SELECT customer AS c, note::nothing AS b FROM orders GROUP BY 1, note) x",
]


@pytest.mark.parametrize("query", WRONG)
def test_what_is_wrong_is_an_error(conn, single, query):
    theirs = told(single, query)
    assert isinstance(theirs, set)
    assert told(conn, query) == theirs


@pytest.mark.parametrize("kind", READ)
def test_what_somebody_reads_fails(conn, single, kind):
    theirs = told(single, READ[kind])
    assert theirs == {"22012"}
    assert told(conn, READ[kind]) == theirs
