"""Named cursors over a cluster: rows are streamed, and merged while they come."""

from __future__ import annotations

import gc
import weakref

import psycopg2
import psycopg2.extras
import pytest

import greenshard
from tests.postgres.one_database.test_strategies import READS

FACTORIES = [None, psycopg2.extras.RealDictCursor, psycopg2.extras.NamedTupleCursor]
every_read = pytest.mark.parametrize("strategy", READS)


def named(connection, factory=None, itersize=7):
    cur = connection.cursor("rows", cursor_factory=factory)
    cur.itersize = itersize
    return cur


@every_read
@pytest.mark.parametrize("factory", FACTORIES)
def test_named_cursors_give_the_same_rows(conn, single, strategy, factory):
    statement, parameters = READS[strategy]
    rows = []
    for connection in (conn, single):
        cur = named(connection, factory)
        cur.execute(statement, parameters)
        rows.append([cur.fetchone(), *cur.fetchmany(2), *cur])
        assert cur.fetchone() is None
        assert cur.fetchall() == []
        names = [column.name for column in cur.description]
        cur.close()
        assert cur.closed
    if "ORDER BY" not in statement:
        rows = [sorted(each, key=repr) for each in rows]
    assert rows[0] == rows[1]
    assert names
    conn.commit()


@pytest.mark.parametrize(
    "order",
    [
        "total", "total DESC NULLS LAST", "customer DESC, total", "day, id DESC", "note",
        "weight DESC", "tags, id", "feeling, span", "id",
    ],
)  # fmt: skip
@pytest.mark.parametrize("rest", ["", " LIMIT 25 OFFSET 4", " OFFSET 50"])
def test_streams_are_merged_in_order(conn, single, order, rest):
    statement = f"SELECT note, total FROM orders ORDER BY {order}, id{rest}"
    rows = []
    for connection in (conn, single):
        cur = named(connection)
        cur.execute(statement)
        rows.append(list(cur))
    assert rows[0] == rows[1]


def test_infinite_dates_are_streamed_in_their_order(conn, single):
    rows = []
    for connection in (conn, single):
        cur = connection.cursor()
        cur.execute("UPDATE orders SET day = 'infinity' WHERE id % 9 = 1")
        cur.execute("UPDATE orders SET day = '9999-12-31' WHERE id % 9 = 2")
        cur.execute("UPDATE orders SET day = '-infinity' WHERE id % 9 = 3")
        cur = named(connection)
        cur.execute("SELECT day, id FROM orders ORDER BY day DESC, id")
        rows.append(cur.fetchall())
        connection.rollback()
    assert rows[0] == rows[1]


def test_memory_holds_a_page_of_each_shard(conn):
    cur = named(conn, itersize=3)
    cur.execute("SELECT id FROM orders ORDER BY id")
    assert cur.description is None
    assert cur.fetchone() == (0,)
    assert [column.name for column in cur.description] == ["id"]
    assert sum(timing.rows for timing in cur.timings.values()) == 9
    assert cur.fetchall() == [(key,) for key in range(1, 60)]
    assert cur.rownumber == 60
    assert sum(timing.rows for timing in cur.timings.values()) == 60


def test_fetch_that_failed_is_not_the_end_of_the_rows(conn):
    cur = named(conn, itersize=2)
    cur.execute("SELECT id, 1 / (id - 30) FROM orders ORDER BY id")
    rows = []
    with pytest.raises(psycopg2.errors.DivisionByZero):
        rows.extend(cur)
    with pytest.raises(psycopg2.Error):
        cur.fetchone()
    conn.rollback()
    with pytest.raises(psycopg2.Error):
        cur.fetchall()


def test_merged_rows_cannot_be_scrolled(conn):
    cur = named(conn)
    cur.execute("SELECT id FROM orders ORDER BY id")
    with pytest.raises(greenshard.NotSupportedError):
        cur.scroll(3)


def test_named_cursor_is_closed_where_it_was_opened(conn, shop):
    cur = named(conn)
    cur.execute("SELECT id FROM orders WHERE id = 1")
    assert cur.fetchall() == [(1,)]
    cur.close()
    assert [p.shard for p in conn._session.alive if p.in_transaction] == [shop.shard_of(1)]
    cur = named(conn)
    cur.close()
    cur = named(conn)
    cur.execute("SELECT id FROM orders ORDER BY id")
    cur.close()
    one = conn.cursor()
    for name in conn.shards:
        with conn.on(name):
            one.execute("SELECT count(*) FROM pg_cursors")
            assert one.fetchone() == (0,)


@pytest.mark.parametrize("statement", [statement for statement, _ in READS.values()])
@pytest.mark.parametrize("make", [named, greenshard.Connection.cursor])
def test_dropped_cursor_is_freed_at_once(conn, make, statement):
    statement = statement.replace("%(n)s", "3").replace("%s", "3")
    conn.explain(statement)
    gc.disable()
    try:
        cur = make(conn)
        cur.execute(statement)
        cur.fetchone()
        reference = weakref.ref(cur)
        del cur
        assert reference() is None
    finally:
        gc.enable()


#: What is in another value: the typecaster of the whole asks the cursor for those of its parts.
_INSIDE = [
    "SELECT id, tstzrange(day, day + 1), ARRAY[day::timestamptz] FROM orders ORDER BY id",
    "SELECT daterange(day, day + 1), id FROM orders ORDER BY 1, 2",
    "SELECT both_of, id FROM orders ORDER BY both_of, id",
    "SELECT both_of, count(*), max(span) FROM orders GROUP BY both_of ORDER BY 1",
    "SELECT DISTINCT both_of FROM orders ORDER BY 1",
    (
        "SELECT a.both_of, daterange(b.day, b.day + 1) FROM orders a JOIN orders b"
        " ON a.customer = b.id ORDER BY a.id"
    ),
]


@pytest.mark.parametrize("statement", _INSIDE)
def test_values_in_others_are_read_as_by_themselves(conn, single, statement):
    for connection in (conn, single):
        psycopg2.extras.register_composite("pair", connection)
    with single.cursor() as cur:
        cur.execute(statement)
        expected = cur.fetchall()
    for cur in (named(conn), conn.cursor()):
        cur.execute(statement)
        assert list(map(repr, cur.fetchall())) == list(map(repr, expected))
        cur.close()
