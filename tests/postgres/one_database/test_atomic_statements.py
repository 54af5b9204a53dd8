"""In autocommit mode a statement that writes on several shards is done on all of them or on none.

And two clients whose statements lock the same rows of several shards wait for each other.
"""

from __future__ import annotations

import contextlib
import time

import gevent
import psycopg2
import pytest
from psycopg2.extensions import TRANSACTION_STATUS_IDLE, TRANSACTION_STATUS_INTRANS

import greenshard

SCHEMA = "CREATE TABLE kept (id int PRIMARY KEY, a int DEFAULT 0)"
IDS = range(1, 9)


@pytest.fixture(scope="module")
def databases(greenshard_shards):
    with greenshard_shards.databases() as first, greenshard_shards.databases() as second:
        dsns = {"s0": first["s0"], "s1": first["s1"], "s2": second["s0"]}
        for dsn in dsns.values():
            ask(dsn, SCHEMA)
        greenshard.init(greenshard.Cluster(dsns, {"kept": greenshard.Sharded("id")}))
        yield dsns


@pytest.fixture
def cluster(databases):
    cluster = greenshard.Cluster(databases, {"kept": greenshard.Sharded("id")})
    for name, dsn in databases.items():
        ask(dsn, "DELETE FROM kept")
        for key in IDS:
            if cluster.placement.shards_for(key, "int4", cluster.names) == name:
                ask(dsn, f"INSERT INTO kept VALUES ({key})")
    return cluster


@pytest.fixture(params=["declared", "union"])
def conn(cluster, databases, request):
    source = cluster if request.param == "declared" else databases
    with contextlib.closing(greenshard.connect(source)) as conn:
        conn.autocommit = True
        yield conn
        assert {p.transaction_status for p in conn._session.alive} == {TRANSACTION_STATUS_IDLE}
        assert conn.autocommit


def ask(dsn, query):
    with contextlib.closing(psycopg2.connect(dsn)) as conn, conn, conn.cursor() as cur:
        cur.execute(query)
        return cur.fetchall() if cur.description else None


def rows(databases):
    return sorted(row for dsn in databases.values() for row in ask(dsn, "SELECT id, a FROM kept"))


ZEROS = [(key, 0) for key in IDS]


def test_update_that_fails_on_one_shard_is_done_on_none(conn, databases):
    cur = conn.cursor()
    with pytest.raises(psycopg2.errors.DivisionByZero) as caught:
        cur.execute("UPDATE kept SET a = 1 / (id - 3)")
    assert caught.value.committed == ()
    assert "committed" not in str(caught.value)
    assert rows(databases) == ZEROS
    cur.execute("UPDATE kept SET a = %s RETURNING id", (7,))
    assert sorted(cur.fetchall()) == [(key,) for key in IDS]
    assert (cur.rowcount, cur.statusmessage) == (8, "UPDATE 8")
    assert rows(databases) == [(key, 7) for key in IDS]


def test_ddl_that_fails_on_one_shard_is_done_on_none(conn, databases):
    cur = conn.cursor()
    shard = next(
        name for name, dsn in databases.items() if ask(dsn, "SELECT 1 FROM kept WHERE id = 3")
    )
    ask(databases[shard], "UPDATE kept SET a = -1 WHERE id = 3")
    with pytest.raises(psycopg2.errors.CheckViolation) as caught:
        cur.execute("ALTER TABLE kept ADD CONSTRAINT positive CHECK (a >= 0)")
    assert caught.value.shard == shard
    look = "SELECT count(*) FROM pg_constraint WHERE conname = 'positive'"
    assert [ask(dsn, look) for dsn in databases.values()] == [[(0,)]] * 3
    with pytest.raises(psycopg2.errors.CheckViolation):
        cur.execute(
            "CREATE UNIQUE INDEX only_one ON kept (id, (a < 0)) WHERE a < 0; "
            "ALTER TABLE kept ADD CONSTRAINT none CHECK (a >= 0)"
        )
    look = "SELECT count(*) FROM pg_class WHERE relname = 'only_one'"
    assert [ask(dsn, look) for dsn in databases.values()] == [[(0,)]] * 3


