"""What each server may choose for itself, though all hold the same rows."""

from __future__ import annotations

from typing import Any

import pytest

from greenshard.planner.analysis.chance import first_choice, matches_once
from greenshard.planner.calls import Functions
from greenshard.sql.parser import ARRAY_SUBLINK, EXISTS_SUBLINK
from tests.unit.planner import scene
from tests.unit.planner.test_binding import bound

FUNCTIONS = Functions(scene.catalog(), scene.PATH)
LIMIT = "LIMIT without an order of all rows"
ARRAY = "ARRAY() without an order of all rows"


def choice(sql: str, sublink_type: int | None = None) -> str | None:
    """What chooses, without its name for a window function."""
    query, _ = bound(sql)
    found = first_choice(query, FUNCTIONS, sublink_type=sublink_type)
    return found and found.what


@pytest.mark.parametrize(
    ("sql", "what"),
    [
        ("SELECT n_name FROM nation", None),
        ("SELECT n_name FROM nation LIMIT 1", LIMIT),
        ("SELECT n_name FROM nation OFFSET 1", LIMIT),
        ("SELECT n_name FROM nation LIMIT ALL", None),
        ("SELECT n_name FROM nation LIMIT NULL", None),
        ("SELECT n_name FROM nation LIMIT 5 - 4", LIMIT),
        ("SELECT n_name FROM nation ORDER BY n_name LIMIT 1", LIMIT),
        ("SELECT n_name FROM nation ORDER BY n_name, n_nationkey LIMIT 1", None),
        ("SELECT n_nationkey, n_name FROM nation ORDER BY 1 OFFSET 1", None),
        ("SELECT n_name FROM nation ORDER BY n_nationkey + 0 LIMIT 1", LIMIT),
        ("SELECT n_name FROM nation WHERE n_nationkey = 5 LIMIT 1", None),
        ("SELECT n_name FROM nation WHERE 5 = n_nationkey LIMIT 1", None),
        ("SELECT n_name FROM nation WHERE n_nationkey = $1 LIMIT 1", None),
        ("SELECT n_name FROM nation WHERE n_nationkey = n_regionkey LIMIT 1", LIMIT),
        ("SELECT n_name FROM nation WHERE n_nationkey = abs(n_regionkey) LIMIT 1", LIMIT),
        ("SELECT n_name FROM nation WHERE n_nationkey = abs(-5) LIMIT 1", LIMIT),
        ("SELECT n_name FROM nation WHERE n_nationkey = (SELECT 1) LIMIT 1", LIMIT),
        ("SELECT n_name FROM nation WHERE n_nationkey = no_column LIMIT 1", LIMIT),
        ("SELECT n_name FROM nation WHERE n_nationkey > 5 LIMIT 1", LIMIT),
        ("SELECT n_name FROM nation WHERE n_nationkey + 0 = 5 LIMIT 1", LIMIT),
        ("SELECT y FROM scratch ORDER BY x, y LIMIT 1", LIMIT),
        ("SELECT relname FROM pg_class LIMIT 1", LIMIT),
        # A key of two columns, each sorted by or compared.
        ("SELECT l_comment FROM lineitem ORDER BY l_orderkey LIMIT 1", LIMIT),
        ("SELECT l_comment FROM lineitem ORDER BY l_linenumber LIMIT 1", LIMIT),
        ("SELECT l_comment FROM lineitem ORDER BY l_orderkey, l_linenumber LIMIT 1", None),
        ("SELECT l_comment FROM lineitem WHERE l_orderkey = 1 ORDER BY l_linenumber LIMIT 1", None),
        # Of several tables, the keys of all.
        ("SELECT 1 FROM nation, region ORDER BY n_nationkey LIMIT 1", LIMIT),
        ("SELECT 1 FROM nation, region ORDER BY r_regionkey LIMIT 1", LIMIT),
        ("SELECT 1 FROM nation, region ORDER BY n_nationkey, r_regionkey LIMIT 1", None),
        ("SELECT 1 FROM nation JOIN region ON true ORDER BY r_regionkey LIMIT 1", LIMIT),
        ("SELECT 1 FROM nation JOIN region ON true ORDER BY n_nationkey, r_regionkey LIMIT 1",
         None),
        ("SELECT 1 FROM (SELECT n_nationkey FROM nation) d ORDER BY n_nationkey LIMIT 1", LIMIT),
        ("SELECT 1 FROM nation, generate_series(1, 2) g ORDER BY n_nationkey LIMIT 1", LIMIT),
        # Groups are told apart by what they are grouped by.
        ("SELECT n_regionkey FROM nation GROUP BY n_regionkey ORDER BY 1 LIMIT 1", None),
        ("SELECT n_regionkey FROM nation GROUP BY n_regionkey ORDER BY count(*) LIMIT 1", LIMIT),
        ("SELECT n_regionkey, n_name FROM nation GROUP BY 1, 2 ORDER BY 1 LIMIT 1", LIMIT),
        ("SELECT n_regionkey, n_name FROM nation GROUP BY 1, 2 ORDER BY 2, 1 LIMIT 1", None),
        ("SELECT n_regionkey FROM nation GROUP BY n_regionkey, n_nationkey % 2 ORDER BY 1 LIMIT 1",
         LIMIT),
        ("SELECT count(*) FROM nation LIMIT 1", None),
        # The rows of a set operation have no key.
        ("SELECT n_nationkey FROM nation UNION SELECT 1 ORDER BY 1 LIMIT 1", LIMIT),
        ("SELECT n_nationkey FROM nation UNION ALL SELECT 1 LIMIT 1", LIMIT),
        ("SELECT DISTINCT n_name FROM nation", None),
        ("SELECT DISTINCT ON (n_regionkey) n_name FROM nation",
         "DISTINCT ON without an order of all rows"),
        ("SELECT DISTINCT ON (n_regionkey) n_name FROM nation ORDER BY n_regionkey, n_nationkey",
         None),
        ("SELECT 1 FROM nation TABLESAMPLE system (10)", "TABLESAMPLE"),
        ("SELECT 1 FROM nation JOIN region TABLESAMPLE system (10) ON true", "TABLESAMPLE"),
        # A column of the query around is the same for all rows.
        (("SELECT (SELECT n_name FROM nation WHERE n_nationkey = r_regionkey LIMIT 1)"
         " FROM region"), None),
        # At any depth.
        ("SELECT 1 FROM nation WHERE n_regionkey = (SELECT r_regionkey FROM region LIMIT 1)",
         LIMIT),
        ("WITH w AS (SELECT n_name FROM nation LIMIT 1) SELECT * FROM w", LIMIT),
    ],
)  # fmt: skip
def test_rows_are_chosen_unless_their_order_tells_all_apart(sql: str, what: str | None) -> None:
    assert choice(sql) == what


