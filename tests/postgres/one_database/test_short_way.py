"""The short way of a routed statement does what the general way does, and leaves the rest to it."""

from __future__ import annotations

import contextlib
from decimal import Decimal

import pytest
from psycopg2.extensions import AsIs

import greenshard
from greenshard import statements
from tests.postgres.one_database.conftest import TABLES

KEY = "SELECT id, note, total FROM orders WHERE id = %s"
#: Each with its parameters, and what is run before it; these are to go the short way.
SHORT = {
    "by a number": (KEY, (7,), ()),
    "by a name": ("SELECT note FROM orders WHERE id = %(id)s", {"id": 7}, ()),
    "of the text": ("SELECT note FROM orders WHERE id = 7", None, ()),
    "no row": (KEY, (7000,), ()),
    "written": ("UPDATE orders SET note = %s WHERE id = %s RETURNING note", ("x", 8), ()),
    "wrong": ("SELECT 1 / (id - 7) FROM orders WHERE id = %s", (7,), ()),
    "twice there": ("INSERT INTO orders (id) VALUES (%s)", (7,), ()),
    "too few": ("SELECT 1 FROM orders WHERE id = %s AND note = %s", (7,), ()),
    "unknown": ("SELECT nothing FROM orders WHERE id = %s", (7,), ()),
    "in a transaction": (KEY, (9,), ("UPDATE orders SET note = '' WHERE id = 9",)),
}
#: These are not: something about them is not as it most often is.
GENERAL = {
    "no key": (KEY, (None,), ()),
    "several keys": ("SELECT id FROM orders WHERE id = ANY(%s)", ([1, 2, 3],), ()),
    "another number": (KEY, (Decimal(7),), ()),
    "any SQL": (KEY, (AsIs("3 + 4"),), ()),
    "none": (KEY, (), ()),
    "of all": ("SELECT count(*) FROM orders WHERE note <> %s", ("",), ()),
    "a letter": ("SELECT id FROM orders WHERE note = 'é' AND id = %s", (1,), ()),
    "after a failure": (KEY, (7,), ("SELECT 1 / 0 FROM orders WHERE id = 9",)),
    "another path": (KEY, (7,), ("SET search_path = pg_catalog",)),
    "as psycopg2 does not write": (KEY, (7,), ("SET standard_conforming_strings = off",)),
}


@pytest.fixture
def taken(monkeypatch):
    """How many statements have gone the short way."""
    ways = []
    way = statements.short_way
    monkeypatch.setattr(statements, "short_way", lambda *a: ways.append(way(*a)) or ways[-1])
    return ways


def seen(conn, text, given, before, taken):
    """All that can be seen of a statement."""
    cur = conn.cursor()
    try:
        for each in before:
            with contextlib.suppress(greenshard.DataError):
                cur.execute(each)
        del taken[:]
        try:
            cur.execute(text, given)
        except (greenshard.Error, IndexError, TypeError) as error:
            told = (type(error).__mro__[1:], str(error), getattr(error, "pgcode", None))
            return told, getattr(error, "shard", None), cur.rowcount, conn.status, cur.query
        rows = cur.fetchall() if cur.description else None
        return (
            rows, cur.description, cur.rowcount, cur.statusmessage, cur.query,
            len(cur.timings), cur.failures, conn.status, conn.get_transaction_status(),
        )  # fmt: skip
    finally:
        conn.rollback()
        kept = list(taken)
        cur.execute("SET standard_conforming_strings = on")
        cur.execute("SET search_path = public")
        conn.commit()
        taken[:] = kept


@pytest.mark.parametrize("autocommit", [False, True])
@pytest.mark.parametrize("name", [*SHORT, *GENERAL])
def test_it_is_seen_in_nothing(conn, taken, monkeypatch, name, autocommit):
    text, given, before = {**SHORT, **GENERAL}[name]
    if autocommit and (name == "after a failure" or text.startswith(("UPDATE", "INSERT"))):
        pytest.skip("the failure is gone, or the change stays")
    conn.cursor().execute(KEY, (1,))  # nothing is in doubt any more
    conn.rollback()
    conn.autocommit = autocommit
    short = seen(conn, text, given, before, taken)
    assert any(taken) is (name in SHORT)
    monkeypatch.setattr(statements, "short_way", lambda *_: None)
    assert seen(conn, text, given, before, taken) == short


def test_who_listens_is_told_of_all(shop, taken):
    events = []
    with greenshard.connect(shop.cluster, on_event=events.append) as conn:
        conn.cursor().execute(KEY, (7,))
    assert [event.strategy for event in events] == ["route"]
    assert not taken


@pytest.mark.parametrize(
    "moved", ["SET search_path = pg_catalog", "SELECT set_config(%s, %s, false)"]
)
def test_one_session_is_not_as_the_others(conn, moved):
    given = ("search_path", "pg_catalog") if "%s" in moved else None
    conn.cursor().execute(KEY, (7,))
    with conn.on(key=7):
        conn.cursor().execute(moved, given)
    with pytest.raises(greenshard.NotSupportedError) as caught:
        conn.cursor().execute(KEY, (7,))
    assert caught.value.code == "GS410"


def test_sessions_that_read_literals_otherwise_from_the_beginning(shop):
    off = {n: f"{dsn} options='-c standard_conforming_strings=off'" for n, dsn in shop.dsns.items()}
    with contextlib.closing(greenshard.connect(greenshard.Cluster(off, TABLES))) as conn:
        for _ in range(2):
            with pytest.raises(greenshard.NotSupportedError) as caught:
                conn.cursor().execute(KEY, (7,))
            assert caught.value.code == "GS413"
