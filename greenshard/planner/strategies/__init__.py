"""One strategy a file, from the cheapest to the one that can do everything that reads.

A strategy takes a candidate and gives a step, or a refusal that says why it cannot. What several of
them need (`sort_keys`, `aggregates`, `shortening`) stands beside them.
"""

from __future__ import annotations

from collections.abc import Callable

from greenshard.planner.plan import Anywhere, Combine, Gather, Refusal, Scatter
from greenshard.planner.strategies.candidate import Candidate
from greenshard.planner.strategies.combine import plan_combine
from greenshard.planner.strategies.concatenate import plan_concatenate
from greenshard.planner.strategies.gather import plan_gather
from greenshard.planner.strategies.merge import plan_merge
from greenshard.planner.strategies.reference import plan_reference

Found = Anywhere | Scatter | Combine | Gather
Strategy = Callable[[Candidate], Found | Refusal]

#: Those by which each shard computes a part.
ON_SHARDS: tuple[Strategy, ...] = (plan_concatenate, plan_merge, plan_combine)
#: Tried in this order. Routing is put around what they give: see `route`; what has subqueries that
#: can be computed first is not wholly gathered: see `subqueries`.
STRATEGIES: tuple[Strategy, ...] = (plan_reference, *ON_SHARDS, plan_gather)
