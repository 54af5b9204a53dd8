from __future__ import annotations

import psycopg2
import pytest
from psycopg2 import extras

import greenshard


def shards_asked(cur):
    """Which shards the cursor runs on."""
    cur.execute("SELECT DISTINCT shard FROM t")
    return [shard for (shard,) in cur.fetchall()]


def test_on_restricts_to_a_shard_or_several_in_shard_order(cur):
    conn = cur.connection
    with conn.on("s1") as same:
        assert same is conn
        assert shards_asked(cur) == ["s1"]
    with conn.on(["s2", "s0"]):
        assert shards_asked(cur) == ["s0", "s2"]
    assert shards_asked(cur) == ["s0", "s1", "s2"]


def test_nested_on_ends_in_turn(cur):
    conn = cur.connection
    with conn.on(["s0", "s1"]):
        with conn.on("s2"):
            assert shards_asked(cur) == ["s2"]
        assert shards_asked(cur) == ["s0", "s1"]
    scope = conn.on("s1")
    with scope, scope:
        assert shards_asked(cur) == ["s1"]
    assert shards_asked(cur) == ["s0", "s1", "s2"]


def test_on_ends_with_an_error_too(cur):
    with pytest.raises(ZeroDivisionError), cur.connection.on("s1"):
        raise ZeroDivisionError
    assert shards_asked(cur) == ["s0", "s1", "s2"]


def test_cursor_of_on_stays_there_whatever_the_connection_does(cur):
    conn = cur.connection
    one = conn.on("s1").cursor()
    assert shards_asked(one) == ["s1"]
    with conn.on("s2"):
        assert shards_asked(one) == ["s1"]
        assert shards_asked(conn.on(["s0"]).cursor()) == ["s0"]
    assert "s1" in repr(one)


def test_cursor_of_on_takes_the_arguments_of_cursor(cur):
    scope = cur.connection.on(["s0", "s2"])
    rows = scope.cursor(cursor_factory=extras.RealDictCursor)
    rows.execute("SELECT min(a) AS least FROM t")
    assert rows.fetchall() == [{"least": 0}, {"least": 4}]
    named = scope.cursor("named")
    named.execute("SELECT a FROM t ORDER BY a")
    assert named.fetchall() == [(0,), (1,), (4,), (5,)]


@pytest.mark.parametrize("shards", ["s9", ["s0", "s9"], [], "", [None]])
def test_unknown_shard_is_refused(conn, shards):
    with pytest.raises(greenshard.ProgrammingError) as caught:
        conn.on(shards)
    assert caught.value.code == "GS103"


INSERTS = [
    "INSERT INTO t VALUES (1)",
    "insert into t values (1) returning a",
    "/* a comment */ INSERT INTO t DEFAULT VALUES",
    "-- line\nINSERT INTO t SELECT a FROM t",
    "UPDATE t SET a = 1; INSERT INTO t VALUES (1)",
    "WITH n AS (INSERT INTO t VALUES (1) RETURNING a) SELECT * FROM n",
    "WITH n AS (SELECT 1 AS a) INSERT INTO t SELECT a FROM n",
    "EXPLAIN ANALYZE INSERT INTO t VALUES (1)",
    "PREPARE p AS INSERT INTO t VALUES (1)",
    "MERGE INTO t USING (SELECT 1 AS b) s ON a = b WHEN NOT MATCHED THEN INSERT VALUES (1)",
    "DO $$ BEGIN INSERT INTO t VALUES (1); END $$",
]


@pytest.mark.parametrize("statement", INSERTS)
def test_insert_over_several_shards_is_refused_and_nothing_runs(cur, statement):
    before = contents(cur)
    for query in (statement, statement.encode(), psycopg2.sql.SQL(statement)):
        with pytest.raises(greenshard.NotSupportedError) as caught:
            cur.execute(query)
        assert caught.value.code == "GS401"
        assert "conn.on(" in caught.value.hint
    assert contents(cur) == before


@pytest.mark.parametrize("statement", INSERTS)
def test_insert_runs_on_one_shard(cur, statement):
    if statement.startswith("MERGE") and cur.connection.server_version < 150000:
        pytest.skip("MERGE is newer than PostgreSQL 14")
    with cur.connection.on("s1"):
        cur.execute(statement)


def contents(cur):
    cur.execute("SELECT a, shard FROM t ORDER BY 1, 2")
    return cur.fetchall()


