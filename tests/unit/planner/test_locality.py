"""Where the rows of a query come about; the golden plans show what is made of it."""

from __future__ import annotations

import pytest

from greenshard.planner.analysis.locality import Locality
from greenshard.planner.analysis.shape import Analysis, Crosses, Where
from greenshard.planner.calls import Functions
from tests.unit.planner import scene
from tests.unit.planner.test_binding import bound

FUNCTIONS = Functions(scene.catalog(), scene.PATH)


def _statements(text: str) -> list[str]:
    """Statements, separated by semicolons."""
    return [" ".join(each.split()) for each in text.split(";")]


SPLIT = _statements(
    """
SELECT 1 FROM orders;
SELECT 1 FROM orders, nation, region;
SELECT 1 FROM orders, lineitem WHERE o_orderkey = l_orderkey;
SELECT 1 FROM orders, lineitem, invoice WHERE o_orderkey = l_orderkey AND l_orderkey =
    i_orderkey;
SELECT 1 FROM orders LEFT JOIN nation ON true;
SELECT 1 FROM nation RIGHT JOIN orders ON true;
SELECT 1 FROM orders LEFT JOIN (lineitem JOIN invoice ON l_orderkey = i_orderkey) ON
    o_orderkey = i_orderkey;
SELECT 1 FROM orders LEFT JOIN (nation LEFT JOIN region ON true) ON true;
SELECT 1 FROM orders a FULL JOIN orders b ON a.o_orderkey = b.o_orderkey AND a.o_custkey = 1;
SELECT 1 FROM orders o WHERE EXISTS (SELECT FROM lineitem WHERE l_orderkey = o.o_orderkey);
SELECT 1 FROM orders o, lineitem l WHERE o_orderkey = l_orderkey AND EXISTS (SELECT FROM
    invoice WHERE i_orderkey = l.l_orderkey);
SELECT 1 FROM orders o WHERE o_custkey = (SELECT max(l_partkey) FROM lineitem WHERE l_orderkey
    = o.o_orderkey);
SELECT 1 FROM orders WHERE o_orderkey IN (SELECT l_orderkey FROM lineitem);
SELECT 1 FROM orders WHERE o_orderkey = ANY (SELECT i_orderkey FROM invoice);
SELECT 1 FROM orders o WHERE EXISTS (SELECT FROM nation n WHERE EXISTS (SELECT FROM lineitem
    WHERE l_orderkey = o.o_orderkey AND l_partkey = n.n_nationkey));
SELECT 1 FROM orders o, LATERAL (SELECT FROM lineitem WHERE l_orderkey = o.o_orderkey ORDER BY
    l_quantity LIMIT 1) x;
SELECT 1 FROM orders o LEFT JOIN LATERAL (SELECT count(*) FROM lineitem WHERE l_orderkey =
    o.o_orderkey) x ON true;
SELECT o_orderkey FROM orders UNION ALL SELECT l_partkey FROM lineitem;
SELECT o_orderkey FROM orders INTERSECT SELECT l_orderkey FROM lineitem;
SELECT o_orderkey FROM orders INTERSECT SELECT n_nationkey FROM nation;
SELECT n_nationkey FROM nation INTERSECT SELECT o_orderkey FROM orders;
SELECT o_orderkey FROM orders EXCEPT SELECT n_nationkey FROM nation;
WITH w AS (SELECT o_orderkey AS k FROM orders) SELECT 1 FROM w a, w b WHERE a.k = b.k;
SELECT 1 FROM note, remark WHERE id = note_id;
SELECT 1 FROM orders JOIN archive.orders b USING (o_orderkey);
SELECT 1 FROM (SELECT l_orderkey FROM lineitem GROUP BY l_orderkey) x, orders WHERE
    x.l_orderkey = o_orderkey;
SELECT 1 FROM (SELECT DISTINCT l_orderkey AS k FROM lineitem) x, orders WHERE k = o_orderkey;
SELECT 1 FROM orders WHERE o_orderkey IN (SELECT l_partkey FROM lineitem WHERE l_partkey =
    l_orderkey);
SELECT 1 FROM orders JOIN nation ON o_orderkey = n_nationkey, LATERAL (SELECT FROM lineitem
    WHERE l_orderkey = n_nationkey) x;
SELECT 1 FROM orders o, LATERAL (SELECT l_orderkey AS k FROM lineitem WHERE l_orderkey =
    o.o_orderkey) x, invoice WHERE i_orderkey = x.k;
SELECT 1 FROM orders o, LATERAL (SELECT n_nationkey AS k FROM nation WHERE n_nationkey =
    o.o_orderkey) x, invoice WHERE i_orderkey = x.k;
SELECT 1 FROM orders o LEFT JOIN (nation LEFT JOIN LATERAL (SELECT FROM lineitem WHERE
    l_orderkey = o.o_orderkey) x ON true) ON true;
SELECT 1 FROM orders o WHERE o_custkey = (SELECT n_nationkey FROM nation WHERE n_regionkey =
    o.o_custkey LIMIT 1);
SELECT 1 FROM orders WHERE o_totalprice = (SELECT max(c_acctbal::numeric) FROM customer);
SELECT 1 FROM orders LEFT JOIN nation ON EXISTS (SELECT FROM region LIMIT 1);
SELECT 1 FROM orders WHERE o_orderkey IN (SELECT i_orderkey FROM invoice INTERSECT SELECT
    n_nationkey FROM nation WHERE EXISTS (SELECT FROM region));
SELECT 1 FROM orders WHERE o_orderkey IN (SELECT i_orderkey FROM invoice INTERSECT (SELECT
    n_nationkey FROM nation UNION ALL SELECT r_regionkey FROM region));
SELECT (SELECT sum(o_custkey + n_nationkey) FROM nation) FROM orders;
WITH w AS (SELECT (o).* FROM orders o) SELECT 1 FROM w
"""
)

