"""Goal: find rows that are given the time of the transaction, and checked by another shard's.

    CREATE TABLE visits (id int PRIMARY KEY, at timestamptz DEFAULT now() CHECK (at >= now()))
    INSERT INTO visits (id) VALUES (1), (2)    the time is the first shard's, and the second's is
                                               later: 23514, where one PostgreSQL takes both

The shard whose time it is may run such a statement alone. A CHECK of other columns, and a time that
the program gives, are compared with each shard's own time, which is nearly the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from greenshard.planner.analysis.consequences import defaulted
from greenshard.planner.catalog import Catalog, Relation
from greenshard.planner.problem import Problem
from greenshard.planner.strategies.completing import tells
from greenshard.sql.parser import Message, type_name, walk


def checked_times(
    kind: str, inner: Any, relation: Relation, catalog: Catalog, number: int
) -> Problem | None:
    """The problem of a write that gives rows the time where a check tells it; None if none does.

    Args:
        kind: "insert_stmt", "update_stmt", "delete_stmt" or "merge_stmt".
        inner: The statement.
        relation: What it writes to.
        catalog: What there is.
        number: The placeholder that stands for the time in it.
    """
    name = (relation.schema, relation.name)
    members = (name, *catalog.inheritance.below(name))
    besides = [found for each in members if (found := catalog.besides.get(each)) is not None]
    clocks = [clock for beside in besides for clock in beside.clocks.items()]
    if not clocks:
        return None
    given = frozenset(_given_time(kind, inner, relation, number))
    for clock, columns in clocks:
        for column in sorted(columns & given):
            reason = f"{column} of {relation.name} is given the time, and check {clock} tells that "
            return Problem(
                f"{reason}of its own shard",
                inner.relation.location,
                "GS415",
                "Give a time of your own as a parameter; or drop the check.",
            )
    return None


def _given_time(kind: str, inner: Any, relation: Relation, number: int) -> Iterator[str]:
    """The columns that get the time of the transaction in some row."""
    columns = [column.name for column in relation.columns]
    told = {column.name for column in relation.columns if tells(column)}
    if kind == "merge_stmt":
        # Which of its actions gives what, is not looked at.
        yield from columns if _names(inner, number) else told
    elif kind == "insert_stmt":
        yield from told & defaulted(inner, columns)
        named = [each.res_target.name for each in inner.cols] or columns
        select = inner.select_stmt.select_stmt
        rows = [row.list.items for row in select.values_lists]
        for row in rows:
            for column, value in zip(named, row, strict=False):
                if _names(value, number):
                    yield column
        # Of a query any column may be made of it.
        if not rows and _names(select, number):
            yield from columns
        yield from _set(inner.on_conflict_clause.target_list, told, number)
    elif kind == "update_stmt":
        yield from _set(inner.target_list, told, number)


def _set(targets: Any, told: set[str], number: int) -> Iterator[str]:
    for each in targets:
        target = each.res_target
        default = any(type_name(m) == "SetToDefault" for m in walk(target.val))
        if _names(target.val, number) or (default and target.name in told):
            yield target.name


def _names(root: Message, number: int) -> bool:
    return any(_is(message, number) for message in walk(root))


def _is(message: Any, number: int) -> bool:
    return type_name(message) == "ParamRef" and message.number == number
