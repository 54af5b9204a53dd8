"""Which columns of subqueries are left out, since nobody reads them and they may fail."""

from __future__ import annotations

import pytest

from greenshard.planner.calls import Functions
from greenshard.planner.strategies.unread_columns import leave_out_unread
from greenshard.sql.parser import parse
from greenshard.sql.tree import unwrap
from tests.unit.planner import scene

FUNCTIONS = Functions(scene.catalog(), scene.PATH)
ONE = "(SELECT a, 1 / b AS c FROM t) x"


def left_out(sql: str) -> int:
    """How many columns are."""
    (statement,) = parse(sql)
    select = unwrap(statement.stmt)[1]  # type: ignore[attr-defined]
    changed = leave_out_unread(select, FUNCTIONS)
    count = str(select).count("case_when {")
    assert changed == (count > 0)
    return count


@pytest.mark.parametrize(
    "sql",
    [
        f"SELECT a FROM {ONE}",
        f"SELECT x.a FROM {ONE} JOIN u ON u.d = x.a",
        f"SELECT a FROM u LEFT JOIN {ONE} ON true",
        f"SELECT u.* FROM {ONE}, u",
        f"SELECT (SELECT max(a) FROM {ONE})",
        f"SELECT 1 FROM u WHERE EXISTS (SELECT FROM {ONE} WHERE x.a = u.d)",
        "SELECT a FROM (SELECT a, sum(b) / min(b) AS c FROM t GROUP BY a) x",
        "SELECT 1 FROM (SELECT sum(b) / min(b) AS c FROM t) x",
        "SELECT a FROM (SELECT a, 1 / b FROM t ORDER BY 1 LIMIT 2) x",
        "SELECT a FROM (SELECT a, 1 / c AS c FROM t GROUP BY a, d) x",
        "SELECT a FROM (SELECT a, b::int AS c FROM t) x",
        "SELECT a FROM (SELECT a, sqrt(b) AS c FROM t) x",
        "SELECT a FROM (SELECT a, (SELECT d FROM u) AS c FROM t) x",
        "WITH x AS (SELECT a, 1 / b AS c FROM t) SELECT a FROM x",
        "WITH x AS NOT MATERIALIZED (SELECT a, 1 / b AS c FROM t) SELECT y.a FROM x y",
        f"SELECT a FROM {ONE} UNION ALL SELECT d FROM u",
        f"SELECT x.a, u.d[1].e, (u.d).e FROM {ONE}, u",
    ],
)
def test_left_out(sql: str) -> None:
    assert left_out(sql) == 1


@pytest.mark.parametrize(
    "sql",
    [
        # What cannot fail costs nothing.
        "SELECT a FROM (SELECT a, b + 1 AS c FROM t) x",
        # What is read.
        f"SELECT c FROM {ONE}",
        f"SELECT x.c FROM {ONE}",
        f"SELECT a FROM {ONE} WHERE c > 1",
        f"SELECT a FROM {ONE} ORDER BY c",
        f"SELECT a FROM {ONE}, LATERAL (SELECT c FROM u) y",
        f"SELECT * FROM {ONE}",
        f"SELECT x.* FROM {ONE}",
        f"SELECT x FROM {ONE}",
        f"SELECT f(x) FROM {ONE}",
        f"SELECT row(x.*) FROM {ONE}",
        f"SELECT (x).c FROM {ONE}",
        f"SELECT (x).* FROM {ONE}",
        f"SELECT a FROM {ONE} JOIN u USING (c)",
        f"SELECT a FROM {ONE} NATURAL JOIN u",
        f"SELECT p FROM ({ONE} JOIN u ON true) j (p, q)",
        f"SELECT a FROM {ONE} (a, c)".replace(" x (", " AS x ("),
        # What is computed anyhow.
        "SELECT a FROM (SELECT DISTINCT a, 1 / b AS c FROM t) x",
        "SELECT a FROM (SELECT a, 1 / b AS c FROM t UNION SELECT 1, 2) x",
        "SELECT a FROM (SELECT a, 1 / b AS c FROM t ORDER BY c) x",
        "SELECT a FROM (SELECT a, 1 / b AS c FROM t ORDER BY 2) x",
        "SELECT a FROM (SELECT a, 1 / b AS c FROM t GROUP BY 1, 2) x",
        "SELECT a FROM (SELECT a, 1 / b AS c FROM t GROUP BY ROLLUP (a, c)) x",
        "SELECT a FROM (SELECT a, 1 / b AS c FROM t GROUP BY ROLLUP (1, 2)) x",
        "SELECT a FROM (SELECT t.*, 1 / b AS c FROM t ORDER BY 1) x",
        "SELECT 1 FROM (SELECT sum(1 / b) AS c FROM t) x",
        "SELECT a FROM (SELECT a, sum(b) FILTER (WHERE 1 / b > 0) / 2 AS c FROM t GROUP BY a) x",
        "SELECT a FROM (SELECT a, 1 / sum(1 / b) AS c FROM t GROUP BY a) x",
        "SELECT a FROM (SELECT a, generate_series(1, 2) / b AS c FROM t) x",
        "SELECT a FROM (SELECT a, random() / b AS c FROM t) x",
        "SELECT a FROM (SELECT a, mine(b) AS c FROM t) x",
        "SELECT a FROM (SELECT a, sum(1 / b) OVER () AS c FROM t) x",
        "WITH x AS MATERIALIZED (SELECT a, 1 / b AS c FROM t) SELECT a FROM x",
        "WITH x AS (SELECT a, 1 / b AS c FROM t) SELECT x.a FROM x JOIN x y ON true",
        "WITH x AS (SELECT a, 1 / b AS c FROM t) SELECT 1",
        "WITH x AS (SELECT a, 1 / b AS c FROM t WHERE random() < 1) SELECT a FROM x",
        "WITH x AS (SELECT a, 1 / b AS c FROM t FOR UPDATE) SELECT a FROM x",
        "WITH x (a, c) AS (SELECT a, 1 / b FROM t) SELECT a FROM x",
        "WITH x AS (SELECT a, 1 / b AS c FROM t) SELECT p FROM x y (p)",
        "WITH x AS (SELECT a, 1 / b AS c FROM t) SELECT a FROM public.x",
        "WITH x AS (INSERT INTO t VALUES (1) RETURNING a, 1 / b AS c) SELECT a FROM x",
        f"SELECT a FROM {ONE} JOIN u ON u.d = x.a FOR UPDATE OF u",
        # Not one that is read by itself.
        "SELECT a, 1 / b AS c FROM t",
    ],
)
def test_not_left_out(sql: str) -> None:
    assert left_out(sql) == 0


def test_outer_ones_first() -> None:
    assert (
        left_out("SELECT a FROM (SELECT a, 1 / c AS d FROM (SELECT a, 1 / b AS c FROM t) y) x") == 2
    )
