"""now() is one time within a transaction, whichever shards its statements go to."""

from __future__ import annotations

import contextlib

import psycopg2
import psycopg2.extras
import pytest

import greenshard
from tests.postgres.one_database.conftest import TABLES

SCHEMA = """
CREATE DOMAIN moment AS timestamptz DEFAULT now();
CREATE TABLE visits (k bigint PRIMARY KEY, ts timestamptz DEFAULT now(), n int,
                     day text DEFAULT to_char(now(), 'YYYY-MM-DD HH24:MI:SS.US'), at moment);
CREATE TABLE tickets (id bigserial PRIMARY KEY, ts timestamptz DEFAULT now(), v int);
CREATE VIEW recent AS SELECT k, ts, now() AS seen FROM visits;
CREATE FUNCTION clock() RETURNS timestamptz LANGUAGE sql STABLE AS 'SELECT now()';
"""
JOBS = "CREATE TABLE jobs (id int PRIMARY KEY, ts timestamptz DEFAULT now(), n int)"
KEYS = range(10)
#: Statements that are for one shard each, by their keys, and give each row the time.
WRITES = [
    "INSERT INTO visits (k) VALUES (%s)",
    "INSERT INTO visits (k, ts) VALUES (%s, now())",
    "INSERT INTO visits (k, ts) VALUES (%s, DEFAULT)",
    "INSERT INTO visits (k, ts) VALUES (%s, 'now')",
    "INSERT INTO visits (k, ts) VALUES (%s, current_timestamp) RETURNING ts",
    "INSERT INTO visits VALUES (%s)",
    "INSERT INTO visits (k) VALUES (%s) ON CONFLICT (k) DO UPDATE SET ts = excluded.ts",
    "INSERT INTO visits (k) VALUES (%s) ON CONFLICT (k) DO UPDATE SET ts = DEFAULT",
    "WITH x AS (SELECT %s::bigint AS k) INSERT INTO visits (k, ts) SELECT k, now() FROM x",
    "UPDATE visits SET ts = now(), at = now(), day = to_char(now(), 'HH24:MI:SS.US') WHERE k = %s",
    "UPDATE visits SET ts = DEFAULT, at = now(), day = DEFAULT WHERE k = %s",
    "MERGE INTO visits v USING (VALUES (%s::int)) w (k) ON v.k = w.k WHEN MATCHED THEN UPDATE SET ts = now()",  # noqa: E501
]
READS = [
    "SELECT now() FROM visits WHERE k = %s",
    "SELECT current_timestamp, %s",
    "SELECT seen FROM recent WHERE k = %s",
    "SELECT now() FROM nation WHERE id = 1 AND %s < 100",
    "SELECT now() FROM jobs WHERE id = 1 AND %s < 100",
    "SELECT max(now()), count(*) FROM visits WHERE k = %s",
    "SELECT (SELECT clock()), %s",
    "SELECT clock() FROM nation WHERE id = 1 AND %s < 100",
    "SELECT nextval('tickets_id_seq') * 0, now(), %s",
]


@pytest.fixture(scope="module")
def cluster(shop):
    tables = {
        "visits": greenshard.Sharded("k"),
        "tickets": greenshard.Sharded("id"),
        "jobs": greenshard.Single("s2"),
    }
    for name, dsn in shop.dsns.items():
        with contextlib.closing(psycopg2.connect(dsn)) as conn, conn, conn.cursor() as cur:
            cur.execute(SCHEMA)
            if name == "s2":
                cur.execute(JOBS)
    return greenshard.Cluster(shop.dsns, {**TABLES, **tables})


@pytest.fixture
def conn(cluster):
    with contextlib.closing(greenshard.connect(cluster)) as connection:
        cur = connection.cursor()
        cur.execute("DELETE FROM visits")
        cur.execute("DELETE FROM tickets")
        cur.execute("DELETE FROM jobs")
        cur.execute("INSERT INTO jobs (id) VALUES (1)")
        connection.commit()
        yield connection


def told(cur, table="visits", column="ts"):
    """The different times in a table, as each shard has them."""
    found = set()
    for shard in ["s2"] if table == "jobs" else cur.connection.shards:
        with cur.connection.on(shard):
            cur.execute(f"SELECT {column} FROM {table}")
            found.update(row[0] for row in cur.fetchall())
    return found


def server_version(conn):
    cur = conn.cursor()
    cur.execute("SHOW server_version_num")
    return int(cur.fetchone()[0])


