"""Goal: DISTINCT, or UNION, over the distinct rows of each shard; a part of `combine`.

    SELECT DISTINCT o_custkey FROM orders ORDER BY 1 LIMIT 5

1. Each shard runs
       SELECT * FROM (SELECT DISTINCT o_custkey FROM orders) gs(c0)
2. One PostgreSQL runs, over the rows that they give,
       SELECT DISTINCT gs.c0 AS o_custkey FROM (...) gs ORDER BY 1 LIMIT 5
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from greenshard.planner.plan import PARTIAL, Combine, Reduction, SortKey
from greenshard.planner.strategies.candidate import Candidate, Unplannable
from greenshard.planner.strategies.merge import read_slice
from greenshard.planner.strategies.sort_keys import read_order
from greenshard.sql.column_names import is_named_by_value
from greenshard.sql.nodes import ROWS, clear, copy, expression, partial_column, quoted
from greenshard.sql.nodes import select as parse_select


def plan_distinct(candidate: Candidate) -> Combine:
    """DISTINCT, or UNION, over the distinct rows of each shard.

    Raises:
        Unplannable: It cannot be done, and why.
    """
    select, outputs = candidate.select, candidate.query.outputs
    # The partial columns are named c0, c1, ..., so they must be counted.
    if outputs is None:
        raise Unplannable("the columns that are to be distinct are not known")
    if select.distinct_clause and select.distinct_clause[0].WhichOneof("node"):
        raise Unplannable("DISTINCT ON takes one row of several shards'")
    # SELECT DISTINCT %s::date: the column's name comes of the value's text, which the plan is
    # without.
    if any(map(is_named_by_value, _first_targets(select))):
        raise Unplannable("a column has the name of a parameter's value")
    keys = [_place(item.sort_by, candidate) for item in select.sort_clause]
    names = [column.name for column in outputs]
    return Combine(
        candidate.write(_partial(select, len(names))),
        candidate.write(_combined(select, names, keys)),
        len(names),
        candidate.pins,
        reduction=_reduction(candidate, names, keys),
    )


def _partial(select: Any, width: int) -> Any:
    """What each shard runs."""
    inner = copy(select)
    # LIMIT on a shard could cut off rows that are equal to others elsewhere, and keep too few.
    clear(inner, "sort_clause", "limit_count", "limit_offset", "limit_option")
    inner.limit_option = parse_select("SELECT").limit_option
    names = ", ".join(f"c{at}" for at in range(width))
    made = parse_select(f"SELECT * FROM (SELECT) {ROWS}({names})")
    made.from_clause[0].range_subselect.subquery.select_stmt.CopyFrom(inner)
    return made


def _combined(select: Any, names: Sequence[str], keys: Sequence[SortKey]) -> Any:
    """What one PostgreSQL runs over the shards' rows."""
    shown = ", ".join(f"{partial_column(at)} AS {quoted(name)}" for at, name in enumerate(names))
    made = parse_select(f"SELECT DISTINCT {shown} FROM {quoted(PARTIAL)} {ROWS}")
    for item, key in zip(select.sort_clause, keys, strict=True):
        added = made.sort_clause.add()
        added.CopyFrom(item)
        # By number: the item may be an expression over names that are gone now.
        added.sort_by.node.CopyFrom(expression(str(key.column + 1)))
    for name in ("limit_count", "limit_offset"):
        if select.HasField(name):
            getattr(made, name).CopyFrom(getattr(select, name))
    made.limit_option = select.limit_option
    return made


def _first_targets(select: Any) -> list[Any]:
    """The columns that a query has its columns' names of."""
    # A UNION has the names of its first branch.
    while select.HasField("larg"):
        select = select.larg
    return [target.res_target for target in select.target_list]


def _reduction(
    candidate: Candidate, names: Sequence[str], keys: Sequence[SortKey]
) -> Reduction | None:
    every = tuple(range(len(names)))
    try:
        slice_ = read_slice(candidate)
    except Unplannable:
        return None
    outputs = tuple(("key", at) for at in every)
    return Reduction(every, outputs, tuple(names), tuple(keys), slice_)


def _place(item: Any, candidate: Candidate) -> SortKey:
    """The column of the answer that an item of ORDER BY is."""
    order = read_order(candidate)
    at = [each.sort_by == item for each in candidate.select.sort_clause].index(True)
    return order.keys[at]
