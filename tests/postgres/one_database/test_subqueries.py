"""Subqueries are computed first: their rows are what they would be within the statement."""

from __future__ import annotations

import contextlib

import psycopg2
import pytest

import greenshard
from greenshard.executor.strategies import filling, subqueries
from greenshard.executor.strategies import table_rows as reading
from tests.postgres.one_database.conftest import SMALL_BATCHES

QUERIES = {
    # Columns of tables keep their modifiers, which psycopg2 tells of.
    "types": """
        SELECT x.* FROM (
            SELECT customer, total, note, day, tags, feeling, both_of, doc, weight, span
            FROM orders ORDER BY id LIMIT 40) x
        JOIN items i ON i.n = x.customer ORDER BY x.customer, i.order_id, x.span, x.day
    """,
    "aggregates": """
        SELECT n, count(*), avg(t), max(w) FROM (
            SELECT customer % 3 AS n, sum(total) AS t, max(weight) AS w FROM orders
            GROUP BY customer) x GROUP BY n ORDER BY n
    """,
    "beside gathered rows": """
        SELECT a.id, x.c FROM orders a JOIN orders b ON a.customer = b.id JOIN (
            SELECT n, count(*) AS c FROM items GROUP BY n) x ON x.n = a.customer ORDER BY 1
    """,
    "sent with a merge": """
        SELECT id, total - (SELECT avg(total) FROM orders) FROM orders
        WHERE customer IN (SELECT n FROM items GROUP BY n) ORDER BY 2 NULLS FIRST, 1 LIMIT 7
    """,
    "sent with a combine": """
        SELECT customer, sum(total) FROM orders GROUP BY customer
        HAVING sum(total) > (SELECT avg(total) FROM orders) ORDER BY 1
    """,
    "sent with a WITH RECURSIVE": """
        WITH RECURSIVE w AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM w WHERE n < 3)
        SELECT id, (SELECT count(*) FROM w) FROM orders
        WHERE total > (SELECT avg(total) FROM orders) ORDER BY 1
    """,
    "empty": """
        SELECT x.n, x.t FROM (SELECT n, max(order_id) AS t FROM items
            WHERE order_id < 0 GROUP BY n) x JOIN orders ON customer = x.n
    """,
    "nothing is NULL": """
        SELECT id FROM orders WHERE total = (SELECT max(price) FROM items WHERE n > 9)
    """,
    "rows as values": """
        SELECT x, (x).t FROM (SELECT customer AS c, min(total) AS t FROM orders GROUP BY 1) x
        ORDER BY 1
    """,
    "an order that is kept": """
        SELECT s FROM (SELECT note, sum(total) AS s FROM orders GROUP BY note ORDER BY note DESC) x
        WHERE s > 1
    """,
    "percents and quotes": """
        SELECT c, 'it''s 100%' FROM (SELECT note, count(*) AS c FROM orders WHERE note LIKE 'B%' OR
            note LIKE 'b%' GROUP BY note) "x%" ORDER BY 1
    """,
    "branches": """
        SELECT 'a' AS k, count(*) FROM orders UNION ALL SELECT 'b', count(*) FROM items
        UNION ALL SELECT NULL, NULL ORDER BY 1, 2
    """,
    "with a reference table": """
        SELECT name, c FROM nation LEFT JOIN (
            SELECT customer, count(*) AS c FROM orders GROUP BY customer) x ON x.customer = id
        ORDER BY id
    """,
}


@pytest.fixture(params=["sent", "in the text", "as tables", "in batches"])
def way(request, monkeypatch):
    if request.param != "sent":
        monkeypatch.setattr(subqueries, "_SPREAD_VALUES", -1)
    if request.param == "as tables":
        monkeypatch.setattr(filling, "_BATCH_CHARACTERS", 0)
    if request.param == "in batches":
        for name, number in SMALL_BATCHES.items():
            monkeypatch.setattr(reading, name, number)
    return request.param


