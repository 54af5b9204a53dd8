"""Goal: run on one shard what every shard can answer.

    SELECT n_name FROM nation JOIN region ON n_regionkey = r_regionkey
    SELECT 1

A sharded table may stand in the text if none of its rows count, as in a WITH query that nothing
refers to.

Refuses if a sharded table is read. Row locks are taken on the first shard, for everybody; and so
are the rows of a materialized view that is not declared, which each shard has refreshed by itself,
and OIDs, which are other ones on each: a program may ask for a table's, and then for its columns.
"""

from __future__ import annotations

from greenshard.planner.analysis.objections import tells_oid
from greenshard.planner.analysis.shape import Where
from greenshard.planner.binding.query import Table, queries
from greenshard.planner.calls import calls, is_harmless, name_of
from greenshard.planner.plan import Anywhere, Refusal
from greenshard.planner.strategies.candidate import Candidate, Unplannable
from greenshard.sql.functions import SEEDED
from greenshard.sql.parser import type_name, walk
from greenshard.sql.text import Sql


def plan_reference(candidate: Candidate) -> Anywhere | Refusal:
    """Run the user's own text on any one shard."""
    if candidate.sharded and not _is_everywhere(candidate):
        table = candidate.sharded[0]
        where = "sharded" if table.home is None else f"on {table.home} alone"
        return candidate.refusal(
            "reference", f"{table.relation.name} is {where}", table.node.location
        )
    # One server tells one time: only where queries are stood in for, another text is sent.
    sql = candidate.own_sql if candidate.stands_in else Sql(candidate.text)
    return Anywhere(sql, first=_must_be_first(candidate))


def _is_everywhere(candidate: Candidate) -> bool:
    try:
        return candidate.analysis.rows.where is Where.EVERYWHERE
    except Unplannable:
        return False


def _has_oids(table: Table) -> bool:
    # Of PostgreSQL's own, the views (pg_settings, pg_tables) show names.
    return table.system and table.relation.kind == "r"


def _must_be_first(candidate: Candidate) -> bool:
    """Whether the statement changes something beside rows: a lock, a sequence.

    Or reads what each shard has refreshed by itself: then it is one shard's, always.
    """
    # SELECT ... FROM products FOR UPDATE: two transactions must meet at the same copy to exclude
    # each other.
    if any(query.node.locking_clause for query in queries(candidate.query)):
        return True
    if any(table.refreshed or _has_oids(table) for table in candidate.tables):
        return True
    if any(type_name(m) == "TypeCast" and tells_oid(m) for m in walk(candidate.select)):
        return True
    return any(
        name_of(call) in SEEDED  # where `setseed` is called
        or (candidate.functions.is_volatile(call) and not is_harmless(call))
        for call in calls(candidate.select)
    )
