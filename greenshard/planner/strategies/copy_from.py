"""Goal: say which COPY FROM a cluster can run, and what its INSERT must be like.

    COPY orders FROM STDIN WITH (FORMAT csv, HEADER)      as INSERT INTO orders (...) VALUES ...
    COPY orders FROM STDIN WITH (ON_ERROR ignore)         refused
    COPY orders FROM STDIN WHERE f(id)                    refused

1. What the rows set off (triggers, policies, defaults, foreign keys) is judged by that INSERT.
2. The options must leave each row to be read by one server as by another. `ON_ERROR ignore` would
   let a row without a readable key vanish on no server, and `DEFAULT` mean another value on each.
3. WHERE is what each shard computes of its rows, from their columns and constants only.
"""

from __future__ import annotations

from typing import Any

from greenshard import errors
from greenshard.planner.analysis.clock_words import may_hold_word
from greenshard.planner.catalog import Relation
from greenshard.sql.copy_statement import CopyStatement, is_on
from greenshard.sql.parser import Message, walk
from greenshard.sql.parser import type_name as kind_of

_ONE_BY_ONE = "Load the rows with execute_values or executemany, or on one shard with conn.on(...)."
_OPTIONS = frozenset(
    {"delimiter", "null", "quote", "escape", "force_null", "force_not_null", "encoding", "freeze",
     "log_verbosity"}
)  # fmt: skip
#: What WHERE may be made of.
_CONDITIONS = frozenset(
    {"Node", "A_Expr", "BoolExpr", "NullTest", "BooleanTest", "ColumnRef", "A_Const", "String",
     "Integer", "Float", "Boolean", "BitString", "List", "TypeCast", "TypeName"}
)  # fmt: skip
_OPERATORS = frozenset(
    {"=", "<>", "<", ">", "<=", ">=", "+", "-", "*", "/", "%", "||", "~~", "!~~", "~~*", "!~~*",
     "~", "~*", "!~", "!~*", "BETWEEN", "NOT BETWEEN"}
)  # fmt: skip


def not_copied(reason: str, hint: str = _ONE_BY_ONE) -> errors.Error:
    """The error for a COPY that a cluster cannot run."""
    return errors.refused(f"COPY over shards: {reason}", code="GS402", hint=hint)


def columns_of(copy: CopyStatement, relation: Relation | None) -> tuple[str, ...]:
    """The columns that a COPY FROM fills.

    Raises:
        errors.NotSupportedError: They are not known.
    """
    if relation is not None and relation.kind not in {"r", "p"}:
        raise not_copied(f"{relation.name} is no table", "COPY into the table itself.")
    if copy.columns:
        return copy.columns
    if relation is None:
        raise not_copied(
            f"the columns of {copy.node.relation.relname} are not known",
            "See that the table exists on all shards; or name its columns.",
        )
    return tuple(column.name for column in relation.columns if not column.generated)


def check_copy_from(copy: CopyStatement) -> None:
    """Refuse options and conditions by which a row may be read otherwise on each shard.

    Raises:
        errors.NotSupportedError: There are some.
    """
    for name, value in copy.options.items():
        harmless = name == "on_error" and str(value).lower() == "stop"
        if name not in _OPTIONS and not harmless:
            raise not_copied(f"the option {name.upper()} would be followed by each shard by itself")
    if copy.options.get("freeze") is not None and is_on(copy.options["freeze"]):
        raise not_copied("FREEZE needs a table that the same transaction has made", "Leave it out.")
    if copy.where is not None and (reason := _objection(copy.where)) is not None:
        raise not_copied(f"WHERE has {reason}, which each shard would compute by itself")


def _objection(condition: Message) -> str | None:
    for message in walk(condition):
        kind, each = kind_of(message), _any(message)
        if kind not in _CONDITIONS:
            return {"FuncCall": "a function", "SubLink": "a subquery"}.get(kind, kind)
        if kind == "A_Expr":
            names = [name.string.sval for name in each.name]
            if len(names) != 1 or names[0] not in _OPERATORS:
                return f"the operator {'.'.join(names)}"
        if kind == "A_Const" and each.HasField("sval") and may_hold_word(each.sval.sval):
            return "a text that may tell the time"
    return None


def _any(message: Message) -> Any:
    return message
