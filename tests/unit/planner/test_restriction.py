"""Which rows of a table can matter: the values of its key, and filters."""

from __future__ import annotations

from typing import Any

import pytest

from greenshard.planner.analysis.restriction import Restriction, Restrictions
from greenshard.planner.calls import Functions
from greenshard.planner.plan import Constant
from greenshard.sql.deparsing import write
from greenshard.sql.nodes import as_statement, select
from greenshard.sql.placeholders import Translation, translate
from tests.unit.planner import scene
from tests.unit.planner.test_binding import bound

FUNCTIONS = Functions(scene.catalog(), scene.PATH)


def restrictions(sql: str) -> tuple[list[Restriction], Translation]:
    translation = translate(sql, True)
    query, _ = bound(translation.text)
    found = Restrictions(FUNCTIONS, translation)
    found.visit(query)
    return found.found, translation


def pinned(sql: str, table: str = "orders") -> Any:
    """The values that a table's key can have; None if they are not known."""
    found, _ = restrictions(sql)
    (pin,) = [each.pin for each in found if each.table.relation.name == table]
    return pin and [
        value.value
        if isinstance(value, Constant)
        else (value.source, "several") if value.several else (value.source,)
        for value in pin.values
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("condition", "values"),
    [
        ("o_orderkey = 7", [7]),
        ("7 = o_orderkey", [7]),
        ("o_orderkey = -7", [-7]),
        ("o_orderkey = '7'", ["7"]),
        ("o_orderkey = 12345678901", [12345678901]),
        ("o_orderkey = 7::bigint", [7]),
        ("o_orderkey = CAST('7' AS integer)", ["7"]),
        ("o_orderkey = NULL", [None]),
        ("o_orderkey = %s", [(0,)]),
        ("o_orderkey = %s::int8", [(0,)]),
        ("o_custkey = %s AND o_orderkey = %s", [(1,)]),
        ("o_orderkey = %(k)s", [("k",)]),
        ("o_orderkey = -12345678901", [-12345678901]),
        ("o_orderkey IN (1, %s, '3')", [1, (0,), "3"]),
        ("o_orderkey IN %s", [(0, "several")]),
        ("o_orderkey = ANY (%s)", [(0, "several")]),
        ("o_orderkey = ANY (%s::int[])", [(0, "several")]),
        ("o_orderkey = ANY (ARRAY[1, 2])", [1, 2]),
        ("o_orderkey IN %s AND o_orderkey = 7", [7]),
        ("o_orderkey IN (1, 2) AND o_orderkey = ANY (%s)", [1, 2]),
        ("o_orderkey = o_custkey AND o_custkey = 7", [7]),
        ("o_orderkey = 7 AND (o_custkey = 1 OR o_custkey = 2)", [7]),
        ("o_orderkey IN (1, %s) AND o_orderkey IN (1, 2, 3)", [1, (0,)]),
        ("o_orderkey IN (1, 2, 3) AND o_orderkey IN (1, %s)", [1, (0,)]),
        ("o_orderkey = $1", None),
        ("o_orderkey = ANY ($1)", None),
        ("o_orderkey = 7::bigint[]", None),
        ("o_orderkey = 7::SETOF bigint", None),
        ("o_orderkey = ANY (%s::text[])", None),
        ("o_orderkey = ANY (%s::int)", None),
        ("o_orderkey + 0 = ANY (%s)", None),
        ("o_orderkey = ALL (%s)", None),
        ("o_orderkey = ALL (ARRAY[1, 2])", None),
        ("o_orderkey = 7.0", None),
        ("o_orderkey = 7 + 0", None),
        ("o_orderkey = 7::numeric", None),
        ("o_orderkey = %s::text::int", None),
        ("o_orderkey = o_custkey", None),
        ("o_orderkey > 7", None),
        ("o_orderkey <> 7", None),
        ("o_orderkey <> ALL (%s)", None),
        ("o_orderkey NOT IN (1, 2)", None),
        ("o_orderkey IN (1, o_custkey)", None),
        ("o_orderkey = ANY ('{1,2}')", None),
        ("o_orderkey > ANY (%s)", None),
        ("o_orderkey = 7 OR o_custkey = 1", None),
        ("NOT o_orderkey = 7", None),
        ("(o_orderkey = 7) IS TRUE", None),
        ("o_orderkey IS NULL", None),
        ("o_orderkey IS NOT DISTINCT FROM 7", None),
        ("o_orderkey + 0 = 7", None),
        ("o_orderkey::text = '7'", None),
        ("o_totalprice = 7", None),
        ("7 BETWEEN o_orderkey AND o_orderkey", None),
    ],
)
def test_a_condition_names_values_of_the_key(condition: str, values: Any) -> None:
    assert pinned(f"SELECT 1 FROM orders WHERE {condition}") == values


