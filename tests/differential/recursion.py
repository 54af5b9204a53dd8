"""Random recursive CTEs, each of which ends."""

from __future__ import annotations

from tests.differential.draft import Column, Draft
from tests.differential.expressions import expression
from tests.differential.ordering import Query

_COUNTER = """
WITH RECURSIVE t (n) AS (
    VALUES ({start}) UNION ALL SELECT n + 1 FROM t WHERE n < {end}
)"""
#: Regions below a region.
_TREE = """
WITH RECURSIVE t (n, name, depth) AS (
    {within}SELECT id, name, 0 FROM {source}region WHERE {condition}
    UNION ALL
    SELECT r.id, r.name, t.depth + 1 FROM region r JOIN t ON r.parent = t.n WHERE t.depth < 5
)"""
#: The chain of bosses of accounts, whose rows may be on different shards.
_CHAIN = """
WITH RECURSIVE t (n, name, depth) AS (
    SELECT id, name, 0 FROM account WHERE {condition}
    UNION
    SELECT a.boss, a.name, t.depth + 1 FROM account a JOIN t ON a.id = t.n WHERE t.depth < 4
)"""
#: Queries over them, and how many columns each has.
_OVER_COUNTER = [
    ("SELECT n FROM t", 1),
    ("SELECT t.n, e.amount FROM t JOIN entry e ON e.no = t.n", 2),
    ("SELECT count(*) FROM t, account a WHERE a.level = t.n", 1),
    ("SELECT t.n, count(a.id) FROM t LEFT JOIN account a ON a.id = t.n GROUP BY t.n", 2),
]
_OVER_TREE = [
    ("SELECT n, name, depth FROM t", 3),
    ("SELECT depth, count(*) FROM t GROUP BY depth", 2),
    ("SELECT t.name, a.id FROM t JOIN account a ON a.region = t.n", 2),
    ("SELECT max(depth) FROM t", 1),
    ("SELECT a.id, (SELECT count(*) FROM t WHERE t.n = a.region) FROM account a", 2),
]
_OVER_CHAIN = [
    ("SELECT n, name, depth FROM t", 3),
    ("SELECT depth, count(DISTINCT n) FROM t GROUP BY depth", 2),
    ("SELECT t.n, e.no FROM t JOIN entry e ON e.account_id = t.n", 2),
]


def query(draft: Draft) -> Query:
    """A recursive query without ORDER BY."""
    form = draft.pick.choice(["counter", "tree", "chain"])
    draft.note(f"recursive {form}")
    if form == "counter":
        start, end = draft.value(1, "int"), draft.value(draft.pick.randint(1, 9), "int")
        return _over(draft, _COUNTER.format(start=start, end=end), _OVER_COUNTER)
    table = (Column("id", "int"), Column("name", "text"))
    condition = expression(draft, table, "bool", 1)
    if form == "tree":
        within = "WITH aregion AS (SELECT id, name FROM region) " if draft.chance(0.3) else ""
        source = "a" if within else ""
        tree = _TREE.format(condition=condition, within=within, source=source)
        return _over(draft, tree, _OVER_TREE)
    return _over(draft, _CHAIN.format(condition=condition), _OVER_CHAIN)


def _over(draft: Draft, with_clause: str, queries: list[tuple[str, int]]) -> Query:
    text, count = draft.pick.choice(queries)
    outputs = (Column("", "int"),) * count
    return Query(f"{with_clause.strip()} {text}", outputs, (None,) * count, forms="none")