@pytest.mark.parametrize(
    "function", ["row_number()", "ntile(2)"]
    + [f"{name}(n_name)" for name in ("lag", "lead", "first_value", "last_value")]
    + ["nth_value(n_name, 2)"],
)  # fmt: skip
def test_a_window_function_that_tells_peers_apart_needs_their_order(function: str) -> None:
    what = f"{function.partition('(')[0]}() without an order of all rows"
    for over, expected in {
        "()": what,
        "(PARTITION BY n_nationkey)": what,
        "(ORDER BY n_regionkey)": what,
        "(ORDER BY n_regionkey, n_nationkey)": None,
        "w": None,
        "(v ROWS 1 PRECEDING)": what,
    }.items():
        windows = "WINDOW v AS (ORDER BY n_name), w AS (PARTITION BY n_name ORDER BY n_nationkey)"
        assert choice(f"SELECT {function} OVER {over} FROM nation {windows}") == expected


@pytest.mark.parametrize(
    ("sql", "what"),
    [
        # An order in a call leaves none of what is listed open.
        ("SELECT array_agg(n_name ORDER BY n_regionkey) FROM nation", "array_agg() without an"),
        ("SELECT array_agg(n_name ORDER BY n_regionkey, n_nationkey) FROM nation", None),
        ("SELECT array_agg(n_name ORDER BY n_regionkey, n_name) FROM nation", None),
        ("SELECT string_agg(n_name, ', ' ORDER BY n_name DESC) FROM nation", None),
        ("SELECT string_agg(n_name, n_comment ORDER BY n_name) FROM nation", "string_agg()"),
        ("SELECT string_agg(DISTINCT n_name, ',') FROM nation", None),
        ("SELECT array_agg(DISTINCT i_amount) FROM invoice", "array_agg() without an order"),
        ("SELECT array_agg(i_amount ORDER BY i_amount) FROM invoice", "array_agg() without an"),
        ("SELECT array_agg(o_totalprice ORDER BY o_totalprice) FROM orders", None),
        ("SELECT r_name, array_agg(r_regionkey ORDER BY r_name) FROM region GROUP BY r_name",
         "array_agg() without an order"),
        ("SELECT array_agg(r_name ORDER BY 1 + 1) FROM region GROUP BY r_regionkey", None),
        ("SELECT any_value(n_name) FROM nation", "any_value() without ORDER BY"),
        # Sums of floats, wherever these come from.
        ("SELECT sum(l_discount) FROM lineitem", "sum() of floats"),
        ("SELECT avg(l_weight + 1) FROM lineitem", "avg() of floats"),
        ("SELECT sum(l_discount) OVER (PARTITION BY l_orderkey) FROM lineitem", "sum() of floats"),
        ("SELECT stddev(l_quantity::float8) FROM lineitem", "stddev() of floats"),
        ("SELECT sum(x) FROM (SELECT l_discount * 2 AS x FROM lineitem) y", "sum() of floats"),
        ("WITH w AS (SELECT sqrt(l_partkey) AS x FROM lineitem) SELECT sum(x) FROM w",
         "sum() of floats"),
        ("SELECT sum(x) FROM (SELECT l_quantity * 2 AS x FROM lineitem WHERE l_partkey > 1) y",
         None),
        ("SELECT sum(l_quantity), avg(l_partkey), max(l_discount) FROM lineitem", None),
        # Equal values that look different.
        ("SELECT max(i_amount) FROM invoice", "max() of values"),
        ("SELECT max(i_amount)::text FROM invoice", "max() of values"),
        ("SELECT min(o_totalprice), max(o_comment), sum(i_amount) FROM orders, invoice", None),
        ("SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY i_amount) FROM invoice",
         "percentile_disc() of values"),
        ("SELECT DISTINCT i_amount FROM invoice", "DISTINCT of values"),
        ("SELECT DISTINCT o_totalprice, i_id FROM orders, invoice", None),
        ("SELECT i_amount FROM invoice GROUP BY 1", "GROUP BY of values"),
        ("SELECT i_amount FROM invoice UNION SELECT 1", "a set operation of values"),
        ("SELECT i_amount FROM invoice UNION ALL SELECT 1", None),
        # Nobody sees what is compared only.
        ("SELECT 1 FROM nation WHERE 5 > (SELECT coalesce(max(i_amount), 0) FROM invoice)", None),
        ("SELECT 1 FROM nation WHERE '5' > (SELECT max(i_amount)::text FROM invoice)",
         "max() of values"),
        ("SELECT 1 FROM nation WHERE 5 IN (SELECT DISTINCT i_amount FROM invoice)", None),
        ("SELECT (SELECT max(i_amount) FROM invoice) FROM nation", "max() of values"),
    ],
)  # fmt: skip
def test_values_are_chosen_unless_all_orders_give_the_same(sql: str, what: str | None) -> None:
    found = choice(sql)
    assert (found is None) == (what is None)
    assert what is None or str(found).startswith(what)


