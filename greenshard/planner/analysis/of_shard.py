"""Goal: call functions that are declared to read rows of their own shard only where these are.

    SELECT id, stock_of(id) FROM orders     "stock_of" = { reads = "shard" }

1. Each shard calls it for its own rows, for a column of `orders`, which is sharded, is given to it.
2. `SELECT stock_of(7)` names no shard: it is refused, unless the statement is for one shard.

What is gathered, and what partial rows are combined with, is on a shard that may be another one.
"""

from __future__ import annotations

from greenshard.planner.binding.query import Query, expressions, queries, tables
from greenshard.planner.calls import Functions, name_of
from greenshard.planner.problem import Problem
from greenshard.sql.parser import type_name, walk
from greenshard.sql.tree import names_of, walk_level

_HINT = (
    "Give it a column of a sharded table, restrict the statement to one shard key, or run it on "
    "one shard with conn.on('...')."
)


def misplaced_call(query: Query, functions: Functions) -> Problem | None:
    """A call of such a function that belongs to no row of a sharded table."""
    if not functions.has_of_shard:
        return None
    sharded = {
        column.id for table in tables(query) if table.sharded for column in table.columns or ()
    }
    for one in queries(query):
        for root, level in expressions(one):
            for message in walk_level(root):
                if type_name(message) != "FuncCall" or not functions.is_of_shard(message):
                    continue
                names = [each for each in walk(message) if type_name(each) == "ColumnRef"]
                found = [level.named(names_of(each.fields)) for each in names]
                if not any(column is not None and column.id in sharded for column in found):
                    return Problem(
                        f"function {name_of(message)}() reads rows of one shard, and nothing says "
                        "of which",
                        message.location,
                        "GS410",
                        _HINT,
                    )
    return None
