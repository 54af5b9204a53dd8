"""Finds in a tree what PostgreSQL looks for along the search path."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from greenshard.sql.parser import (
    AEXPR_OP,
    AEXPR_OP_ALL,
    AEXPR_OP_ANY,
    ANY_SUBLINK,
    Message,
    type_name,
    walk,
)

#: What the scanner of constants puts where something is formatted into a text.
HOLE = "gs_hole"

_WITH_OPERATOR = frozenset({AEXPR_OP, AEXPR_OP_ANY, AEXPR_OP_ALL})
_NAMED = {
    "FuncCall": ("function", "funcname"),
    "TypeName": ("type", "names"),
    "CollateClause": ("collation", "collname"),
    "RangeTableSample": ("function", "method"),
    "SubLink": ("operator", "oper_name"),
    "SortBy": ("operator", "use_op"),
}

Found = tuple[str, str]
"""A kind of thing, and its name."""


def path_names(root: Message) -> Iterator[Found]:
    """What a statement leaves to the search path: names without a schema, and hidden operators."""
    messages: list[Any] = list(walk(root))
    queries = {message.ctename for message in messages if type_name(message) == "CommonTableExpr"}
    for message in messages:
        kind = type_name(message)
        if kind in _NAMED:
            what, field = _NAMED[kind]
            names = getattr(message, field)
            if len(names) == 1 and not names[0].string.sval.startswith(HOLE):
                yield what, names[0].string.sval
        yield from _hidden(kind, message)
        if kind == "RangeVar" and not message.schemaname and message.relname not in queries:
            temporary = message.relpersistence == "t"
            if not temporary and not message.relname.startswith(HOLE):
                yield "relation", message.relname


def _hidden(kind: str, message: Any) -> Iterator[Found]:
    """Operators that are not written, or have no place for a schema."""
    if kind == "A_Expr":
        if message.kind not in _WITH_OPERATOR:
            yield "construct", str(message.kind)  # IN, BETWEEN, LIKE, NULLIF, IS DISTINCT FROM
        elif len(message.name) == 1:
            yield "operator", message.name[0].string.sval
    if kind == "SubLink" and message.sub_link_type == ANY_SUBLINK and not message.oper_name:
        yield "construct", "IN (SELECT)"
    if kind == "CaseExpr" and message.HasField("arg"):
        yield "construct", "CASE x WHEN"
    if kind == "JoinExpr" and (message.using_clause or message.is_natural):
        yield "construct", "USING"