@pytest.mark.parametrize(
    ("sql", "values"),
    [
        ("SELECT 1 FROM orders JOIN lineitem ON o_orderkey = l_orderkey WHERE l_orderkey = 7", [7]),
        ("SELECT 1 FROM orders, lineitem WHERE l_orderkey = 7 AND o_orderkey = l_orderkey", [7]),
        ("SELECT 1 FROM orders JOIN invoice ON i_orderkey = o_orderkey AND i_orderkey = 7", [7]),
        ("SELECT 1 FROM lineitem LEFT JOIN orders ON o_orderkey = l_orderkey WHERE l_orderkey = 7",
         [7]),
        ("SELECT 1 FROM lineitem LEFT JOIN orders ON o_orderkey = 7", [7]),
        ("SELECT 1 FROM lineitem LEFT JOIN orders ON true WHERE o_orderkey = 7", [7]),
        ("SELECT 1 FROM orders LEFT JOIN lineitem ON o_orderkey = 7", None),
        ("SELECT 1 FROM orders RIGHT JOIN lineitem ON o_orderkey = 7", [7]),
        ("SELECT 1 FROM lineitem FULL JOIN orders ON o_orderkey = 7", None),
        ("SELECT 1 FROM lineitem FULL JOIN orders ON o_orderkey = l_orderkey WHERE o_orderkey = 7",
         [7]),
        ("SELECT 1 FROM lineitem FULL JOIN orders ON o_orderkey = l_orderkey WHERE l_orderkey = 7",
         None),
        ("SELECT 1 FROM (SELECT * FROM orders) d WHERE o_orderkey = 7", [7]),
        ("SELECT 1 FROM (SELECT o_orderkey AS k FROM orders) d WHERE d.k = 7", [7]),
        ("SELECT 1 FROM (SELECT o_orderkey + 0 AS k FROM orders) d WHERE d.k = 7", None),
        ("SELECT 1 FROM (SELECT o_orderkey FROM orders GROUP BY 1) d WHERE o_orderkey = 7", [7]),
        ("SELECT 1 FROM (SELECT DISTINCT o_orderkey FROM orders) d WHERE o_orderkey = 7", [7]),
        ("SELECT 1 FROM (SELECT o_orderkey FROM orders LIMIT 5) d WHERE o_orderkey = 7", None),
        ("SELECT 1 FROM (SELECT o_orderkey FROM orders OFFSET 5) d WHERE o_orderkey = 7", None),
        (("SELECT 1 FROM (SELECT DISTINCT ON (o_custkey) o_orderkey FROM orders) d"
         " WHERE o_orderkey = 7"), None),
        (("SELECT 1 FROM (SELECT o_orderkey, rank() OVER (ORDER BY 1) FROM orders) d"
         " WHERE o_orderkey = 7"), None),
        ("SELECT 1 FROM (SELECT o_orderkey AS k FROM orders UNION SELECT 1) d WHERE k = 7", None),
        (("SELECT 1 FROM (SELECT o_orderkey AS k FROM orders UNION SELECT i_orderkey FROM invoice)"
         " d WHERE k = 7"), [7]),
        (("SELECT 1 FROM (SELECT i_orderkey AS k FROM invoice EXCEPT SELECT o_orderkey FROM"
         " orders) d WHERE k = 7"), [7]),
        ("WITH w AS (SELECT * FROM orders) SELECT 1 FROM w WHERE o_orderkey = 7", None),
        (("SELECT 1 FROM lineitem WHERE l_orderkey = 7 AND EXISTS ("
         "SELECT FROM orders WHERE o_orderkey = l_orderkey)"), [7]),
        (("SELECT 1 FROM lineitem WHERE l_orderkey = 7 AND l_orderkey IN ("
         "SELECT o_orderkey FROM orders)"), [7]),
        (("SELECT 1 FROM lineitem WHERE l_orderkey = 7 AND l_orderkey NOT IN ("
         "SELECT o_orderkey FROM orders)"), None),
        (("SELECT 1 FROM lineitem WHERE l_orderkey = 7 AND l_orderkey IN ("
         "SELECT o_orderkey FROM orders LIMIT 1)"), None),
        (("SELECT (SELECT 1 FROM orders WHERE o_orderkey = l_orderkey) FROM lineitem"
         " WHERE l_orderkey = 7"), [7]),
        (("SELECT 1 FROM lineitem LEFT JOIN nation ON EXISTS ("
         "SELECT FROM orders WHERE o_orderkey = n_nationkey) WHERE n_nationkey = 7"), None),
        (("SELECT 1 FROM lineitem l, LATERAL (SELECT FROM orders WHERE o_orderkey = l.l_orderkey"
         " LIMIT 1) x WHERE l_orderkey = 7"), [7]),
        (("SELECT 1 FROM lineitem l LEFT JOIN LATERAL (SELECT l.l_orderkey AS k) d ON true"
         " JOIN orders ON o_orderkey = d.k WHERE l.l_orderkey = 7"), None),
        ("SELECT o_custkey FROM orders UNION ALL SELECT 1 LIMIT (SELECT 5)", None),
        (("SELECT 1 FROM lineitem, generate_series(1, (SELECT 1 FROM orders"
         " WHERE o_orderkey = l_orderkey)) WHERE l_orderkey = 7"), [7]),
        # What is known outside of a subquery is known in its WITH queries, too,
        (("SELECT 1 FROM lineitem, invoice WHERE l_orderkey = i_orderkey AND i_orderkey = 7"
         " AND EXISTS (WITH w AS (SELECT 1 FROM orders WHERE o_orderkey = l_orderkey)"
         " SELECT FROM w)"), [7]),
        # but not of their own rows, nor of rows that LIMIT has chosen.
        (("SELECT 1 FROM (WITH w AS (SELECT o_orderkey FROM orders LIMIT 5)"
         " SELECT o_orderkey FROM w) d WHERE o_orderkey = 7"), None),
        (("SELECT 1 FROM (SELECT o_orderkey FROM orders LIMIT 5) d, lineitem"
         " WHERE o_orderkey = l_orderkey AND l_orderkey = 7"), None),
        (("SELECT 1 FROM ((SELECT o_orderkey AS k FROM orders LIMIT 3)"
         " UNION ALL SELECT i_orderkey FROM invoice) d WHERE k = 7"), None),
        (("SELECT 1 FROM (((SELECT o_orderkey AS k FROM orders LIMIT 3) UNION ALL SELECT 3)"
         " UNION ALL SELECT i_orderkey FROM invoice) d WHERE k = 7"), None),
        # A merged column is equal to each side's, the sides are not to each other.
        (("SELECT 1 FROM (SELECT o_orderkey AS k FROM orders) a FULL JOIN"
         " (SELECT l_orderkey AS k FROM lineitem) b USING (k) WHERE b.k = 7"), None),
        (("SELECT 1 FROM (SELECT o_custkey AS c, o_orderkey AS k FROM orders) a FULL JOIN"
         " (SELECT l_partkey AS c, l_orderkey AS k FROM lineitem) b USING (c, k) WHERE k = 7"),
         [7]),
        (("SELECT 1 FROM (SELECT l_partkey AS c, l_orderkey AS k FROM lineitem) b FULL JOIN"
         " (SELECT o_custkey AS c, o_orderkey AS k FROM orders) a USING (c, k) WHERE k = 7"),
         [7]),
        # The columns of a function may not be known.
        ("SELECT * FROM json_to_record('{}') UNION SELECT o_orderkey FROM orders", None),
        ("SELECT o_orderkey FROM orders UNION SELECT * FROM json_to_record('{}')", None),
        (("WITH w AS (SELECT * FROM json_to_record('{}')) SELECT 1 FROM orders, w"
         " WHERE orders.o_orderkey = 7"), [7]),
        (("SELECT 1 FROM orders, (SELECT * FROM json_to_record('{}') LIMIT 1) d"
         " WHERE orders.o_orderkey = 7"), [7]),
        (("SELECT 1 FROM orders WHERE o_orderkey = 7 AND o_custkey IN ("
         "SELECT * FROM json_to_record('{}'))"), [7]),
    ],
)  # fmt: skip
def test_conditions_reach_a_table_through_joins_and_subqueries(sql: str, values: Any) -> None:
    assert pinned(sql) == values


