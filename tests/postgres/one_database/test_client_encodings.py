"""Rows travel between servers whatever the client encoding can write; the answer does not."""

from __future__ import annotations

import psycopg2
import pytest

from greenshard.executor.strategies import table_rows as reading
from tests.postgres.one_database.conftest import SMALL_BATCHES

#: Of the rows, none of these can write all: é, Å, and what is added below.
ENCODINGS = ["KOI8R", "LATIN1", "SJIS", "UTF8", "SQL_ASCII"]
ADDED = "UPDATE orders SET note = note || '{0}', tags = tags || '{0}'::text, doc = '{{\"{0}\": 1}}'"
TEXTS = "é Ж 漢 €"
JOIN = "orders a JOIN orders b ON a.id = b.id + 1"
GATHERED = {
    "joined": f"SELECT a.id FROM {JOIN} WHERE a.note <> b.note ORDER BY 1",
    "distinct": f"SELECT count(DISTINCT a.note), count(DISTINCT b.tags) FROM {JOIN}",
    "documents": f"SELECT count(DISTINCT a.doc) FROM {JOIN}",
    "no rows": f"SELECT count(DISTINCT a.note) FROM {JOIN} WHERE a.id < 0",
    "percentile": (
        f"SELECT octet_length(percentile_disc(0.5) WITHIN GROUP (ORDER BY a.note)) FROM {JOIN}"
    ),
    "grouped": f"SELECT count(*) FROM {JOIN} GROUP BY a.note ORDER BY min(a.id)",
}
SEEN = {
    "text": f"SELECT a.note FROM {JOIN} ORDER BY a.id",
    "array": f"SELECT b.tags FROM {JOIN} ORDER BY a.id",
    "aggregate": f"SELECT max(a.note || b.note) FROM {JOIN}",
}


@pytest.fixture(scope="module", autouse=True)
def _letters(shop):
    for dsn in (*shop.dsns.values(), shop.single):
        connection = psycopg2.connect(dsn)
        with connection, connection.cursor() as cur:
            cur.execute(ADDED.format(TEXTS))
        connection.close()


@pytest.fixture(params=["at once", "in tables", "in batches"])
def way(request, monkeypatch):
    """How the rows get to where they are gathered."""
    if request.param == "in tables":
        monkeypatch.setattr("greenshard.executor.strategies.gather.inlined", lambda *_: None)
    if request.param == "in batches":
        for name, value in SMALL_BATCHES.items():
            monkeypatch.setattr(reading, name, value)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("statement", GATHERED.values(), ids=GATHERED)
def test_what_only_travels_need_not_be_written(conn, single, same, encoding, statement):
    conn.set_client_encoding(encoding)
    single.set_client_encoding(encoding)
    same(statement, strategy="gather")


def outcome(connection, statement):
    try:
        with connection.cursor() as cur:
            cur.execute(statement)
            return cur.fetchall()
    except (psycopg2.Error, UnicodeError) as error:
        return type(error).__name__, getattr(error, "pgcode", None)
    finally:
        connection.rollback()


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("statement", SEEN.values(), ids=SEEN)
def test_what_the_user_sees_must_be_written(conn, single, encoding, statement):
    conn.set_client_encoding(encoding)
    single.set_client_encoding(encoding)
    expected = outcome(single, statement)
    assert outcome(conn, statement) == expected
    if encoding in {"KOI8R", "LATIN1", "SJIS"}:
        assert expected[1] == "22P05"


#: Whose partial rows hold letters that the answer does not.
COMBINED = {
    "grouped": "SELECT count(*), avg(id) FROM orders GROUP BY note ORDER BY min(id)",
    "arrays": "SELECT sum(total), count(*) FROM orders GROUP BY tags ORDER BY min(id)",
    "largest": "SELECT octet_length(max(note)), avg(id) FROM orders",
    "rows": "SELECT count(*) FROM orders GROUP BY both_of, note ORDER BY min(id)",
    "told apart": "SELECT count(*) FROM (SELECT DISTINCT note, feeling FROM orders) AS o",
    "binary": "SELECT count(*) FROM orders GROUP BY convert_to(note, 'UTF8') ORDER BY min(id)",
}
SEEN_COMBINED = {
    "grouped": "SELECT note, count(*) FROM orders GROUP BY note ORDER BY min(id)",
    "largest": "SELECT max(note), avg(id) FROM orders",
    "numbers": "SELECT customer, count(*), min(day) FROM orders GROUP BY 1 ORDER BY 1",
    "distinct": "SELECT DISTINCT tags FROM orders ORDER BY 1",
}


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_letters_of_partial_rows_need_not_be_written(conn, single, same, encoding):
    conn.set_client_encoding(encoding)
    single.set_client_encoding(encoding)
    for statement in COMBINED.values():
        strategy = "gather" if "DISTINCT" in statement else "combine"
        same(statement, strategy=strategy)
    for statement in SEEN_COMBINED.values():
        assert "strategy: combine" in conn.explain(statement)
        expected = outcome(single, statement)
        assert outcome(conn, statement) == expected, statement
        if encoding == "KOI8R" and "customer" not in statement:
            assert expected[1] == "22P05"


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_letters_of_pages_need_not_be_written(conn, single, encoding):
    for statement in [*COMBINED.values(), SEEN_COMBINED["numbers"]]:
        rows = []
        for connection in (conn, single):
            connection.set_client_encoding(encoding)
            with connection.cursor("named") as cur:
                cur.itersize = 7
                cur.execute(statement)
                rows.append(cur.fetchall())
            connection.rollback()
        assert rows[0] == rows[1], statement


#: What is sorted by is not shown.
SORTED = [
    "SELECT id FROM orders ORDER BY note, id",
    "SELECT id, customer, day FROM orders ORDER BY note DESC NULLS LAST, total, id LIMIT 20",
    'SELECT id FROM orders ORDER BY note COLLATE "C", id OFFSET 5',
    "SELECT id, span FROM orders ORDER BY tags, feeling, id",
    "SELECT octet_length(note) FROM orders ORDER BY note, id",
]


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("statement", SORTED)
def test_letters_of_what_is_only_sorted_by_need_not_be_written(
    conn, single, same, encoding, statement
):
    conn.set_client_encoding(encoding)
    single.set_client_encoding(encoding)
    same(statement, strategy="merge")


def test_ordered_letters_that_nobody_can_read_are_the_drivers_error(conn, single):
    statement = "SELECT note FROM orders WHERE note <> '' ORDER BY note"
    for connection in (conn, single):
        connection.set_client_encoding("SQL_ASCII")
        assert outcome(connection, statement) == ("UnicodeDecodeError", None)
