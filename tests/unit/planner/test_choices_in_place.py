"""What each server may choose among the rows that all of them have is not left to each."""

from __future__ import annotations

import pytest

from greenshard.planner.plan import Gather, Scatter
from tests.unit.planner import scene

PLANNER = scene.planner()
CHOICES = [
    "SELECT n_nationkey FROM nation LIMIT 1",
    "SELECT n_nationkey FROM nation OFFSET 3",
    "SELECT n_nationkey FROM nation ORDER BY n_name LIMIT 1",
    "SELECT n_nationkey FROM nation WHERE n_name = 'a' LIMIT 1",
    "SELECT n_nationkey FROM nation ORDER BY n_name FETCH FIRST ROW ONLY",
    "SELECT n_nationkey FROM archive.nation ORDER BY n_nationkey LIMIT 1",
    "SELECT fare FROM route ORDER BY start LIMIT 1",
    "SELECT fare FROM route ORDER BY stop LIMIT 1",
    "SELECT fare FROM route WHERE start = 1 LIMIT 1",
    "SELECT stop FROM route GROUP BY start, stop ORDER BY start LIMIT 1",
    "SELECT max(fare) FROM route GROUP BY start, stop ORDER BY stop LIMIT 1",
    "SELECT max(fare) FROM route GROUP BY start + 1 ORDER BY start + 1 LIMIT 1",
    "SELECT n_nationkey FROM nation, region ORDER BY n_nationkey LIMIT 1",
    "SELECT n_nationkey FROM nation JOIN region ON true ORDER BY r_regionkey LIMIT 1",
    "SELECT n FROM (SELECT n_nationkey AS n FROM nation) x ORDER BY n LIMIT 1",
    "SELECT n_nationkey FROM nation UNION ALL SELECT r_regionkey FROM region LIMIT 1",
    "(SELECT n_nationkey FROM nation UNION ALL SELECT 1) ORDER BY 1 OFFSET 2",
    "WITH w AS (SELECT n_nationkey AS n FROM nation LIMIT 1) SELECT n FROM w",
    "SELECT DISTINCT ON (n_regionkey) n_nationkey FROM nation",
    "SELECT DISTINCT ON (n_regionkey) n_nationkey FROM nation ORDER BY n_regionkey, n_name",
    "SELECT (array_agg(n_nationkey))[1] FROM nation",
    "SELECT (json_agg(n_nationkey) ->> 0)::int FROM nation",
    "SELECT length(string_agg(n_name, ',')) FROM nation",
    "SELECT (JSON_ARRAYAGG(n_nationkey RETURNING jsonb) ->> 0)::int FROM nation",
    "SELECT (ARRAY(SELECT n_nationkey FROM nation))[1]",
    "SELECT (ARRAY(SELECT n_nationkey FROM nation ORDER BY n_name))[1]",
    "SELECT (ARRAY(SELECT 1 UNION ALL SELECT n_nationkey FROM nation))[1]",
    "SELECT (random() * 5)::int",
    "SELECT total(n_nationkey) FROM nation",
    *(
        f"SELECT n FROM (SELECT n_nationkey AS n, {call} OVER ({order}) AS f FROM nation) x"
        for call in (
            *("row_number()", "ntile(2)", "lag(n_name)", "lead(n_name)", "first_value(n_name)"),
            *("last_value(n_name)", "nth_value(n_name, 2)", "total(n_nationkey)"),
        )
        for order in ("", "ORDER BY n_name")
    ),
]
NO_CHOICES = [
    "SELECT n_nationkey FROM nation ORDER BY n_nationkey LIMIT 1",
    "SELECT n_nationkey FROM nation ORDER BY n_name, n_nationkey OFFSET 2",
    "SELECT n_nationkey FROM nation WHERE n_nationkey = 5 LIMIT 1",
    "SELECT n_nationkey FROM nation LIMIT ALL",
    "SELECT fare FROM route ORDER BY stop, start LIMIT 1",
    "SELECT fare FROM route WHERE start = 1 ORDER BY stop LIMIT 1",
    "SELECT max(fare) FROM route GROUP BY start, stop ORDER BY stop, start LIMIT 1",
    "SELECT n_nationkey FROM nation, region ORDER BY n_nationkey, r_regionkey LIMIT 1",
    "SELECT DISTINCT ON (n_nationkey) n_nationkey FROM nation ORDER BY n_nationkey",
    "SELECT (array_agg(n_nationkey ORDER BY n_nationkey))[1] FROM nation",
    "SELECT max(n_nationkey) FROM nation",
    "SELECT n_nationkey FROM nation UNION SELECT r_regionkey FROM region",
    "SELECT (ARRAY(SELECT n_nationkey FROM nation ORDER BY n_nationkey DESC))[1]",
    "SELECT (ARRAY(SELECT n_name FROM nation ORDER BY n_regionkey, n_nationkey))[1]::int",
    "SELECT (ARRAY(SELECT x FROM generate_series(1, 3) x))[1]",
    "SELECT (ARRAY(VALUES (1), (2)))[1]",
    *(
        f"SELECT n FROM (SELECT n_nationkey AS n, {call} OVER ({order}) AS f FROM nation) x"
        for call, order in [
            ("rank()", "ORDER BY n_name"),
            ("max(n_name)", ""),
            ("row_number()", "ORDER BY n_nationkey"),
            ("total(n_nationkey)", "ORDER BY n_nationkey"),
        ]
    ),
]


@pytest.mark.parametrize("choice", CHOICES)
@pytest.mark.parametrize(
    "statement",
    [
        "SELECT o_orderkey FROM orders WHERE o_custkey IN ({})",
        "SELECT o_orderkey FROM orders WHERE o_custkey = ({})",
        "SELECT o_orderkey, ({}) FROM orders",
        "SELECT o_orderkey FROM orders, ({}) c (n) WHERE o_custkey = n",
        "WITH c (n) AS ({}) SELECT o_orderkey FROM orders JOIN c ON o_custkey = n",
        "SELECT o_orderkey FROM orders WHERE EXISTS (SELECT FROM ({}) c (n) WHERE n = 1)",
    ],
)
def test_rows_are_chosen_once(statement, choice) -> None:
    step = PLANNER.plan(statement.format(choice), False, scene.PATH).step
    assert isinstance(step, Gather)


@pytest.mark.parametrize("query", NO_CHOICES)
@pytest.mark.parametrize("form", ["o_custkey IN ({})", "o_custkey = ({})"])
def test_each_shard_may_find_what_all_find(form, query) -> None:
    statement = f"SELECT o_orderkey FROM orders WHERE {form.format(query)}"
    assert isinstance(PLANNER.plan(statement, False, scene.PATH).step, Scatter)


def test_which_rows_there_are_is_no_choice_where_it_counts_only_that_there_are() -> None:
    statement = "SELECT 1 FROM orders WHERE EXISTS (SELECT FROM nation LIMIT 1)"
    assert isinstance(PLANNER.plan(statement, False, scene.PATH).step, Scatter)