@pytest.fixture(autouse=True)
def steps(conn, single):
    """Alone, statements are of one moment; in a transaction the same table would be read once."""
    conn.autocommit = single.autocommit = True


def told(connection, query, parameters=None):
    cur = connection.cursor()
    cur.execute(query, parameters)
    columns = [(c.name, c.precision, c.scale, c.internal_size) for c in cur.description]
    return list(map(repr, cur.fetchall())), columns, cur.rowcount, cur.statusmessage, cur.query


@pytest.mark.parametrize("kind", QUERIES)
def test_rows_are_those_of_one_server(conn, single, way, kind):
    query = QUERIES[kind]
    assert "strategy: subqueries" in conn.explain(query)
    for _ in range(2):
        assert told(conn, query) == told(single, query)


def test_parameters_of_every_shape(conn, single, way):
    by_place = """
        SELECT id FROM orders WHERE total > %s + (SELECT avg(total) FROM orders
            WHERE note <> %s AND id = ANY(%s)) AND note LIKE 'B%%' ORDER BY 1
    """
    by_name = """
        SELECT c, %(more)s FROM (SELECT customer, count(*) AS c FROM orders WHERE id > %(id)s
            GROUP BY customer) x WHERE c > %(id)s ORDER BY 1
    """
    for query, parameters in [
        (by_place, (1, "b%s", [1, 2, 3, 4, 5])),
        (by_name, {"more": "it's", "id": 3, "other": None}),
    ]:
        assert "strategy: subqueries" in conn.explain(query, parameters)
        assert told(conn, query, parameters) == told(single, query, parameters)


@pytest.mark.parametrize(
    "setting", ["extra_float_digits = 0", "DateStyle = 'SQL, DMY'", "client_encoding"]
)
def test_what_settings_would_spoil_is_gathered_whole(conn, single, setting):
    query = QUERIES["aggregates"]
    for connection in (conn, single):
        if setting == "client_encoding":
            connection.set_client_encoding("LATIN1")
        else:
            connection.cursor().execute(f"SET {setting}")
    assert told(conn, query) == told(single, query)
    zoned = """
        SELECT id FROM orders WHERE day + time '10:00' AT TIME ZONE 'Asia/Tokyo' = (
            SELECT max(day + time '10:00' AT TIME ZONE 'Asia/Tokyo') FROM orders) ORDER BY 1
    """
    assert told(conn, zoned) == told(single, zoned)


def test_what_the_transaction_has_written_is_seen(conn, single, way):
    for connection in (conn, single):
        connection.autocommit = False
        cur = connection.cursor()
        cur.execute("UPDATE nation SET name = 'Eire' WHERE id = 3")
        cur.execute("UPDATE orders SET total = 1000 WHERE id IN (3, 4, 5)")
    query = QUERIES["with a reference table"].replace("count(*)", "sum(total)")
    assert told(conn, query) == told(single, query)
    for connection in (conn, single):
        connection.rollback()


def test_named_cursors(conn, single):
    conn.autocommit = single.autocommit = False
    for query in QUERIES.values():
        rows = []
        for connection in (conn, single):
            with connection.cursor("c") as cur:
                cur.itersize = 3
                cur.execute(query)
                rows.append(list(map(repr, cur)))
            connection.rollback()
        assert rows[0] == rows[1], query


def test_nothing_is_gathered_where_that_is_off(shop, single):
    query = QUERIES["sent with a merge"]
    with contextlib.closing(greenshard.connect(shop.cluster, allow_gather=False)) as conn:
        conn.autocommit = True
        assert told(conn, query) == told(single, query)
        with pytest.raises(psycopg2.NotSupportedError, match="allow_gather"):
            conn.cursor().execute(QUERIES["beside gathered rows"])


