"""What is gathered goes with the query, or into temporary tables: the same either way."""

from __future__ import annotations

import contextlib

import psycopg2
import pytest

import greenshard
from greenshard.executor.strategies import filling
from greenshard.executor.strategies import table_rows as reading
from tests.postgres.one_database.conftest import SMALL_BATCHES

JOIN = "orders a JOIN orders b ON a.customer = b.id"
QUERIES = {
    "types": f"SELECT a.*, b.tags FROM {JOIN} ORDER BY a.id",
    "begins with WITH": f"WITH w AS (SELECT a.id, b.note FROM {JOIN}) SELECT * FROM w ORDER BY 1",
    "recursive": (
        f"WITH RECURSIVE w AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM w WHERE n < 3)"
        f" SELECT n, (SELECT count(*) FROM {JOIN}) FROM w ORDER BY n"
    ),
    "its own name in WITH": (
        "WITH orders AS (SELECT a.id, b.note FROM orders a JOIN orders b ON a.customer = b.id)"
        " SELECT * FROM orders ORDER BY 1"
    ),
    "comments first": f"/* SELECT */ -- 'x\n SELECT count(*) FROM {JOIN}",
    "nested comment first": f"/* a /* b */ c */ SELECT count(*) FROM {JOIN}",
    "brackets": f"((SELECT count(*) FROM {JOIN}) UNION ALL SELECT 1) ORDER BY 1",
    "values": f"VALUES ((SELECT count(*) FROM {JOIN}), 'é')",
    "functional dependency": f"SELECT a.id, a.note, count(*) FROM {JOIN} GROUP BY a.id ORDER BY 1",
    "empty": f"SELECT count(*), max(a.tags) FROM {JOIN} WHERE a.id < 0 AND b.id < 0",
    "percent": f"SELECT count(*) FROM {JOIN} WHERE a.note LIKE 'B%' OR a.id %% 7 = 3",
    "precise": f"SELECT DISTINCT ON (b.total) b.total FROM {JOIN} ORDER BY b.total, a.id",
    "collation": "SELECT DISTINCT i.word FROM items i JOIN orders o ON o.customer = i.n ORDER BY 1",
    "reference": f"SELECT n.name, count(*) FROM {JOIN} JOIN nation n ON n.id = a.id GROUP BY 1",
}


@pytest.fixture(params=["in the text", "to be joined", "as tables", "in batches"], autouse=True)
def way(request, monkeypatch):
    if request.param == "to be joined":
        monkeypatch.setattr(filling, "ANALYZED_ROWS", 1)
    if request.param == "as tables":
        monkeypatch.setattr(filling, "_BATCH_CHARACTERS", 0)
    if request.param == "in batches":
        for name, number in SMALL_BATCHES.items():
            monkeypatch.setattr(reading, name, number)
    return request.param


@pytest.mark.parametrize("kind", QUERIES)
def test_gathered_rows_are_like_the_tables_own(conn, single, kind):
    query = QUERIES[kind]
    parameters = () if "%%" in query else None
    if parameters is not None:
        query = query.replace("'B%'", "'B%%'")
    assert "strategy: gather" in conn.explain(query, parameters)
    ours, theirs = conn.cursor(), single.cursor()
    for _ in range(2):
        ours.execute(query, parameters)
        theirs.execute(query, parameters)
        rows, expected = ours.fetchall(), theirs.fetchall()
        if kind == "reference":
            rows, expected = sorted(rows, key=repr), sorted(expected, key=repr)
        assert list(map(repr, rows)) == list(map(repr, expected))
        columns = [
            [(c.name, c.precision, c.scale, c.internal_size) for c in cur.description]
            for cur in (ours, theirs)
        ]
        assert columns[0] == columns[1]
        assert ours.query == theirs.query
        assert ours.statusmessage == theirs.statusmessage


def test_parameters_of_every_shape(conn, single):
    for query, parameters in [
        (f"SELECT count(*) FROM {JOIN} WHERE a.note = %s OR a.id = ANY(%s)", ("b%s", [1, 2])),
        (f"SELECT count(*) FROM {JOIN} WHERE a.note LIKE %(n)s", {"n": "B%", "other": 1}),
    ]:
        rows = []
        for connection in (conn, single):
            cur = connection.cursor()
            cur.execute(query, parameters)
            rows.append(cur.fetchall())
        assert rows[0] == rows[1]


def test_errors_are_those_of_the_users_own_text(conn):
    cur = conn.cursor()
    with pytest.raises(psycopg2.errors.UndefinedFunction) as caught:
        cur.execute(f"SELECT nothing(a.id) FROM {JOIN}")
    assert int(caught.value.diag.statement_position) == len("SELECT ") + 1
    conn.rollback()
    with pytest.raises(psycopg2.errors.DivisionByZero):
        cur.execute(f"SELECT 1 / (a.id - a.id) FROM {JOIN}")
    conn.rollback()
    cur.execute(f"SELECT count(*) FROM {JOIN}")
    (gatherer,) = conn._session.beside.values()
    assert gatherer.transaction_status == 0


def test_nothing_is_left_on_the_server(conn, plain):
    conn.cursor().execute(f"SELECT count(*) FROM {JOIN}")
    for connection in plain.values():
        cur = connection.cursor()
        cur.execute("SELECT count(*) FROM pg_class WHERE relpersistence = 't'")
        assert cur.fetchone() == (0,)


