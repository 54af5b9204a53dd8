"""Goal: let a view's query mean the same wherever its text is put.

    SELECT lower(name) FROM public.orders JOIN public.lineitem USING (key) WHERE kind <> 'a'::text
    SELECT pg_catalog.lower(name) FROM public.orders JOIN public.lineitem
        ON orders.key OPERATOR(pg_catalog.=) lineitem.key
    WHERE kind OPERATOR(pg_catalog.<>) 'a'::pg_catalog.text

The catalog has a view's query as PostgreSQL writes it when pg_catalog is all of the search path:
what stands there without a schema is pg_catalog's. Under the session's path it could be what
somebody has planted in a schema of it, so each name gets its schema. Some constructs compare with
`=` and have no place for one (Source: PostgreSQL manual, pg_dump's `search_path`):

    CASE a WHEN b THEN ...     CASE WHEN a OPERATOR(pg_catalog.=) b THEN ...
    NULLIF(a, b)               CASE WHEN a OPERATOR(pg_catalog.=) b THEN NULL ELSE a END
    a IS DISTINCT FROM b       NOT COALESCE(a OPERATOR(pg_catalog.=) b, both are NULL)
    USING (a)                  ON x.a OPERATOR(pg_catalog.=) y.a

What is written twice so is computed twice: it must not be volatile, nor a subquery. A join with
USING whose columns are named without their table stays as well. `path_bound` finds what has stayed,
and then the view's text cannot be put anywhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from greenshard.planner.binding.query import Join
from greenshard.planner.binding.scope import BoundColumn, Source
from greenshard.planner.calls import Functions, calls
from greenshard.sql.nodes import expression, quoted, with_names
from greenshard.sql.parser import (
    AEXPR_DISTINCT,
    AEXPR_IN,
    AEXPR_NOT_DISTINCT,
    AEXPR_NULLIF,
    AEXPR_OP,
    AEXPR_OP_ALL,
    AEXPR_OP_ANY,
    ANY_SUBLINK,
    Message,
    type_name,
    walk,
)
from greenshard.sql.tree import names_of

_NAMED = frozenset({AEXPR_OP, AEXPR_OP_ANY, AEXPR_OP_ALL})
_TESTS = {
    AEXPR_NULLIF: "CASE WHEN a OPERATOR(pg_catalog.=) b THEN NULL ELSE a END",
    AEXPR_DISTINCT: "NOT COALESCE(a OPERATOR(pg_catalog.=) b, {both})",
    AEXPR_NOT_DISTINCT: "COALESCE(a OPERATOR(pg_catalog.=) b, {both})",
}
#: `IS NULL` would be true of a row of NULLs, too.
_BOTH = "pg_catalog.num_nulls(a, b) OPERATOR(pg_catalog.=) 2"


def qualify(definition: Message, functions: Functions) -> None:
    """Give pg_catalog's names their schema; joins with USING are `use_on`'s.

    Args:
        definition: The query of a view as the catalog has it; it is changed.
        functions: To know what may be computed twice.
    """
    messages: list[Any] = list(walk(definition))
    for message in messages:
        for field in _NAMES.get(type_name(message), ()):
            _name(getattr(message, field))
        if type_name(message) == "A_Expr" and message.kind in _NAMED:
            _name(message.name)
        if type_name(message) == "SubLink" and message.sub_link_type == ANY_SUBLINK:
            _name_operator(message)
    # CASE NULLIF(a, b) WHEN ...: the outer one is copied, with what stands in it.
    for message in reversed(messages):  # what stands inside first
        if type_name(message) == "Node" and message.HasField("case_expr"):
            _spell_case(message.case_expr, functions)
        elif type_name(message) == "Node" and message.HasField("a_expr"):
            _spell_test(message, functions)


def path_bound(root: Message) -> bool:
    """Whether something in a tree that was qualified still compares by the search path."""
    for each in walk(root):
        message: Any = each
        kind = type_name(message)
        if kind == "JoinExpr" and (message.using_clause or message.is_natural):
            return True
        if kind == "CaseExpr" and message.HasField("arg"):
            return True
        # Views do not hold IN, BETWEEN and LIKE: ruleutils.c writes = ANY, two comparisons, and ~~.
        if kind == "A_Expr" and message.kind not in _NAMED:
            return True
    return False


#: Where the names of functions, types and operators are.
_NAMES = {
    "FuncCall": ("funcname",),
    "TypeName": ("names",),
    "CollateClause": ("collname",),
    "SubLink": ("oper_name",),
    "SortBy": ("use_op",),
    "RangeTableSample": ("method",),
}


def _name(names: Any) -> None:
    if len(names) == 1:
        names.add().CopyFrom(names[0])
        names[0].string.sval = "pg_catalog"


def _name_operator(sublink: Any) -> None:
    """``IN (SELECT ...)`` is ``= ANY (SELECT ...)``."""
    if not sublink.oper_name:
        for name in ("pg_catalog", "="):
            sublink.oper_name.add().string.sval = name


def _spell_case(case: Any, functions: Functions) -> None:
    if not case.HasField("arg") or not _is_repeatable(case.arg, functions):
        return
    for each in case.args:
        test = each.case_when.expr
        # The operand is written once for each WHEN, hence `_is_repeatable`.
        names = {"a": case.arg, "b": test}
        test.CopyFrom(with_names("a OPERATOR(pg_catalog.=) b", names))
    case.ClearField("arg")


def _spell_test(node: Any, functions: Functions) -> None:
    test = node.a_expr
    if test.kind == AEXPR_IN:
        return
    if test.kind in _TESTS and all(
        _is_repeatable(side, functions) for side in (test.lexpr, test.rexpr)
    ):
        names = {"a": test.lexpr, "b": test.rexpr}
        node.CopyFrom(with_names(_TESTS[test.kind].format(both=_BOTH), names))


def _is_repeatable(node: Message, functions: Functions) -> bool:
    # ROW(a, b) IS DISTINCT FROM ROW(c, d) compares field by field, which one operator does not.
    if any(type_name(message) in ("SubLink", "RowExpr") for message in walk(node)):
        return False
    return not any(map(functions.is_volatile, calls(node)))


# USING --------------------------------------------------------------------------------------


def use_on(definition: Message, joins: Sequence[tuple[Any, Join]]) -> None:
    """Write the joins with USING of a view's query with ON, if all of them can be.

    Args:
        definition: The query; it is changed.
        joins: Its joins: their `JoinExpr`, and what is known of it.
    """
    using = [(node, join) for node, join in joins if node.using_clause]
    names = {name for node, _ in using for name in names_of(node.using_clause) or ()}
    conditions = [_condition(node, join) for node, join in using]
    # All or none: SELECT a FROM x JOIN y USING (a) is ambiguous as soon as it is ON.
    if None in conditions or not names.isdisjoint(_lone(definition)):
        return
    for (node, _), condition in zip(using, conditions, strict=True):
        node.ClearField("using_clause")
        node.quals.CopyFrom(expression(condition or ""))


def _condition(node: Any, join: Join) -> str | None:
    # JOIN ... USING (a) AS j: j.a would be gone with USING.
    aliased = node.HasField("alias") or node.HasField("join_using_alias")
    if aliased or len(join.using) != len(node.using_clause):
        return None
    sides = [[_written(column, join.sources) for column in pair] for pair in join.using]
    if any(None in pair for pair in sides):
        return None
    return " AND ".join(f"{one} OPERATOR(pg_catalog.=) {other}" for one, other in sides)


def _written(column: BoundColumn, sources: Sequence[Source]) -> str | None:
    """A column with the name of its table, if that has one name for it."""
    for source in sources:
        for own in source.columns or ():
            if own.id == column.id:
                return f"{quoted(source.alias)}.{quoted(own.name)}"
    return None


def _lone(root: Message) -> Iterator[str]:
    """The columns that stand without their tables' names."""
    for message in walk(root):
        if type_name(message) == "ColumnRef":
            names = names_of(message.fields)
            if names is None or len(names) == 1:
                yield names[0] if names else ""
