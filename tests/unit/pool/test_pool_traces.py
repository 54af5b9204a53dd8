"""What a statement may leave in its session."""

from __future__ import annotations

import pytest

from greenshard.pool.traces import may_leave_traces

NONE = [
    "SELECT 1",
    "select count(*), max(x) from t where k = %s and y in (1, 2)",
    "SELECT EXTRACT(year FROM day) FROM flights ORDER BY lower(origin)",
    "  INSERT INTO t (a, b) VALUES (%s, %s) RETURNING a",
    "INSERT INTO public.t(a) SELECT x FROM u",
    "UPDATE t SET a = a + 1 WHERE k = ANY(%s)",
    "DELETE FROM t WHERE k = 1",
    "WITH x AS (SELECT 1) SELECT * FROM x",
    "SELECT pg_catalog.lower('x')",
]
SOME = [
    "SET TimeZone = 'UTC'",
    "SELECT set_config('a.b', 'c', false)",
    "SELECT pg_advisory_lock(1)",
    "SELECT f(1)",
    "SELECT public.lower('x')",
    'SELECT "lower"(x) FROM t',
    "SELECT 1 INTO TEMP t",
    "SELECT 1\nINTO TEMP t",
    "SELECT 1; SET TimeZone = 'UTC'",
    "DECLARE c CURSOR WITH HOLD FOR SELECT 1",
    "PREPARE p AS SELECT 1",
    "CREATE TABLE t (x int)",
    "/* a comment */ SET x.y = 1",
    "DO $$ BEGIN END $$",
    "SELECT f /* */ (1)",
    "SELECT f -- \n (1)",
    b"SELECT 1",
    None,
    "",
]


@pytest.mark.parametrize("text", NONE)
def test_leaves_nothing(text):
    assert not may_leave_traces(text)


@pytest.mark.parametrize("text", SOME)
def test_may_leave_something(text):
    assert may_leave_traces(text)
