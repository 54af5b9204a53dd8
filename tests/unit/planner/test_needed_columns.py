"""Which columns of a table a statement can mean."""

from __future__ import annotations

import pytest

from greenshard.planner.analysis.needed_columns import Mentions
from greenshard.planner.binding.query import Derived, nested, queries, tables
from tests.unit.planner.test_binding import bound


def meant(sql: str, table: str = "region") -> str:
    """The columns of a table that the statement can mean, by their first letters after r_."""
    query, _ = bound(sql)
    views = [
        item.definition
        for one in queries(query)
        for item in nested(one.items)
        if isinstance(item, Derived) and item.view is not None
    ]
    mentions = Mentions(query, [query.node, *views])
    found = {
        name for each in tables(query) if each.relation.name == table for name in mentions.of(each)
    }
    return " ".join(sorted(found))


KEY, NAME, BOTH = "r_regionkey", "r_name", "r_name r_regionkey"


@pytest.mark.parametrize(
    ("sql", "columns"),
    [
        ("SELECT 1 FROM region", ""),
        ("SELECT count(*) FROM region", ""),
        ("SELECT r_name FROM region", NAME),
        ("SELECT r.r_name FROM region r", NAME),
        ("SELECT public.region.r_name FROM region", NAME),
        ('SELECT "r_name" FROM region', NAME),
        ("SELECT R_NAME FROM region", NAME),
        ("SELECT 1 FROM region WHERE r_regionkey = 1", KEY),
        ("SELECT 1 FROM region ORDER BY r_name", NAME),
        ("SELECT 1 FROM region GROUP BY r_name HAVING max(r_regionkey) > 1", BOTH),
        ("SELECT 1 FROM region JOIN nation ON n_regionkey = r_regionkey", KEY),
        ("SELECT 1 FROM region JOIN (SELECT 1 AS r_name) x USING (r_name)", NAME),
        ("SELECT 1 FROM region NATURAL JOIN (SELECT 1 AS r_name) x", BOTH),
        ("SELECT * FROM region", BOTH),
        ("SELECT r.* FROM region r, nation", BOTH),
        ("SELECT n.* FROM region r, nation n", ""),
        ("SELECT * FROM (SELECT r_name FROM region) x", NAME),
        ("SELECT * FROM (SELECT * FROM region) x", BOTH),
        ("SELECT x.a FROM (SELECT * FROM region) x(a)", BOTH),
        ("SELECT 1 FROM nation WHERE EXISTS (SELECT * FROM region)", ""),
        ("SELECT 1 FROM nation WHERE EXISTS (SELECT * FROM region ORDER BY 2)", BOTH),
        ("SELECT 1 FROM nation WHERE EXISTS (SELECT * FROM (SELECT * FROM region) x)", BOTH),
        ("SELECT 1 FROM nation WHERE (1, 'a') IN (SELECT * FROM region)", BOTH),
        ("SELECT 1 FROM nation WHERE ROW(1, 'a') = (SELECT r.* FROM region r)", BOTH),
        ("SELECT r FROM region r", BOTH),
        ("SELECT row_to_json(region) FROM region", BOTH),
        ("SELECT count(r.*) FROM region r", BOTH),
        ("SELECT (r).r_name FROM region r", BOTH),
        ("SELECT 1 FROM region r WHERE (r.*) IS NULL", BOTH),
        ("SELECT 1 FROM region r ORDER BY row(r.*)", BOTH),
        ("SELECT 1 FROM region r, to_jsonb(r.*) j", BOTH),
        ("SELECT 1 FROM region r JOIN nation n ON row(r.*) IS NULL", BOTH),
        ("SELECT r_name(r) FROM region r", BOTH),
        ("SELECT a FROM region AS r(a)", BOTH),
        ("SELECT a FROM (region JOIN nation ON true) AS j(a)", BOTH),
        ("SELECT j FROM (region JOIN nation ON true) AS j", BOTH),
        ("WITH w AS (SELECT * FROM region) SELECT 1 FROM w", BOTH),
        ("SELECT r_name FROM region UNION SELECT n_name FROM nation ORDER BY r_name", NAME),
        ("SELECT region FROM national", "r_name r_regionkey"),
        ("SELECT * FROM region r, json_each('{}')", BOTH),
        ("SELECT r_name FROM region r, json_to_record('{}') AS x(a int)", NAME),
        ("SELECT * FROM region r, json_to_record('{}') AS x(a int)", BOTH),
    ],
)
def test_a_statement_means_columns(sql: str, columns: str) -> None:
    assert meant(sql) == columns
