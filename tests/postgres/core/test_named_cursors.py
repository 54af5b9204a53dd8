from __future__ import annotations

import psycopg2
import pytest

import greenshard

ROWS = [(number,) for _ in range(3) for number in range(10)]
SERIES = "SELECT i FROM generate_series(0, 9) i"


@pytest.fixture
def named(conn):
    return conn.cursor("named")


def rows_held(cursor):
    return sum(len(stream._ahead) for stream in cursor._rows()._parts)


@pytest.mark.parametrize("itersize", [1, 3, 10, 2000])
def test_iteration_gives_all_rows_and_holds_at_most_itersize_of_each_shard(named, itersize):
    named.itersize = itersize
    named.execute(SERIES)
    seen = []
    for row in named:
        seen.append(row)
        assert rows_held(named) < 3 * itersize
    assert seen == ROWS


def test_client_memory_is_bounded_however_large_the_result(named):
    named.itersize = 50
    named.execute("SELECT i, repeat('x', 1000) FROM generate_series(1, 20000) i")
    most = max(rows_held(named) for _ in named)
    assert most == 49 + 2 * 50  # of the first shard, and the first page of the others
    assert sum(timing.rows for timing in named.timings.values()) == 60_000


def test_fetches_can_be_mixed(named):
    named.itersize = 4
    named.execute(SERIES)
    got = [named.fetchone(), next(named), *named.fetchmany(3), next(named), *named.fetchmany(8)]
    assert named.rownumber == len(got) == 14
    assert got + named.fetchall() == ROWS
    assert named.fetchone() is None
    assert named.fetchmany(3) == named.fetchall() == list(named) == []


def test_fetchmany_crosses_shards(named):
    named.execute(SERIES)
    assert named.fetchmany(25) == ROWS[:25]
    assert named.fetchmany(25) == ROWS[25:]


def test_description_is_there_after_the_first_fetch_as_in_psycopg2(named):
    named.execute("SELECT 1 AS x, 'a'::text AS y")
    assert named.fetchone() == (1, "a")
    assert [column[:2] for column in named.description] == [("x", 23), ("y", 25)]


def test_name_and_settings_are_psycopg2s(conn):
    cursor = conn.cursor("a name", withhold=True, scrollable=False)
    assert (cursor.name, cursor.withhold, cursor.scrollable) == ("a name", True, False)
    assert conn.cursor().name is None
    assert cursor.itersize == 2000
    assert conn.cursor("x").scrollable is None


def test_executing_twice_is_refused_as_in_psycopg2(named):
    named.execute(SERIES)
    with pytest.raises(psycopg2.ProgrammingError, match="named cursor"):
        named.execute(SERIES)


def test_executemany_and_callproc_are_refused_as_in_psycopg2(named):
    with pytest.raises(psycopg2.ProgrammingError, match="named cursor"):
        named.executemany(SERIES, [()])
    with pytest.raises(psycopg2.ProgrammingError, match="named cursor"):
        named.callproc("now")


def test_closing_frees_the_name_on_every_server(conn, named):
    named.execute(SERIES)
    named.fetchone()
    named.close()
    again = conn.cursor("named")
    again.execute(SERIES)
    assert len(again.fetchall()) == 30
    plain = conn.cursor()
    again.close()
    plain.execute("SELECT count(*) FROM pg_cursors")
    assert plain.fetchall() == [(0,)] * 3


def test_with_closes_it(conn):
    with conn.cursor("named") as named:
        named.execute(SERIES)
    plain = conn.cursor()
    plain.execute("SELECT count(*) FROM pg_cursors")
    assert plain.fetchall() == [(0,)] * 3


def test_without_hold_it_ends_with_the_transaction(conn, named):
    named.execute(SERIES)
    conn.commit()
    with pytest.raises(psycopg2.ProgrammingError):
        named.fetchone()


def test_with_hold_it_outlives_the_transaction(conn):
    held = conn.cursor("held", withhold=True)
    held.execute(SERIES)
    assert held.fetchone() == (0,)
    conn.commit()
    assert held.fetchall() == ROWS[1:]
    held.close()


