"""Goal: let a row go to the shard of its new key, as to another partition of one PostgreSQL.

    UPDATE orders SET o_orderkey = o_orderkey + 1000 WHERE o_custkey = 3 RETURNING o_comment

1. Each shard runs it, and tells of each row, behind what the user asks for, where it lies and its
   key:
       ... RETURNING o_comment, orders.tableoid::text, orders.ctid::text, orders.o_orderkey::text
   So values, constraints, triggers of UPDATE, and what other transactions have changed, are
   PostgreSQL's own business.
2. Rows whose keys are another shard's are deleted there, and inserted on it.

Rows leave their shards before any arrive: two may change places, where one PostgreSQL would say
that a key is there twice.

Refuses what a DELETE or INSERT of the row would set off, and UPDATE does not; tables that others
inherit from; a foreign key of the shard key's to a sharded table, whose row is not on the old shard
(`consequences`).
"""

from __future__ import annotations

import sys
from typing import Any

from greenshard.cluster import Unknown
from greenshard.planner.binding.query import Table
from greenshard.planner.plan import Carry, GatheredColumn, GatheredTable, Keys, Move, Pin, Scatter
from greenshard.planner.strategies.candidate import Unplannable
from greenshard.sql.nodes import expression, quoted
from greenshard.sql.text import Sql

_TABLES = "Write to the view's table."
#: How many columns tell where a row lies, and its key.
HIDDEN = 3
#: The rows that have left a shard; a name that no table has.
GONE = "gs gone"


def plan_move(step: Scatter | Carry, table: Table, returns: bool) -> Move:
    """Plan an UPDATE of a shard key.

    Args:
        step: It, with what `add_places` has added.
        table: The table.
        returns: Whether its RETURNING has more than that.

    Raises:
        Unplannable: Its rows cannot be moved.
    """
    relation = table.relation
    if relation.kind == "v":
        raise Unplannable(f"a row would move through view {relation.name}", None, _TABLES)
    if table.key is None or table.key.column is None or table.placement is None:
        raise Unplannable("the placement is not known")
    if isinstance(table.placement, Unknown):
        raise Unplannable(f"the placement of {relation.name} does not tell the rows' shard")
    columns = tuple(GatheredColumn.of(each) for each in relation.columns if not each.generated)
    shown = ", ".join(quoted(column.name) for column in columns)
    name = f"{quoted(relation.schema)}.{quoted(relation.name)}"
    return Move(
        step,
        GatheredTable(GONE, name, columns, Sql(f"SELECT {shown} FROM {quoted(GONE)}", ())),
        Keys(
            # What is stored already is kept as it is.
            Pin(table.placement, table.key.column.type_name, (), inserts=True, kept=sys.maxsize),
            (),
            table.key.column,
            -1,
        ),
        returns,
    )


def add_places(inner: Any, key: str) -> None:
    """Let an UPDATE return where each row lies, and its key.

    Args:
        inner: The statement; it is changed.
        key: The name of the key.
    """
    name = quoted(inner.relation.alias.aliasname or inner.relation.relname)
    for column in ("tableoid", "ctid", quoted(key)):
        target = inner.returning_clause.exprs.add().res_target
        target.val.CopyFrom(expression(f"{name}.{column}::pg_catalog.text"))