def test_peers_have_the_same_rank_and_the_same_sum() -> None:
    assert choice("SELECT rank() OVER (ORDER BY n_regionkey) FROM nation") is None
    assert choice("SELECT sum(n_regionkey) OVER (ORDER BY n_regionkey) FROM nation") is None
    assert choice("SELECT total(1) OVER (ORDER BY n_regionkey) FROM nation") is not None
    assert choice("SELECT array_agg(1) OVER (ORDER BY n_regionkey) FROM nation") is not None
    assert choice("SELECT total(1) OVER (ORDER BY n_nationkey) FROM nation") is None


def test_a_volatile_function_chooses() -> None:
    assert choice("SELECT random()") == "random()"
    assert choice("SELECT no_such_function() OVER () FROM nation") == "no_such_function()"
    assert choice("SELECT abs(1) FROM nation WHERE n_nationkey > random()") == "random()"


ORDERLESS = (
    "avg bit_or bit_xor bool_and bool_or count every max min percentile_cont percentile_disc stddev"
    " sum variance bit_and range_agg range_intersect_agg stddev_pop stddev_samp var_pop"
    " var_samp"
)


@pytest.mark.parametrize("name", ORDERLESS.split())
def test_most_aggregates_are_the_same_in_any_order(name: str, monkeypatch: Any) -> None:
    # Also those that the scene's statements do not call.
    known = {name: FUNCTIONS._known["sum"]}
    monkeypatch.setattr(FUNCTIONS, "_known", {**known, "lower": FUNCTIONS._known["lower"]})
    assert choice(f"SELECT {name}(n_regionkey) FROM nation") is None


