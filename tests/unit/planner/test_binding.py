"""Names mean what they mean to PostgreSQL."""

from __future__ import annotations

import pytest

from greenshard.planner.binding.binder import Binder
from greenshard.planner.binding.query import Derived, Query, Table, nested, queries, tables
from greenshard.planner.binding.scope import BoundColumn
from greenshard.sql.nodes import select
from tests.unit.planner import scene


def bound(sql: str) -> tuple[Query, Binder]:
    binder = Binder(scene.cluster(), scene.catalog(), scene.PATH)
    return binder.bind(select(sql)), binder


def outputs(sql: str) -> list[str] | None:
    query, _ = bound(sql)
    return query.outputs and [column.name for column in query.outputs]


def problems(sql: str) -> list[str]:
    return [problem.reason for problem in bound(sql)[1].problems]


def shown(sql: str) -> BoundColumn | None:
    """The column that the only column of a query is, if it is one of FROM's."""
    query, _ = bound(sql)
    assert query.outputs is not None
    (column,) = query.outputs
    return column if query.level.owns(column) else None


def source_of(sql: str) -> str | None:
    """The table whose column a query shows."""
    column = shown(sql)
    for table in tables(bound(sql)[0]) if column else ():
        if any(column.id == each.id for each in table.columns or ()):
            return f"{table.relation.schema}.{table.relation.name}.{column.column.name}"
    return None


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT o_orderkey FROM orders", "public.orders.o_orderkey"),
        ("SELECT orders.o_orderkey FROM orders", "public.orders.o_orderkey"),
        ("SELECT public.orders.o_orderkey FROM orders", "public.orders.o_orderkey"),
        ("SELECT archive.orders.o_orderkey FROM orders", None),
        ("SELECT o.o_orderkey FROM orders o", "public.orders.o_orderkey"),
        ("SELECT orders.o_orderkey FROM orders o", None),
        ("SELECT public.o.o_orderkey FROM orders o", None),
        ("SELECT k FROM orders AS o(k)", "public.orders.o_orderkey"),
        ("SELECT o_custkey FROM orders AS o(k)", "public.orders.o_custkey"),
        ("SELECT o_orderkey FROM orders AS o(k)", None),
        ("SELECT o_orderkey FROM orders a, orders b", None),
        ("SELECT b.o_orderkey FROM orders a, archive.orders b", "archive.orders.o_orderkey"),
        ("SELECT d.k FROM (SELECT o_orderkey AS k FROM orders) d", "public.orders.o_orderkey"),
        ("SELECT k FROM (SELECT o_orderkey FROM orders) d(k)", "public.orders.o_orderkey"),
        ("SELECT k FROM (SELECT o_orderkey + 0 AS k FROM orders) d", None),
        ("SELECT j.b FROM (orders JOIN nation ON true) AS j(a, b)", "public.orders.o_custkey"),
        ("SELECT o_custkey FROM (orders JOIN nation ON true) AS j(a, b)", None),
        ("SELECT price FROM big_orders", "public.orders.o_totalprice"),
        ("SELECT b FROM big_orders AS v(a, b)", "public.orders.o_custkey"),
        ('SELECT "Order Id" FROM "Order Line"', "public.Order Line.Order Id"),
        ("SELECT order_id FROM orders", None),
        ("SELECT orders FROM orders", None),
    ],
)
def test_a_name_means_a_column(sql: str, expected: str | None) -> None:
    assert source_of(sql) == expected


@pytest.mark.parametrize(
    ("join", "expected"),
    [
        ("JOIN", "public.orders.o_orderkey"),
        ("LEFT JOIN", "public.orders.o_orderkey"),
        ("RIGHT JOIN", "public.invoice.i_orderkey"),
        ("FULL JOIN", None),
    ],
)
def test_using_shows_the_column_of_the_side_that_is_kept(join: str, expected: str | None) -> None:
    one = "(SELECT o_orderkey AS k FROM orders) a"
    other = "(SELECT i_orderkey AS k FROM invoice) b"
    assert source_of(f"SELECT k FROM {one} {join} {other} USING (k)") == expected


