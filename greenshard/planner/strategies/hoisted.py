"""Goal: compute first what an INSERT or MERGE asks the rows of several shards.

    INSERT INTO tag (id, n) VALUES (1, 5), (2, (SELECT max(id) FROM orders))
    ON CONFLICT (id) DO UPDATE SET n = (SELECT count(*) FROM orders)

1. Each of the subqueries is run as a statement of its own:
       SELECT (SELECT max(id) FROM orders) AS c0
2. The INSERT gets its value as a WITH query, see `staged`:
       INSERT INTO tag (id, n) VALUES (1, 5), (2, (SELECT "gs q0".c0 FROM "gs q0")) ...

So they see the tables as they were before, as on one PostgreSQL. Of MERGE, those are meant that
its actions have.

Refused are subqueries that name columns of the table or the source, and a statement with WITH.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from greenshard.planner.binding.query import is_correlated, sublinks
from greenshard.planner.plan import Staged, StagedPart
from greenshard.planner.strategies.candidate import Candidate, Unplannable
from greenshard.planner.strategies.stand_ins import PREFIX, may_stand
from greenshard.sql.nodes import copy, expression, quoted
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
    conflict = insert.on_conflict_clause
    roots = [*insert.select_stmt.select_stmt.values_lists, *conflict.target_list]
    if conflict.HasField("where_clause"):
        roots.append(conflict.where_clause)
    return _hoisted(candidate, "insert_stmt", insert, roots, write)


def plan_hoisted_merge(
    candidate: Candidate, merge: Any, write: Callable[[str, Any], Sql]
) -> Staged:
    """Plan a MERGE with subqueries in its actions; arguments and errors as of `plan_hoisted`."""
    if merge.HasField("with_clause"):
        raise Unplannable("WITH stands before it")
    return _hoisted(candidate, "merge_stmt", merge, merge.merge_when_clauses, write)


def without_subqueries(merge: Any) -> Any | None:
    """A MERGE with NULL for the subqueries of its actions; None if they have none."""
    made = copy(merge)
    nodes = [node for each in made.merge_when_clauses for node in _subqueries(each)]
    for node in nodes:
        node.CopyFrom(expression("NULL"))
    return made if nodes else None


def _hoisted(
    candidate: Candidate,
    kind: str,
    inner: Any,
    roots: Sequence[Any],
    write: Callable[[str, Any], Sql],
) -> Staged:
    if not may_stand(inner):
        raise Unplannable("a name is that of rows which are computed first")
    if any(is_correlated(link.query) for link in sublinks(candidate.query)) or any(
        type_name(each) == "ColumnRef" and _is_excluded(each) for each in walk(inner)
    ):
        raise Unplannable("a subquery may name columns of the table")
    parts: list[StagedPart] = []
    for node in [node for root in roots for node in _subqueries(root)]:
        name = f"{PREFIX}{len(parts)}"
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
    return Staged((*parts, StagedPart(None, (), write(kind, inner), names)))


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
