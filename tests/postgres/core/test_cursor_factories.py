from __future__ import annotations

import contextlib
import io
import logging
from collections import OrderedDict
from functools import partial

import psycopg2
import pytest
from psycopg2 import extras
from psycopg2.extensions import connection as plain_connection
from psycopg2.extensions import cursor as plain_cursor

import greenshard

SELECT = "SELECT a, shard FROM t ORDER BY a"
ROWS = [(0, "s0"), (1, "s0"), (2, "s1"), (3, "s1"), (4, "s2"), (5, "s2")]


@pytest.fixture
def make(cur):
    """Makes an executed cursor of a factory, named or not."""

    def make(factory, name=None, statement=SELECT):
        cursor = cur.connection.cursor(name, cursor_factory=factory)
        cursor.execute(statement)
        return cursor

    return make


FETCHES = {
    "fetchall": lambda cursor: cursor.fetchall(),
    "fetchmany": lambda cursor: cursor.fetchmany(3) + cursor.fetchmany(2) + cursor.fetchmany(9),
    "fetchone": lambda cursor: [cursor.fetchone() for _ in ROWS],
    "iteration": list,
    "mixed": lambda cursor: [cursor.fetchone(), *cursor.fetchmany(1), *cursor],
}


@pytest.fixture(params=FETCHES)
def fetch(request):
    return FETCHES[request.param]


@pytest.fixture(params=[None, "named"])
def name(request):
    return request.param


def test_real_dict_cursor(make, fetch, name):
    rows = fetch(make(extras.RealDictCursor, name))
    assert rows == [{"a": a, "shard": shard} for a, shard in ROWS]
    assert isinstance(rows[5], extras.RealDictRow)
    assert list(rows[5]) == ["a", "shard"]


def test_dict_cursor(make, fetch, name):
    rows = fetch(make(extras.DictCursor, name))
    assert [tuple(row) for row in rows] == ROWS
    assert [(row["a"], row[1], dict(row)["shard"]) for row in rows] == [(a, s, s) for a, s in ROWS]


def test_named_tuple_cursor(make, fetch, name):
    rows = fetch(make(extras.NamedTupleCursor, name))
    assert rows == ROWS
    assert [(row.a, row.shard) for row in rows] == ROWS
    assert len({type(row) for row in rows}) == 1


@pytest.mark.parametrize(
    "factory", [extras.RealDictCursor, extras.DictCursor, extras.NamedTupleCursor]
)
def test_factory_follows_the_columns_of_each_statement(make, factory):
    cursor = make(factory)
    assert len(cursor.fetchone()) == 2
    cursor.execute("SELECT 1 AS x, 2 AS y, 3 AS z")
    row = cursor.fetchall()[2]
    if factory is not extras.NamedTupleCursor:
        assert (row["x"], row["y"], row["z"]) == (1, 2, 3)
    else:
        assert row._asdict() == {"x": 1, "y": 2, "z": 3}
    cursor.callproc("abs", [-1])
    assert list(cursor.fetchall()[1]) in (["abs"], [1])


def test_dict_cursors_fetch_none_after_the_last_row(make):
    for factory in (extras.RealDictCursor, extras.DictCursor, extras.NamedTupleCursor):
        cursor = make(factory)
        cursor.fetchall()
        assert cursor.fetchone() is None
        assert cursor.fetchmany(2) == []


def test_scroll_within_rows_of_a_factory(make):
    cursor = make(extras.RealDictCursor)
    cursor.scroll(4, "absolute")
    assert cursor.fetchone() == {"a": 4, "shard": "s2"}


CONNECTIONS = {
    extras.DictConnection: lambda row: (row["a"], row["shard"]),
    extras.RealDictConnection: lambda row: (row["a"], row["shard"]),
    extras.NamedTupleConnection: lambda row: (row.a, row.shard),
}


@pytest.mark.parametrize("factory", CONNECTIONS)
def test_connection_factories_of_psycopg2(dsns, factory):
    with contextlib.closing(greenshard.connect(dsns, connection_factory=factory)) as conn:
        assert isinstance(conn, factory)
        assert isinstance(conn, greenshard.Connection)
        cursor = conn.cursor()
        cursor.execute("SELECT 7 AS a, 'x' AS shard")
        assert [CONNECTIONS[factory](row) for row in cursor] == [(7, "x")] * 3
        named = conn.cursor("named")
        named.execute("SELECT 7 AS a, 'x' AS shard")
        assert [CONNECTIONS[factory](row) for row in named] == [(7, "x")] * 3
        with conn.cursor(cursor_factory=plain_cursor) as plain:
            plain.execute("SELECT 1")
            assert plain.fetchall() == [(1,)] * 3


def test_cursor_factory_of_the_connection(dsns):
    opened = greenshard.connect(dsns, cursor_factory=extras.RealDictCursor)
    with contextlib.closing(opened) as conn:
        assert conn.cursor_factory is extras.RealDictCursor
        cursor = conn.cursor()
        cursor.execute("SELECT 1 AS x")
        assert cursor.fetchall() == [{"x": 1}] * 3
        conn.cursor_factory = extras.NamedTupleCursor
        cursor = conn.cursor()
        cursor.execute("SELECT 1 AS x")
        assert cursor.fetchone().x == 1