def test_more_rows_than_may_be_gathered(shop, single):
    with contextlib.closing(greenshard.connect(shop.cluster, gather_limit=20)) as conn:
        # Three groups on each shard, where all rows would have been too many.
        query = "SELECT max(c) FROM (SELECT id % 3 AS n, count(*) AS c FROM orders GROUP BY 1) x"
        assert told(conn, query) == told(single, query)
        with pytest.raises(psycopg2.NotSupportedError) as caught:
            conn.cursor().execute(
                "SELECT max(c) FROM (SELECT note, day, count(*) AS c FROM orders GROUP BY 1, 2) x"
            )
        assert "more than 20 rows" in str(caught.value)


def test_a_transaction_reads_a_table_once(conn, shop):
    """READ COMMITTED: between two steps others commit, and on one server there are no steps."""
    query = "SELECT count(*) FROM orders WHERE total > (SELECT max(total) FROM orders)"
    conn.autocommit = False
    cur = conn.cursor()
    cur.execute(query)
    reads = subqueries._results

    def interrupted(*arguments):
        found = reads(*arguments)
        with contextlib.closing(greenshard.connect(shop.cluster)) as other:
            other.autocommit = True
            other.cursor().execute("UPDATE orders SET total = total + 5000")
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(subqueries, "_results", interrupted)
        cur.execute(query)
    assert cur.fetchall() == [(0,)]
    conn.rollback()


def test_rows_of_a_subquery_are_not_looked_for_on_the_shards(conn, single):
    none = """
        SELECT id FROM nation r WHERE EXISTS (SELECT FROM items JOIN (
            SELECT customer FROM orders GROUP BY customer HAVING count(*) > 400) q ON true
            WHERE items.n = r.id)
    """
    some = """
        SELECT id FROM nation r WHERE EXISTS (SELECT FROM items CROSS JOIN (
            SELECT max(customer) AS m FROM orders) q WHERE items.n = r.id AND q.m IS NOT NULL)
        ORDER BY 1
    """
    for query in (none, some):
        assert told(conn, query) == told(single, query)


def test_settings_of_the_steps_are_not_told(conn, single):
    query = """
        SELECT current_setting('transaction_read_only'), current_setting('transaction_isolation'),
            (SELECT max(customer) FROM orders)
    """
    assert told(conn, query) == told(single, query)


def test_errors_are_those_of_the_statement(conn):
    for query, error in [
        ("SELECT 1 / (SELECT count(*) FROM orders WHERE id < 0)", psycopg2.errors.DivisionByZero),
        (
            "SELECT s / 0 FROM (SELECT sum(customer) AS s FROM orders) x",
            psycopg2.errors.DivisionByZero,
        ),
        (
            "SELECT id FROM orders WHERE id = (SELECT id FROM orders ORDER BY id LIMIT 2)",
            psycopg2.errors.CardinalityViolation,
        ),
    ]:
        assert "strategy: subqueries" in conn.explain(query)
        with pytest.raises(error):
            conn.cursor().execute(query)
        conn.rollback()


def test_rows_of_subqueries_are_counted(conn):
    cur = conn.cursor()
    cur.execute("SELECT max(n) FROM (SELECT customer, count(*) AS n FROM orders GROUP BY 1) x")
    read = sum(timing.rows for timing in cur.timings.values())
    groups = 0
    for shard in conn.shards:
        with conn.on(shard):
            cur.execute("SELECT count(*) FROM (SELECT DISTINCT customer FROM orders) x")
            groups += cur.fetchone()[0]
    assert read == groups + 1


def test_what_is_not_met_is_not_computed(conn, single):
    guarded = """
        SELECT CASE WHEN (SELECT count(*) FROM orders WHERE id < 0) > 0
            THEN (SELECT sum(total) / count(*) FROM orders WHERE id < 0) ELSE 0 END
    """
    unread = """
        WITH unused AS (SELECT DISTINCT 1 / (customer - 1) FROM orders)
        SELECT max(t) FROM (SELECT total AS t FROM orders ORDER BY total LIMIT 5) x
    """
    never = """
        SELECT id FROM nation JOIN (SELECT customer, count(*) FROM orders GROUP BY 1) x ON true
        WHERE false AND 1 / (x.customer - 1) = 1
    """
    for query in (guarded, unread, never):
        assert told(conn, query) == told(single, query)