@pytest.mark.parametrize(
    "query",
    ["CREATE INDEX CONCURRENTLY IF NOT EXISTS slow ON kept (a)",
     "DROP INDEX CONCURRENTLY IF EXISTS slow", "VACUUM kept",
     "CREATE ROLE just_once_{}", "DROP ROLE just_once_{}", "SET work_mem = '1MB'"],
)  # fmt: skip
def test_what_no_transaction_can_hold_is_run_as_it_is(conn, query):
    # At the same time, the catalog's own index says that it is there.
    there = (psycopg2.errors.DuplicateObject, psycopg2.errors.UniqueViolation)
    with contextlib.suppress(*there, psycopg2.errors.UndefinedObject):
        conn.cursor().execute(query.format(len(conn.shards)))  # of one server twice


def test_executemany_that_fails_has_done_what_comes_before_and_nothing_behind(cluster, databases):
    """As on one server, where each set commits by itself; whichever shards they are for."""
    with contextlib.closing(greenshard.connect(cluster)) as conn:
        conn.autocommit = True
        cur = conn.cursor()
        for sets in ((11, 12, 13, 14, 3, 15), (3, 11), (16, 16, 17)):
            with pytest.raises(psycopg2.errors.UniqueViolation):
                cur.executemany("INSERT INTO kept VALUES (%s)", [(n,) for n in sets])
        assert rows(databases) == [*ZEROS, *((n, 0) for n in (11, 12, 13, 14, 16))]
        cur.execute("DELETE FROM kept WHERE id > 10")
        cur.executemany("UPDATE kept SET a = 1 WHERE id = %s", [(n,) for n in IDS])
        assert cur.rowcount == 8
    assert rows(databases) == [(key, 1) for key in IDS]


def test_executemany_that_is_not_asked_for_by_a_set_is_done_on_none(cluster, databases):
    """A timeout says nothing of a set: those of the other shards are undone, too."""
    with contextlib.closing(greenshard.connect(cluster, timeout=1.0)) as conn:
        conn.autocommit = True
        with pytest.raises(greenshard.QueryTimeout):
            conn.cursor().executemany(
                "UPDATE kept SET a = CASE id WHEN 5 THEN length(pg_sleep(9)::text) END"
                " WHERE id = %s",
                [(n,) for n in IDS],
            )
    assert rows(databases) == ZEROS


def test_after_commit_as_text_each_statement_is_atomic_too(cluster, databases):
    with contextlib.closing(greenshard.connect(cluster)) as conn:
        cur = conn.cursor()
        cur.execute("COMMIT")
        with pytest.raises(psycopg2.errors.DivisionByZero):
            cur.execute("UPDATE kept SET a = 1 / (id - 3)")
        cur.execute("UPDATE kept SET a = 2 WHERE id > 4")
        conn.rollback()
    assert rows(databases) == [(key, 2 if key > 4 else 0) for key in IDS]


@contextlib.contextmanager
def holding_a_row(databases):
    """Another session holds a row, not on the first shard."""
    with contextlib.closing(psycopg2.connect(databases["s2"])) as conn:
        conn.cursor().execute("SELECT * FROM kept FOR UPDATE")
        yield


