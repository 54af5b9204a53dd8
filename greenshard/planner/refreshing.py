"""Goal: refuse REFRESH that would fill a declared materialized view with each shard's own answer.

    CREATE MATERIALIZED VIEW busy AS SELECT o_custkey, count(*) FROM orders GROUP BY 1
    busy = { shard_key = "o_custkey" }
    REFRESH MATERIALIZED VIEW busy        each shard would count its own orders of each customer

The rows of a sharded one are right if an INSERT of its query into a table, declared as the view is,
could run on the shards as it is; those of a reference one if its query reads reference tables only,
and leaves nothing open.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from greenshard.cluster import Cluster, Reference, Sharded
from greenshard.planner.catalog import Relation
from greenshard.planner.plan import Plan, Routed, Scatter
from greenshard.planner.problem import Problem
from greenshard.planner.strategies.candidate import Candidate, Unplannable
from greenshard.planner.strategies.insert import check_reference
from greenshard.sql.nodes import quoted, select
from greenshard.sql.now import tells_time


def refreshing(
    node: Any,
    find: Callable[[Any], Relation | None],
    cluster: Cluster,
    plan: Callable[[str, bool], Plan],
    bind: Callable[[Any], tuple[Candidate, Problem | None]],
) -> Problem | None:
    """What is wrong with a REFRESH MATERIALIZED VIEW on all shards; None if nothing is.

    Args:
        node: The statement's `Node`.
        find: Gives what a name means.
        cluster: What is declared.
        plan: Plans another text, see `Planner.plan`.
        bind: Gives what a SELECT is, and what is amiss with it.
    """
    if not node.HasField("refresh_mat_view_stmt") or node.refresh_mat_view_stmt.skip_data:
        return None
    named = node.refresh_mat_view_stmt.relation
    relation = find(named)
    declared = None if relation is None else cluster.table(relation.schema, relation.name)
    if relation is None or not isinstance(declared, (Sharded, Reference)):
        return None  # nobody reads it, or only the first shard's
    query = (relation.definition or "").rstrip().removesuffix(";")
    if isinstance(declared, Reference):
        is_right = _is_alike(query, bind)
    else:
        name = f"{quoted(relation.schema)}.{quoted(relation.name)}"
        step = plan(f"INSERT INTO {name} {query}", False).step
        step = step.otherwise if isinstance(step, Routed) else step
        # What is given the time, or changed otherwise, is not the query that the servers run.
        is_right = isinstance(step, Scatter) and step.sql.binds is None
    if is_right:
        return None
    return Problem(
        f"materialized view {relation.name} would be refreshed by each shard for itself, and its "
        "rows are made of several shards' or differ from shard to shard",
        named.location,
        "GS415",
        "Declare a table in its place: DELETE its rows, and INSERT ... SELECT them.",
    )


def _is_alike(query: str, bind: Callable[[Any], tuple[Candidate, Problem | None]]) -> bool:
    """Whether a query gives the same rows on every shard."""
    parsed = select(query)
    if tells_time(parsed):
        return False
    candidate, problem = bind(parsed)
    try:
        check_reference(candidate)
    except Unplannable:
        return False
    return problem is None
