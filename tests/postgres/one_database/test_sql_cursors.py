"""DECLARE, FETCH, MOVE and CLOSE as SQL do what they do on one server that has all rows."""

from __future__ import annotations

import contextlib

import psycopg2
import psycopg2.extras
import pytest

import greenshard
from tests.postgres.one_database.compared import compared

SCHEMA = """
CREATE TABLE orders (id int PRIMARY KEY, total int, note text);
CREATE TABLE nation (id int PRIMARY KEY, name text);
INSERT INTO nation SELECT n, 'n' || n FROM generate_series(1, 9) AS n;
CREATE FUNCTION opened() RETURNS refcursor LANGUAGE plpgsql AS $$
DECLARE c refcursor := 'by a function'; BEGIN OPEN c FOR SELECT id FROM nation ORDER BY 1; RETURN c;
END $$;
"""
TABLES = {"orders": greenshard.Sharded("id"), "nation": greenshard.Reference()}

#: Scripts; a tuple has parameters.
SCRIPTS = {
    "rows of all shards": [
        "DECLARE c CURSOR FOR SELECT id, note FROM orders ORDER BY id DESC", "FETCH c",
        "FETCH 3 FROM c", "MOVE 2 IN c", "FETCH RELATIVE 2 c", "FETCH ABSOLUTE 12 c",
        "MOVE ABSOLUTE 14 c", "FETCH FORWARD ALL FROM c", "FETCH c", "MOVE ALL c", "CLOSE c",
        "FETCH c",
    ],
    "parts that are combined": [
        (("DECLARE c CURSOR FOR SELECT id %% 3, sum(total), avg(total) FROM orders WHERE id > %s"
         " GROUP BY 1 ORDER BY 1"), (2,)),
        "FETCH 2 c", "FETCH ALL c", "CLOSE c",
    ],
    "rows that are gathered": [
        ("DECLARE c CURSOR FOR SELECT a.id, b.total FROM orders a JOIN orders b ON a.id = b.total"
        " ORDER BY 1"), "FETCH FIRST c", "FETCH 5 c", "CLOSE ALL", "FETCH c",
    ],
    "one shard": [
        "DECLARE c SCROLL CURSOR FOR SELECT id, n FROM orders, generate_series(1, 5) n WHERE id=3",
        "FETCH 2 c", "FETCH PRIOR c", "FETCH LAST c", "FETCH BACKWARD ALL c", "FETCH 0 c",
        "MOVE ABSOLUTE 4 c", "FETCH ALL c", "CLOSE c", "CLOSE c",
    ],
    "a reference table": [
        "DECLARE c INSENSITIVE CURSOR FOR TABLE nation", "FETCH ALL c", "MOVE BACKWARD 2 c",
    ],
    "a name that is taken": [
        "DECLARE c CURSOR FOR SELECT id FROM orders", "DECLARE c CURSOR FOR SELECT id FROM orders",
    ],
    "a name that is taken elsewhere": [
        "DECLARE c CURSOR FOR SELECT id FROM orders", "DECLARE c CURSOR FOR TABLE nation",
    ],
    "a name that one shard has": [
        "DECLARE c CURSOR FOR SELECT id FROM orders WHERE id = 3",
        "DECLARE c CURSOR FOR SELECT sum(total) FROM orders",
    ],
    "a name that is free again": [
        "DECLARE c CURSOR FOR SELECT sum(total) FROM orders", "FETCH c", "CLOSE c",
        "DECLARE c CURSOR FOR SELECT id FROM orders ORDER BY 1", "FETCH c", "CLOSE c",
        "DECLARE c CURSOR FOR SELECT id FROM orders WHERE id = 3", "FETCH c",
    ],
    "the end of the transaction": [
        "DECLARE c CURSOR FOR SELECT id FROM orders ORDER BY 1", "FETCH 2 c", "COMMIT", "FETCH c",
    ],
    "WITH HOLD": [
        "DECLARE c CURSOR WITH HOLD FOR SELECT id FROM orders ORDER BY 1",
        "DECLARE d CURSOR WITH HOLD FOR SELECT sum(total) FROM orders",
        "DECLARE e CURSOR WITH HOLD FOR SELECT id FROM orders WHERE id = 4",
        "FETCH 2 c", "COMMIT", "FETCH 3 c", "FETCH 3 d", "FETCH e", "CLOSE c", "FETCH c",
        "CLOSE ALL", "FETCH d",
    ],
    "WITH HOLD, rolled back": [
        "DECLARE c CURSOR WITH HOLD FOR SELECT id FROM orders ORDER BY 1", "ROLLBACK", "FETCH c",
    ],
    "a savepoint": [
        "SELECT 1", "SAVEPOINT a", "DECLARE c CURSOR FOR SELECT id FROM orders ORDER BY 1",
        "DECLARE d CURSOR FOR SELECT sum(total) FROM orders", "FETCH c", "ROLLBACK TO a",
        "DECLARE c CURSOR FOR SELECT id + 1 FROM orders ORDER BY 1", "FETCH c",
        "DECLARE d CURSOR FOR SELECT max(total) FROM orders", "FETCH d", "ROLLBACK TO a",
        "FETCH c",
    ],
    "a savepoint, and what one server made": [
        "SELECT 1", "SAVEPOINT a", "DECLARE d CURSOR FOR SELECT sum(total) FROM orders",
        "ROLLBACK TO a", "FETCH d",
    ],
    "an error while rows are fetched": [
        "DECLARE c CURSOR FOR SELECT 10 / (id - 20) FROM orders ORDER BY id", "FETCH ALL c",
        "FETCH c",
    ],
    "a savepoint after it": [
        "DECLARE c CURSOR FOR SELECT id FROM orders ORDER BY 1", "FETCH ALL c", "SAVEPOINT a",
        "DECLARE d CURSOR FOR SELECT id FROM orders", "ROLLBACK TO a", "FETCH c", "MOVE 2 c",
        "FETCH 2 d",
    ],
    "errors": ["DECLARE c CURSOR FOR SELECT nothing FROM orders", "FETCH c"],
    "no cursor": ["FETCH c"],
    "none to be closed": ["CLOSE c"],
    "a failed transaction": ["SELECT 1 / 0", "DECLARE c CURSOR FOR TABLE orders", "FETCH c",
                             "CLOSE c", "CLOSE ALL"],
    "together": [
        "DECLARE c CURSOR FOR SELECT id FROM orders ORDER BY 1; FETCH 2 c; FETCH 1 c", "FETCH c",
    ],
}  # fmt: skip