def test_columns_whose_equal_values_do_not_hash_alike_do_not_name_each_other_s_values() -> None:
    sql = "SELECT 1 FROM moment WHERE at = timestamp '2024-01-01' AND at IN (SELECT day FROM visit)"
    assert pinned(sql, "visit") is None


def test_only_a_cast_to_an_array_of_the_key_s_own_values_names_them() -> None:
    def named(cast: str) -> Any:
        return pinned(f"SELECT 1 FROM account WHERE email = ANY (%s::{cast})", "account")

    assert named("varchar[]") == [(0, "several")]
    assert named("varchar(3)[]") is None
    assert named("varchar[][]") is None


def test_a_parameter_that_psycopg2_casts_to_another_type_of_the_key_s_name_names_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(FUNCTIONS, "foreign_types", {"date": "public"})
    assert pinned("SELECT 1 FROM visit WHERE day = %s", "visit") is None
    assert pinned("SELECT 1 FROM visit WHERE day = ANY (%s)", "visit") is None
    assert pinned("SELECT 1 FROM orders WHERE o_orderkey = %s") == [(0,)]


def test_every_table_has_a_restriction_for_each_place_where_it_is_named() -> None:
    found, _ = restrictions(
        "WITH w AS (SELECT FROM orders) SELECT 1 FROM orders a"
        " JOIN w ON EXISTS (SELECT FROM orders) WHERE 1 IN (SELECT 1 FROM orders)"
        " UNION SELECT 2 LIMIT (SELECT count(*) FROM orders)"
    )
    assert len(found) == 5