def test_writes_for_one_shard_each_give_all_rows_one_time(conn):
    cur = conn.cursor()
    for statement in WRITES:
        if statement.startswith("MERGE") and server_version(conn) < 150000:
            continue
        conn.rollback()
        if statement.startswith(("UPDATE", "MERGE")):
            psycopg2.extras.execute_values(
                cur, "INSERT INTO visits (k) VALUES %s", [(k,) for k in KEYS]
            )
            conn.commit()
        cur.execute("SELECT pg_sleep(0.002)")
        for key in KEYS:
            cur.execute(statement, (key,))
            assert cur.rowcount == 1, statement
        (one,) = told(cur)
        cur.execute("SELECT now()")
        assert cur.fetchone() == (one,), statement
        for column in ("at", "day"):
            assert len(told(cur, column=column)) == 1 or statement.startswith("MERGE"), statement
        cur.execute("SELECT count(*) FROM visits WHERE ts = now()")
        assert cur.fetchone() == (10,), statement
        cur.execute("DELETE FROM visits WHERE ts >= now()")
        assert cur.rowcount == 10, statement
        conn.commit()


def test_reads_tell_one_time_and_the_one_of_the_first_shard(conn):
    cur = conn.cursor()
    psycopg2.extras.execute_values(cur, "INSERT INTO visits (k) VALUES %s", [(k,) for k in KEYS])
    conn.commit()
    for first in ("SELECT k FROM visits WHERE k = 1", "SELECT k FROM visits WHERE k = 3"):
        cur.execute(first)  # on different shards: what begins first tells the time
        cur.execute("SELECT 1 FROM visits WHERE k IN (1, 2, 3, 4, 5)")
        times = set()
        for statement in READS:
            for key in KEYS:
                cur.execute(statement, (key,))
                times.update(v for v in cur.fetchone() if hasattr(v, "tzinfo"))
        cur.execute(first.replace("SELECT k", "SELECT now()"))
        times.add(cur.fetchone()[0])
        assert len(times) == 1, first
        conn.commit()


def test_the_first_shard_is_the_one_that_began_first(conn, shop):
    cur = conn.cursor()
    where = {shop.shard_of(k): k for k in KEYS}
    for first in where:
        for shard in [first, *(each for each in where if each != first)]:
            cur.execute("SELECT 1 FROM visits WHERE k = %s", (where[shard],))
        cur.execute("SELECT now()")
        (one,) = cur.fetchone()
        with conn.on(first):
            cur.execute("SELECT now()")
            assert cur.fetchone() == (one,)
        conn.commit()


def test_executemany_batches_and_strings_give_all_rows_one_time(conn, shop):
    cur = conn.cursor()
    sets = [(k,) for k in range(30)]
    for statement in ("INSERT INTO visits (k) VALUES (%s)",
                      "INSERT INTO visits (k, ts) VALUES (%s, now())"):  # fmt: skip
        cur.executemany(statement, sets)
        assert cur.rowcount == 30
        assert len(told(cur)) == 1, statement
        cur.executemany("UPDATE visits SET n = 1, ts = now() WHERE k = %s", sets)
        assert len(told(cur)) == 1
        conn.rollback()
        psycopg2.extras.execute_batch(cur, statement, sets)
        assert len(told(cur)) == 1, statement
        conn.rollback()
        cur.execute("; ".join(statement.replace("%s", str(k)) for k in range(30)))
        assert len(told(cur)) == 1, statement
        conn.rollback()
    rows = "INSERT INTO visits (k) VALUES " + ", ".join(f"({k})" for k in range(200))
    cur.execute(rows)
    cur.execute("INSERT INTO visits (k) VALUES %s, %s", ((300,), (301,)))
    many = [k for k in range(1000, 1600) if shop.shard_of(k) == "s1"]
    cur.execute("INSERT INTO visits (k) VALUES " + ", ".join(f"({k})" for k in many))
    cur.execute("INSERT INTO visits (k) VALUES %s", ((302,),))
    cur.execute("INSERT INTO visits (k) VALUES %s", ((303,),))
    assert len(told(cur)) == 1
    for key in range(5):
        cur.execute("INSERT INTO tickets (v) VALUES (%s)", (key,))
        cur.execute("INSERT INTO jobs (id) VALUES (%s)", (key + 10,))
        cur.execute("INSERT INTO jobs (id) VALUES (%s), (%s)", (key + 20, key + 30))
    cur.executemany("INSERT INTO tickets (v) VALUES (%s)", sets)
    cur.execute("DELETE FROM jobs WHERE id = 1")
    assert told(cur, "tickets") == told(cur, "jobs") == told(cur)


