"""Several statements in one string do what they do on one server that has all rows."""

from __future__ import annotations

import contextlib

import gevent
import psycopg2
import psycopg2.extras
import pytest

import greenshard
from tests.postgres.one_database.compared import compared

SCHEMA = """
CREATE TABLE orders (id int PRIMARY KEY, total int CHECK (total < 1000), note text);
CREATE TABLE nation (id int PRIMARY KEY, name text);
CREATE TABLE late (id int PRIMARY KEY DEFERRABLE INITIALLY DEFERRED);
"""
TABLES = {
    "orders": greenshard.Sharded("id"),
    "nation": greenshard.Reference(),
    "late": greenshard.Sharded("id"),
}
FILL = [
    "DELETE FROM orders", "DELETE FROM nation", "DELETE FROM late",
    "INSERT INTO orders VALUES " + ", ".join(f"({n}, {n}, 'n{n}')" for n in range(1, 21)),
    "INSERT INTO nation VALUES (1, 'Peru')",
]  # fmt: skip
STATES = ("SELECT * FROM orders ORDER BY 1", "SELECT * FROM nation ORDER BY 1", "TABLE late")

#: Strings, each with its parameters, that are executed one after the other.
SCRIPTS = [
    [("UPDATE orders SET total = 7 WHERE id = 3; SELECT * FROM orders WHERE id < 5 ORDER BY 1",)],
    [("UPDATE orders SET note = 'a;b' WHERE id = 3;; -- a; b\n DELETE FROM orders WHERE id=4;--",)],
    [(("UPDATE orders SET note = 'x' WHERE id = 1 -- c\n; UPDATE orders SET note = 'é' WHERE id = 2"
      "\n; UPDATE orders SET note = 'y''' WHERE id = 3 /* ; */; SELECT 1"),)],
    [((r"UPDATE orders SET note = E'\';' WHERE id = 1; UPDATE orders SET note = $q$;'$q$ "
      r"WHERE id = 2; UPDATE orders SET note = '\' WHERE id = 4; SELECT count(*) FROM orders"),)],
    [(("UPDATE orders SET note = %s WHERE id = %s; UPDATE orders SET total = %s, note = '%%'"
      " WHERE id = %s; SELECT note FROM orders WHERE id IN (%s, %s) ORDER BY id"),
      ("a;'\\", 1, 5, 2, 1, 2))],
    [("UPDATE orders SET note = %(n)s WHERE id = %(k)s; SELECT note FROM orders WHERE id = %(k)s",
      {"n": "x", "k": 3, "unused": 1})],
    [("UPDATE orders SET note = %s WHERE id = 1; SELECT %s", ("a", "b", "c"))],
    [("UPDATE orders SET note = %s WHERE id = 1; SELECT %s", ("a",))],
    [("INSERT INTO orders VALUES (30, 1); INSERT INTO nation VALUES (2, 'Chad'); TABLE nation",)],
    [("INSERT INTO orders VALUES (30, 1); INSERT INTO orders VALUES (31, 1), (1, 1)",),
     ("SELECT 1",)],
    [(("INSERT INTO orders VALUES (30, 1); INSERT INTO orders VALUES (31, 2000); "
      "INSERT INTO orders VALUES (1, 1); INSERT INTO orders VALUES (32, 1)"),)],
    [(("INSERT INTO orders VALUES (30, 1); INSERT INTO orders VALUES (1, 1); "
      "INSERT INTO orders VALUES (31, 2000); INSERT INTO orders VALUES (32, 1)"),)],
    [("INSERT INTO orders VALUES (30, 1); SELEKT 1; SELECT 2",), ("SELECT 1",)],
    [("INSERT INTO orders VALUES (30, 1); SELECT * FROM nowhere",), ("SELECT 1",)],
    [("INSERT INTO orders VALUES (1, 1); SELECT * FROM nowhere",)],
    [(("UPDATE orders SET total = 1 WHERE id = 1; UPDATE orders SET nothing = 1 WHERE id = 2; "
      "UPDATE orders SET total = 1 WHERE id = 3"),)],
    [("INSERT INTO orders VALUES (30, 1); SELECT 1/0",), ("ROLLBACK; SELECT 2",), ("SELECT 3",)],
    [("BEGIN; INSERT INTO orders VALUES (30, 1); COMMIT",)],
    [(("INSERT INTO orders VALUES (30, 1); COMMIT; INSERT INTO orders VALUES (31, 1);"
      " INSERT INTO orders VALUES (1, 1)"),)],
    [(("INSERT INTO orders VALUES (30, 1); ROLLBACK; INSERT INTO orders VALUES (31, 1);"
      " INSERT INTO orders VALUES (32, 1)"),)],
    [("INSERT INTO orders VALUES (30, 1); BEGIN; INSERT INTO orders VALUES (31, 1)",),
     ("ROLLBACK",)],
    [("BEGIN",), ("INSERT INTO orders VALUES (30, 1); INSERT INTO orders VALUES (1, 1)",),
     ("SELECT 1",), ("ROLLBACK",), ("SELECT 1",)],
    [("BEGIN; SAVEPOINT a; DELETE FROM orders; ROLLBACK TO a; UPDATE orders SET total=0; END",)],
    [("UPDATE orders SET total = 1 WHERE id = 1; SAVEPOINT a; UPDATE orders SET total = 1",)],
    [("UPDATE orders SET total = 1 WHERE id = 1; RELEASE a",)],
    [("UPDATE orders SET total = 1 WHERE id = 1; ROLLBACK TO a; SELECT 1",)],
    [("UPDATE orders SET total = 1; COMMIT AND CHAIN; UPDATE orders SET total = 2",)],
    [("INSERT INTO late VALUES (1); INSERT INTO late VALUES (2); INSERT INTO late VALUES (1)",)],
    [("UPDATE orders SET total = 9 WHERE id = 1; VACUUM nation",)],
    [("SET LOCAL work_mem = '1MB'; UPDATE orders SET total = 9 WHERE id = 1; SHOW work_mem",),
     ("SELECT 1",)],
    [("SELECT 1; SELECT 2 AS two",)],
    [("UPDATE orders SET total = total + 1 RETURNING id; DELETE FROM orders WHERE id < 3",)],
    [(("UPDATE orders SET total = 5 WHERE id IN (1, 2, 3, 4); UPDATE orders SET note = now()::date"
      "::text WHERE id = 1; UPDATE orders SET note = upper(note) WHERE id = 2; SELECT 'done'"),)],
    [("CREATE TABLE more (n int); DROP TABLE more; SELECT 1",)],
    [(("INSERT INTO orders VALUES (30, 1) ON CONFLICT DO NOTHING; "
      "INSERT INTO orders VALUES (30, 2) ON CONFLICT (id) DO UPDATE SET total = 3; "
      "UPDATE orders SET total = -1 WHERE id=-1; SELECT total FROM orders WHERE id = 30"),)],
]  # fmt: skip


