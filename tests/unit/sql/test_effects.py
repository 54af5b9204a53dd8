"""How a text that may write is to be run on several shards."""

from __future__ import annotations

import pytest

from greenshard.sql.effects import NO_EFFECT, Effect, effect_of, only_queries

WRITES, LOCKS = Effect(atomic=True, in_turn=True), Effect(in_turn=True)


@pytest.mark.parametrize(
    "text",
    ["UPDATE t SET a = 1", " \n delete from t", "/* c */ INSERT INTO t VALUES (1)", "TRUNCATE t",
     "WITH x AS (UPDATE t SET a = 1 RETURNING a) SELECT * FROM x", "SELECT f()", "(SELECT f())",
     "ALTER TABLE t ADD CHECK (a > 0)", "CREATE UNIQUE INDEX i ON t (a)", "DROP TABLE t",
     "GRANT SELECT ON t TO role", "CREATE TABLE a (b int); CREATE TABLE c (d int)",
     "SET TimeZone = 'UTC'; CREATE TABLE a (b int)", "EXPLAIN ANALYZE DELETE FROM t"],
)  # fmt: skip
def test_writes_on_all_shards_or_on_none(text):
    assert effect_of(text) == WRITES


@pytest.mark.parametrize(
    "text",
    ["LOCK TABLE t", "-- c\nlock t in share mode", "BEGIN; UPDATE t SET a = 1",
     "START TRANSACTION; DELETE FROM t", "begin; CREATE TABLE a (b int)",
     "UPDATE t SET a = 1; BEGIN", "SAVEPOINT s; DELETE FROM t"],
)  # fmt: skip
def test_locks_in_the_transaction_that_there_is(text):
    assert effect_of(text) == LOCKS


@pytest.mark.parametrize(
    "text",
    ["VACUUM t", "CREATE INDEX CONCURRENTLY i ON t (a)", "DROP INDEX CONCURRENTLY i",
     "REINDEX TABLE t", "CREATE DATABASE d", "DROP DATABASE d", "ALTER SYSTEM SET work_mem = 1",
     "CREATE ROLE r", "ALTER USER u PASSWORD 'x'", "GRANT a TO b",
     "GRANT SET ON PARAMETER work_mem TO r", "SECURITY LABEL ON ROLE r IS 'x'",
     "SECURITY LABEL FOR p ON DATABASE d IS 'x'",
     "COMMENT ON ROLE r IS 'x'",
     "GRANT CONNECT ON DATABASE d TO r", "CREATE SUBSCRIPTION s CONNECTION '' PUBLICATION p",
     "CREATE TABLESPACE t LOCATION '/x'", "SET TimeZone = 'UTC'", "DISCARD ALL", "BEGIN",
     "CALL p()", "DO 'BEGIN COMMIT; END'", "SAVEPOINT s", "NOTIFY c", "", "COPY t FROM STDIN",
     "UPDAT", "'"],
)  # fmt: skip
def test_is_run_as_it_is(text):
    assert effect_of(text) == NO_EFFECT


def test_queries_that_write_or_lock_are_told_from_those_that_do_not():
    assert only_queries("SELECT * FROM t WHERE a IN (1, 2, 3)")
    assert only_queries(" (WITH x AS (SELECT 1) SELECT updated FROM x)")
    assert not only_queries("SELECT * FROM t FOR UPDATE")
    assert not only_queries("WITH x AS (DELETE FROM t RETURNING a) SELECT * FROM x")
    assert not only_queries("UPDATE t SET a = 1")
