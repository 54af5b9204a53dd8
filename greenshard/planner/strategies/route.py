"""Goal: run a statement where all its rows are.

    SELECT * FROM orders JOIN lineitem ON l_orderkey = o_orderkey WHERE o_orderkey = %s

1. The key of `orders` has one value, so that of `lineitem` has the same.
2. That value's shard has all the rows that matter; the user's own text runs there.

The value may be a parameter, or one of several (`IN`, `= ANY`): which shards are meant is found
out when the statement runs. If it is not one shard, the plan falls back to another strategy.

Refuses if the key of a sharded table is not known somewhere in the text.
"""

from __future__ import annotations

from greenshard.planner.plan import Refusal, Routed, Step
from greenshard.planner.strategies.candidate import Candidate
from greenshard.sql.text import Sql


def plan_route(candidate: Candidate, otherwise: Step) -> Routed | Refusal:
    """Route by the shard key; `otherwise` is the plan for several shards."""
    for each in candidate.restrictions:
        if each.table.sharded and each.pin is None:
            key = each.table.key.name if each.table.key else "its shard key"
            return candidate.refusal(
                "route",
                f"nothing says which {key} of {each.table.relation.name} is meant",
                each.table.node.location,
            )
    # No table with a key: `reference` has it.
    if not candidate.pins:
        return candidate.refusal("route", "no sharded table is read")
    return Routed(Sql(candidate.text), candidate.pins, otherwise)
