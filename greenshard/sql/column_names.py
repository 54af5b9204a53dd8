"""The names that PostgreSQL gives to the columns of a query that has not named them.

Source: FigureColname and FigureColnameInternal in PostgreSQL's parse_target.c.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from greenshard.sql.parser import (
    AEXPR_NULLIF,
    ARRAY_SUBLINK,
    EXISTS_SUBLINK,
    EXPR_SUBLINK,
    IS_GREATEST,
    JSON_FUNCTIONS,
    VALUE_FUNCTIONS,
    XML_FUNCTIONS,
    Message,
)
from greenshard.sql.tree import unwrap

UNNAMED = "?column?"

_WEAK = 1  # a name that a better one replaces: that of a type or of CASE
_STRONG = 2

_Found = tuple[str, int] | None


def column_name(target: Message) -> str:
    """The name of a column, from its `ResTarget`."""
    if target.name:
        return str(target.name)
    found = _figure(target.val)
    return found[0] if found else UNNAMED


def is_named_by_value(target: Message) -> bool:
    """Whether a column's name is that of what a placeholder stands for.

    psycopg2 writes a date as ``'2024-01-01'::date``, and the column is then called date.
    """
    if target.name:
        return False
    node = target.val
    while (found := unwrap(node))[0] in _TRANSPARENT:
        kind, inner = found
        node = getattr(inner, _TRANSPARENT[kind])
    return found[0] == "param_ref"


def _figure(node: Message) -> _Found:
    kind, inner = unwrap(node)
    if kind in _FIXED:
        return _FIXED[kind], _STRONG
    rule = _RULES.get(kind)
    return rule(inner) if rule else None


def _last_string(nodes: Any) -> _Found:
    names = [node.string.sval for node in nodes if node.HasField("string")]
    return (names[-1], _STRONG) if names else None


def _indirection(inner: Any) -> _Found:
    return _last_string(inner.indirection) or _figure(inner.arg)


def _operator(inner: Any) -> _Found:
    return ("nullif", _STRONG) if inner.kind == AEXPR_NULLIF else None


def _cast(inner: Any) -> _Found:
    found = _figure(inner.arg)
    if found and found[1] == _STRONG:
        return found
    names = [node.string.sval for node in inner.type_name.names]
    return (names[-1], _WEAK) if names else found


def _case(inner: Any) -> _Found:
    found = _figure(inner.defresult) if inner.HasField("defresult") else None
    return found if found and found[1] == _STRONG else ("case", _WEAK)


def _sublink(inner: Any) -> _Found:
    if inner.sub_link_type == EXISTS_SUBLINK:
        return "exists", _STRONG
    if inner.sub_link_type == ARRAY_SUBLINK:
        return "array", _STRONG
    if inner.sub_link_type == EXPR_SUBLINK:
        return _first_column(inner.subselect.select_stmt)
    return None


def _first_column(select: Any) -> _Found:
    while select.HasField("larg"):
        select = select.larg
    if select.target_list:
        target = select.target_list[0].res_target
        return (target.name, _STRONG) if target.name else _figure(target.val)
    return ("column1", _STRONG) if select.values_lists else None


def _value_function(inner: Any) -> _Found:
    return VALUE_FUNCTIONS[inner.op].removesuffix("_n"), _STRONG


def _xml(inner: Any) -> _Found:
    name = XML_FUNCTIONS[inner.op]
    return None if name == "document" else (name, _STRONG)


#: Expressions that may be called as what they hold in this field.
_TRANSPARENT = {
    "a_indirection": "arg", "collate_clause": "arg", "type_cast": "arg", "case_expr": "defresult",
}  # fmt: skip

_RULES: dict[str, Callable[[Any], _Found]] = {
    "column_ref": lambda inner: _last_string(inner.fields),
    "a_indirection": _indirection,
    "func_call": lambda inner: _last_string(inner.funcname),
    "a_expr": _operator,
    "type_cast": _cast,
    "collate_clause": lambda inner: _figure(inner.arg),
    "case_expr": _case,
    "sub_link": _sublink,
    "min_max_expr": lambda inner: (
        "greatest" if inner.op == IS_GREATEST else "least",
        _STRONG,
    ),
    "sqlvalue_function": _value_function,
    "xml_expr": _xml,
    "json_func_expr": lambda inner: (JSON_FUNCTIONS[inner.op], _STRONG),
}

_FIXED = {
    "grouping_func": "grouping",
    "merge_support_func": "merge_action",
    "a_array_expr": "array",
    "row_expr": "row",
    "coalesce_expr": "coalesce",
    "xml_serialize": "xmlserialize",
    "json_parse_expr": "json",
    "json_scalar_expr": "json_scalar",
    "json_serialize_expr": "json_serialize",
    "json_object_constructor": "json_object",
    "json_array_constructor": "json_array",
    "json_array_query_constructor": "json_array",
    "json_object_agg": "json_objectagg",
    "json_array_agg": "json_arrayagg",
}
