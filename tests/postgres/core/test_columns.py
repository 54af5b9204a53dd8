from __future__ import annotations

import psycopg2
import pytest

import greenshard


def make(conn, name, definition):
    """A table of its own definition on one shard."""
    with conn.on(name):
        conn.cursor().execute(f"CREATE TEMP TABLE u ({definition})")


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        ("a int, b int", "a int, c int", "column 2 is 'b' on shard s0 and 'c' on shard s1"),
        ("a int, b int", "b int, a int", "column 1 is 'a' on shard s0 and 'b' on shard s1"),
        ("a int, b int", "a int", "shard s0 gives 2 columns and shard s1 1"),
        ("", "a int", "shard s0 gives 0 columns and shard s1 1"),
        ("a int", "a bigint", "'a' is of type .*int4 on shard s0 and .*int8 on shard s1"),
        ("a text", "a varchar(5)", "'a' is of type .*text on shard s0 and .*varchar.* on shard s1"),
        ('"A" int', "a int", "column 1 is 'A' on shard s0 and 'a' on shard s1"),
        ("a int[]", "a int", "'a' is of type .*_int4 on shard s0 and .*int4 on shard s1"),
    ],
)
def test_columns_that_differ_are_an_error_that_names_shard_and_column(conn, first, second, message):
    make(conn, "s0", first)
    make(conn, "s1", second)
    make(conn, "s2", first)
    cur = conn.cursor()
    with pytest.raises(greenshard.ProgrammingError, match=message) as caught:
        cur.execute("SELECT * FROM u")
    assert (caught.value.code, caught.value.shard) == ("GS202", "s1")
    assert caught.value.hint
    assert cur.description is None
    with pytest.raises(psycopg2.ProgrammingError, match="no results"):
        cur.fetchall()


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("a varchar(3)", "a varchar(30)"),
        ("a numeric(5, 2)", "a numeric"),
        ("a int NOT NULL", "a int"),
        ("a timestamp(0)", "a timestamp"),
    ],
)
def test_same_types_with_other_modifiers_agree(conn, first, second):
    make(conn, "s0", first)
    make(conn, "s1", second)
    with conn.on(["s0", "s1"]):
        cur = conn.cursor()
        cur.execute("SELECT * FROM u")
    assert cur.fetchall() == []


def test_rows_on_one_shard_and_none_on_another_differ_too(conn):
    cur = conn.cursor()
    cur.execute("CREATE TEMP TABLE u (a int)")
    with conn.on("s1"):
        cur.execute("CREATE RULE r AS ON UPDATE TO u DO INSTEAD SELECT 1 AS one")
    with pytest.raises(greenshard.ProgrammingError, match="s1"):
        cur.execute("UPDATE u SET a = 1")


def test_duplicate_column_names_are_kept(conn):
    cur = conn.cursor()
    cur.execute("SELECT 1 AS a, 2 AS a")
    assert cur.fetchall() == [(1, 2)] * 3


def test_as_many_columns_as_the_server_gives(conn):
    cur = conn.cursor()
    numbers = range(1664)
    cur.execute("SELECT " + ", ".join(f"{n} AS c{n}" for n in numbers))
    assert cur.fetchall() == [tuple(numbers)] * 3
    assert len(cur.description) == 1664
    assert cur.description[1663].name == "c1663"
