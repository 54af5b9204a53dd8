"""Goal: one time for all servers that a statement runs on.

    SELECT count(*) FROM orders WHERE o_orderdate > CURRENT_DATE
    SELECT count(*) FROM orders WHERE o_orderdate > ($1::timestamptz)::date

The time at which the transaction began is another one on each server. So it is asked for once,
and put in the place of the functions that tell it. Columns keep their names.

Source: PostgreSQL manual, 9.9.5 "Current Date/Time".
"""

from __future__ import annotations

from typing import Any

from greenshard.planner._parser import VALUE_FUNCTIONS, Message, type_name, walk
from greenshard.planner.naming import UNNAMED, column_name, is_named_by_value
from greenshard.planner.nodes import expression
from greenshard.planner.tree import names_of

_FUNCTIONS = frozenset({"now", "transaction_timestamp"})
_WITH_COLUMNS = frozenset({"SelectStmt", "InsertStmt", "UpdateStmt", "DeleteStmt"})
_TYPES = {
    "current_date": "date",
    "current_time": "timetz",
    "current_time_n": "timetz({})",
    "current_timestamp": "timestamptz",
    "current_timestamp_n": "timestamptz({})",
    "localtime": "time",
    "localtime_n": "time({})",
    "localtimestamp": "timestamp",
    "localtimestamp_n": "timestamp({})",
}


def replace_now(root: Message, number: int) -> bool:
    """Put placeholder `number` in the place of the functions that tell the time.

    Args:
        root: A statement's tree; it is changed.
        number: The placeholder's number.

    Returns:
        Whether there are such functions.
    """
    wanted = [message for message in walk(root) if _type_of(message) is not None]
    if not wanted:
        return False
    for message in list(walk(root)):
        if type_name(message) in _WITH_COLUMNS:
            _name_columns(message)
    for message in list(walk(root)):
        if type_name(message) == "Node":
            kind = message.WhichOneof("node")
            made = _type_of(getattr(message, kind)) if kind else None
            if made is not None:
                message.CopyFrom(expression(f"(${number}::pg_catalog.timestamptz)::{made}"))
    return True


def _type_of(message: Any) -> str | None:
    """The type of the time that a call tells; None if it tells none."""
    if type_name(message) == "SQLValueFunction":
        made = _TYPES.get(VALUE_FUNCTIONS[message.op])
        return made.format(message.typmod) if made else None
    if type_name(message) != "FuncCall" or message.args:
        return None
    names = names_of(message.funcname) or ("",)
    known = names[-1] in _FUNCTIONS and names[:-1] in ((), ("pg_catalog",))
    return "timestamptz" if known else None


def _name_columns(statement: Any) -> None:
    """Write down the names that columns have of the functions they are made of."""
    kind = type_name(statement)
    targets = statement.target_list if kind == "SelectStmt" else statement.returning_clause.exprs
    for target in targets:
        named = target.res_target
        if named.name or is_named_by_value(named) or not _tells_time(named):
            continue
        name = column_name(named)
        if name != UNNAMED:
            named.name = name


def _tells_time(target: Any) -> bool:
    return any(_type_of(message) is not None for message in walk(target))
