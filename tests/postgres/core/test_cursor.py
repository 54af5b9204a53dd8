from __future__ import annotations

import datetime as dt
import random

import psycopg2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg2 import sql

import greenshard

ROWS = [(0, "s0"), (1, "s0"), (2, "s1"), (3, "s1"), (4, "s2"), (5, "s2")]
SELECT = "SELECT a, shard FROM t ORDER BY a"


def test_union_is_the_rows_of_each_shard_in_shard_order(cur):
    assert cur.execute(SELECT) is None
    assert cur.fetchall() == ROWS
    assert cur.fetchall() == []
    assert cur.fetchone() is None


def test_fetchone_walks_through_all_shards(cur):
    cur.execute(SELECT)
    assert [cur.fetchone() for _ in range(8)] == [*ROWS, None, None]


def test_iteration_and_next(cur):
    cur.execute(SELECT)
    assert list(cur) == ROWS
    cur.execute(SELECT)
    assert next(cur) == ROWS[0]
    assert iter(cur) is cur
    assert [row for row in cur] == ROWS[1:]  # noqa: C416
    with pytest.raises(StopIteration):
        next(cur)


def test_fetchmany_takes_arraysize_or_its_argument(cur):
    cur.execute(SELECT)
    assert cur.arraysize == 1
    assert cur.fetchmany() == ROWS[:1]
    cur.arraysize = 3
    assert cur.fetchmany() == ROWS[1:4]
    assert cur.fetchmany(size=1) == ROWS[4:5]
    assert cur.fetchmany(99) == ROWS[5:]
    assert cur.fetchmany() == []
    cur.execute(SELECT)
    assert cur.fetchmany(0) == []
    assert cur.fetchmany(-1) == ROWS


def test_rownumber_and_rowcount_are_of_all_shards(cur):
    fresh = cur.connection.cursor()
    assert (fresh.rowcount, fresh.rownumber) == (-1, 0)
    cur.execute(SELECT)
    seen = [(cur.rownumber, cur.rowcount) for _ in cur]
    assert seen == [(number, 6) for number in range(1, 7)]


@pytest.mark.parametrize("seed", range(20))
def test_scrolling_is_that_of_one_shard_with_all_rows(cur, seed):
    single = cur.connection.on("s1").cursor()
    single.execute("SELECT a, 's' || a / 2 FROM generate_series(0, 5) a")
    cur.execute(SELECT)
    pick = random.Random(seed)
    for _ in range(30):
        step = pick.choice(["fetchone", "fetchmany", "relative", "absolute"])
        number = pick.randint(-6, 7)
        assert outcome(cur, step, number) == outcome(single, step, number), (step, number)
        assert cur.rownumber == single.rownumber


def outcome(cursor, step, number):
    try:
        if step == "fetchone":
            return cursor.fetchone()
        if step == "fetchmany":
            return cursor.fetchmany(abs(number))
        return cursor.scroll(number, step)
    except (psycopg2.ProgrammingError, IndexError) as exc:
        return psycopg2.ProgrammingError, str(exc)


def test_scroll_with_a_wrong_mode_is_refused_as_psycopg2_does(cur):
    cur.execute(SELECT)
    with pytest.raises(psycopg2.ProgrammingError, match="scroll mode"):
        cur.scroll(1, "sideways")
    with pytest.raises(psycopg2.ProgrammingError, match="scroll mode"):
        cur.scroll(1, mode="sideways")


def test_description_has_names_and_types(cur):
    cur.execute(SELECT)
    assert [column.name for column in cur.description] == ["a", "shard"]
    assert [column.type_code for column in cur.description] == [23, 25]
    assert cur.description[0][:2] == ("a", greenshard.NUMBER)
    cur.execute("SET LOCAL work_mem = '8MB'")
    assert cur.description is None
    assert cur.connection.cursor().description is None


def test_statusmessage_and_query_tell_of_the_last_statement(cur):
    assert cur.connection.cursor().query is None
    cur.execute("SELECT * FROM t WHERE a < %s", (4,))
    assert cur.query == b"SELECT * FROM t WHERE a < 4"
    assert cur.statusmessage == "SELECT 4"
    cur.execute("UPDATE t SET a = a + 10")
    assert cur.statusmessage == "UPDATE 6"
    cur.execute("CREATE TEMP TABLE other ()")
    assert cur.statusmessage == "CREATE TABLE"
    assert cur.lastrowid == 0