CROSSING = _statements(
    """
SELECT 1 FROM orders, lineitem;
SELECT 1 FROM orders, lineitem WHERE o_custkey = l_orderkey;
SELECT 1 FROM orders, lineitem WHERE o_orderkey < l_orderkey;
SELECT 1 FROM orders, lineitem WHERE o_orderkey = l_orderkey OR true;
SELECT 1 FROM orders, note WHERE o_orderkey = id;
SELECT 1 FROM account a, person b WHERE a.email = b.name;
SELECT 1 FROM price a, price b WHERE a.amount = b.amount;
SELECT 1 FROM visit, moment WHERE day = at;
SELECT 1 FROM nation LEFT JOIN orders ON o_custkey = n_nationkey;
SELECT 1 FROM orders RIGHT JOIN nation ON o_custkey = n_nationkey;
SELECT 1 FROM orders FULL JOIN nation ON o_orderkey = n_nationkey;
SELECT 1 FROM orders a FULL JOIN orders b ON a.o_orderkey = b.o_custkey;
SELECT 1 FROM orders LEFT JOIN lineitem ON o_orderkey = l_orderkey LEFT JOIN invoice ON
    i_orderkey = l_orderkey;
SELECT 1 FROM orders o WHERE EXISTS (SELECT FROM lineitem);
SELECT 1 FROM nation n WHERE EXISTS (SELECT FROM lineitem WHERE l_orderkey = n_nationkey);
SELECT 1 FROM orders WHERE o_custkey IN (SELECT l_orderkey FROM lineitem);
SELECT 1 FROM orders WHERE o_orderkey NOT IN (SELECT l_orderkey FROM lineitem);
SELECT 1 FROM orders WHERE o_orderkey IN (SELECT l_orderkey FROM lineitem LIMIT 5);
SELECT 1 FROM orders WHERE o_orderkey IN (SELECT max(l_orderkey) FROM lineitem);
SELECT 1 FROM orders o WHERE EXISTS (SELECT FROM lineitem a, invoice b WHERE a.l_orderkey =
    o.o_orderkey);
SELECT 1 FROM orders o LEFT JOIN nation ON EXISTS (SELECT FROM lineitem WHERE l_orderkey =
    o.o_orderkey);
SELECT 1 FROM (SELECT o_orderkey FROM orders LIMIT 1) x;
SELECT 1 FROM (SELECT count(*) FROM orders) x;
SELECT 1 FROM (SELECT DISTINCT o_custkey FROM orders) x;
SELECT 1 FROM (SELECT rank() OVER (ORDER BY o_custkey) FROM orders) x;
SELECT o_orderkey FROM orders UNION ALL SELECT n_nationkey FROM nation;
SELECT n_nationkey FROM nation EXCEPT SELECT o_orderkey FROM orders;
SELECT o_custkey FROM orders EXCEPT SELECT n_nationkey FROM nation;
SELECT o_orderkey FROM orders INTERSECT SELECT l_partkey FROM lineitem;
SELECT id FROM note UNION ALL SELECT o_orderkey FROM orders;
SELECT day FROM visit INTERSECT SELECT at FROM moment;
WITH RECURSIVE r AS (SELECT o_orderkey AS k FROM orders UNION SELECT l_partkey FROM lineitem,
    r WHERE l_orderkey = k) SELECT 1 FROM r;
WITH RECURSIVE r AS (SELECT 1::bigint AS k UNION SELECT l_partkey FROM lineitem, r WHERE
    l_orderkey = k) SELECT 1 FROM r;
SELECT (SELECT max(o_custkey)) FROM orders;
SELECT 1 FROM orders, (SELECT random()) x;
SELECT 1 FROM orders, generate_series(1, (random() * 9)::int);
SELECT 1 FROM orders, (SELECT n_nationkey FROM nation LIMIT 1) x;
SELECT 1 FROM orders, nation TABLESAMPLE SYSTEM (9);
SELECT 1 FROM orders WHERE o_custkey = (SELECT n_nationkey FROM nation LIMIT 1);
WITH w AS (SELECT string_agg(n_name, ',') FROM nation) SELECT 1 FROM orders, w;
SELECT 1 FROM orders JOIN nation ON EXISTS (SELECT FROM lineitem) JOIN region ON EXISTS (SELECT
    FROM nation);
SELECT (SELECT max(c_acctbal::numeric) FROM customer) FROM orders;
SELECT 1 FROM orders o WHERE o_orderkey IN (SELECT i_orderkey FROM invoice INTERSECT SELECT y.k
    FROM nation, LATERAL (SELECT l_orderkey AS k FROM lineitem WHERE l_orderkey = o.o_orderkey) y);
SELECT 1 FROM orders o WHERE o_orderkey IN (SELECT i_orderkey FROM invoice INTERSECT SELECT
    n_nationkey FROM nation WHERE EXISTS (SELECT FROM lineitem WHERE l_orderkey = o.o_orderkey));
SELECT 1 FROM orders o WHERE o_orderkey IN (SELECT i_orderkey FROM invoice INTERSECT (SELECT
    n_nationkey FROM nation UNION ALL SELECT l_partkey FROM lineitem WHERE l_orderkey =
    o.o_orderkey));
SELECT 1 FROM person a, person b WHERE a.name = b.name;
SELECT 1 FROM orders WHERE o_orderkey + 1 IN (SELECT l_orderkey FROM lineitem);
SELECT 1 FROM orders WHERE o_orderkey IN (SELECT l_partkey FROM lineitem);
SELECT 1 FROM orders WHERE o_orderkey IN (SELECT id FROM note);
SELECT 1 FROM visit WHERE day IN (SELECT at FROM moment);
SELECT 1 FROM orders WHERE o_orderkey IN (SELECT (x).* FROM (SELECT l_orderkey FROM lineitem) x);
SELECT (SELECT sum((SELECT o_custkey + n_nationkey)) FROM nation) FROM orders;
SELECT (SELECT count(n) FROM nation n) FROM orders
"""
)


