from __future__ import annotations

import pytest

from greenshard import errors
from greenshard.planner.target import Target
from greenshard.planner.union import refuse_insert
from greenshard.sql.statement import read_statement

TARGET = Target(("s0", "s1"))


def refusal(sql, has_parameters=False):
    with pytest.raises(errors.Error) as caught:
        refuse_insert(read_statement(sql, has_parameters), TARGET)
    return caught.value


@pytest.mark.parametrize(
    ("sql", "construct", "position"),
    [
        ("INSERT INTO t VALUES (1)", "INSERT", 1),
        ("\n  insert into t values (1)", "INSERT", 4),
        ("UPDATE t SET a = 1; INSERT INTO t VALUES (1)", "INSERT", 21),
        ("WITH n AS (INSERT INTO t VALUES (1) RETURNING 1) SELECT 1", "INSERT", 12),
        ("MERGE INTO t USING u ON a = b WHEN NOT MATCHED THEN INSERT VALUES (1)", "MERGE", 1),
        ("DO $$ BEGIN INSERT INTO t VALUES (1); END $$", "DO", 1),
    ],
)
def test_refusal_names_the_construct_its_place_the_shards_and_the_way_out(sql, construct, position):
    error = refusal(sql)
    assert isinstance(error, errors.NotSupportedError)
    assert error.code == "GS401"
    assert f"{construct} at character {position} would put the same rows on each of s0, s1" in str(
        error
    )
    assert "conn.on(" in error.hint
    assert "conn.broadcast()" in error.hint


def test_text_that_cannot_be_read_and_may_insert_is_refused():
    error = refusal("SELECT 1; INSERT INTO t VALUES (")
    assert isinstance(error, errors.ProgrammingError)
    assert error.code == "GS404"
    assert "s0, s1" in str(error)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 'insert into t'",
        "UPDATE t SET insert_date = now() -- insert",
        "DELETE FROM t",
        "CREATE TABLE t (a int)",
        "SET work_mem = '4MB'",
        "",
        "not even SQL",
    ],
)
def test_what_does_not_insert_passes(sql):
    assert refuse_insert(read_statement(sql, False), TARGET) is None