def test_executemany_runs_on_all_shards_and_refuses_to_insert(cur):
    cur.executemany("UPDATE t SET a = %s WHERE a = %s", [(100, 0), (200, 5), (300, 3)])
    cur.execute("SELECT a FROM t WHERE a >= 100 ORDER BY a")
    assert cur.fetchall() == [(100,), (300,), (200,)]
    with pytest.raises(greenshard.NotSupportedError, match="INSERT"):
        cur.executemany("INSERT INTO t VALUES (%s)", [(1,)])
    with cur.connection.on("s2"):
        cur.executemany("INSERT INTO t VALUES (%(a)s)", iter([{"a": 1}, {"a": 2}]))
    cur.execute("SELECT count(*) FROM t")
    assert cur.fetchall() == [(2,), (2,), (4,)]


def test_executemany_with_a_generator_gives_every_shard_every_row(cur):
    cur.execute("CREATE TEMP TABLE copied (a int)")
    with cur.connection.broadcast():
        cur.executemany("INSERT INTO copied VALUES (%s)", ((n,) for n in range(3)))
    cur.execute("SELECT count(*) FROM copied")
    assert cur.fetchall() == [(3,)] * 3


def test_executemany_without_parameters_does_nothing(cur):
    cur.executemany("UPDATE t SET a = %s", [])
    cur.execute(SELECT)
    assert cur.fetchall() == ROWS


def test_callproc_on_all_shards(cur):
    cur.execute(
        "CREATE FUNCTION pg_temp.above(low int) RETURNS SETOF int"
        " LANGUAGE sql AS 'SELECT a FROM t WHERE a > low ORDER BY a'"
    )
    parameters = [2]
    assert cur.callproc("pg_temp.above", parameters) == parameters
    assert cur.fetchall() == [(3,), (4,), (5,)]
    cur.callproc("pg_temp.above", {"low": 3})
    assert cur.fetchall() == [(4,), (5,)]
    cur.callproc("pg_backend_pid")
    assert len(cur.fetchall()) == 3


def test_mogrify_and_setinputsizes(cur):
    assert cur.mogrify("SELECT %s, %s", (1, "it's")) == b"SELECT 1, 'it''s'"
    assert cur.mogrify("SELECT %(a)s", {"a": None}) == b"SELECT NULL"
    assert cur.mogrify("100%") == b"100%"
    assert cur.setinputsizes((25,)) is None
    assert cur.setoutputsize(1) is None
    with pytest.raises(IndexError):
        cur.mogrify("SELECT %s", ())


@pytest.mark.parametrize("parameters", [(5, "s2"), [5, "s2"], {"a": 5, "shard": "s2"}])
def test_parameters_in_each_form(cur, parameters):
    style = "%(a)s", "%(shard)s"
    a, shard = style if isinstance(parameters, dict) else ("%s", "%s")
    cur.execute(f"SELECT a FROM t WHERE a = {a} AND shard = {shard}", parameters)
    assert cur.fetchall() == [(5,)]


def test_composables_are_quoted_for_the_connection(cur):
    query = sql.SQL("SELECT {}, {} AS {} FROM {} WHERE a = {}").format(
        sql.Identifier("a"), sql.Literal("it's"), sql.Identifier('odd"name'),
        sql.Identifier("t"), sql.Placeholder(),
    )  # fmt: skip
    cur.execute(query, (3,))
    assert cur.fetchall() == [(3, "it's")]
    assert cur.description[1].name == 'odd"name'
    for context in (cur, cur.connection):
        assert query.as_string(context).startswith('SELECT "a", \'it\'\'s\' AS "odd""name"')
    assert sql.SQL("x").join([]).as_string(cur) == ""


def test_quoting_functions_of_psycopg2_take_our_objects(cur):
    for context in (cur, cur.connection):
        assert psycopg2.extensions.quote_ident('a"b', context) == '"a""b"'
    value = psycopg2.extensions.adapt("it's")
    value.prepare(cur.connection)
    assert value.getquoted() == b"'it''s'"
    assert psycopg2.extensions.quote_ident("x", cur) == '"x"'


