"""Goal: give the rows that MERGE inserts the defaults that one PostgreSQL would give them.

    MERGE INTO orders o USING v ON o.id = v.id WHEN NOT MATCHED THEN INSERT (id) VALUES (v.id)

1. A default that tells the time is written out, as if the statement had it:
       ... THEN INSERT (id, placed) VALUES (v.id, now())
2. Of a sharded table, others are left to the shard of the row, which is inserted once.
3. What a sequence counts, for all count on the first shard, and of a reference table whatever may
   come out otherwise on each shard, is computed there for each row of the source. The numbers of
   rows that are not inserted are lost.

Refuses what names all columns of the source, where it gets such values.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from greenshard.planner.calls import Functions
from greenshard.planner.catalog import Column, Relation
from greenshard.planner.strategies.candidate import Unplannable
from greenshard.planner.strategies.completing import (
    counts,
    default_of,
    ignored_columns,
    put_default_times,
    tells_only_time,
    varies,
)
from greenshard.sql.nodes import copy, expression
from greenshard.sql.now import tells_time
from greenshard.sql.parser import Message, parse, type_name, walk
from greenshard.sql.tree import enum_name, names_of, unwrap


def actions(merge: Any) -> list[Any]:
    """The WHEN clauses of a MERGE."""
    return [each.merge_when_clause for each in merge.merge_when_clauses]


def set_targets(merge: Any) -> list[Any]:
    """What its UPDATE actions set."""
    return [
        target
        for each in actions(merge)
        if enum_name(each, "command_type") == "CMD_UPDATE"
        for target in each.target_list
    ]


def inserts(merge: Any) -> list[Any]:
    """Its INSERT actions."""
    return [each for each in actions(merge) if enum_name(each, "command_type") == "CMD_INSERT"]


def given_values(action: Any, relation: Relation) -> dict[str, Message]:
    """The values that an INSERT action gives, by the columns' names; without defaults."""
    names = [each.res_target.name for each in action.target_list]
    names = names or [column.name for column in relation.columns]
    ignored = ignored_columns(action, relation)
    pairs = zip(names, action.values, strict=False)
    return {
        name: value
        for name, value in pairs
        if name not in ignored and unwrap(value)[0] != "set_to_default"
    }


def defaulted(action: Any, relation: Relation) -> list[Column]:
    """The columns whose defaults a row gets that an INSERT action inserts.

    None of them if its values do not fit the columns: the server says so.
    """
    width = len(action.target_list) or len(relation.columns)
    if len(action.values) > width or (action.target_list and len(action.values) < width):
        return []
    given = given_values(action, relation)
    columns = (each for each in relation.columns if each.default is not None)
    return [column for column in columns if column.name not in given]


def put_merge_times(merge: Any, relation: Relation, functions: Functions, *, copies: bool) -> bool:
    """Write out the defaults that tell the time, so that it is one time for all shards.

    Args:
        merge: The statement; it is changed.
        relation: What it changes.
        functions: What defaults may call.
        copies: Whether each shard inserts every row.

    Returns:
        Whether there are such.

    Raises:
        Unplannable: A default is not known, or stands where it cannot be written out.
    """
    changed = put_default_times(set_targets(merge), relation, functions)
    for action in inserts(merge):
        for column in defaulted(action, relation):
            if column.default and not tells_time(expression(column.default)):
                continue
            default = default_of(relation, column, functions)
            if not _is_computed(default, functions, copies=copies):
                _put(action, relation, column, default)
                changed = True
    return changed


def computed_defaults(
    merge: Any, relation: Relation, functions: Functions, *, copies: bool
) -> list[Column]:
    """The columns for which INSERT actions need values that are computed first.

    Arguments and errors as of `put_merge_times`, which has run before.
    """
    wanted = [each for action in inserts(merge) for each in defaulted(action, relation)]
    return [
        column
        for column in relation.columns
        if column in wanted
        and varies(column)
        and _is_computed(default_of(relation, column, functions), functions, copies=copies)
    ]


def put_computed(merge: Any, relation: Relation, columns: Sequence[Column], source: str) -> None:
    """Let INSERT actions take the defaults of some columns from the rows of the source.

    Args:
        merge: The statement; it is changed.
        relation: What it changes.
        columns: The columns.
        source: The name of the source's rows, which have these values as `computed_name` says.

    Raises:
        Unplannable: It names all columns of the source, which has more then.
    """
    own = merge.relation.alias.aliasname or merge.relation.relname
    for each in walk(merge):
        if type_name(each) == "ColumnRef" and _is_whole(each, own, source):
            at: Any = each
            reason = "all columns of the source are named, and it gets one for a default"
            raise Unplannable(reason, at.location, "Name the columns.")
    for action in inserts(merge):
        wanted = defaulted(action, relation)
        for number, column in enumerate(columns):
            if column in wanted:
                value = expression("a.b")
                for field, name in zip(
                    value.column_ref.fields, (source, computed_name(number)), strict=True
                ):
                    field.string.sval = name
                _put(action, relation, column, value)


def computed_name(number: int) -> str:
    """What the rows of the source call a default that was computed."""
    return f"gs d{number}"


def _is_whole(column: Any, own: str, source: str) -> bool:
    """Whether a `ColumnRef` names all columns of the source, or its row."""
    if column.fields[-1].HasField("a_star"):
        return len(column.fields) < 2 or str(column.fields[-2].string.sval) != own
    return names_of(column.fields) == (source,)


def _is_computed(default: Message, functions: Functions, *, copies: bool) -> bool:
    """Whether a default must be computed before the rows are sent to their shards."""
    if copies:
        return not tells_only_time(default, functions)
    return counts(default, functions)


def _put(action: Any, relation: Relation, column: Column, value: Message) -> None:
    """Give a row that is inserted a value in the place of a default."""
    names = [each.res_target.name for each in action.target_list]
    if not names:
        for each in relation.columns[: len(action.values)]:
            action.target_list.add().res_target.name = each.name
            names.append(each.name)
    if column.name in names:
        action.values[names.index(column.name)].CopyFrom(value)
    else:
        action.target_list.add().res_target.name = column.name
        action.values.add().CopyFrom(value)
    if column.identity:
        # It is what the column itself would have made of it.
        system = "OVERRIDING SYSTEM VALUE" if column.identity == "a" else ""
        (made,) = parse(f"INSERT INTO t {system} VALUES (1)")
        action.override = made.stmt.insert_stmt.override


def skeleton(merge: Any, relation: Relation, columns: Sequence[Column], rows: int) -> Any:
    """An INSERT of rows that get these defaults, by which is found out what computes them."""
    (made,) = parse("INSERT INTO pg_temp.t VALUES (NULL)")
    insert = made.stmt.insert_stmt
    insert.relation.CopyFrom(merge.relation)
    others = [each for each in relation.columns if each not in columns and not each.generated]
    values = insert.select_stmt.select_stmt
    row = values.values_lists[0]
    del row.list.items[:]
    for each in others:
        insert.cols.add().res_target.name = each.name
        row.list.items.add().CopyFrom(expression("NULL"))
    for _ in range(rows - 1):
        values.values_lists.add().CopyFrom(copy(row))
    return insert