def test_needs_a_transaction_as_in_psycopg2(conn):
    conn.autocommit = True
    with pytest.raises(psycopg2.ProgrammingError, match="outside of transactions"):
        conn.cursor("named").execute(SERIES)
    held = conn.cursor("held", withhold=True)
    held.execute(SERIES)
    assert held.fetchall() == ROWS
    held.close()


def test_after_commit_as_text_there_is_none_as_in_psycopg2(conn, plain):
    for each in (plain["s0"], conn):
        each.cursor().execute("COMMIT")
        with pytest.raises(psycopg2.errors.NoActiveSqlTransaction):
            each.cursor("named").execute(SERIES)
        held = each.cursor("held", withhold=True)
        held.execute(SERIES)
        assert held.fetchone() == (0,)
        each.rollback()


def test_lost_home_is_told_by_the_statement_with_its_name(conn, plain):
    pid = conn._session.physicals["s0"].raw.info.backend_pid
    plain["s0"].cursor().execute("SELECT pg_terminate_backend(%s)", (pid,))
    with conn.on("s0"), pytest.raises(psycopg2.OperationalError):
        conn.cursor().execute("SELECT 1")
    conn.rollback()
    with conn.on("s1"):
        named = conn.cursor("named")
        named.execute("SELECT 1")
        assert named.fetchall() == [(1,)]
    with pytest.raises(psycopg2.InterfaceError) as caught:
        conn.cursor("another").execute("SELECT 1")
    assert (caught.value.shard, caught.value.code) == ("s0", "GS203")


def test_scrolls_over_one_shard_and_says_so_over_several(conn, named):
    named.execute(SERIES)
    with pytest.raises(greenshard.NotSupportedError) as caught:
        named.scroll(1)
    assert caught.value.code == "GS403"
    with conn.on("s1"):
        one = conn.cursor("one", scrollable=True)
        one.itersize = 3
        one.execute(SERIES)
        assert next(one) == (0,)
        one.scroll(4)
        assert next(one) == (5,)
        one.scroll(-3)
        assert one.fetchone() == (3,)
        one.scroll(9, "absolute")
        assert one.fetchall() == [(9,)]


def test_two_named_cursors_advance_independently(conn):
    first, second = conn.cursor("first"), conn.cursor("second")
    for cursor in (first, second):
        cursor.itersize = 2
        cursor.execute(SERIES)
    got = [(next(first), next(second)) for _ in range(30)]
    assert got == [(row, row) for row in ROWS]


def test_empty_result(named):
    named.execute("SELECT 1 WHERE false")
    assert named.fetchone() is None
    assert list(named) == []


def test_rowcount_over_several_shards_is_unknown(named):
    assert named.rowcount == -1
    named.execute(SERIES)
    named.fetchmany(2)
    assert named.rowcount == -1


def test_error_while_fetching_names_the_shard(conn):
    named = conn.cursor("named")
    named.execute(
        "SELECT 1 / (i - CASE WHEN current_setting('port') IS NULL THEN 0 ELSE 5 END)"
        " FROM generate_series(1, 9) i"
    )
    with pytest.raises(psycopg2.errors.DivisionByZero) as caught:
        named.fetchall()
    named_shards = list(caught.value.failures) or [caught.value.shard]
    assert named_shards[0] in conn.shards
    told = str(caught.value)
    assert told.startswith("all 3 shards: ") or all(shard in told for shard in named_shards)
    conn.rollback()


def test_columns_that_differ_are_an_error_and_not_mixed_rows(conn, named):
    plain = conn.cursor()
    plain.execute("CREATE TEMP TABLE t AS SELECT 1 AS a, 2 AS b")
    with conn.on("s1"):
        plain.execute("ALTER TABLE t RENAME b TO c")
    named.execute("SELECT * FROM t")
    with pytest.raises(greenshard.ProgrammingError, match="'b' on shard s0 and 'c' on shard s1"):
        named.fetchall()


def test_statement_that_gives_no_rows_is_refused_by_the_server(named):
    with pytest.raises(psycopg2.errors.SyntaxError):
        named.execute("UPDATE t SET a = 1")


def test_names_are_quoted(conn):
    named = conn.cursor('odd "name"; --')
    named.execute(SERIES)
    assert len(named.fetchall()) == 30


def test_parameters_and_bytes(named):
    named.execute(b"SELECT %s", ("it's",))
    assert named.fetchall() == [("it's",)] * 3