@pytest.mark.parametrize("begin", ["BEGIN", "START TRANSACTION"])
def test_transaction_that_the_text_itself_begins_is_left_open(cluster, databases, begin):
    with contextlib.closing(greenshard.connect(databases)) as conn:
        conn.autocommit = True
        cur = conn.cursor()
        cur.execute(f"{begin}; UPDATE kept SET a = 7")
        assert conn.get_transaction_status() == TRANSACTION_STATUS_INTRANS
        cur.execute("ROLLBACK")
        assert rows(databases) == ZEROS
        cur.execute(f"UPDATE kept SET a = 7; {begin}")
        assert conn.get_transaction_status() == TRANSACTION_STATUS_INTRANS
        cur.execute("ROLLBACK")
    with contextlib.closing(greenshard.connect(cluster)) as conn:
        conn.autocommit = True
        cur = conn.cursor()
        cur.execute(f"{begin}; CREATE TABLE made_in_it (a int)")
        assert conn.get_transaction_status() == TRANSACTION_STATUS_INTRANS
        cur.execute("ROLLBACK")
    found = [ask(dsn, "SELECT to_regclass('made_in_it')") for dsn in databases.values()]
    assert found == [[(None,)]] * 3


def test_long_query_of_a_union_is_sent_once_to_all(databases, cluster):
    with contextlib.closing(greenshard.connect(databases)) as conn:
        conn.autocommit = True
        cur, sent = conn.cursor(), []
        run = conn._session.run
        conn._session.run = lambda calls, *a, **k: sent.append(len(calls)) or run(calls, *a, **k)
        many = ", ".join(map(str, range(9_000)))
        cur.execute(f"SELECT id FROM kept WHERE id IN ({many})")
        assert len(cur.fetchall()) == 8
        assert sent == [3]


def test_timeout_of_a_write_leaves_nothing_done(conn, databases):
    cur = conn.cursor()
    cur.timeout = 0.3
    with holding_a_row(databases), pytest.raises(greenshard.QueryTimeout):
        cur.execute("UPDATE kept SET a = 1")
    assert rows(databases) == ZEROS


def test_kill_during_a_write_leaves_nothing_done(conn, databases):
    with holding_a_row(databases):
        greenlet = gevent.spawn(conn.cursor().execute, "UPDATE kept SET a = 1")
        gevent.sleep(0.2)
        assert not greenlet.dead
        greenlet.kill()
    assert rows(databases) == ZEROS


def test_routed_write_sends_nothing_more(cluster):
    events = []
    with contextlib.closing(greenshard.connect(cluster, on_event=events.append)) as conn:
        conn.autocommit = True
        cur = conn.cursor()
        cur.execute("UPDATE kept SET a = 1 WHERE id = 1")
        cur.execute("UPDATE kept SET a = 1")  # which asks whether the shards can commit together
        sent = []
        run = conn._session.run
        conn._session.run = lambda calls, *a, **k: sent.append(len(calls)) or run(calls, *a, **k)
        cur.execute("UPDATE kept SET a = 1 WHERE id = 1")
        assert sent == [1]
        cur.execute("UPDATE kept SET a = 1")
        # BEGIN, the first, the others, the checks; PREPARE, COMMIT, COMMIT PREPARED.
        assert sent == [1, 3, 1, 2, 3, 2, 1, 2]


LOCKING = [
    "UPDATE kept SET a = a + 1",
    "SELECT * FROM kept FOR UPDATE",
    "DELETE FROM kept WHERE a < 0; UPDATE kept SET a = a + 1",
    "LOCK TABLE kept",
    "ALTER TABLE kept ALTER a SET DEFAULT 0",
    "UPDATE kept SET a = a + 1 -- in autocommit mode",
]


@pytest.mark.parametrize("query", LOCKING)
@pytest.mark.parametrize("way", ["declared", "union"])
def test_clients_that_lock_the_same_wait_for_each_other(cluster, databases, way, query):
    if way == "declared" and ";" in query:
        query = "DELETE FROM kept WHERE a < 0"
    source = cluster if way == "declared" else databases

    def work():
        with contextlib.closing(greenshard.connect(source, timeout=10)) as conn:
            conn.autocommit = "autocommit" in query
            cur = conn.cursor()
            for _ in range(5 if query.startswith("ALTER") else 20):  # plans are made anew
                cur.execute(query)
                conn.commit()

    started = time.monotonic()
    workers = [gevent.spawn(work) for _ in range(4)]
    gevent.joinall(workers, raise_error=True)
    assert time.monotonic() - started < 20
