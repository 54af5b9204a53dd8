"""Goal: compute first what an INSERT asks the rows of several shards.

    INSERT INTO tag (id, n) VALUES (1, 5), (2, (SELECT max(id) FROM orders))
    ON CONFLICT (id) DO UPDATE SET n = (SELECT count(*) FROM orders)

1. Each of the subqueries is run as a statement of its own:
       SELECT (SELECT max(id) FROM orders) AS c0
2. The INSERT gets its value as a WITH query, see `staged`:
       INSERT INTO tag (id, n) VALUES (1, 5), (2, (SELECT "gs q0".c0 FROM "gs q0")) ...

So they see the tables as they were before, as on one PostgreSQL.

Refused are subqueries that name columns of the INSERT's table, and an INSERT with WITH.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from greenshard.planner.binding.query import is_correlated, sublinks
from greenshard.planner.plan import Staged, StagedPart
from greenshard.planner.strategies.candidate import Candidate, Unplannable
from greenshard.sql.nodes import expression, quoted
from greenshard.sql.nodes import select as parse_select
from greenshard.sql.parser import type_name, walk
from greenshard.sql.text import Sql

_COLUMN = "c0"


def plan_hoisted(candidate: Candidate, insert: Any, write: Callable[[str, Any], Sql]) -> Staged:
    """Plan an INSERT with VALUES whose subqueries are run first.

    Args:
        candidate: What `write.as_select` made of it.
        insert: It; it is changed.
        write: Gives the text of a statement of some kind.

    Raises:
        Unplannable: It cannot be planned so.
    """
    if insert.HasField("with_clause") or insert.select_stmt.select_stmt.HasField("with_clause"):
        raise Unplannable("WITH stands before it")
    if any(is_correlated(link.query) for link in sublinks(candidate.query)) or any(
        type_name(each) == "ColumnRef" and _is_excluded(each) for each in walk(insert)
    ):
        raise Unplannable("a subquery may name columns of the table")
    parts: list[StagedPart] = []
    conflict = insert.on_conflict_clause
    roots = [*insert.select_stmt.select_stmt.values_lists, *conflict.target_list]
    if conflict.HasField("where_clause"):
        roots.append(conflict.where_clause)
    for node in [node for root in roots for node in _subqueries(root)]:
        name = f"gs q{len(parts)}"
        read = parse_select("SELECT")
        target = read.target_list.add().res_target
        target.val.CopyFrom(node)
        target.name = _COLUMN
        parts.append(StagedPart(name, (_COLUMN,), write("select_stmt", read), ()))
        q = quoted(name)
        node.CopyFrom(expression(f"(SELECT {q}.{_COLUMN} FROM {q})"))
    if not parts:
        raise Unplannable("there is no subquery")
    names = tuple(part.name for part in parts if part.name is not None)
    return Staged((*parts, StagedPart(None, (), write("insert_stmt", insert), names)))


def _is_excluded(column: Any) -> bool:
    """Whether it names the row that ON CONFLICT has not inserted."""
    return len(column.fields) > 1 and column.fields[0].string.sval == "excluded"


def _subqueries(root: Any) -> Iterator[Any]:
    """The outermost subqueries of a tree: its `Node`s."""
    pending = [root]
    while pending:
        node = pending.pop()
        if type_name(node) == "Node" and node.HasField("sub_link"):
            if not node.sub_link.HasField("testexpr"):
                yield node
            continue
        for field, value in node.ListFields():
            if field.message_type is not None:
                pending.extend([value] if hasattr(value, "DESCRIPTOR") else value)
