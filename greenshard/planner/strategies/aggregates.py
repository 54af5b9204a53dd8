"""Goal: compute an aggregate from those of parts of its rows.

    count(x)   each shard: count(x)            all: coalesce(sum(c0), 0)::int8
    sum(x)     each shard: sum(x)              all: sum(c0)::(type of c0)
    avg(x)     each shard: sum(x), count(x)    all: sum(c0) / sum(c1)
    min(x)     each shard: min(x)              all: min(c0)

PostgreSQL's own avg divides the same two numbers by the same rule, so it has the same digits; but
that of float4 sums in float8, which sum(float4) does not: see `Combine.averaged`. What FILTER
leaves out, it leaves out on the shards.

Equal shard keys are on one shard, so count(DISTINCT key) is made of parts like count(key).

Any other DISTINCT is for `distinct_first`. Refused are ORDER BY and WITHIN GROUP in a call, the
user's own aggregates, and those that cannot be made of parts (percentiles), or not with the same
digits (variance), or depend on the order of the rows (array_agg).

Source: numeric_avg, int8_avg, float8_avg and interval_avg in PostgreSQL's sources.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from greenshard.planner.calls import Functions, name_of
from greenshard.planner.plan import TYPE_OF
from greenshard.planner.strategies.candidate import Unplannable
from greenshard.sql.functions import AGGREGATES, Aggregate, Parts
from greenshard.sql.nodes import copy, expression, partial_column, quoted
from greenshard.sql.parser import Message


@dataclass(frozen=True, slots=True)
class Split:
    """An aggregate in two steps.

    Attributes:
        combined: The expression over the partial rows.
        reducer: What `Reduction` calls it, and the partial column; None if it cannot.
        averaged: The partial column that holds the sum of an average.
    """

    combined: Message
    reducer: tuple[str, int] | None = None
    averaged: int | None = None


def split(
    call: Any,
    functions: Functions,
    add: Callable[[Message], int],
) -> Split:
    """Take an aggregate apart.

    Args:
        call: The call, a node's `FuncCall`.
        functions: To know PostgreSQL's own.
        add: Adds an expression to the partial columns, and gives its number.

    Raises:
        Unplannable: It cannot be computed from parts.
    """
    name = name_of(call)
    known = _check(call, name, functions)
    if known.parts is Parts.AVERAGE:
        return _average(call, add)
    partial = copy(call)
    # min(DISTINCT x) is min(x), and the partial rows need not be distinct.
    if known.idempotent:
        partial.ClearField("agg_distinct")
    at = add(_node(partial))
    column = partial_column(at)
    reducer = None if known.reduced is None else (known.reduced, at)
    if known.parts is Parts.COUNT:
        # sum() of no rows is NULL, count() of none is 0; and a sum of bigint is numeric, count() is
        # bigint.
        made = f"COALESCE(pg_catalog.sum({column}), 0)::pg_catalog.int8"
    elif known.parts is Parts.SUM:
        # The sum of sums has a wider type than the sum: sum(int) is bigint, sum(bigint) numeric.
        made = f"pg_catalog.sum({column})::{quoted(TYPE_OF.format(at))}"
    else:
        made = f"pg_catalog.{name}({column})"
    return Split(expression(made), reducer)


def _average(call: Any, add: Callable[[Message], int]) -> Split:
    numbers = []
    for name in ("sum", "count"):
        partial = copy(call)
        partial.ClearField("funcname")
        for part in ("pg_catalog", name):
            partial.funcname.add().string.sval = part
        numbers.append(add(_node(partial)))
    total, count = map(partial_column, numbers)
    made = expression(f"pg_catalog.sum({total}) OPERATOR(pg_catalog./) pg_catalog.sum({count})")
    return Split(made, averaged=numbers[0])


def crosses_distinct(call: Any, functions: Functions, is_key: Callable[[Message], bool]) -> bool:
    """Whether an aggregate of PostgreSQL's own takes what is distinct of all shards' rows.

    Args:
        call, functions: See `split`.
        is_key: Tells whether an expression is a shard key of the rows.
    """
    if not call.agg_distinct or not functions.is_own(call):
        return False
    known = AGGREGATES.get(name_of(call), Aggregate())
    # count(DISTINCT id): equal keys are on one shard, so none is counted on two.
    return not (known.idempotent or (len(call.args) == 1 and is_key(call.args[0])))


def _check(call: Any, name: str, functions: Functions) -> Aggregate:
    if not functions.is_own(call):
        raise Unplannable(f"{name} is not one of PostgreSQL's own aggregates", call.location)
    known = AGGREGATES.get(name, Aggregate())
    if call.agg_order or call.agg_within_group or call.func_variadic:
        raise Unplannable(f"{name} takes the rows of all shards in order", call.location)
    if known.parts is None:
        raise Unplannable(f"{name} cannot be computed from parts", call.location)
    return known


def _node(call: Any) -> Message:
    node: Any = expression("f()")
    node.func_call.CopyFrom(call)
    made: Message = node
    return made