def test_closed_cursor_refuses_everything(cur):
    cur.execute(SELECT)
    assert not cur.closed
    cur.close()
    cur.close()
    assert cur.closed
    for use in (
        lambda: cur.execute(SELECT),
        lambda: cur.executemany(SELECT, [()]),
        lambda: cur.callproc("now"),
        cur.fetchone,
        cur.fetchmany,
        cur.fetchall,
        lambda: next(cur),
        lambda: cur.scroll(1),
    ):
        with pytest.raises(psycopg2.InterfaceError, match="cursor already closed"):
            use()


def test_with_closes_the_cursor_also_after_an_error(cur):
    with cur as same:
        assert same is cur
    assert cur.closed
    other = cur.connection.cursor()
    with pytest.raises(ZeroDivisionError), other:
        raise ZeroDivisionError
    assert other.closed


def test_cursors_of_one_connection_keep_their_own_rows(cur):
    other = cur.connection.cursor()
    cur.execute(SELECT)
    other.execute("SELECT 1")
    assert other.fetchall() == [(1,)] * 3
    assert cur.fetchall() == ROWS
    assert cur.connection is other.connection


def test_fetching_without_rows_is_an_error(cur):
    fresh = cur.connection.cursor()
    for cursor, statement in [(fresh, None), (cur, "UPDATE t SET a = a")]:
        if statement:
            cursor.execute(statement)
        for fetch in (cursor.fetchone, cursor.fetchmany, cursor.fetchall, lambda c=cursor: next(c)):
            with pytest.raises(psycopg2.ProgrammingError, match="no results to fetch"):
                fetch()


def test_failed_statement_leaves_no_rows_of_the_one_before(cur):
    cur.execute(SELECT)
    with pytest.raises(psycopg2.errors.UndefinedTable):
        cur.execute("SELECT * FROM nothing")
    with pytest.raises(psycopg2.ProgrammingError, match="no results"):
        cur.fetchone()
    assert cur.description is None
    assert cur.rowcount == -1


def test_several_statements_give_the_last_ones_rows(cur):
    cur.execute("UPDATE t SET a = a; SELECT a FROM t ORDER BY a")
    assert cur.fetchall() == [(a,) for a, _ in ROWS]


def test_shards_without_rows_are_passed_over(cur):
    cur.execute("SELECT a FROM t WHERE shard = 's1' ORDER BY a")
    assert [cur.fetchone() for _ in range(3)] == [(2,), (3,), None]
    cur.execute("SELECT a FROM t WHERE false")
    assert cur.fetchone() is None
    assert cur.rowcount == 0


def test_rows_of_nulls_and_rows_without_columns_are_rows(cur):
    cur.execute("SELECT NULL")
    assert cur.fetchall() == [(None,)] * 3
    cur.execute("SELECT NULL, NULL")
    assert [cur.fetchone() for _ in range(4)] == [(None, None)] * 3 + [None]
    cur.execute("SELECT FROM t")
    assert cur.fetchall() == [()] * 6
    cur.execute("SELECT FROM t")
    assert [cur.fetchone() for _ in range(7)] == [()] * 6 + [None]


def test_repr_tells_the_shards_and_the_rows(cur):
    cur.execute(SELECT)
    assert "s0, s1, s2" in repr(cur)
    assert "6" in repr(cur)
    cur.close()
    assert "closed" in repr(cur)


def test_tzinfo_factory_is_used_for_every_shard(cur):
    def utc(_offset):
        return dt.timezone.utc

    cur.tzinfo_factory = utc
    cur.execute("SELECT '2020-01-01 00:00+02'::timestamptz")
    assert {row[0].tzinfo for row in cur} == {dt.timezone.utc}


@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.integers(0, 4), min_size=3, max_size=3), st.lists(st.integers(0, 6)))
def test_mixed_fetching_over_any_distribution(cur, counts, sizes):
    cur.execute("SELECT i FROM generate_series(1, (%s::int[])[CASE WHEN EXISTS (SELECT FROM t WHERE"
                " shard = 's0') THEN 1 WHEN EXISTS (SELECT FROM t WHERE shard = 's1') THEN 2"
                " ELSE 3 END]) i", (counts,))  # fmt: skip
    expected = [(i,) for count in counts for i in range(1, count + 1)]
    assert cur.rowcount == len(expected)
    got = []
    for size in sizes:
        got += cur.fetchmany(size) if size else filter(None, [cur.fetchone()])
    got += cur.fetchall()
    assert got == expected