def test_using_shows_its_columns_once_and_first() -> None:
    sql = "SELECT * FROM (SELECT 1 AS x, 2 AS k) a JOIN (SELECT 3 AS y, 4 AS k) b USING (k)"
    assert outputs(sql) == ["k", "x", "y"]
    assert outputs(sql.replace(" USING (k)", "").replace("JOIN", "NATURAL JOIN")) == ["k", "x", "y"]
    assert outputs(sql.replace(" USING (k)", " ON true")) == ["x", "k", "y", "k"]


def test_an_alias_of_using_qualifies_its_columns() -> None:
    a, b = "(SELECT o_orderkey AS k FROM orders) a", "(SELECT i_orderkey AS k FROM invoice) b"
    assert shown(f"SELECT u.k FROM {a} JOIN {b} USING (k) AS u") is not None


@pytest.mark.parametrize(
    ("sql", "names"),
    [
        ("SELECT 1, 2 AS b, max(1)", ["?column?", "b", "max"]),
        ("SELECT r.*, 1 AS x FROM region r", ["r_regionkey", "r_name", "x"]),
        ("SELECT * FROM region, region r(a)", ["r_regionkey", "r_name", "a", "r_name"]),
        ("VALUES (1, 2)", ["column1", "column2"]),
        ("SELECT * FROM (VALUES (1, 2)) v(a)", ["a", "column2"]),
        ("SELECT r_name AS a FROM region UNION SELECT 'b' AS b", ["a"]),
        ("WITH w(a) AS (SELECT * FROM region) SELECT * FROM w", ["a", "r_name"]),
        ("WITH w AS (SELECT 1 AS a) SELECT * FROM w x(b)", ["b"]),
        ("SELECT (r).* FROM region r", None),
        ("SELECT * FROM generate_series(1, 2)", ["generate_series"]),
        ("SELECT * FROM generate_series(1, 2) g", ["g"]),
        ("SELECT * FROM generate_series(1, 2) g(x)", ["x"]),
        ("SELECT * FROM generate_series(1, 2) WITH ORDINALITY g(x)", ["x", "ordinality"]),
        ("SELECT * FROM jsonb_each('{}') j", ["key", "value"]),
        ("SELECT * FROM unnest(ARRAY[1, 2]) u", ["u"]),
        ("SELECT * FROM event, unnest(tags) t WHERE false", None),
        ("SELECT t.* FROM event, unnest(tags) t", ["t"]),
        ("SELECT u.* FROM orders o, unnest(ARRAY[o]) u", None),
        ("SELECT * FROM unnest(ARRAY[1], ARRAY[2]) u(a, b)", None),
        ("SELECT * FROM json_to_record('{}') AS x(a int)", None),
    ],
)
def test_a_query_shows_columns(sql: str, names: list[str] | None) -> None:
    if sql.startswith("SELECT * FROM event"):
        query, _ = bound(sql)
        assert query.outputs is not None
        assert query.outputs[-1].name == "t"
        return
    assert outputs(sql) == names


def test_a_recursive_search_shows_columns_that_are_not_known() -> None:
    recursion = "WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n FROM t)"
    assert outputs(f"{recursion} SELECT * FROM t") == ["n"]
    assert outputs(f"{recursion} SEARCH DEPTH FIRST BY n SET s SELECT * FROM t") is None
    assert outputs(f"{recursion} CYCLE n SET c USING p SELECT * FROM t") is None