@pytest.fixture(scope="module")
def databases(greenshard_shards):
    with compared(greenshard_shards, TABLES, SCHEMA) as made:
        yield made


def played(conn, script, *, autocommit):
    """What a script gives on a connection, and what it leaves."""
    conn.rollback()
    conn.autocommit = True
    cur = conn.cursor()
    for statement in FILL:
        cur.execute(statement)
    conn.autocommit = autocommit
    seen = []
    for string in script:
        try:
            cur.execute(*string)
            rows = cur.fetchall() if cur.description else None
            seen.append((cur.rowcount, cur.statusmessage, rows, cur.query))
        except psycopg2.Error as error:
            seen.append(error.pgcode)
        except (TypeError, IndexError) as error:
            seen.append(repr(error))
        if conn.info.transaction_status != psycopg2.extensions.TRANSACTION_STATUS_INTRANS:
            seen.append(conn.info.transaction_status)
    try:
        conn.commit()
    except psycopg2.Error:
        conn.rollback()
    if autocommit:
        cur.execute("ROLLBACK")
    for statement in STATES:
        cur.execute(statement)
        seen.append(cur.fetchall())
    return seen


@pytest.mark.parametrize("autocommit", [False, True], ids=["transaction", "autocommit"])
def test_strings_do_what_they_do_on_one_server(databases, autocommit):
    cluster, whole = databases
    with (
        contextlib.closing(greenshard.connect(cluster)) as ours,
        contextlib.closing(psycopg2.connect(whole)) as theirs,
    ):
        for script in SCRIPTS:
            expected = played(theirs, script, autocommit=autocommit)
            assert played(ours, script, autocommit=autocommit) == expected, script


@pytest.fixture
def conn(databases):
    with contextlib.closing(greenshard.connect(databases[0])) as conn:
        played(conn, [], autocommit=False)
        conn.rollback()
        yield conn


def test_the_first_error_in_the_order_of_the_string_is_told_with_its_number(databases, conn):
    cluster, _ = databases
    homes = {key: cluster.placement.shards_for(key, "int4", cluster.names) for key in range(30, 60)}
    first = next(key for key in homes if homes[key] == "s0")
    second, third, *_ = (key for key in homes if homes[key] == "s1")
    cur = conn.cursor()
    fails_on_s0 = f"INSERT INTO orders VALUES ({first}, 2000)"
    fails_on_s1 = f"INSERT INTO orders VALUES ({second}, 1), ({second}, 1)"
    fine = f"INSERT INTO orders VALUES ({third}, 1)"
    for texts, pgcode, number in [
        ([fine, fails_on_s1, fails_on_s0, "SELECT 1"], "23505", 2),
        ([fine, fails_on_s0, fails_on_s1, "SELECT 1"], "23514", 2),
        (["SELECT 1", fine, fine, fine], "23505", 3),
    ]:
        with pytest.raises(greenshard.IntegrityError, match=f"{number} of the 4 in") as caught:
            cur.execute("; ".join(texts))
        assert (caught.value.pgcode, caught.value.statement) == (pgcode, number)
        with pytest.raises(psycopg2.errors.InFailedSqlTransaction):
            cur.execute("SELECT 1")
        conn.rollback()


