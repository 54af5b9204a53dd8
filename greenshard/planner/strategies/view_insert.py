"""Goal: insert into a view that hides columns whose defaults are to be the same on all shards.

    CREATE TABLE offer (id int PRIMARY KEY, price int, made timestamptz DEFAULT now())
    CREATE VIEW dear AS SELECT id, price FROM offer WHERE price > 9
    INSERT INTO dear VALUES (1, 10), (2, 20) RETURNING price

1. The rows are inserted, and get what their shards make of the defaults:
       INSERT INTO dear VALUES (1, 10), (2, 20) RETURNING price AS c0, id AS "gs k0"
2. What they should have got is computed once:    SELECT "gs k0", now() FROM those rows
3. They get it:                                   UPDATE offer SET made = ... WHERE id = "gs k0"
4. What RETURNING gives is told.

So the view's conditions, its CHECK OPTION and its owner's rights are PostgreSQL's to look after;
but the role needs the right to update these columns of the table, too. Each is run as a statement
of its own, see `staged`.

Refused are ON CONFLICT; a table whose primary key the view does not show, with triggers,
or with generated columns that the view shows; views of views, those with a condition on such a
column, and hidden columns that a sequence counts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from greenshard.planner.beside import Beside, Name
from greenshard.planner.binding.query import Derived, Table
from greenshard.planner.calls import Functions
from greenshard.planner.catalog import Column
from greenshard.planner.plan import Plan, Staged, StagedPart
from greenshard.planner.strategies.candidate import Unplannable
from greenshard.planner.strategies.completing import default_of, is_counted, varies
from greenshard.planner.strategies.simple_views import SimpleView
from greenshard.sql.column_names import UNNAMED, column_name, is_named_by_value
from greenshard.sql.nodes import copy, expression, quoted
from greenshard.sql.nodes import select as parse_select
from greenshard.sql.parser import parse, type_name, walk
from greenshard.sql.text import Sql
from greenshard.sql.tree import unwrap

_NEW, _DEFAULTS = "gs new", "gs defaults"


def plan_view_insert(
    view: SimpleView,
    derived: Derived,
    insert: Any,
    functions: Functions,
    besides: Mapping[Name, Beside],
    write: Callable[[str, Any], Sql],
    plan: Callable[[Sql], Plan],
) -> Staged:
    """Plan an INSERT into a view.

    Args:
        view: What it inserts into.
        derived: The same, as it is bound.
        insert: It.
        functions: What defaults may call.
        besides: What happens beside writes.
        write: Gives the text of a statement of some kind.
        plan: Plans an INSERT whose hidden columns are set later.

    Raises:
        Unplannable: It cannot be planned so.
    """
    hidden = _check(view, derived, insert, besides)
    relation = view.table.relation
    columns = view.whole.relation.columns if view.whole.relation else ()
    names = {shown: column.name for column, shown in zip(columns, view.shown, strict=True) if shown}
    keys = [names[key] for key in relation.primary_key]
    own = [f"gs k{at}" for at in range(len(keys))]
    made = copy(insert)
    wanted = _named(insert, [column.name for column in columns])
    del made.returning_clause.exprs[:]
    for at, (target, _) in enumerate(wanted):
        added = made.returning_clause.exprs.add()
        added.CopyFrom(target)
        added.res_target.name = f"c{at}"
    name = quoted(insert.relation.alias.aliasname or insert.relation.relname)
    for key, alias in zip(keys, own, strict=True):
        added = made.returning_clause.exprs.add()
        added.res_target.val.CopyFrom(expression(f"{name}.{quoted(key)}"))
        added.res_target.name = alias
    listed = ", ".join(map(quoted, own))
    defaults = parse_select(f"SELECT {listed} FROM {quoted(_NEW)}")
    for column in hidden:
        default = default_of(relation, column, functions)
        defaults.target_list.add().res_target.val.CopyFrom(default)
    values = [f"gs d{at}" for at in range(len(hidden))]
    returned = tuple(f"c{at}" for at in range(len(wanted)))
    inserting = write("insert_stmt", made)
    parts = [
        StagedPart(_NEW, (*returned, *own), inserting, (), plan(inserting)),
        StagedPart(_DEFAULTS, (*own, *values), write("select_stmt", defaults), (_NEW,)),
        StagedPart(
            None, (), write("update_stmt", _update(view, hidden, own, values)), (_DEFAULTS,)
        ),
    ]
    if wanted:
        shown = ", ".join(
            f"{quoted(_NEW)}.c{at} AS {quoted(called)}" for at, (_, called) in enumerate(wanted)
        )
        told = parse_select(f"SELECT {shown} FROM {quoted(_NEW)}")
        parts.append(StagedPart(None, (), write("select_stmt", told), (_NEW,)))
    return Staged(tuple(parts), tag="INSERT 0", counted=_NEW)


def _check(
    view: SimpleView, derived: Derived, insert: Any, besides: Mapping[Name, Beside]
) -> Sequence[Column]:
    """The hidden columns that are to be set.

    Raises:
        Unplannable: It cannot be done.
    """
    relation, key = view.table.relation, view.table.key
    hidden = [each for each in view.hidden if varies(each) and not each.generated]
    if insert.HasField("on_conflict_clause"):
        raise Unplannable("ON CONFLICT")
    unique = not view.table.sharded or (key is not None and key.name in relation.primary_key)
    if not relation.primary_key or not unique or not set(relation.primary_key) <= {*view.shown}:
        raise Unplannable("the view does not show a primary key")
    if not isinstance(derived.query.items[0], Table) or None in view.shown:
        raise Unplannable("a view of a view, or with a computed column")
    names = {column.name for column in hidden}
    conditions: list[Any] = list(walk(derived.definition.where_clause))
    columns = [each for each in conditions if type_name(each) == "ColumnRef"]
    if any(each.fields[-1].string.sval in names for each in columns):
        raise Unplannable("the view has a condition on a column that is set later")
    if any(is_counted(each) or each.identity for each in hidden) or any(
        column.generated and column.name in view.shown for column in relation.columns
    ):
        raise Unplannable("a column is counted or generated")
    beside = besides.get((relation.schema, relation.name), Beside())
    if beside.rules or beside.triggers:
        raise Unplannable("a trigger or a rule may change the rows, or be set off once more")
    return hidden


def _named(insert: Any, columns: Sequence[str]) -> list[tuple[Any, str]]:
    """What RETURNING gives, each with its name; a star is the view's columns."""
    found: list[tuple[Any, str]] = []
    for target in insert.returning_clause.exprs:
        fields = target.res_target.val.column_ref.fields
        if fields and fields[-1].HasField("a_star"):
            for column in columns:
                added = parse_select(f"SELECT {quoted(column)}").target_list[0]
                found.append((added, column))
            continue
        name = column_name(target.res_target)
        if name == UNNAMED or is_named_by_value(target.res_target):
            name = UNNAMED
        found.append((target, name))
    return found


def _update(
    view: SimpleView, hidden: Sequence[Column], keys: Sequence[str], values: Sequence[str]
) -> Any:
    """The UPDATE that sets the columns."""
    relation, rows = view.table.relation, quoted(_DEFAULTS)
    table = f"{quoted(relation.schema)}.{quoted(relation.name)}"
    sets = ", ".join(
        f"{quoted(column.name)} = {rows}.{quoted(value)}"
        for column, value in zip(hidden, values, strict=True)
    )
    found = " AND ".join(
        f'"gs t".{quoted(key)} OPERATOR(pg_catalog.=) {rows}.{quoted(own)}'
        for key, own in zip(relation.primary_key, keys, strict=True)
    )
    (statement,) = parse(f'UPDATE {table} AS "gs t" SET {sets} FROM {rows} WHERE {found}')
    return unwrap(statement.stmt)[1]