@pytest.fixture(scope="module")
def databases(greenshard_shards):
    with compared(greenshard_shards, TABLES, SCHEMA) as made:
        for place in made:
            with contextlib.closing(greenshard.connect(place)) as conn:
                rows = ", ".join(f"({n}, {n * 2}, 'x{n}')" for n in range(1, 21))
                conn.cursor().execute(f"INSERT INTO orders VALUES {rows}")
                conn.commit()
        yield made


def done(cur, statement):
    try:
        cur.execute(*([statement] if isinstance(statement, str) else statement))
    except psycopg2.Error as error:
        return error.pgcode
    columns = [(column.name, column.type_code) for column in cur.description or ()]
    rows = cur.fetchall() if cur.description else None
    return cur.statusmessage, cur.rowcount, columns, rows, cur.query


@pytest.mark.parametrize("factory", [None, psycopg2.extras.DictCursor])
@pytest.mark.parametrize("title", SCRIPTS)
def test_cursors_give_what_those_of_one_server_give(databases, title, factory):
    cluster, whole = databases
    with (
        contextlib.closing(greenshard.connect(cluster)) as ours,
        contextlib.closing(psycopg2.connect(whole)) as theirs,
    ):
        cursors = [conn.cursor(cursor_factory=factory) for conn in (ours, theirs)]
        for statement in SCRIPTS[title]:
            got, expected = (done(cur, statement) for cur in cursors)
            assert got == expected, statement