def analysed(sql: str) -> Analysis:
    query, _ = bound(sql)
    return Locality(FUNCTIONS).analyse(query)


def is_split(sql: str) -> bool:
    """Whether the rows are split over the shards, none of which needs another."""
    try:
        return analysed(sql).rows.where is Where.SPLIT
    except Crosses:
        return False


@pytest.mark.parametrize("sql", SPLIT)
def test_rows_are_split(sql: str) -> None:
    assert is_split(sql)


@pytest.mark.parametrize("sql", CROSSING)
def test_rows_are_not_split(sql: str) -> None:
    assert not is_split(sql)


@pytest.mark.parametrize(
    ("sql", "crossing"),
    [
        ("SELECT count(*) FROM orders", {"group"}),
        ("SELECT 1 FROM orders HAVING true", {"group"}),
        ("SELECT FROM orders HAVING true", {"group"}),
        ("SELECT JSON_ARRAYAGG(o_custkey) FROM orders", {"group"}),
        ("SELECT 1 FROM orders GROUP BY o_custkey", {"group"}),
        ("SELECT 1 FROM orders GROUP BY o_orderkey", set()),
        ("SELECT o_orderkey AS k FROM orders GROUP BY k", set()),
        ("SELECT o_orderkey AS o_custkey FROM orders GROUP BY o_custkey", {"group"}),
        ("SELECT o_custkey AS k, o_orderkey FROM orders GROUP BY k, 2", set()),
        ("SELECT 1 FROM orders GROUP BY ROLLUP (o_orderkey)", {"group"}),
        ("SELECT 1 FROM orders GROUP BY o_orderkey, ROLLUP (o_custkey)", set()),
        ("SELECT sum(o_custkey) OVER () FROM orders", {"window"}),
        ("SELECT sum(o_custkey) OVER (PARTITION BY o_orderkey) FROM orders", set()),
        ("SELECT sum(o_custkey) OVER w FROM orders WINDOW w AS (PARTITION BY o_orderkey)", set()),
        ("SELECT sum(1) OVER (w ORDER BY 1) FROM orders WINDOW w AS (PARTITION BY o_orderkey)",
         set()),
        ("SELECT 1 FROM orders ORDER BY rank() OVER (ORDER BY o_custkey)", {"window"}),
        ("SELECT DISTINCT ON (rank() OVER ()) 1 FROM orders", {"window", "distinct"}),
        ("SELECT DISTINCT o_custkey FROM orders", {"distinct"}),
        ("SELECT DISTINCT o_custkey, o_orderkey FROM orders", set()),
        ("SELECT DISTINCT * FROM orders", set()),
        ("SELECT DISTINCT ON (o_custkey) o_orderkey FROM orders", {"distinct"}),
        ("SELECT DISTINCT ON (k) o_orderkey AS k FROM orders", set()),
        ("SELECT 1 FROM orders LIMIT 1", {"limit"}),
        ("SELECT 1 FROM orders OFFSET 1", {"limit"}),
        ("SELECT o_custkey FROM orders UNION SELECT l_partkey FROM lineitem", {"distinct"}),
        ("SELECT o_orderkey FROM orders UNION SELECT l_orderkey FROM lineitem", set()),
        ("SELECT o_orderkey FROM orders UNION SELECT l_partkey FROM lineitem", {"distinct"}),
        ("SELECT count(*) FROM orders LIMIT 1", {"group", "limit"}),
    ],
)  # fmt: skip
def test_steps_cross_shards(sql: str, crossing: set[str]) -> None:
    assert set(analysed(sql).crossing) == crossing


def test_what_counts_the_rows_of_all_shards_is_pointed_at() -> None:
    for sql in "SELECT 1 FROM orders LIMIT 9", "SELECT 1 FROM orders OFFSET 9":
        assert analysed(sql).crossing["limit"].offset == sql.index("9")


def test_a_long_chain_of_with_queries_is_analysed_once() -> None:
    chain = [
        f"w{n} AS (SELECT a.k FROM w{n - 1} a JOIN w{n - 1} b USING (k))" for n in range(1, 40)
    ]
    first = "w0 AS (SELECT o_orderkey AS k FROM orders)"
    assert is_split(f"WITH {', '.join([first, *chain])} SELECT * FROM w39")
