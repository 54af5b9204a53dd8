"""Goal: change a reference table on the first shard, and the other copies by the rows it then has.

    UPDATE nation SET n_comment = gen_random_uuid() WHERE n_regionkey = 1

    first, on the first shard
        UPDATE nation SET ... RETURNING nation.n_nationkey, nation.n_comment
    then, on the others, with these rows
        UPDATE nation AS "gs t" SET n_comment = gs.c1 FROM (the rows) AS gs
        WHERE "gs t".n_nationkey = gs.c0

What one server has computed, chosen or counted, the others get: values that are volatile or tell of
a server, defaults, one of several rows that match. And the rows that one server has found: before
the others are asked, somebody may commit others that meet the condition. Of INSERT ... ON CONFLICT
they get the rows that it has inserted or updated.

Rows of sharded tables that it reads are brought to the first shard, see `carry`.

Refused are tables without a primary key, by which the rows are found on the other shards, and
changes of that; tables from which others inherit, whose rows may have the same keys; and columns
that a trigger changes, which would change there once more what it has changed already.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from greenshard.planner.binding.query import Table
from greenshard.planner.catalog import Catalog, Column
from greenshard.planner.plan import PARTIAL, GatheredColumn, Mirror
from greenshard.planner.strategies.candidate import Candidate, Unplannable
from greenshard.planner.strategies.insert import Texts
from greenshard.sql.nodes import ROWS, copy, expression, quoted
from greenshard.sql.parser import parse
from greenshard.sql.tree import unwrap
from greenshard.sql.types import read

#: The name of the table on the other shards.
_TABLE = "gs t"


def plan_mirror(candidate: Candidate, table: Table, kind: str, inner: Any, texts: Texts) -> Mirror:
    """Plan a change of a reference table that one shard makes for all.

    Args:
        candidate: What `write.as_select` made of it.
        table: What it changes.
        kind: "update_stmt", "delete_stmt", or "insert_stmt" of one with VALUES.
        inner: The statement.
        texts: Writes others.

    Raises:
        Unplannable: It cannot be planned so.
    """
    relation = table.relation
    key = [relation.column(name) for name in relation.primary_key]
    if not key or not all(each is not None and read(each.type_sql) for each in key):
        raise Unplannable(f"{relation.name} has no primary key by which copies find a row")
    set_ = inner.on_conflict_clause.target_list if kind == "insert_stmt" else ()
    targets = inner.target_list if kind == "update_stmt" else set_
    names = list(dict.fromkeys(each.res_target.name for each in targets))
    if not set(names).isdisjoint(relation.primary_key):
        raise Unplannable(f"the primary key of {relation.name} is changed")
    # What is generated is so on each shard; a column that is not there is the server's error.
    changed = [each for each in map(relation.column, names) if each and not each.generated]
    if any(each.identity == "a" for each in changed) or (names and not changed):
        raise Unplannable("a column that is always computed is changed")
    columns = [*filter(None, key), *changed]
    if kind == "insert_stmt":
        own = (each for each in relation.columns if not each.generated)
        columns = [*filter(None, key), *(each for each in own if each not in key)]
        others = _inserting(inner, columns, len(key))
    else:
        others = _changing(inner, columns, len(key))
    _check_beside(candidate.catalog, table, kind, {each.name for each in columns})
    first = texts.other(_on_first(inner, columns))
    return Mirror(first, texts.other(others), relation.name, tuple(map(GatheredColumn.of, columns)))


def _check_beside(catalog: Catalog, table: Table, kind: str, names: Collection[str]) -> None:
    """Refuse what the other shards would do otherwise with rows that the first one has written.

    Args:
        catalog: What there is.
        table: What is written.
        kind: As of `plan_mirror`.
        names: The columns that the other shards get.

    Raises:
        Unplannable: There is something.
    """
    relation = table.relation
    own = (relation.schema, relation.name)
    below = [] if table.only else list(catalog.inheritance.below(own))
    if below and relation.kind != "p":
        heir = below[0][1]
        raise Unplannable(f"{heir}, which inherits from {relation.name}, may have equal keys")
    for member in [own, *below]:
        beside = catalog.besides.get(member)
        for trigger in beside.triggers if beside is not None else ():
            # A row that goes to another partition is inserted there.
            events = {"update_stmt": "u" if member == own else "ui", "insert_stmt": "iu"}
            fires = trigger.before and trigger.each_row
            fires = fires and not set(trigger.events).isdisjoint(events.get(kind, ""))
            if fires and (trigger.sets is None or not trigger.sets.isdisjoint(names)):
                reason = f"trigger {trigger.name} would change the rows once more on other shards"
                raise Unplannable(reason)


def _on_first(inner: Any, columns: Sequence[Column]) -> Any:
    """The statement, which gives the rows that it has changed behind those of RETURNING."""
    made = copy(inner)
    name = inner.relation.alias.aliasname or inner.relation.relname
    for number, column in enumerate(columns):
        target = made.returning_clause.exprs.add().res_target
        target.val.CopyFrom(expression(f"{quoted(name)}.{quoted(column.name)}"))
        target.name = f"gs h{number}"
    return made


def _inserting(inner: Any, columns: Sequence[Column], width: int) -> Any:
    """The INSERT that gives other copies the same rows; `width` of the columns are the key."""
    names = [quoted(each.name) for each in columns]
    rows = ", ".join(f"{ROWS}.c{at}" for at in range(len(columns)))
    updated = (quoted(each.name) for each in columns[width:] if each.identity != "a")
    sets = ", ".join(f"{name} = excluded.{name}" for name in updated)
    action = f"UPDATE SET {sets}" if sets else "NOTHING"
    (statement,) = parse(
        f"INSERT INTO {quoted(_TABLE)} ({', '.join(names)}) OVERRIDING SYSTEM VALUE"
        f" SELECT {rows} FROM {quoted(PARTIAL)} AS {ROWS}"
        f" ON CONFLICT ({', '.join(names[:width])}) DO {action}"
    )
    made: Any = unwrap(statement.stmt)[1]
    made.relation.CopyFrom(inner.relation)
    return made


def _changing(inner: Any, columns: Sequence[Column], width: int) -> Any:
    """The UPDATE or DELETE that does; likewise."""
    found = [f"{quoted(_TABLE)}.{quoted(each.name)}" for each in columns[:width]]
    equal = (f"{name} OPERATOR(pg_catalog.=) {ROWS}.c{at}" for at, name in enumerate(found))
    rows, where = f"{quoted(PARTIAL)} AS {ROWS}", " AND ".join(equal)
    changed = enumerate(columns[width:], width)
    sets = ", ".join(f"{quoted(each.name)} = {ROWS}.c{at}" for at, each in changed)
    table = quoted(_TABLE)
    text = f"UPDATE {table} SET {sets} FROM {rows}" if sets else f"DELETE FROM {table} USING {rows}"
    (statement,) = parse(f"{text} WHERE {where}")
    made: Any = unwrap(statement.stmt)[1]
    made.relation.CopyFrom(inner.relation)
    made.relation.alias.aliasname = _TABLE
    return made