def test_settings_hold_for_the_text_itself(conn, single):
    rows = []
    for connection in (conn, single):
        cur = connection.cursor()
        cur.execute("SET TimeZone = 'Asia/Tokyo'")
        cur.execute(
            "SELECT E'a\\tb', '2020-01-01'::timestamptz::text, max(a.note), count(*)"
            f" FROM {JOIN} WHERE a.note <> %s",
            ("b\\c",),
        )
        rows.append(cur.fetchall())
        connection.rollback()
    assert rows[0] == rows[1]


def test_many_rows_of_every_shard(shop, plain):
    with contextlib.closing(greenshard.connect(shop.cluster)) as conn:
        cur = conn.cursor()
        for number, one in enumerate(plain.values()):
            one.cursor().execute(
                "INSERT INTO orders (id, customer, note, tags, feeling)"
                " SELECT g * 3 + %s, g, 'n' || g, ARRAY[g::text], 'ok'"
                " FROM generate_series(1000, 6000) g",
                (number,),
            )
        cur.execute(
            "SELECT count(*), sum(a.customer), max(b.note), min(a.tags), count(b.feeling)"
            " FROM orders a JOIN orders b ON a.id = b.id + 1 WHERE a.id >= 3000 AND b.id >= 3000"
        )
        assert cur.fetchone() == (15002, 3 * 17503500 - 1000, "n6000", ["1000"], 15002)
        for one in plain.values():
            one.cursor().execute("DELETE FROM orders WHERE id >= 3000")


@pytest.fixture
def sent(monkeypatch):
    """The texts by which temporary tables are filled."""
    monkeypatch.setattr(filling, "ANALYZED_ROWS", 1)
    send = filling.Batch.send
    texts = []

    def noted(batch, cursor):
        texts.extend(text for sending, _ in batch._sendings for text in sending)
        send(batch, cursor)

    monkeypatch.setattr(filling.Batch, "send", noted)
    return texts


def test_subqueries_find_gathered_rows_by_an_index(same, sent):
    statement = """
        SELECT n.id, (SELECT sum(b.n) FROM items b WHERE b.order_id = n.id) FROM nation n
        ORDER BY 1"""
    same(statement, strategy="gather")
    assert 'CREATE INDEX ON pg_temp."items" USING btree ("order_id")' in sent


def test_values_that_are_too_long_for_a_btree_are_found_by_an_index(
    shop, plain, single, same, sent
):
    """PostgreSQL's limit is 2,704 bytes, compressed: no two characters follow each other twice."""
    note = "".join(map(chr, range(0x4E00, 0x4E00 + 3_000)))
    insert = "INSERT INTO orders (id, customer, note) VALUES (777, 7, %s)"
    shard = plain[shop.shard_of(777)]
    for connection in (shard, single):
        connection.cursor().execute(insert, (note,))
    same(
        "SELECT n.id, (SELECT count(*) FROM orders o WHERE o.note = n.name AND o.customer = n.id)"
        " FROM nation n ORDER BY 1",
        strategy="gather",
    )
    shard.cursor().execute("DELETE FROM orders WHERE id = 777")
    assert 'CREATE INDEX ON pg_temp."orders" USING btree ("customer")' in sent
    assert 'CREATE INDEX ON pg_temp."orders" USING hash ("note")' in sent


@pytest.mark.parametrize(
    "joined",
    [
        f"SELECT count(*) FROM {JOIN}",
        "SELECT count(*) FROM orders a, orders b WHERE a.customer = b.id",
        "SELECT count(*) FROM orders WHERE customer IN (SELECT n FROM items)",
        "SELECT count(*) FROM orders WHERE customer > ALL (SELECT n FROM items) UNION ALL SELECT 1",
    ],
)
def test_rows_that_are_to_be_joined_are_looked_at_first(same, sent, joined):
    same(joined, strategy="gather")
    assert any(text.startswith("ANALYZE") for text in sent)


def test_rows_that_nothing_is_joined_with_go_in_the_text(same, sent, way):
    same(
        "SELECT id, row_number() OVER (ORDER BY note, id) FROM orders ORDER BY 1", strategy="gather"
    )
    assert bool(sent) is (way in ("as tables", "in batches"))


def test_batches_of_wide_rows_are_passed_on(same, monkeypatch):
    """Also where the rows of one batch alone are more than is sent together."""
    for name, value in SMALL_BATCHES.items():
        monkeypatch.setattr(reading, name, value)
    monkeypatch.setattr(filling, "_BATCH_CHARACTERS", 1)
    same(f"SELECT a.id, b.note FROM {JOIN} ORDER BY a.id", strategy="gather")


@pytest.mark.parametrize(
    "query",
    [
        "SELECT 1 FROM orders WHERE 1 / (id - 1) = 1 HAVING 1 < 2",
        "SELECT 1 FROM orders WHERE 1 / (id - 1) = 1 HAVING 1 > 2",
        "SELECT 1 FROM orders o, items i WHERE o.customer = i.n AND 1 / (o.id - 1) = 1 HAVING true",
        "SELECT count(*) FROM orders o, items i WHERE o.customer = i.n AND false AND 1 / o.id = 1",
        "SELECT count(*) FROM orders o JOIN items i ON o.customer = i.n AND 1 > 2 AND 1 / o.id = 1",
        (
            "SELECT i.n FROM items i LEFT JOIN orders o ON o.customer = i.n AND false"
            " AND 1 / o.id = 1 ORDER BY 1 LIMIT 5"
        ),
    ],
)
def test_conditions_are_not_tested_where_postgresql_looks_at_no_row(same, query):
    same(query, strategy="gather")