def test_correlations_add_floats_of_any_numbers(monkeypatch: Any) -> None:
    for name in ("corr", "covar_pop", "regr_slope"):
        monkeypatch.setattr(FUNCTIONS, "_known", {name: FUNCTIONS._known["sum"]} | FUNCTIONS._known)
        assert str(choice(f"SELECT {name}(n_regionkey, 1) FROM nation")).startswith(f"{name}() of")


def test_others_keep_the_order_of_their_rows() -> None:
    what = "array_agg() without ORDER BY"
    assert choice("SELECT array_agg(n_name) FROM nation") == what
    assert choice("SELECT array_agg(n_name ORDER BY n_name) FROM nation") is None
    assert choice("SELECT 1 FROM nation HAVING array_agg(n_name) IS NULL") == what
    assert choice("SELECT total(n_regionkey) FROM nation") == "total() without ORDER BY"
    json = "an aggregate that keeps the order of its rows"
    assert choice("SELECT JSON_ARRAYAGG(n_name) FROM nation") == json
    assert choice("SELECT JSON_OBJECTAGG(n_name: 1) FROM nation") == json


def test_a_user_s_aggregate_of_a_known_name_may_keep_the_order(monkeypatch: Any) -> None:
    monkeypatch.setattr(FUNCTIONS, "_known", {"sum": FUNCTIONS._known["total"]})
    assert choice("SELECT sum(n_regionkey) FROM nation") == "sum() without ORDER BY"
    assert choice("SELECT sum(1) OVER (ORDER BY n_regionkey) FROM nation") is not None


def test_an_aggregate_of_a_newer_server_may_keep_the_order(monkeypatch: Any) -> None:
    monkeypatch.setattr(FUNCTIONS, "_known", {"newest": FUNCTIONS._known["sum"]})
    assert choice("SELECT newest(n_regionkey) FROM nation") == "newest() without ORDER BY"
    assert choice("SELECT newest(1) OVER (ORDER BY n_regionkey) FROM nation") is not None


def test_a_frame_that_counts_rows_parts_peers_for_aggregates_alone() -> None:
    rows = "OVER (ORDER BY n_regionkey ROWS 1 PRECEDING) FROM nation"
    assert choice(f"SELECT sum(n_regionkey) {rows}") == "sum() without an order of all rows"
    assert choice(f"SELECT rank() {rows}") is None


def test_exists_asks_only_whether_there_are_rows() -> None:
    sql = "SELECT n_name FROM nation LIMIT 1"
    assert choice(sql, EXISTS_SUBLINK) is None
    inner = f"SELECT 1 FROM ({sql}) d"
    assert choice(inner, EXISTS_SUBLINK) == LIMIT
    assert choice("SELECT random()", EXISTS_SUBLINK) == "random()"


@pytest.mark.parametrize(
    ("sql", "what"),
    [
        ("SELECT n_name FROM nation", ARRAY),
        ("SELECT n_regionkey FROM nation ORDER BY n_regionkey", None),
        ("SELECT n_name FROM nation ORDER BY n_nationkey", None),
        ("SELECT n_name FROM nation ORDER BY n_regionkey", ARRAY),
        ("SELECT n_name FROM nation ORDER BY lower(n_name)", ARRAY),
        # Equal numerics may look different: 1.0 and 1.00.
        ("SELECT amount FROM price ORDER BY amount", ARRAY),
        ("SELECT n_name FROM nation UNION SELECT 'a'", ARRAY),
        ("SELECT g FROM generate_series(1, 3) g", None),
        ("SELECT 1 FROM generate_series(1, 3) g, nation", ARRAY),
        ("SELECT n_name FROM generate_series(1, 3) g, nation", ARRAY),
        ("VALUES (1), (2)", None),
        ("SELECT n_name FROM (SELECT n_name FROM nation) d", ARRAY),
        ("WITH w AS (SELECT n_name FROM nation) SELECT n_name FROM w", ARRAY),
        ("SELECT 1 FROM generate_series(1, 2) g JOIN generate_series(1, 2) h ON true", ARRAY),
        ("SELECT * FROM nation, json_to_record('{}') ORDER BY n_nationkey", ARRAY),
    ],
)
def test_an_array_of_rows_needs_their_order(sql: str, what: str | None) -> None:
    assert choice(sql, ARRAY_SUBLINK) == what
    assert choice(f"SELECT ARRAY({sql}), EXISTS (SELECT 1)") == what


