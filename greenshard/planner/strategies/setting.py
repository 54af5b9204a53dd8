"""Goal: set a sequence to what several shards tell.

    SELECT setval('orders_id_seq', (SELECT max(id) FROM orders))
    SELECT setval('orders_id_seq', max(id)) FROM orders

first, by any strategy that reads
    SELECT max(id) AS c0 FROM orders
then, on the first shard, where all count
    SELECT setval('orders_id_seq', gs.c0) FROM (the row) AS gs

Only what gives one row: of several it would depend on their order what the sequence is set to.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from greenshard.planner.calls import Functions, calls, name_of
from greenshard.planner.plan import PARTIAL, SetSequence
from greenshard.planner.strategies.candidate import Read
from greenshard.sql.nodes import ROWS, add_target, copy, expression, quoted
from greenshard.sql.nodes import select as parse_select
from greenshard.sql.parser import SETOP_NONE, type_name, walk
from greenshard.sql.text import Sql
from greenshard.sql.tree import unwrap

_SETTING = "setval"
_VALUES = frozenset({"a_const", "param_ref"})
#: What of a SELECT may give several rows, or none where there is one.
_SEVERAL = ("group_clause", "distinct_clause", "window_clause", "locking_clause", "values_lists")


def sets_sequence(select: Any, functions: Functions) -> bool:
    """Whether a SELECT does nothing but to set sequences, each once."""
    targets = [each.res_target.val for each in select.target_list]
    if not targets or select.op != SETOP_NONE or any(getattr(select, each) for each in _SEVERAL):
        return False
    if not all(_is_setting(each, functions) for each in targets):
        return False
    aggregates = (
        functions.is_aggregate(call) for each in targets for call in calls(each.func_call.args[1])
    )
    return not select.from_clause or any(aggregates)


def _is_setting(value: Any, functions: Functions) -> bool:
    call = value.func_call
    if not value.HasField("func_call") or name_of(call) != _SETTING or len(call.args) < 2:
        return False
    # The sequence's own name is not read.
    named = {type_name(message) for message in walk(call.args[0])}
    return functions.is_own(call) and named.isdisjoint({"ColumnRef", "SubLink"})


def plan_setting(select: Any, read: Read, write: Callable[[Any], Sql]) -> SetSequence:
    """Plan such a SELECT.

    Args:
        select: It.
        read: Gives a SELECT as a statement of its own, and its plan.
        write: Gives the text of one.
    """
    reading, setting = copy(select), parse_select(f"SELECT FROM {quoted(PARTIAL)} AS {ROWS}")
    del reading.target_list[:]
    for each in select.target_list:
        target = copy(each)
        for argument in target.res_target.val.func_call.args[1:]:
            if unwrap(argument)[0] in _VALUES:
                continue
            name = f"c{len(reading.target_list)}"
            add_target(reading, argument, name)
            argument.CopyFrom(expression(f"{ROWS}.{name}"))
        setting.target_list.add().CopyFrom(target)
    return SetSequence(*read(reading), write(setting))
