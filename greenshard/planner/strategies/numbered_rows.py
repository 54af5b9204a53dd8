"""Goal: let INSERT ... SELECT take a number of a sequence for each row that it reads.

    INSERT INTO ticket (id, title) SELECT nextval('ids'), note FROM orders ORDER BY placed

1. The rows are read without it:    SELECT note FROM orders ORDER BY placed
2. Then they are inserted:          INSERT INTO ticket (id, title)
                                    SELECT nextval('ids'), "gs rows".c1 FROM "gs rows"

Each is run as a statement of its own, see `staged`: the second one reads no table, so it counts on
the first shard, in the order of the rows. What is of no type before it is assigned, such as 'x',
stays in the second one.

Refused are DISTINCT, set operations, stars, and a number that is computed of the row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from greenshard.planner.calls import Functions
from greenshard.planner.plan import Staged, StagedPart
from greenshard.planner.strategies.candidate import Unplannable
from greenshard.planner.strategies.completing import counts
from greenshard.planner.strategies.stand_ins import names_relation
from greenshard.sql.nodes import copy, expression, quoted
from greenshard.sql.nodes import select as parse_select
from greenshard.sql.parser import Message, type_name, walk
from greenshard.sql.text import Sql
from greenshard.sql.tree import names_of

_ROWS = "gs rows"


def numbers_rows(insert: Any, functions: Functions) -> bool:
    """Whether INSERT ... SELECT takes a number for each row."""
    return any(
        counts(target.res_target.val, functions)
        for target in insert.select_stmt.select_stmt.target_list
    )


def without_numbers(insert: Any, functions: Functions) -> Any:
    """The INSERT with NULL for the numbers."""
    made = copy(insert)
    for target in made.select_stmt.select_stmt.target_list:
        if counts(target.res_target.val, functions):
            target.res_target.val.CopyFrom(expression("NULL"))
    return made


def plan_numbered_rows(
    insert: Any, functions: Functions, write: Callable[[str, Any], Sql]
) -> Staged:
    """Plan it.

    Args:
        insert: The statement.
        functions: What it calls.
        write: Gives the text of a statement of some kind.

    Raises:
        Unplannable: It cannot be planned so.
    """
    select = insert.select_stmt.select_stmt
    if select.distinct_clause or select.HasField("larg") or insert.HasField("with_clause"):
        raise Unplannable("DISTINCT, UNION or WITH beside numbers that are counted")
    behind = (insert.on_conflict_clause, insert.returning_clause)
    if any(names_relation(each, _ROWS) for each in behind):
        raise Unplannable(f"a relation is called {_ROWS}")
    by = [each.sort_by.node for each in select.sort_clause]
    by += [node for each in select.group_clause for node in _grouped(each)]
    if any(each.HasField("a_const") for each in by):
        raise Unplannable("rows are in the order, or groups, of a column's number")
    read, made = copy(select), copy(insert)
    del read.target_list[:]
    last = parse_select(f"SELECT FROM {quoted(_ROWS)}")
    names: list[str] = []
    for target in select.target_list:
        value = target.res_target.val
        if _is_left(value, functions):
            if any(_is_named(each, target.res_target.name) for each in by):
                raise Unplannable("rows are in the order, or groups, of numbers that are counted")
        else:
            names.append(f"c{len(names)}")
            read.target_list.add().CopyFrom(target)
            value = expression(f"{quoted(_ROWS)}.{names[-1]}")
        last.target_list.add().res_target.val.CopyFrom(value)
    if not names:
        raise Unplannable("nothing but numbers is read")
    made.select_stmt.select_stmt.CopyFrom(last)
    return Staged(
        (
            StagedPart(_ROWS, tuple(names), write("select_stmt", read), ()),
            StagedPart(None, (), write("insert_stmt", made), (_ROWS,)),
        )
    )


def _grouped(node: Any) -> Iterator[Any]:
    """What GROUP BY names, in grouping sets, too."""
    if not node.HasField("grouping_set"):
        yield node
    for each in node.grouping_set.content:
        yield from _grouped(each)


def _is_named(node: Any, name: str) -> bool:
    """Whether an item of ORDER BY or GROUP BY is the name of a column of the answer."""
    return (
        bool(name) and node.HasField("column_ref") and names_of(node.column_ref.fields) == (name,)
    )


def _is_left(value: Message, functions: Functions) -> bool:
    """Whether a value is told when rows are inserted, and not when they are read."""
    read: Any = value
    columns = [each for each in walk(value) if type_name(each) == "ColumnRef"]
    if any(each.fields[-1].HasField("a_star") for each in columns):
        raise Unplannable("a star beside numbers that are counted")
    if counts(value, functions):
        if columns or any(type_name(each) == "SubLink" for each in walk(value)):
            raise Unplannable("a number that is counted stands beside the row's own values")
        return True
    constant = read.a_const
    unknown = read.HasField("a_const") and (constant.HasField("sval") or constant.isnull)
    return unknown or bool(read.HasField("param_ref"))
