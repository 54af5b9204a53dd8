"""What a statement may leave in its session."""

from __future__ import annotations

import pytest

from greenshard.planner.analysis.traces import Traces
from greenshard.planner.code import Operator, Trace, code_of
from tests.unit.planner import scene

RELATIONS = [
    ("plain", "r", "public", ""),
    ("numbered", "r", "public", "n"),
    ("audited", "r", "public", "u"),
    ("guarded", "r", "public", "diru"),
    ("seen", "v", "public", ""),
    ("looking", "v", "public", "r"),
    ("pg_class", "r", "pg_catalog", ""),
    ("pg_settings", "v", "pg_catalog", ""),
]


def traces(*, operators=(), unseen=False, makes=False):
    functions = scene.catalog().functions
    own = {name: frozenset({Operator("public", True, leaves)}) for name, leaves in operators}
    return Traces(code_of(functions, RELATIONS, own, unseen=unseen, makes=makes))


NOTHING = [
    "SELECT 1",
    "select count(*), max(x) from plain where k = %s and y in (1, 2)",
    "SELECT EXTRACT(year FROM day) FROM plain ORDER BY lower(origin)",
    "  INSERT INTO plain (a, b) VALUES (%s, %s) RETURNING a",
    "INSERT INTO public.plain(a) SELECT x FROM seen",
    "UPDATE plain SET a = a + 1 WHERE k = ANY(%s)",
    "UPDATE numbered SET a = 1",
    "DELETE FROM audited",
    "INSERT INTO audited VALUES (1)",
    "DELETE FROM plain WHERE k = 1",
    "WITH x AS (SELECT 1) SELECT * FROM x",
    "SELECT pg_catalog.lower('x')",
    "SELECT f.x FROM plain AS f FOR UPDATE OF f",
    "SELECT * FROM pg_class",
    "SELECT * FROM pg_settings",
    "SAVEPOINT s",
    "RELEASE s",
    "SHOW work_mem",
    "EXPLAIN SELECT 1",
    "SELECT /* SET x = 1; */ 'SELECT set_config()'",
    "INSERT INTO plain VALUES ('" + "x" * 100_000 + "')",
    "SELECT plain.date, (r).random FROM plain",
    "",
]
COUNT = [
    "INSERT INTO numbered VALUES (DEFAULT, 1)",
    "UPDATE numbered SET id = DEFAULT",
    "SELECT nextval('s')",
]
ANYTHING = [
    "SET TimeZone = 'UTC'",
    'SET U&"search\\005fpath" = b',
    "SELECT set_config('a.b', 'c', false)",
    "SELECT pg_advisory_lock(1)",
    "SELECT touch(1)",
    "SELECT (0.5::float8).setseed",
    "SELECT (7).pg_advisory_lock FROM plain AS p WHERE p.pg_advisory_lock IS NULL",
    "SELECT (r).touch FROM plain",
    "SELECT plain.touch FROM plain",
    "SELECT * FROM no_such_table",
    "SELECT * FROM looking",
    "UPDATE seen SET x = 1",
    "UPDATE pg_settings SET setting = 'b'",
    "UPDATE audited SET x = 1",
    "INSERT INTO audited VALUES (1) ON CONFLICT (id) DO UPDATE SET x = 1",
    "MERGE INTO audited USING plain ON true WHEN MATCHED THEN DELETE",
    "WITH x AS (UPDATE audited SET x = 1 RETURNING 1) SELECT * FROM x",
    "SELECT * FROM guarded",
    "ROLLBACK TO s",
    "DISCARD ALL",
    "PREPARE p AS SELECT 1",
    "DECLARE c CURSOR WITH HOLD FOR SELECT 1",
    "SELECT currval('s')",
]
UNSEEN = ["SELECT no_such_function(1)", "SELECT public.lower('x')"]
CODE = [
    "SELECT 1; CREATE TABLE t (x int)",
    "CREATE TABLE t (x int)",
    "DO $$ BEGIN END $$",
    "CALL p()",
    "FETCH c",
    "this is no SQL",
    "SELECT 1 INTO t",
    "SELECT touch(1) INTO t UNION SELECT 2",
]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        *((text, Trace.NOTHING) for text in NOTHING),
        *((text, Trace.COUNT) for text in COUNT),
        *((text, Trace.ANYTHING) for text in ANYTHING),
        *((text, Trace.UNSEEN) for text in UNSEEN),
        *((text, Trace.CODE) for text in CODE),
        ("SELECT 1 INTO TEMP t", Trace.ANYTHING),
    ],
)
def test_what_is_left(text, expected):
    assert traces().of_text(text, "%s" in text) is expected


def test_operator_of_ones_own_is_a_call():
    own = traces(operators=[("@@@", True), ("###", False)])
    assert own.of_text("SELECT 1 @@@ 2", False) is Trace.ANYTHING
    assert own.of_text("SELECT 1 ### 2", False) is Trace.NOTHING
    assert own.of_text("SELECT 1 + 2", False) is Trace.NOTHING


@pytest.mark.parametrize("implied", ["=", "<>", "<"])
def test_operator_that_statements_imply_is_in_any(implied):
    own = traces(operators=[(implied, True)])
    assert own.of_text("SELECT * FROM plain JOIN seen USING (id)", False) is Trace.ANYTHING


def test_cast_or_domain_is_in_any():
    assert traces(unseen=True).of_text("SELECT 1", False) is Trace.ANYTHING
    assert traces(unseen=True).of_text("SAVEPOINT s", False) is Trace.NOTHING


@pytest.mark.parametrize(
    "text",
    [
        "SELECT touch(1)",
        "SELECT plain.touch FROM plain",
        "SELECT * FROM looking",
        "INSERT INTO guarded VALUES (1)",
        "SELECT * FROM no_such_table",
        "SELECT 1 @@@ 2",
        "SELECT * FROM ts_stat('SELECT touch(1)')",
    ],
)
def test_code_of_ones_own_may_make_tables(text):
    own = traces(operators=[("@@@", True)], makes=True)
    assert own.of_text(text, False) is Trace.UNSEEN
    assert own.of_text("SELECT setseed(0.5)", False) is Trace.ANYTHING
    assert own.of_text("SET TimeZone = 'UTC'", False) is Trace.ANYTHING
    assert traces(makes=True, unseen=True).of_text("SELECT 1", False) is Trace.UNSEEN
