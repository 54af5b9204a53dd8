"""What PostgreSQL keeps of the order of a subquery, view or WITH query is kept over shards."""

from __future__ import annotations

import contextlib

import psycopg2
import pytest

VIEWS = """
CREATE VIEW latest AS SELECT id, customer, total, note FROM orders ORDER BY total DESC, id;
CREATE VIEW hidden AS SELECT id AS n, note AS word FROM orders ORDER BY total DESC NULLS LAST, id;
CREATE VIEW renamed (a, b) AS SELECT total, id FROM latest WHERE id > 3;
CREATE VIEW chained AS
    (SELECT id, note FROM orders ORDER BY note DESC, id)
    UNION ALL (SELECT id, body FROM blobs WHERE false);
"""
SORTED = "(SELECT id, customer, total, note FROM orders ORDER BY total DESC, id) x"
#: Statements, and the strategy that keeps the order.
KEPT = [
    (f"SELECT * FROM {SORTED}", "merge"),
    (f"SELECT * FROM {SORTED} LIMIT 3", "merge"),
    (f"SELECT note, id AS total FROM {SORTED} WHERE customer > 2 OFFSET 4 LIMIT 9", "merge"),
    (f"SELECT id + 1 AS total FROM {SORTED} LIMIT 7", "merge"),
    (f"SELECT p FROM (SELECT * FROM {SORTED} WHERE id > 5) y(p, q, r) LIMIT 7", "merge"),
    ("SELECT p FROM (SELECT id, total FROM orders ORDER BY 2, 1) y(p, q) LIMIT 7", "merge"),
    ("WITH x AS (SELECT id, note FROM orders ORDER BY note, id) SELECT id FROM x LIMIT 8", "merge"),
    ('SELECT id FROM (SELECT id, note FROM orders ORDER BY note COLLATE "C", id) x', "gather"),
    ("SELECT id FROM (SELECT id FROM orders ORDER BY total DESC, id) x LIMIT 5", "gather"),
    (
        """SELECT n, g FROM (SELECT id n FROM orders ORDER BY 1 DESC) x, generate_series(1, n) g
        LIMIT 9""",
        "merge",
    ),
    (
        """SELECT id, tag FROM (SELECT id, tags FROM orders ORDER BY id DESC) x, unnest(tags) tag
        LIMIT 9""",
        "merge",
    ),
    ("SELECT * FROM latest LIMIT 5", "merge"),
    ("SELECT l.note FROM latest l WHERE id % 2 = 0 LIMIT 6", "merge"),
    ("SELECT latest.id FROM public.latest OFFSET 40", "merge"),
    ("SELECT n FROM hidden LIMIT 5", "gather"),
    ("SELECT b FROM renamed LIMIT 7", "merge"),
    ("SELECT count(*), array_agg(n) FROM hidden", "gather"),
    ("SELECT array_agg(id) FROM latest WHERE customer = 3", "gather"),
    ("SELECT string_agg(b::text, ',') FROM renamed r", "gather"),
    ("SELECT id, row_number() OVER () FROM public.latest", "gather"),
    (f"SELECT json_agg(id) FROM {SORTED}", "gather"),
    ("SELECT customer % 2, array_agg(id) FROM latest GROUP BY 1 ORDER BY 1", "gather"),
    (
        """SELECT DISTINCT ON (customer) customer, id FROM (SELECT * FROM orders
        ORDER BY customer, total DESC, id) x""",
        "gather",
    ),
    (
        """(SELECT id FROM orders ORDER BY total DESC, id) UNION ALL (SELECT order_id FROM items
        ORDER BY price, order_id, n) LIMIT 70""",
        "gather",
    ),
    ("SELECT * FROM chained LIMIT 9", "gather"),
    ("SELECT id FROM latest a WHERE total > (SELECT avg(total) FROM orders) LIMIT 5", "gather"),
    (
        """SELECT id, array_agg(note) FROM (SELECT id, note FROM orders ORDER BY note) x GROUP BY id
        ORDER BY id""",
        "merge",
    ),
    # A join begins with it.
    (f"SELECT note, one FROM {SORTED}, (SELECT 1 AS one) y OFFSET 50", "merge"),
    ("SELECT n, one FROM hidden, (SELECT 1 AS one) y LIMIT 5", "gather"),
    ("SELECT n, m FROM hidden, LATERAL (SELECT n + 1 AS m) y LIMIT 5", "gather"),
    ("SELECT n FROM hidden CROSS JOIN (VALUES (1)) y LIMIT 5", "gather"),
    ("SELECT count(*) FROM hidden JOIN nation n ON n.id = hidden.n", "combine"),
    ("SELECT j.n FROM (latest JOIN nation n USING (id)) j (n) WHERE j.n % 50 = 3", "merge"),
    # Nothing is kept here, so nothing is dearer.
    ("SELECT count(*) FROM latest", "combine"),
    ("SELECT id FROM latest ORDER BY id", "merge"),
    (
        """SELECT n.name, x.id FROM (SELECT id FROM orders WHERE id = 3 ORDER BY id) x
        JOIN nation n USING (id)""",
        "route",
    ),
]


@pytest.fixture(scope="module", autouse=True)
def _views(shop):
    for dsn in (*shop.dsns.values(), shop.single):
        with contextlib.closing(psycopg2.connect(dsn)) as conn, conn, conn.cursor() as cur:
            cur.execute(VIEWS)


@pytest.mark.parametrize(("statement", "strategy"), KEPT)
def test_order_of_a_subquery_is_kept(same, statement, strategy):
    same(statement, strategy=strategy)