def test_names_around_exists_are_not_taken_for_its_own(conn, single):
    exists = """
        SELECT id FROM orders WHERE EXISTS (
            SELECT FROM orders AS o (k, c) WHERE o.c = customer AND o.k > 53) ORDER BY 1
    """
    unlike = """
        SELECT n FROM items WHERE NOT EXISTS (
            SELECT FROM items AS i (k, m) WHERE i.m = n AND i.k <> order_id) ORDER BY 1
    """
    for query in (exists, unlike):
        assert told(conn, query) == told(single, query)


def test_a_coordinators_refusal_does_not_keep_the_transaction(shop, single):
    """What the subqueries' rows are too many for is not run in the transaction of the steps."""
    query = "SELECT max(c) FROM (SELECT note, day, count(*) AS c FROM orders GROUP BY 1, 2) x"
    with contextlib.closing(greenshard.connect(shop.cluster, gather_limit=20)) as conn:
        conn.autocommit = True
        with pytest.raises(psycopg2.NotSupportedError, match="more than 20 rows"):
            conn.cursor().execute(query)
        assert {each.idle for each in conn._statements.session.physicals.values()} == {True}


def test_the_strategy_is_told(shop):
    heard = []
    with contextlib.closing(greenshard.connect(shop.cluster, on_event=heard.append)) as conn:
        conn.autocommit = True
        conn.cursor().execute(QUERIES["sent with a merge"])
    assert [each.strategy for each in heard if hasattr(each, "strategy")] == ["subqueries"]


def test_steps_in_autocommit_mode_see_one_moment(shop, single):
    """Between the subquery and the rest another client commits: the rest must not see it."""
    query = "SELECT count(*) FROM orders WHERE total > (SELECT max(total) FROM orders)"
    with (
        contextlib.closing(greenshard.connect(shop.cluster)) as conn,
        contextlib.closing(greenshard.connect(shop.cluster)) as other,
    ):
        conn.autocommit = other.autocommit = True
        cur = conn.cursor()
        cur.execute(query)
        steps = subqueries._results

        def interrupted(*arguments):
            found = steps(*arguments)
            other.cursor().execute("UPDATE orders SET total = total + 5000")
            return found

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(subqueries, "_results", interrupted)
            cur.execute(query)
        assert cur.fetchall() == [(0,)]
        assert {physical.idle for physical in conn._statements.session.physicals.values()} == {True}
        other.cursor().execute("UPDATE orders SET total = total - 5000")


@pytest.mark.parametrize("autocommit", [True, False])
def test_rows_are_locked_beside_a_subquery(conn, single, autocommit):
    conn.autocommit = single.autocommit = autocommit
    query = "SELECT id FROM orders WHERE total > (SELECT avg(total) FROM orders) FOR UPDATE"
    assert "strategy: subqueries" in conn.explain(query)
    ours, theirs = told(conn, query), told(single, query)
    assert sorted(ours[0]) == sorted(theirs[0])
    assert ours[1:] == theirs[1:]


@pytest.mark.parametrize(
    "query",
    [
        "SELECT total, note::varchar(9), sum(total) FROM orders GROUP BY 1, 2 ORDER BY 1, 2",
        "SELECT DISTINCT total::numeric(9, 3), note::char(3) FROM orders ORDER BY 1, 2",
        "SELECT coalesce(max(total), 0), total + 1 FROM orders GROUP BY total ORDER BY 1",
    ],
)
def test_what_is_combined_keeps_the_modifiers_of_its_types(conn, single, query):
    assert "strategy: combine" in conn.explain(query)
    assert told(conn, query)[:4] == told(single, query)[:4]