@pytest.mark.parametrize("autocommit", [False, True])
def test_what_cannot_be_planned_lets_none_of_the_string_be_run(conn, autocommit):
    conn.autocommit = autocommit
    cur = conn.cursor()
    for refused in ("COPY orders TO STDOUT",
                    "SELECT pg_total_relation_size('orders')"):  # fmt: skip
        with pytest.raises(greenshard.NotSupportedError):
            cur.execute(f"DELETE FROM orders WHERE id = 1; {refused}; SELECT 1")
        cur.execute("SELECT count(*) FROM orders")  # the transaction goes on
        assert cur.fetchall() == [(20,)]


def test_a_refusal_after_a_part_has_run_leaves_nothing_to_commit(conn):
    cur = conn.cursor()
    # What is made first may be anything, so what comes next is planned when it is there.
    text = "CREATE TABLE made (n int); DELETE FROM orders; SELECT * FROM made; SELECT 1"
    with pytest.raises(greenshard.NotSupportedError, match="made is not declared") as caught:
        cur.execute(text)
    assert caught.value.statement == 3
    with pytest.raises(greenshard.Error, match="GS501"):
        conn.commit()
    cur.execute("SELECT count(*), to_regclass('made') FROM orders")
    assert cur.fetchall() == [(20, None)]


def test_a_page_of_execute_batch_costs_a_few_round_trips(conn, monkeypatch):
    cur = conn.cursor()
    cur.execute("SELECT 1")
    calls = []
    for name in ("run", "run_one"):
        made = getattr(conn._session, name)
        monkeypatch.setattr(
            conn._session, name, lambda *a, made=made, **b: (calls.append(a), made(*a, **b))[1]
        )
    rows = [(n, n % 20 + 1) for n in range(100)]
    for statement, most in [
        ("UPDATE orders SET total = %s WHERE id = %s", 5),
        ("UPDATE orders SET note = %s WHERE id = %s", 5),
    ]:
        psycopg2.extras.execute_batch(cur, statement, rows)
        assert len(calls) <= most
        calls.clear()
    cur.execute("SELECT id, total, note FROM orders ORDER BY 1")
    assert cur.fetchall() == [(n, 79 + n, str(79 + n)) for n in range(1, 21)]


def test_sets_of_parameters_and_named_cursors_and_events(databases):
    events = []
    with contextlib.closing(greenshard.connect(databases[0], on_event=events.append)) as conn:
        played(conn, [], autocommit=False)
        cur = conn.cursor()
        text = "UPDATE orders SET total = %s WHERE id = %s; DELETE FROM orders WHERE id = %s"
        cur.executemany(text, [(1, 2, 3), (4, 5, 6)])
        assert (cur.rowcount, events[-1].strategy) == (2, "several")
        cur.execute("SELECT id, total FROM orders WHERE id < 7 ORDER BY 1")
        assert cur.fetchall() == [(1, 1), (2, 1), (4, 4), (5, 4)]
        with pytest.raises(greenshard.NotSupportedError, match="GS411"):
            conn.cursor("named").execute("SELECT 1; SELECT 2")
        assert conn.explain(text, (1, 2, 3)).count("strategy: route") == 2


@pytest.mark.parametrize("autocommit", [False, True])
@pytest.mark.parametrize("how", ["timeout", "outside", "lock_timeout", "killed"])
def test_a_string_that_is_interrupted_has_done_nothing(databases, conn, how, autocommit):
    """Another session holds a row that comes late in the string."""
    cluster, _ = databases
    homes = {key: cluster.placement.shards_for(key, "int4", cluster.names) for key in range(1, 21)}
    held = next(key for key in homes if homes[key] == "s1")
    conn.commit()
    conn.autocommit = autocommit
    cur = conn.cursor()
    text = ";".join(f"UPDATE orders SET total = 500 WHERE id = {key}" for key in range(1, 21))
    with contextlib.closing(psycopg2.connect(cluster.shards["s1"].primary)) as holder:
        holder.cursor().execute(f"SELECT FROM orders WHERE id = {held} FOR UPDATE")
        if how == "timeout":
            cur.timeout = 0.3
            with pytest.raises(greenshard.QueryTimeout):
                cur.execute(text)
            cur.timeout = None
        elif how == "outside":
            with pytest.raises(gevent.Timeout), gevent.Timeout(0.3):
                cur.execute(text)
        elif how == "lock_timeout":
            cur.execute("SET lock_timeout = '300ms'")
            with pytest.raises(psycopg2.errors.LockNotAvailable) as caught:
                cur.execute(text)
            assert caught.value.statement == held
        else:
            waiting = gevent.spawn(cur.execute, text)
            gevent.sleep(0.3)
            waiting.kill()
    if not autocommit:
        with pytest.raises(greenshard.Error):
            conn.commit()
        conn.rollback()
    assert not conn._statements.transaction.is_open
    cur.execute("SELECT max(total) FROM orders")
    assert cur.fetchall() == [(20,)]
    cur.execute("RESET lock_timeout")
    cur.execute(text)
    if not autocommit:
        conn.commit()
    cur.execute("SELECT min(total) FROM orders")
    assert cur.fetchall() == [(500,)]