def test_outside_of_a_transaction_only_with_hold(databases):
    cluster, whole = databases
    with (
        contextlib.closing(greenshard.connect(cluster)) as ours,
        contextlib.closing(psycopg2.connect(whole)) as theirs,
    ):
        ours.autocommit = theirs.autocommit = True
        cursors = [conn.cursor() for conn in (ours, theirs)]
        for statement in [
            "DECLARE c CURSOR FOR SELECT id FROM orders",
            "DECLARE c CURSOR FOR TABLE nation",
            "DECLARE c CURSOR WITH HOLD FOR SELECT id FROM orders ORDER BY 1",
            "FETCH 3 c",
            "FETCH 3 c",
            "DECLARE d CURSOR WITH HOLD FOR SELECT sum(total) FROM orders",
            "FETCH ALL d",
            "BEGIN",
            "DECLARE e CURSOR FOR TABLE nation",
            "FETCH 2 e",
            "COMMIT",
            "FETCH 2 e",
            "FETCH c",
        ]:
            got, expected = (done(cur, statement) for cur in cursors)
            assert got == expected, statement


def test_what_would_go_backwards_over_shards_is_refused_and_costs_no_rows(databases):
    with contextlib.closing(greenshard.connect(databases[0])) as conn:
        cur = conn.cursor()
        with pytest.raises(greenshard.NotSupportedError, match="SCROLL"):
            cur.execute("DECLARE c SCROLL CURSOR FOR SELECT id FROM orders")
        cur.execute("DECLARE c CURSOR FOR SELECT id FROM orders ORDER BY 1")
        cur.execute("FETCH 3 c")
        for text in ("FETCH PRIOR c", "FETCH 0 c", "FETCH LAST c", "MOVE BACKWARD ALL c",
                     "FETCH ABSOLUTE 3 c", "FETCH -1 c"):  # fmt: skip
            with pytest.raises(greenshard.NotSupportedError, match="GS410"):
                cur.execute(text)
        cur.execute("FETCH c")
        assert cur.fetchall() == [(4,)]


def test_a_named_cursor_reads_what_sql_has_declared(databases):
    with contextlib.closing(greenshard.connect(databases[0])) as conn:
        cur = conn.cursor()
        for name, query in [
            ("merged", "SELECT id FROM orders ORDER BY 1"),
            ("routed", "SELECT generate_series(1, 20) FROM orders WHERE id = 7"),
        ]:
            cur.execute(f"DECLARE {name} CURSOR FOR {query}")
            reading = conn.cursor(name)
            assert reading.fetchmany(2) == [(1,), (2,)]
            assert reading.fetchall() == [(n,) for n in range(3, 21)]
        by_driver = conn.cursor("by_driver")
        by_driver.execute("SELECT id FROM orders ORDER BY 1")
        for text in ("FETCH by_driver", "CLOSE by_driver"):
            with pytest.raises(greenshard.NotSupportedError, match="methods of that cursor"):
                cur.execute(text)
        with pytest.raises(psycopg2.errors.SyntaxError):
            conn.cursor("other").execute("FETCH merged")
        conn.rollback()


def test_a_cursor_that_a_function_has_opened_is_found_on_its_shard(databases):
    with contextlib.closing(greenshard.connect(databases[0])) as conn:
        cur = conn.cursor()
        with conn.on("s1"):
            cur.execute("SELECT opened()")
        cur.execute('FETCH 2 FROM "by a function"')
        assert cur.fetchall() == [(1,), (2,)]
        cur.execute('CLOSE "by a function"')
        with pytest.raises(psycopg2.errors.InvalidCursorName):
            cur.execute('FETCH 2 FROM "by a function"')
