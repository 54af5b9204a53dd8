"""Goal: compute no column of a subquery that nobody reads, if that may fail; PostgreSQL does not.

    SELECT customer FROM (SELECT customer, sum(price) / min(n) AS each, count(*) AS c
                          FROM orders GROUP BY customer) x WHERE c > 3

1. The query in FROM groups, so that it is computed by itself; but nothing names its column `each`.
2. PostgreSQL leaves such a column out, and no row is divided by zero. Here parts of a statement may
   be statements of their own, in which all columns are read. So it is never met, though it must be
   right (its names, its types):
       ... FROM (SELECT customer, CASE WHEN false THEN sum(price) / min(n) END AS each, ...) x

Likewise a WITH query that is read once, and not MATERIALIZED.

It goes by names alone, in the parser's tree. Left as they are: set operations, DISTINCT, what GROUP
BY or ORDER BY may mean, what is volatile or may give several rows, aggregates of what may fail
(CASE does not keep them from being computed), windows, lists of aliases, views; and all where a
star or a whole row may mean the column.

Source: remove_unused_subquery_outputs() in PostgreSQL's allpaths.c; for WITH SS_process_ctes() in
its subselect.c.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from greenshard.planner.analysis.may_fail import computing_may_fail
from greenshard.planner.binding.query import is_several
from greenshard.planner.calls import Functions, calls, name_of
from greenshard.sql.column_names import column_name
from greenshard.sql.nodes import copy, with_names
from greenshard.sql.parser import SETOP_NONE, Message, type_name, walk
from greenshard.sql.tree import enum_name, names_of, walk_some

#: Functions that may fail, and give one value; what gives rows changes how many there are.
_SCALAR = frozenset(
    {
        "abs", "ceil", "chr", "div", "exp", "floor", "left", "ln", "log", "mod", "power", "repeat",
        "right", "round", "sqrt", "substr", "substring", "to_number", "trunc",
    }
)  # fmt: skip


def leave_out_unread(select: Any, functions: Functions) -> bool:
    """Keep such columns from being computed; whether there were any.

    Args:
        select: A `SelectStmt`, which is changed.
        functions: What it calls.
    """
    changed = False
    # Outer ones first: what they do not compute, they do not read.
    while found := next(_unread(select, functions), None):
        column = found.res_target
        column.name = column_name(column)
        column.val.CopyFrom(with_names("CASE WHEN false THEN x END", {"x": copy(column.val)}))
        changed = True
    return changed


def _unread(select: Any, functions: Functions) -> Iterator[Any]:
    """The columns, each a `Node` of a target list."""
    selects = [_any(each) for each in walk(select) if type_name(each) == "SelectStmt"]
    # Who locks rows keeps whole rows of all that stands beside them.
    for outer in selects if not any(each.locking_clause for each in selects) else ():
        for inner, alias in _read_by(outer, select, functions):
            columns = inner.target_list if _may_lose_columns(inner) else ()
            for at, target in enumerate(columns, 1):
                name = column_name(target.res_target)
                if (
                    _is_spared(target.res_target.val, functions)
                    and not _is_meant(inner, at, name)
                    and not _is_read(select, outer, inner, alias, name)
                ):
                    yield target


def _read_by(outer: Any, whole: Any, functions: Functions) -> Iterator[tuple[Any, str]]:
    """The queries whose rows a SELECT reads, each with its name there."""
    ctes = {
        each.common_table_expr.ctename: each.common_table_expr for each in outer.with_clause.ctes
    }
    pending = list(outer.from_clause)
    while pending:
        node = pending.pop()
        if node.HasField("join_expr"):
            pending += [node.join_expr.larg, node.join_expr.rarg]
        elif node.HasField("range_subselect"):
            derived = node.range_subselect
            if not derived.alias.colnames:
                yield derived.subquery.select_stmt, derived.alias.aliasname
        elif node.HasField("range_var") and not node.range_var.schemaname:
            table = node.range_var
            cte = ctes.get(table.relname)
            if cte is not None and not table.alias.colnames and _is_inlined(cte, whole, functions):
                yield cte.ctequery.select_stmt, table.alias.aliasname or table.relname


def _is_inlined(cte: Any, whole: Any, functions: Functions) -> bool:
    """Whether PostgreSQL puts a WITH query where it is read, and that is in one place."""
    if (
        enum_name(cte, "ctematerialized") == "CTEMaterializeAlways"
        or cte.aliascolnames
        or not cte.ctequery.HasField("select_stmt")
        or any(type_name(each) == "LockingClause" for each in walk(cte.ctequery))
        or not all(_computes(call, functions) for call in calls(cte.ctequery))
    ):
        return False
    named = [each for each in walk(whole) if _name(each) == cte.ctename]
    return len(named) == 2  # its own node, and what reads it


def _name(node: Message) -> str | None:
    """What a relation or a WITH query is called."""
    kind, message = type_name(node), _any(node)
    if kind == "RangeVar":
        return str(message.relname)
    return str(message.ctename) if kind == "CommonTableExpr" else None


def _computes(call: Any, functions: Functions) -> bool:
    return functions.is_own(call) and not functions.is_volatile(call)


def _may_lose_columns(inner: Any) -> bool:
    return bool(inner.op == SETOP_NONE) and not (inner.distinct_clause or inner.values_lists)


def _is_spared(value: Any, functions: Functions) -> bool:
    """Whether PostgreSQL does not compute a column that nobody reads, which might fail."""
    if _is_never_met(value) or not computing_may_fail(value):
        return False
    for call in calls(value):
        if not _computes(call, functions):
            return False
        if functions.is_aggregate(call):
            if any(map(computing_may_fail, call.args)) or call.HasField("agg_filter"):
                return False
        elif name_of(call) not in _SCALAR or call.HasField("over"):
            return False
    return True


def _is_meant(inner: Any, at: int, name: str) -> bool:
    """Whether ORDER BY or GROUP BY of its query may mean a column, by name or number."""
    # Behind a star, its number is another one.
    numbered = not any(is_several(each.res_target.val) for each in inner.target_list)
    pending = [each.sort_by.node for each in inner.sort_clause]
    pending += inner.group_clause
    while pending:
        node = pending.pop()
        pending += node.grouping_set.content
        if node.HasField("a_const") and not (numbered and node.a_const.ival.ival != at):
            return True
        if node.HasField("column_ref") and names_of(node.column_ref.fields) == (name,):
            return True
    return False


def _is_read(whole: Any, outer: Any, inner: Any, alias: str, name: str) -> bool:
    """Whether something outside of its query may mean a column."""
    if any(_is_bare_star(each.res_target.val) for each in outer.target_list):
        return True
    return _mentions(whole, alias, name) > _mentions(inner, alias, name)


def _is_bare_star(value: Any) -> bool:
    fields = value.column_ref.fields
    return len(fields) == 1 and bool(fields[0].HasField("a_star"))


def _mentions(root: Any, alias: str, name: str) -> int:
    """How often a column, or the whole relation that has it, may be meant."""
    read = walk_some(root, _fields_met)
    return sum(_may_mean(_any(message), alias, name) for message in read)


def _fields_met(message: Message) -> Sequence[tuple[Any, Any]]:
    fields: Sequence[tuple[Any, Any]] = message.ListFields()
    return () if type_name(message) == "Node" and _is_never_met(message) else fields


def _is_never_met(value: Any) -> bool:
    """Whether it is ``CASE WHEN false THEN``, as here made of a column that nobody reads."""
    if not value.HasField("case_expr") or value.case_expr.HasField("arg"):
        return False
    first = value.case_expr.args[0].case_when.expr.a_const
    alone = len(value.case_expr.args) == 1 and not value.case_expr.HasField("defresult")
    return alone and bool(first.HasField("boolval")) and not first.boolval.boolval


def _may_mean(message: Any, alias: str, name: str) -> bool:
    kind = type_name(message)
    if kind == "JoinExpr":
        # By whatever columns both sides have; or with other names for them.
        named = names_of(message.using_clause) or ()
        return message.is_natural or len(message.alias.colnames) > 0 or name in named
    if kind == "A_Indirection":
        return any(
            part.HasField("a_star") or (part.HasField("string") and part.string.sval == name)
            for part in message.indirection
        )
    if kind != "ColumnRef":
        return False
    names = [part.string.sval for part in message.fields if part.HasField("string")]
    if len(names) < len(message.fields):
        return alias in names  # alias.*
    return names[-1] == name or names == [alias]


def _any(message: Any) -> Any:
    return message
