"""Whether computing a query may be an error, for some rows that there may be.

SELECT sum(x) / count(*) FROM t         no row: division by zero
SELECT 0.2 * avg(x) FROM t              never, but for numbers beyond their types
"""

from __future__ import annotations

from typing import Any

from greenshard.planner.binding.query import Query
from greenshard.planner.calls import name_of
from greenshard.sql.parser import Message, type_name, walk
from greenshard.sql.tree import unwrap

_OPERATORS = frozenset({"=", "<>", "!=", "<", ">", "<=", ">=", "+", "-", "*", "||", "~~", "!~~"})
_CALLS = frozenset({"avg", "bool_and", "bool_or", "count", "max", "min", "sum"})
#: Constants are cast when the query is planned, whether it runs or not.
_CONSTANT = frozenset({"a_const", "param_ref"})
#: Messages that compute something else.
_OTHERS = frozenset(
    {
        "A_Indirection", "CoerceToDomain", "CollateClause", "JsonFuncExpr", "JsonSerializeExpr",
        "JsonTable", "RangeFunction", "RangeTableFunc", "SQLValueFunction", "WindowDef", "XmlExpr",
        "XmlSerialize",
    }
)  # fmt: skip


def may_fail(query: Query) -> bool:
    """Whether something in a query, or in those within it, may be an error."""
    return computing_may_fail(query.node)


def computing_may_fail(root: Message) -> bool:
    """Whether something in a tree may be an error when it is computed."""
    return any(map(_may_fail, walk(root)))


def _may_fail(message: Message) -> bool:
    kind, node = type_name(message), _any(message)
    if kind == "A_Expr":
        return not _OPERATORS.issuperset(each.string.sval for each in node.name)
    if kind == "FuncCall":
        return name_of(node) not in _CALLS
    if kind == "TypeCast":
        return unwrap(node.arg)[0] not in _CONSTANT
    if kind == "SubLink":
        # A scalar one may have several rows.
        return True
    return kind in _OTHERS


def _any(message: Message) -> Any:
    return message