@pytest.mark.parametrize(
    ("source", "key", "condition"),
    [
        ("account", "email", "email = 'a'"),
        ("event", "id", "id = 'a'::uuid"),
        ("visit", "day", "day = date '2024-01-01'"),
        ("moment", "at", "at = timestamp '2024-01-01'"),
        ("blob", "hash", r"hash = '\x00'::bytea"),
        ("flag", "on_", "on_ = false"),
        ("tag", "code", "code = 'a'"),
        ("place", "country", "country = 'a'::varchar"),
    ],
)
def test_a_key_of_any_type_can_be_named(source: str, key: str, condition: str) -> None:
    values = pinned(f"SELECT 1 FROM {source} WHERE {condition}", source)
    assert values is not None
    assert len(values) == 1


@pytest.mark.parametrize(
    ("source", "condition"),
    [
        ("person", "name = 'a'"),
        ("price", "amount = 1"),
        ("visit", "day = timestamp '2024-01-01'"),
        ("moment", "at = date '2024-01-01'"),
        ("moment", "at = '2024-01-01'::timestamp(0)"),
        ("account", "email = 'a'::varchar(3)"),
        ("account", "email = 'a'::char"),
        ("account", "email = 'a' COLLATE \"C\""),
        ("tag", "code = 'a'::text"),
    ],
)
def test_a_value_that_may_be_changed_names_nothing(source: str, condition: str) -> None:
    assert pinned(f"SELECT 1 FROM {source} WHERE {condition}", source) is None


