from __future__ import annotations

import contextlib
import logging
import warnings

import psycopg2
import pytest

import greenshard

BROKEN = " dbname=never_was"


@pytest.fixture(params=["s0", "s1", "s2"])
def missing(request):
    """A shard that cannot be reached; s0 would be the home."""
    return request.param


@pytest.fixture
def conn(dsns, missing):
    broken = {**dsns, missing: dsns[missing] + BROKEN}
    with contextlib.closing(greenshard.connect(broken, on_error="partial")) as connection:
        yield connection


@pytest.fixture
def rest(dsns, missing):
    return [name for name in dsns if name != missing]


def read(cur, statement="SELECT 1"):
    with pytest.warns(greenshard.PartialResultWarning) as caught:
        cur.execute(statement)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    return str(caught[0].message)


def test_shard_missing_at_connect_is_a_failure_of_each_statement(conn, missing, rest):
    assert conn.shards == ("s0", "s1", "s2")
    cur = conn.cursor()
    assert cur.failures == {}
    assert missing in read(cur)
    assert cur.fetchall() == [(1,), (1,)]
    assert cur.rowcount == 2
    assert list(cur.failures) == [missing]
    assert isinstance(cur.failures[missing], psycopg2.OperationalError)
    assert "never_was" in str(cur.failures[missing])
    assert list(cur.timings) == rest
    assert missing in repr(conn)


def test_every_partial_answer_is_warned_of(conn):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cur = conn.cursor()
        for _ in range(3):
            with pytest.raises(greenshard.PartialResultWarning):
                cur.execute("SELECT 1")


def test_writing_is_never_partial(conn, missing):
    cur = conn.cursor()
    for statement in (
        "CREATE TABLE t (a int)",
        "UPDATE t SET a = 1",
        "SET work_mem = '4MB'",
        "SELECT set_config('work_mem', '4MB', false)",
        "SELECT nextval('s')",
        "SELECT 1 FOR UPDATE",
        "WITH d AS (DELETE FROM t RETURNING 1) SELECT * FROM d",
    ):
        with pytest.raises(psycopg2.OperationalError) as caught:
            cur.execute(statement)
        assert caught.value.shard == missing
    assert len(cur.failures) == 0


def test_shards_that_are_there_can_be_chosen_without_a_warning(conn, missing, rest):
    with conn.on(rest):
        cur = conn.cursor()
        cur.execute("SELECT 1")
        assert cur.fetchall() == [(1,), (1,)]
        cur.execute("CREATE TEMP TABLE t (a int)")
        assert cur.failures == {}
    with conn.on(missing), pytest.raises(psycopg2.OperationalError, match="never_was"):
        conn.cursor().execute("SELECT 1")


def test_named_cursors_give_the_rows_that_there_are(conn, missing):
    cur = conn.cursor("named")
    cur.itersize = 2
    read(cur, "SELECT i FROM generate_series(1, 5) i")
    assert list(cur) == [(i,) for i in [1, 2, 3, 4, 5] * 2]
    assert list(cur.failures) == [missing]


def test_transactions_end_on_the_shards_that_are_there(conn):
    cur = conn.cursor()
    read(cur)
    conn.commit()
    read(cur)
    conn.rollback()
    with conn:
        read(cur)


def test_quoting_and_registering_work_without_the_missing_shard(conn):
    assert psycopg2.extensions.quote_ident("a", conn) == '"a"'
    assert conn.cursor().mogrify("SELECT %s", ("é",)) == "SELECT 'é'".encode()
    text = psycopg2.extensions.new_type((25,), "SHOUT", lambda v, _: v and v.upper())
    psycopg2.extensions.register_type(text, conn)
    cur = conn.cursor()
    read(cur, "SELECT 'a'::text AS a")
    assert cur.fetchall() == [("A",), ("A",)]


def test_partial_answers_are_logged_too(conn, missing, caplog):
    caplog.set_level(logging.WARNING, "greenshard")
    read(conn.cursor())
    assert missing in caplog.text


