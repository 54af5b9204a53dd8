"""Goal: write to a table that one shard alone has by rows of other tables.

    INSERT INTO jobs (item) SELECT o_orderkey FROM orders WHERE o_comment IS NULL       jobs: s1
    UPDATE jobs SET done = true FROM orders WHERE o_orderkey = item AND o_totalprice = 0

1. If all that is read is on that shard after all, it runs the user's own text.
2. Else rows that are inserted travel there (`transfer`), and what an UPDATE or DELETE reads is
   carried there (`carry`). Defaults and sequences are that shard's own.
"""

from __future__ import annotations

from typing import Any

from greenshard.planner.binding.query import Table
from greenshard.planner.plan import Refused, Routed, Step
from greenshard.planner.strategies.candidate import Candidate, Unplannable
from greenshard.planner.strategies.insert import Texts
from greenshard.planner.strategies.insert_select import given_columns
from greenshard.planner.strategies.merge_into import plan_merge_into
from greenshard.planner.strategies.transfer import plan_transfer
from greenshard.planner.strategies.write import CODE, READ_FIRST, plan_several
from greenshard.sql.text import Sql


def plan_write_at_home(
    candidate: Candidate, table: Table, kind: str, inner: Any, texts: Texts
) -> Step:
    """The step of a write to a table on one shard that touches other tables, too.

    Args:
        candidate: What it was made of; see `write.as_select`.
        table: What is written to.
        kind, inner: The statement.
        texts: What shards are sent.
    """
    try:
        step = _brought(candidate, table, kind, inner, texts)
    except Unplannable as unplannable:
        name = table.relation.name
        reason = f"{name} is on {table.home} alone, and is written by what other shards have: "
        at = candidate.position(unplannable.offset)
        step = Refused(reason + unplannable.reason, CODE, unplannable.hint or READ_FIRST, at)
    pins = [candidate.pins, () if texts.apart is None else texts.apart.reading.pins]
    if None in pins:
        return step
    return Routed(Sql(candidate.text), tuple(pin for each in pins for pin in each or ()), step)


def _brought(candidate: Candidate, table: Table, kind: str, inner: Any, texts: Texts) -> Step:
    """Bring there what is read.

    Raises:
        Unplannable: That cannot be.
    """
    if kind == "merge_stmt":
        return plan_merge_into(candidate, table, inner, texts)
    if kind != "insert_stmt":
        return plan_several(candidate, inner, texts)
    reads = [each for each in candidate.sharded if each.home != table.home]
    if texts.apart is None or reads:
        at = reads[0].node.location if reads else None
        raise Unplannable("an INSERT reads them in VALUES, RETURNING or ON CONFLICT", at)
    return plan_transfer(texts.apart, table, inner, given_columns(table, inner, texts.apart))