def filters(sql: str, table: str = "orders") -> list[str]:
    """The conditions that are tested on the rows of a table alone."""
    found, translation = restrictions(sql)
    texts = []
    for each in found:
        for condition in each.filters if each.table.relation.name == table else ():
            made = select("SELECT 1 WHERE true")
            made.where_clause.CopyFrom(condition.node)
            text = write(as_statement(made), translation).text
            texts.append(text.removeprefix("SELECT 1 WHERE "))
    return texts


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT 1 FROM orders WHERE o_custkey > 5 AND o_orderdate < 'x'",
         ["o_custkey > 5", "o_orderdate < 'x'"]),
        ("SELECT 1 FROM orders, nation WHERE o_custkey > n_nationkey AND n_nationkey = 1", []),
        ("SELECT 1 FROM orders WHERE true AND 1 = 2", []),
        ("SELECT 1 FROM orders WHERE o_custkey > random()", []),
        ("SELECT 1 FROM orders WHERE o_custkey > no_such_function()", []),
        ("SELECT 1 FROM orders WHERE o_custkey > touch()", []),
        ("SELECT 1 FROM orders WHERE o_custkey > twice(3)", ["o_custkey > twice(3)"]),
        ("SELECT 1 FROM orders WHERE o_custkey > (SELECT 1)", []),
        ("SELECT 1 FROM orders WHERE o_custkey = DEFAULT", []),
        ("SELECT 1 FROM orders o WHERE o IS NOT NULL", []),
        ("SELECT 1 FROM big_orders WHERE o_custkey = 1",
         ["o_custkey = 1", "o_totalprice OPERATOR(pg_catalog.>) 500::numeric"]),
        ("SELECT 1 FROM orders o WHERE (o.*) IS NOT NULL AND o.o_custkey = 1", ["o.o_custkey = 1"]),
        ("SELECT 1 FROM orders WHERE o_custkey = %s", ["o_custkey = (%(p1)s)"]),
        ("SELECT 1 FROM nation JOIN orders ON o_custkey = 1 AND n_nationkey = o_custkey",
         ["o_custkey = 1"]),
        ("SELECT 1 FROM nation LEFT JOIN orders ON o_custkey = 1 WHERE o_orderdate IS NULL",
         ["o_custkey = 1"]),
        ("SELECT 1 FROM orders LEFT JOIN nation ON o_custkey = 1 WHERE o_orderdate IS NULL",
         ["o_orderdate IS NULL"]),
        ("SELECT 1 FROM nation FULL JOIN orders ON o_custkey = 1 WHERE o_orderdate IS NULL", []),
        ("SELECT 1 FROM (SELECT o_custkey AS c FROM orders) d WHERE c = 1", ["c = 1"]),
        ("SELECT 1 FROM (SELECT o_custkey AS c FROM orders LIMIT 1) d WHERE c = 1", []),
        (("SELECT 1 FROM (SELECT o_custkey AS c, count(*) AS n FROM orders GROUP BY 1) d"
         " WHERE c = 1 AND n = 2"), ["c = 1"]),
        ("SELECT 1 FROM (SELECT o_custkey AS c FROM orders GROUP BY ROLLUP (1)) d WHERE c = 1", []),
        ("SELECT 1 FROM (SELECT o_custkey AS c FROM orders UNION SELECT 1) d WHERE c = 1", []),
        (("SELECT 1 FROM nation n LEFT JOIN (SELECT o_custkey AS c FROM orders) d ON c = 1"
         " WHERE c IS NULL"), ["c = 1"]),
        (("SELECT 1 FROM (SELECT o.o_custkey AS c FROM nation LEFT JOIN orders o ON true) d"
         " WHERE c IS NULL"), []),
        ("SELECT count(*) FROM orders HAVING count(*) > 1", []),
        (("SELECT 1 FROM nation WHERE EXISTS (SELECT FROM orders WHERE o_custkey = 1"
         " AND o_orderkey = n_nationkey)"), ["o_custkey = 1"]),
        (("WITH w AS (SELECT o_custkey AS c FROM orders WHERE o_orderdate = 'x')"
         " SELECT 1 FROM w WHERE c = 1"), ["o_orderdate = 'x'"]),
        (("SELECT 1 FROM orders o LEFT JOIN LATERAL (SELECT o.o_custkey AS c) d ON true"
         " WHERE d.c IS NULL"), []),
    ],
)  # fmt: skip
def test_a_filter_is_a_condition_on_one_table_s_own_rows(sql: str, expected: list[str]) -> None:
    assert filters(sql) == expected


def test_a_subquery_with_a_limit_hears_of_equal_columns_that_are_not_its_own():
    text = (
        "SELECT 1 FROM orders o, customer c, LATERAL (SELECT * FROM lineitem"
        " WHERE l_orderkey = o.o_orderkey LIMIT 5) x"
        " WHERE o.o_orderkey = c.c_custkey AND c.c_custkey = 7"
    )
    assert pinned(text, "lineitem") == [7]