def test_no_shard_at_all_is_an_error(dsns):
    broken = {name: dsn + BROKEN for name, dsn in dsns.items()}
    with pytest.raises(greenshard.FanoutError, match="3 of 3 shards failed to open"):
        greenshard.connect(broken, on_error="partial")


def test_last_failing_shard_is_enough_for_an_error_by_default(dsns):
    with pytest.raises(greenshard.OperationalError, match="never_was"):
        greenshard.connect({**dsns, "s2": dsns["s2"] + BROKEN})


@pytest.fixture
def whole(dsns):
    with contextlib.closing(greenshard.connect(dsns, on_error="partial")) as connection:
        yield connection


def test_statement_that_fails_on_one_shard_gives_the_others_rows(whole):
    whole.autocommit = True
    cur = whole.cursor()
    cur.execute("CREATE TEMP TABLE u (a int)")
    with whole.on("s1"):
        cur.execute("DROP TABLE u")
    read(cur, "SELECT count(*) FROM u")
    assert cur.fetchall() == [(0,), (0,)]
    assert isinstance(cur.failures["s1"], psycopg2.errors.UndefinedTable)
    cur.execute("SELECT 1")
    assert cur.failures == {}
    assert len(cur.fetchall()) == 3


def test_statement_that_fails_on_all_shards_is_an_error(whole):
    # The same error of all, so that it is this one, once.
    with pytest.raises(psycopg2.errors.UndefinedTable) as caught:
        whole.cursor().execute("SELECT * FROM nothing")
    assert not isinstance(caught.value, greenshard.FanoutError)
    assert str(caught.value).startswith('all 3 shards: relation "nothing" does not exist\n')
    assert str(caught.value).count("nothing") == 2  # and in the text, which it shows
    assert caught.value.shards == ("s0", "s1", "s2")
    assert list(caught.value.failures) == ["s0", "s1", "s2"]


def test_different_errors_are_several(whole):
    whole.autocommit = True
    cursor = whole.cursor()
    with whole.on("s1"):
        whole.cursor().execute("CREATE TEMP TABLE few (a int)")
    with whole.on("s2"):
        whole.cursor().execute("CREATE TEMP TABLE few (b int)")
    with pytest.raises(greenshard.FanoutError) as caught:
        cursor.execute("SELECT c FROM few")
    assert isinstance(caught.value, psycopg2.ProgrammingError)
    assert "3 of 3 shards failed" in str(caught.value)


def test_cursor_may_ask_for_partial_answers_of_a_strict_connection(dsns):
    with contextlib.closing(greenshard.connect(dsns)) as strict:
        strict.autocommit = True
        cur = strict.cursor()
        cur.execute("CREATE TEMP TABLE u (a int)")
        with strict.on("s2"):
            cur.execute("DROP TABLE u")
        with pytest.raises(psycopg2.errors.UndefinedTable):
            cur.execute("SELECT a FROM u")
        cur.on_error = "partial"
        read(cur, "SELECT a FROM u")
        assert list(cur.failures) == ["s2"]


def test_connection_lost_later_is_a_failure_too(whole, plain):
    with whole.on("s1"):
        pid = whole.get_backend_pid()
    with plain["s1"] as other, other.cursor() as killer:
        killer.execute("SELECT pg_terminate_backend(%s)", (pid,))
    cur = whole.cursor()
    read(cur)
    assert cur.fetchall() == [(1,), (1,)]
    whole.rollback()
    assert "s1" in read(cur)
    assert whole.closed == 2


def test_timeout_of_one_shard_gives_the_others_rows(whole):
    whole.autocommit = True
    cur = whole.cursor()
    cur.execute("CREATE TEMP TABLE slow (s float)")
    with whole.on("s1"):
        cur.execute("INSERT INTO slow VALUES (60)")
    cur.timeout = 0.2
    read(cur, "SELECT pg_sleep(s) FROM slow")
    assert list(cur.failures) == ["s1"]
    assert isinstance(cur.failures["s1"], greenshard.QueryTimeout)
    cur.execute("SELECT 1")
    assert len(cur.fetchall()) == 3
