"""Goal: put the shards' rows one after the other.

    SELECT o_orderkey, count(*) FROM orders JOIN lineitem ON l_orderkey = o_orderkey
    GROUP BY o_orderkey

1. The join is by the shard key, so no row needs rows of two shards (`locality`).
2. The groups are by the key, so no group has rows on two shards.
3. The user's own text runs on each shard, and the answer is what all of them give.

Refuses what crosses shards, and ORDER BY, also below, which `merge` does.
"""

from __future__ import annotations

from greenshard.planner.analysis.shape import Where
from greenshard.planner.binding.query import Join, Table, nested, queries
from greenshard.planner.plan import Refusal, Scatter
from greenshard.planner.strategies.candidate import Candidate, Unplannable
from greenshard.planner.strategies.kept_order import is_kept, with_ordered_aggregates

STRATEGY = "concatenate"


def plan_concatenate(candidate: Candidate) -> Scatter | Refusal:
    """Run the user's own text everywhere."""
    try:
        check_local(candidate)
    except Unplannable as unplannable:
        return candidate.refusal(STRATEGY, unplannable.reason, unplannable.offset)
    if candidate.select.sort_clause:
        return candidate.refusal(STRATEGY, "the rows are to be in order")
    if is_kept(candidate):
        return candidate.refusal(STRATEGY, "the rows keep the order of a subquery")
    # `check_local` has let only "limit" through.
    if candidate.analysis.crossing:
        return candidate.refusal(STRATEGY, "LIMIT counts the rows of all shards")
    return Scatter(with_ordered_aggregates(candidate).own_sql, candidate.pins)


def check_local(candidate: Candidate) -> None:
    """Make sure that all but LIMIT is done where the rows are.

    Raises:
        Unplannable: Something else crosses shards.
    """
    # Two shards would both give the rows of a reference table, and the answer would have them
    # twice.
    if candidate.analysis.rows.where is not Where.SPLIT:
        raise Unplannable("every shard would give the same rows")
    for step, crosses in candidate.analysis.crossing.items():
        if step != "limit":
            raise Unplannable(crosses.reason, crosses.offset)
    check_inner_locks(candidate)
    if locks_rows(candidate):
        _check_locks(candidate)


def check_inner_locks(candidate: Candidate) -> None:
    """Rows of reference tables are locked on the first shard only: see `reference`.

    Raises:
        Unplannable: A subquery would lock each shard's.
    """
    for query in queries(candidate.query):
        # The query's own locks are `_check_locks`'s.
        if query is candidate.query or not query.node.locking_clause:
            continue
        for table in query.items_of(Table):
            if not table.sharded:
                raise Unplannable(
                    f"rows of reference table {table.relation.name} are locked beside sharded ones",
                    table.node.location,
                )


def locks_rows(candidate: Candidate) -> bool:
    """Whether a SELECT ends with FOR UPDATE or the like."""
    return len(candidate.select.locking_clause) > 0


def _check_locks(candidate: Candidate) -> None:
    names = {
        relation.range_var.relname
        for clause in candidate.select.locking_clause
        for relation in clause.locking_clause.locked_rels
    }
    for item in nested(candidate.query.items):
        if isinstance(item, Join):
            continue
        # FOR UPDATE without OF locks the rows of every table that is joined, reference tables too.
        locked = not names or item.sources[0].alias in names
        if not isinstance(item, Table):
            if locked:
                raise Unplannable("row locks in a query with subqueries in FROM")
        elif locked and not item.sharded:
            raise Unplannable(
                f"rows of reference table {item.relation.name} are locked beside sharded ones",
                item.node.location,
            )