def test_a_transaction_that_sql_begins_in_autocommit_mode_has_one_time(conn):
    conn.autocommit = True
    cur = conn.cursor()
    for key in KEYS:
        cur.execute("INSERT INTO visits (k) VALUES (%s)", (key,))
    assert len(told(cur)) == 10  # each has its own
    cur.execute("BEGIN")
    for key in KEYS:
        cur.execute("UPDATE visits SET ts = now() WHERE k = %s", (key,))
    assert len(told(cur)) == 1
    cur.execute("COMMIT")
    inside = "; ".join(f"UPDATE visits SET ts = now() WHERE k = {k}" for k in KEYS)
    cur.execute(f"BEGIN; {inside}; COMMIT")
    assert len(told(cur)) == 1
    cur.execute(inside)
    assert len(told(cur)) == 1


def test_the_next_transaction_and_the_chained_one_have_another_time(conn):
    cur = conn.cursor()

    def one():
        found = set()
        for key in KEYS:
            cur.execute("SELECT now() FROM visits WHERE k = %s UNION ALL SELECT now()", (key,))
            found.update(row[0] for row in cur.fetchall())
        (time,) = found
        return time

    times = [one()]
    cur.execute("COMMIT AND CHAIN")
    times.append(one())
    conn.commit()
    times.append(one())
    conn.rollback()
    times.append(one())
    cur.execute("SAVEPOINT a")
    assert one() == times[-1]
    with contextlib.suppress(psycopg2.Error):
        cur.execute("SELECT 1/0")
    cur.execute("ROLLBACK TO a")
    assert one() == times[-1]
    assert len(set(times)) == 4


def test_cursors_and_explanations_tell_the_time_of_the_transaction(conn):
    cur = conn.cursor()
    for key in KEYS:
        cur.execute(f"DECLARE c{key} CURSOR FOR SELECT now() FROM jobs WHERE %s < 100", (key,))
        cur.execute(f"EXPLAIN (ANALYZE) INSERT INTO visits (k) VALUES ({key})")
    (one,) = told(cur)
    for key in KEYS:
        cur.execute(f"DECLARE v{key} CURSOR FOR SELECT now() FROM visits WHERE k = %s", (key,))
        for name in "cv":
            cur.execute(f"FETCH ALL FROM {name}{key}")
            assert cur.fetchall() == [(one,)]
    for key in KEYS:
        with conn.cursor(f"named{key}") as named:
            named.execute("SELECT now() FROM visits WHERE k = %s", (key,))
            assert named.fetchall() == [(one,)]


def test_what_cannot_be_given_the_time_is_refused_on_another_shard(conn, shop):
    cur = conn.cursor()
    psycopg2.extras.execute_values(cur, "INSERT INTO visits (k) VALUES %s", [(k,) for k in KEYS])
    conn.commit()
    shards = {k: shop.shard_of(k) for k in KEYS}
    for statement, extra in [
        ("SELECT k FROM visits WHERE k = %s AND ts > 'today 00:00'", ()),
        ("SELECT clock() FROM visits WHERE k = %s", ()),
        ("SELECT k FROM visits WHERE k = %s AND ts > %s", ("today",)),
        ("UPDATE visits SET ts = %s WHERE k = %s", ("now",)),
    ]:
        for key in KEYS:
            cur.execute("SELECT 1 FROM visits WHERE k = 0")
            given = (*extra, key) if statement.startswith("UPDATE") else (key, *extra)
            if shards[key] == shards[0]:
                cur.execute(statement, given)
                assert cur.rowcount == 1
            else:
                with pytest.raises(greenshard.errors.NotSupportedError) as caught:
                    cur.execute(statement, given)
                assert caught.value.code in {"GS410", "GS412"}
            conn.rollback()


@pytest.mark.parametrize("autocommit", [False, True])
def test_a_statement_has_one_time_on_all_shards(cluster, autocommit):
    with contextlib.closing(greenshard.connect(cluster)) as conn, conn.cursor() as cur:
        conn.autocommit = autocommit
        cur.execute("SELECT now(), pg_sleep(0.01)")
        began, _ = cur.fetchone()
        keys = [key + 1_000 for key in KEYS]
        cur.executemany("INSERT INTO visits (k) VALUES (%s)", [(key,) for key in keys])
        cur.execute(
            "UPDATE visits SET ts = statement_timestamp(), n = %s"
            " WHERE statement_timestamp() > '2020-01-01' AND k = ANY(%s) RETURNING ts",
            (7, keys),
        )
        (changed,) = {ts for (ts,) in cur.fetchall()}
        cur.execute("SELECT ts, statement_timestamp() FROM visits WHERE n = 7")
        ((ts, asked),) = {*cur.fetchall()}
        cur.execute("SELECT count(DISTINCT statement_timestamp()) FROM visits")
        assert cur.fetchone() == (1,)
        cur.execute(
            "DELETE FROM visits WHERE ts <= statement_timestamp() AND n = 7 RETURNING now()"
        )
        assert cur.rowcount == len(KEYS)
        assert began < changed == ts < asked
        assert cur.description[0].name == "now"
        conn.rollback()