@pytest.mark.parametrize("log", [io.StringIO(), logging.getLogger("test.statements")])
def test_logging_connection_logs_each_statement_once(dsns, log, caplog):
    caplog.set_level(logging.DEBUG, "test.statements")
    opened = greenshard.connect(dsns, connection_factory=extras.LoggingConnection)
    with contextlib.closing(opened) as conn:
        conn.initialize(log)
        cursor = conn.cursor()
        cursor.execute("SELECT %s AS logged", (42,))
        assert cursor.fetchall() == [(42,)] * 3
        cursor.callproc("abs", [-1])
        with pytest.raises(psycopg2.Error):
            cursor.execute("SELECT wrong")
    text = log.getvalue() if isinstance(log, io.StringIO) else caplog.text
    assert text.count("SELECT 42 AS logged") == 1
    assert text.count("abs") == 1
    assert text.count("SELECT wrong") == 1


def test_min_time_logging_connection(dsns):
    log = io.StringIO()
    opened = greenshard.connect(dsns, connection_factory=extras.MinTimeLoggingConnection)
    with contextlib.closing(opened) as conn:
        conn.initialize(log, mintime=300)
        cursor = conn.cursor()
        cursor.execute("SELECT 'fast'")
        cursor.execute("SELECT pg_sleep(0.35), 'slow'")
        assert len(cursor.fetchall()) == 3
    assert "slow" in log.getvalue()
    assert "fast" not in log.getvalue()


def test_users_cursor_is_called_once_for_each_call(make):
    calls = []

    class Counting(plain_cursor):
        def execute(self, query, vars=None):  # noqa: A002
            calls.append(query)
            return super().execute(query, vars)

        def fetchone(self):
            row = super().fetchone()
            calls.append(row)
            return row and {"row": row}

        def __iter__(self):
            while (row := self.fetchone()) is not None:
                yield row

    cursor = make(Counting)
    assert isinstance(cursor, Counting)
    assert cursor.fetchone() == {"row": ROWS[0]}
    assert calls == [SELECT, ROWS[0]]
    assert list(cursor) == [{"row": row} for row in ROWS[1:]]


def test_users_cursor_with_arguments_of_its_own(make):
    class Labelled(extras.RealDictCursor):
        def __init__(self, *args, label="none", **kwargs):
            super().__init__(*args, **kwargs)
            self.label = label
            self.arraysize = 4

    cursor = make(partial(Labelled, label="mine"))
    assert cursor.label == "mine"
    assert cursor.fetchmany() == [{"a": a, "shard": s} for a, s in ROWS[:4]]
    assert make(Labelled).label == "none"
    assert make(partial(partial(Labelled), label="x"), "named").label == "x"


def test_users_cursor_with_slots(make, name):
    class Slotted(plain_cursor):
        __slots__ = ("mine",)

    cursor = make(Slotted, name)
    cursor.mine = 1
    assert cursor.fetchall() == ROWS
    assert cursor.mine == 1


def test_users_row_factory(make):
    class Ordered(plain_cursor):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            self.row_factory = Row

    class Row(list):
        def __init__(self, cursor):
            self.names = [column.name for column in cursor.description]
            self[:] = [None] * len(cursor.description)

        def as_dict(self):
            return OrderedDict(zip(self.names, self, strict=True))

    rows = make(Ordered).fetchall()
    assert [tuple(row.as_dict().values()) for row in rows] == ROWS
    assert rows[5].as_dict()["shard"] == "s2"


def test_users_error_in_a_row_factory_arrives(make):
    class Broken(plain_cursor):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            self.row_factory = lambda cursor: 1 / 0

    with pytest.raises(ZeroDivisionError):
        make(Broken).fetchone()


def test_users_connection_with_methods_and_arguments(dsns):
    class Mine(plain_connection):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            self.commits = 0

        def commit(self):
            self.commits += 1
            super().commit()

        def cursor(self, *args, **kwargs):
            kwargs.setdefault("cursor_factory", extras.RealDictCursor)
            return super().cursor(*args, **kwargs)

        def one(self, statement):
            with self.cursor() as cursor:
                cursor.execute(statement)
                return cursor.fetchone()

    with contextlib.closing(greenshard.connect(dsns, connection_factory=Mine)) as conn:
        assert conn.one("SELECT 1 AS x") == {"x": 1}
        with conn:
            conn.one("SELECT 1 AS x")
        assert conn.commits == 1
        assert conn.shards == ("s0", "s1", "s2")


@pytest.mark.parametrize("factory", [object, 1, "cursor", lambda *args: None, plain_connection])
def test_factory_that_is_no_cursor_class_is_refused(conn, factory):
    with pytest.raises(psycopg2.ProgrammingError, match="cursor_factory"):
        conn.cursor(cursor_factory=factory)


@pytest.mark.parametrize("factory", [object, 1, "connection", lambda *args: None, plain_cursor])
def test_factory_that_is_no_connection_class_is_refused(dsns, factory):
    with pytest.raises(psycopg2.ProgrammingError, match="connection_factory"):
        greenshard.connect(dsns, connection_factory=factory)


def test_mixed_classes_keep_the_name_of_the_users(make):
    assert type(make(extras.DictCursor)).__name__ == "DictCursor"
    assert type(make(greenshard.Cursor)) is greenshard.Cursor
    assert type(make(plain_cursor)) is greenshard.Cursor
