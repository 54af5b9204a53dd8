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