@pytest.mark.parametrize(
    ("sql", "once"),
    [
        ("SELECT 1 FROM nation", True),
        ("SELECT 1 FROM nation, region WHERE r_regionkey = n_regionkey", True),
        ("SELECT 1 FROM nation, region WHERE n_regionkey = r_regionkey", True),
        ("SELECT 1 FROM nation, region WHERE r_regionkey = 1", True),
        ("SELECT 1 FROM nation, region WHERE r_regionkey = abs(n_regionkey)", False),
        ("SELECT 1 FROM nation, region WHERE r_regionkey = (SELECT n_regionkey)", False),
        ("SELECT 1 FROM nation, region WHERE r_regionkey + 0 = n_regionkey", False),
        ("SELECT 1 FROM nation, region WHERE r_regionkey > n_regionkey", False),
        ("SELECT 1 FROM nation, region WHERE r_name = n_name", False),
        ("SELECT 1 FROM nation, region", False),
        ("SELECT 1 FROM nation, region WHERE r_regionkey = r_regionkey", False),
        ("SELECT 1 FROM nation, region WHERE r_regionkey = no_column", False),
        ("SELECT 1 FROM orders, lineitem WHERE l_orderkey = o_orderkey", False),
        ("SELECT 1 FROM orders, lineitem WHERE l_orderkey = o_orderkey AND l_linenumber = 1", True),
        # One table is found by another that has been found.
        (("SELECT 1 FROM customer, region, nation WHERE n_nationkey = c_nationkey"
          " AND r_regionkey = n_regionkey"), True),
        (("SELECT 1 FROM customer, nation, region WHERE n_nationkey = c_nationkey"
          " AND r_regionkey = n_regionkey + c_nationkey"), True),
        ("SELECT 1 FROM nation, (SELECT 1 AS x) d", True),
        ("SELECT 1 FROM nation, (VALUES (1)) d", True),
        ("SELECT 1 FROM nation, (VALUES (1), (2)) d", False),
        ("SELECT 1 FROM nation, (SELECT round(avg(c_acctbal), 2) FROM customer) d", True),
        ("SELECT 1 FROM nation, (SELECT c_acctbal FROM customer) d", False),
        ("SELECT 1 FROM nation, (SELECT generate_series(1, 2)) d", False),
        ("SELECT 1 FROM nation, (SELECT unnest(array_agg(c_name)) FROM customer) d", False),
        ("WITH d AS (SELECT count(*) FROM customer) SELECT 1 FROM nation, d", True),
        (("SELECT 1 FROM nation, (SELECT c_nationkey AS k, max(c_name) FROM customer GROUP BY 1) d"
          " WHERE k = n_nationkey"), True),
        (("WITH d AS (SELECT c_nationkey, max(c_name) FROM customer GROUP BY 1) SELECT 1"
          " FROM nation, d AS e (k, name) WHERE k = n_nationkey"), True),
        (("SELECT 1 FROM nation, (SELECT c_nationkey AS k FROM customer GROUP BY 1, c_name) d"
          " WHERE k = n_nationkey"), False),
        (("SELECT 1 FROM nation, (SELECT c_nationkey AS k FROM customer GROUP BY ROLLUP (1)) d"
          " WHERE k = n_nationkey"), False),
        ("SELECT 1 FROM nation, generate_series(1, 2)", False),
        ("SELECT 1 FROM json_to_record('{}') j, region", False),
    ],
)  # fmt: skip
def test_a_row_is_joined_once_if_the_others_keys_are_compared_with_what_is_known(
    sql: str, once: bool
) -> None:
    query, _ = bound(sql)
    assert matches_once(query, FUNCTIONS) is once
