from __future__ import annotations

import psycopg2
import pytest
from psycopg2.extensions import AsIs

import greenshard

# Fails on one shard, when the others have had the time to end.
FAILS_ON_S1 = """
    UPDATE autocommitted SET a = a + 1 / (SELECT CASE WHEN a = 1 THEN 0 ELSE 1 END)
    FROM pg_sleep(CASE WHEN (SELECT a FROM autocommitted) = 1 THEN 0.5 ELSE 0 END)
"""


@pytest.fixture
def autocommit(conn):
    conn.autocommit = True
    cur = conn.cursor()
    cur.execute("CREATE TABLE autocommitted (a int)")
    for number, shard in enumerate(conn.shards):
        with conn.on(shard):
            cur.execute("INSERT INTO autocommitted VALUES (%s)", (number,))
    yield conn
    cur.execute("DROP TABLE autocommitted")


def rows(conn):
    cur = conn.cursor()
    cur.execute("SELECT a FROM autocommitted")
    return [a for (a,) in cur]


def test_write_that_fails_on_one_shard_is_done_on_none(autocommit):
    with pytest.raises(psycopg2.errors.DivisionByZero) as caught:
        autocommit.cursor().execute(FAILS_ON_S1)
    assert caught.value.shard == "s1"
    assert caught.value.committed == ()
    assert "committed" not in str(caught.value)
    assert rows(autocommit) == [0, 1, 2]


def test_error_of_what_no_transaction_can_hold_tells_where_it_is_done(autocommit):
    cur = autocommit.cursor()
    with autocommit.on("s1"):
        cur.execute("CREATE INDEX there ON autocommitted (a)")
    with pytest.raises(psycopg2.errors.DuplicateTable) as caught:
        cur.execute("CREATE INDEX CONCURRENTLY there ON autocommitted (a)")
    assert caught.value.shard == "s1"
    there = "SELECT count(*) FROM pg_index WHERE indexrelid = 'there'::regclass AND indisvalid"
    for shard in caught.value.committed:
        with autocommit.on(shard):
            cur.execute(there)
        assert cur.fetchone() == (1,)
        assert f"committed on {', '.join(caught.value.committed)}" in str(caught.value)


def test_in_a_transaction_it_is_rolled_back_everywhere(autocommit):
    autocommit.autocommit = False
    with pytest.raises(psycopg2.errors.DivisionByZero) as caught, autocommit:
        autocommit.cursor().execute(FAILS_ON_S1)
    assert caught.value.committed == ()
    assert rows(autocommit) == [0, 1, 2]
    autocommit.rollback()
    autocommit.autocommit = True


def test_block_is_a_transaction_in_autocommit_mode_too_as_in_psycopg2(autocommit):
    with pytest.raises(psycopg2.errors.UndefinedTable), autocommit, autocommit.cursor() as cur:
        cur.executemany("UPDATE %s SET a = 9", [(AsIs("autocommitted"),), (AsIs("nothing"),)])
    assert rows(autocommit) == [0, 1, 2]
    with autocommit:
        autocommit.cursor().execute("UPDATE autocommitted SET a = 9")
    assert rows(autocommit) == [9, 9, 9]


def test_error_of_a_read_says_nothing_of_commits(autocommit):
    with pytest.raises(greenshard.DataError) as caught:
        autocommit.cursor().execute("SELECT 1 / (1 - a), pg_sleep(0.1 * a) FROM autocommitted")
    assert caught.value.committed == ()


def test_what_is_asked_aside_does_not_look_like_autocommit_mode(conn):
    (physical, *_) = conn._session.alive
    conn.rollback()
    with physical.beginning_nothing():
        # So it may look for longer than the statement that has it asked: nobody waits for it.
        assert not (conn.autocommit)
        assert not (physical.autocommit)
        assert not (physical.commits_alone)
        assert physical.would_begin
    assert physical.would_begin