def inner_tables(sql: str) -> list[str]:
    """The tables that are read, at any depth."""
    return sorted(table.relation.name for table in tables(bound(sql)[0]))


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("WITH orders AS (SELECT 1) SELECT * FROM orders", []),
        ("WITH orders AS (SELECT 1) SELECT * FROM public.orders", ["orders"]),
        ("WITH orders AS (SELECT * FROM orders) SELECT * FROM orders", ["orders"]),
        ("WITH a AS (SELECT 1), b AS (SELECT * FROM a) SELECT * FROM b", []),
        ("WITH a AS (SELECT 1) SELECT * FROM nation WHERE 1 IN (SELECT * FROM a)", ["nation"]),
        ("SELECT * FROM (WITH nation AS (SELECT 1) SELECT * FROM nation) x, nation", ["nation"]),
        ("WITH orders AS (SELECT 1) SELECT * FROM big_orders", ["orders"]),
        ("SELECT 1 LIMIT (SELECT count(*) FROM nation)", ["nation"]),
        ("SELECT 1 UNION SELECT 2 LIMIT (SELECT count(*) FROM nation)", ["nation"]),
        ("VALUES ((SELECT 1 FROM nation))", ["nation"]),
        ("SELECT sum(1) OVER (ORDER BY (SELECT 1 FROM nation))", ["nation"]),
        ("SELECT * FROM unnest(ARRAY(SELECT 1 FROM nation)) u", ["nation"]),
        ("SELECT 1 FROM region a JOIN region b ON EXISTS (SELECT FROM nation)",
         ["nation", "region", "region"]),
        ("SELECT 1 HAVING EXISTS (SELECT FROM nation)", ["nation"]),
    ],
)  # fmt: skip
def test_tables_are_found_where_the_names_are_not_those_of_with_queries(
    sql: str, expected: list[str]
) -> None:
    assert inner_tables(sql) == expected
    assert problems(sql) == []


def test_a_column_of_the_query_around_is_shown_as_one_of_its_own() -> None:
    query, _ = bound(
        "SELECT 1 FROM orders o LEFT JOIN LATERAL (SELECT o.o_orderkey AS k) d ON true"
    )
    orders, derived = (
        next(item for item in nested(query.items) if isinstance(item, kind))
        for kind in (Table, Derived)
    )
    assert derived.columns is not None
    assert derived.columns[0].id not in {column.id for column in orders.columns or ()}
    assert derived.columns[0].family == "int"


def test_a_column_that_grouping_sets_leave_out_is_another_one() -> None:
    assert shown("SELECT o_custkey FROM orders GROUP BY o_custkey") is not None
    assert shown("SELECT o_custkey FROM orders GROUP BY ROLLUP (o_custkey)") is None


@pytest.mark.parametrize(
    ("sql", "problem"),
    [
        ("SELECT * FROM nowhere", 'relation "nowhere" does not exist'),
        ("SELECT * FROM nowhere.orders", 'relation "nowhere.orders" does not exist'),
        ("SELECT * FROM scratch", "table public.scratch is not declared"),
        ("WITH w AS (DELETE FROM orders) SELECT 1", "WITH query w writes"),
        ("WITH RECURSIVE a AS (SELECT * FROM b), b AS (SELECT 1) SELECT 1",
         "WITH query a refers to b, which comes later"),
        ("SELECT * FROM region NATURAL JOIN json_to_record('{}') AS x(a int)",
         "NATURAL JOIN of something whose columns are not known"),
    ],
)  # fmt: skip
def test_what_no_strategy_gets_round_is_a_problem(sql: str, problem: str) -> None:
    assert problems(sql)[0].startswith(problem)


def test_a_sublink_of_a_sublink_sees_all_levels() -> None:
    query, _ = bound(
        "SELECT 1 FROM orders o WHERE EXISTS (SELECT FROM nation n WHERE EXISTS ("
        "SELECT FROM region WHERE r_regionkey = n.n_regionkey AND o.o_custkey = r_regionkey))"
    )
    innermost = max(queries(query), key=_depth)
    names = [("n", "n_regionkey"), ("o", "o_custkey"), ("r_regionkey",), ("x", "n_regionkey")]
    found = [innermost.level.named(name) for name in names]
    assert [column and column.name for column in found] == [
        "n_regionkey", "o_custkey", "r_regionkey", None,
    ]  # fmt: skip


def _depth(query: Query) -> int:
    depth, level = 0, query.level
    while level.parent is not None:
        depth, level = depth + 1, level.parent
    return depth
