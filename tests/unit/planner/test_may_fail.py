"""Which queries may be an error for some rows: what PostgreSQL may never meet is left to it."""

from __future__ import annotations

import pytest

from greenshard.cluster import Cluster
from greenshard.planner.analysis.may_fail import may_fail
from greenshard.planner.binding.binder import Binder
from greenshard.planner.catalog import Catalog
from greenshard.sql.nodes import select


def fails(text: str) -> bool:
    cluster = Cluster({"s0": "dbname=a", "s1": "dbname=b"})
    return may_fail(Binder(cluster, Catalog(), ("pg_catalog", "public")).bind(select(text)))


@pytest.mark.parametrize(
    "text",
    [
        "SELECT count(*), max(x), 0.2 * avg(x) FROM t WHERE a = 1 AND b LIKE 'x%' OR c <> 5",
        "SELECT max(x) FROM t WHERE day < '2024-01-01'::date AND k = $1::int GROUP BY a LIMIT 3",
        "SELECT a, bool_or(b) FROM t GROUP BY a HAVING sum(x) > 5 ORDER BY 1",
    ],
)
def test_sums_and_comparisons_are_sure(text: str) -> None:
    assert not fails(text)


@pytest.mark.parametrize(
    "text",
    [
        "SELECT sum(x) / count(*) FROM t",
        "SELECT x % 2 FROM t GROUP BY 1",
        "SELECT max(x::int) FROM t",
        "SELECT count(*) FROM t WHERE substr(a, 1, -1) = 'x'",
        "SELECT max(x) FROM t WHERE a = (SELECT b FROM u)",
        "SELECT max(a[1]) FROM t",
    ],
)
def test_what_may_be_an_error_is_not(text: str) -> None:
    assert fails(text)