def test_broadcast_puts_the_rows_on_every_shard_targeted(cur):
    conn = cur.connection
    with conn.broadcast() as same:
        assert same is conn
        cur.execute("INSERT INTO t VALUES (9, 'all')")
        assert (cur.rowcount, cur.statusmessage) == (3, "INSERT 0 3")
    with conn.on(["s0", "s1"]), conn.broadcast():
        cur.execute("INSERT INTO t VALUES (8, 'two')")
        assert cur.rowcount == 2
    conn.broadcast().cursor().execute("INSERT INTO t VALUES (7, 'cursor')")
    with pytest.raises(greenshard.NotSupportedError):
        cur.execute("INSERT INTO t VALUES (6, 'none')")
    cur.execute("SELECT count(*) FROM t WHERE a > 6")
    assert cur.fetchall() == [(3,), (3,), (2,)]


def test_broadcast_within_one_shard_stays_there(cur):
    with cur.connection.on("s1"), cur.connection.broadcast():
        cur.execute("INSERT INTO t VALUES (9, 's1')")
        assert cur.rowcount == 1


def test_insert_through_psycopg2s_batches(cur):
    for insert in (extras.execute_batch, extras.execute_values):
        values = "(%s, %s)" if insert is extras.execute_batch else "%s"
        statement = f"INSERT INTO t VALUES {values}"
        with pytest.raises(greenshard.NotSupportedError):
            insert(cur, statement, [(1, "x")])
        with cur.connection.on("s2"):
            insert(cur, statement, [(n, "new") for n in range(5)], page_size=2)
        cur.execute("DELETE FROM t WHERE shard = 'new'")
        assert cur.rowcount == 5


def test_execute_values_fetches_from_all_shards(cur):
    query = "SELECT v.n, t.shard FROM (VALUES %s) v (n) JOIN t ON t.a = v.n ORDER BY 1"
    rows = extras.execute_values(cur, query, [(n,) for n in range(6)], fetch=True)
    assert rows == [(0, "s0"), (1, "s0"), (2, "s1"), (3, "s1"), (4, "s2"), (5, "s2")]


def test_update_delete_and_truncate_run_on_all_with_added_counts(cur):
    cur.execute("UPDATE t SET a = a + 1")
    assert (cur.rowcount, cur.statusmessage) == (6, "UPDATE 6")
    cur.execute("UPDATE t SET a = 0 WHERE shard = 's1' RETURNING a, shard")
    assert (cur.rowcount, cur.fetchall()) == (2, [(0, "s1"), (0, "s1")])
    cur.execute("DELETE FROM t WHERE a > 4")
    assert (cur.rowcount, cur.statusmessage) == (2, "DELETE 2")
    cur.execute("TRUNCATE t")
    assert cur.statusmessage == "TRUNCATE TABLE"
    assert contents(cur) == []


def test_ddl_and_settings_run_on_all(cur):
    cur.execute("ALTER TABLE t ADD COLUMN extra int DEFAULT 5")
    cur.execute("CREATE TEMP TABLE copied AS SELECT * FROM t")
    assert cur.rowcount == 6
    cur.execute("SELECT extra FROM copied")
    assert cur.fetchall() == [(5,)] * 6
    cur.execute("SET LOCAL work_mem = '7MB'")
    cur.execute("SHOW work_mem")
    assert cur.fetchall() == [("7MB",)] * 3


def test_timings_tell_of_each_shard_targeted(cur):
    cur.execute("SELECT * FROM t WHERE a > 2")
    assert list(cur.timings) == ["s0", "s1", "s2"]
    assert [timing.rows for timing in cur.timings.values()] == [0, 1, 2]
    assert all(0 < t.first_result_s <= t.total_s for t in cur.timings.values())
    with cur.connection.on("s1"):
        cur.execute("SELECT * FROM t")
    assert list(cur.timings) == ["s1"]


def test_reused_cursor_gives_only_the_rows_of_its_last_target(cur):
    cur.execute("SELECT a FROM t")
    with cur.connection.on("s2"):
        cur.execute("SELECT a FROM t ORDER BY a")
    assert cur.fetchall() == [(4,), (5,)]


@pytest.mark.parametrize(
    "statement", ["COPY pg_type TO STDOUT", "COPY (SELECT 1) TO STDOUT", "COPY t FROM STDIN"]
)
@pytest.mark.parametrize("shards", ["s1", ["s0", "s1", "s2"]])
def test_copy_as_a_statement_is_refused_and_the_connection_usable(cur, statement, shards):
    conn = cur.connection
    with pytest.raises(greenshard.NotSupportedError), conn.on(shards):
        cur.execute(statement)
    conn.rollback()
    cur.execute("SELECT 1")
    assert len(cur.fetchall()) == 3


def test_large_objects_are_refused(cur):
    with pytest.raises(greenshard.NotSupportedError) as caught:
        cur.connection.lobject()
    assert caught.value.code == "GS402"
    assert "lo_get" in caught.value.hint
