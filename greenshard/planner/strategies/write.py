"""Goal: let a write reach exactly the rows that one PostgreSQL would have changed.

    UPDATE orders SET o_comment = 'late' WHERE o_orderkey = 7     the shard of key 7
    DELETE FROM lineitem USING orders WHERE l_orderkey = o_orderkey AND o_custkey = 3
                                                                  every shard: the join is local
    INSERT INTO orders (o_orderkey, ...) VALUES (7, ...)          the shard of key 7
    UPDATE nation SET n_name = 'x' WHERE n_nationkey = 1          every shard, counted once

An UPDATE or DELETE is looked at as the SELECT that finds its rows. On a reference table it must do
the same everywhere, so there may be nothing in it that a server chooses (`chance`).

Refused are changes of a shard key, rows whose shard is not known, INSERT of rows of several shards
at once, INSERT ... SELECT, and an INSERT into a reference table that leaves a column to its
default, which may be another one on each shard.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from greenshard.cluster import Unknown
from greenshard.planner.analysis.chance import first_choice, matches_once
from greenshard.planner.analysis.clock_words import Assigned
from greenshard.planner.analysis.computed_times import computed_times
from greenshard.planner.analysis.consequences import sets_default
from greenshard.planner.analysis.copies import of_server
from greenshard.planner.analysis.restriction import Restrictions
from greenshard.planner.binding.query import Query, Table
from greenshard.planner.binding.scope import BoundColumn
from greenshard.planner.calls import Functions
from greenshard.planner.pins import kept_by
from greenshard.planner.plan import Broadcast, Parameter, Pin, Refused, Routed, Scatter, Step, Value
from greenshard.planner.strategies.candidate import Candidate, Unplannable
from greenshard.sql.nodes import add_target
from greenshard.sql.nodes import select as parse_select
from greenshard.sql.parser import Message, type_name
from greenshard.sql.placeholders import Translation
from greenshard.sql.text import Sql
from greenshard.sql.tree import enum_name, location_of, unwrap

CODE = "GS412"

# Never `conn.on`: what it names would have to be the right shard, which only the key tells.
READ_FIRST = "Read first what it is to write, and give it as a parameter."
GIVE_KEY = (
    "Give each row its shard key as a value. If a sequence makes it, take it first: "
    "SELECT nextval('...')."
)
MOVE = "Delete the row and insert it anew, with its new key."
NAME = "Name the shard of its rows with conn.on(...)."


def as_select(kind: str, inner: Any) -> Any:
    """The SELECT that finds the rows of an UPDATE or DELETE, or what an INSERT reads."""
    made = parse_select("SELECT")
    if inner.HasField("with_clause"):
        made.with_clause.CopyFrom(inner.with_clause)
    # The table that is written comes first; `plan_write` and others take it from there.
    made.from_clause.add().range_var.CopyFrom(inner.relation)
    if kind == "insert_stmt":
        _add_insert(made, inner)
    else:
        sources = inner.from_clause if kind == "update_stmt" else inner.using_clause
        made.from_clause.extend(sources)
        if inner.HasField("where_clause"):
            made.where_clause.CopyFrom(inner.where_clause)
        for target in inner.target_list if kind == "update_stmt" else ():
            add_target(made, target.res_target.val, "set")
    # RETURNING may hold subqueries, which must find on the shard what they look for.
    made.target_list.extend(inner.returning_clause.exprs)
    return made


def _add_insert(made: Any, inner: Any) -> None:
    """What the rows of VALUES, and ON CONFLICT, compute."""
    for row in inner.select_stmt.select_stmt.values_lists:
        for item in row.list.items:
            # DEFAULT is no expression, and a SELECT cannot have it.
            if unwrap(item)[0] != "set_to_default":
                add_target(made, item, "value")
    conflict = inner.on_conflict_clause
    for target in conflict.target_list:
        add_target(made, target.res_target.val, "set")
    if conflict.HasField("where_clause"):
        add_target(made, conflict.where_clause, "where")


def assignments(query: Query, inner: Any) -> Iterator[Assigned]:
    """The values that an INSERT or UPDATE gives to columns.

    Args:
        query: What `as_select` made of it.
        inner: The statement; anything else assigns nothing.
    """
    first = query.items[0] if query.items else None
    kind = type_name(inner) if inner is not None else ""
    if not isinstance(first, Table) or kind not in ("InsertStmt", "UpdateStmt"):
        return
    columns = {column.name: column for column in first.relation.columns}
    targets = inner.target_list if kind == "UpdateStmt" else inner.on_conflict_clause.target_list
    for target in targets:
        column = columns.get(target.res_target.name)
        # SET a[1] = 'now' gives an element, whose type is not the column's.
        if column is not None and not target.res_target.indirection:
            yield Assigned(target.res_target.val, column)
    if kind == "InsertStmt":
        names = [each.res_target.name for each in inner.cols] or list(columns)
        for row in inner.select_stmt.select_stmt.values_lists:
            items = list(row.list.items)
            # VALUES %s, given a tuple: one placeholder for the whole row.
            several = len(items) == 1 < len(names) and items[0].HasField("param_ref")
            for at, name in enumerate(names):
                value = items[0] if several else items[at] if at < len(items) else None
                if name in columns and value is not None:
                    yield Assigned(value, columns[name], at if several else None)


def plan_write(candidate: Candidate, kind: str, inner: Any, write: Callable[[], Sql]) -> Step:
    """Plan INSERT, UPDATE or DELETE.

    Args:
        candidate: What `as_select` made of it.
        kind: "insert_stmt", "update_stmt" or "delete_stmt".
        inner: The statement.
        write: Gives its text for several servers.
    """
    first = candidate.query.items[0]
    if not isinstance(first, Table):
        return Refused(
            "a view is written to", CODE, "Write to its tables.", _position(candidate, inner)
        )
    try:
        _check_keys(first, kind, inner)
        if kind == "insert_stmt":
            return _plan_insert(candidate, first, inner, write)
        if first.sharded:
            return _plan_sharded(candidate, inner, kind, write)
        _check_reference(candidate)
        if kind == "update_stmt":
            _check_defaults(first, inner.target_list)
        # UPDATE nation SET n_name = r_name FROM region WHERE ...: of several matches PostgreSQL
        # takes any.
        if kind == "update_stmt" and not matches_once(candidate.query):
            raise Unplannable("a row may match several, and each shard take another one of them")
        return Broadcast(write(), answer_of_one=True, first_alone=True)
    except Unplannable as unplannable:
        return Refused(
            unplannable.reason,
            CODE,
            unplannable.hint or READ_FIRST,
            candidate.position(unplannable.offset),
        )


def _plan_sharded(candidate: Candidate, inner: Any, kind: str, write: Callable[[], Sql]) -> Step:
    """Change rows of a sharded table, on one shard or where they are."""
    try:
        for crosses in candidate.analysis.crossing.values():
            # `as_select` puts SET's values into the target list, where an aggregate is an error of
            # the server's, which it reports itself.
            if crosses is not candidate.analysis.crossing.get("group"):
                raise Unplannable(crosses.reason, crosses.offset)
        if kind == "update_stmt" and sets_default(inner.target_list):
            raise Unplannable("a default, as now(), may be another one on each shard")
        step: Step = Scatter(write(), candidate.pins)
    except Unplannable as unplannable:
        step = Refused(
            unplannable.reason,
            CODE,
            f"Compare the shard key with a value. Or: {READ_FIRST}",
            candidate.position(unplannable.offset),
        )
    if candidate.pins:
        return Routed(Sql(candidate.text), candidate.pins, step)
    return step


def _plan_insert(candidate: Candidate, table: Table, inner: Any, write: Callable[[], Sql]) -> Step:
    rows = inner.select_stmt.select_stmt.values_lists
    if enum_name(inner, "override") == "OVERRIDING_USER_VALUE":
        raise Unplannable("OVERRIDING USER VALUE has values ignored, by which the rows are placed")
    if not rows:
        hint = "Read the rows first, and insert them with VALUES."
        raise Unplannable("the rows to be inserted are not listed in VALUES", None, hint)
    columns = [column.res_target.name for column in inner.cols]
    columns = columns or [column.name for column in table.relation.columns]
    # The one is the table itself; any other is read in a subquery of VALUES or RETURNING.
    if len(candidate.sharded) > (1 if table.sharded else 0):
        raise Unplannable("an INSERT reads a sharded table")
    if not table.sharded:
        if not inner.cols:
            # VALUES (1), and VALUES %s with a tuple of one, leave the other columns to defaults.
            columns = columns[: min(len(row.list.items) for row in rows)]
        _check_complete(table, columns, rows)
        _check_defaults(table, inner.on_conflict_clause.target_list)
        _check_reference(candidate)
        return Broadcast(write(), answer_of_one=True, first_alone=True)
    key = table.key.name if table.key else ""
    # A default, as of a serial column, is computed by a server, and that is already one shard.
    if key not in columns:
        reason = f"the rows to be inserted have no {key}, their shard key"
        raise Unplannable(reason, None, GIVE_KEY)
    at = columns.index(key)
    values = [
        key_of_row(row.list.items, at, candidate.functions, candidate.translation, table.key)
        for row in rows
    ]
    otherwise = Refused(
        f"the rows to be inserted into {table.relation.name} belong on several shards, or the type "
        f"of their {key} does not tell which",
        CODE,
        "cur.executemany() sends each row to its own shard. Give the key in its column's type.",
    )
    if table.placement is None or table.key is None or table.key.column is None:
        raise Unplannable("the placement is not known", None, NAME)
    # It tells where a row that is there can be found (everywhere), but not where a new one belongs.
    if isinstance(table.placement, Unknown):
        reason = f"the placement of {table.relation.name} does not tell the rows' shard"
        raise Unplannable(reason, None, NAME)
    column, every = table.key.column, tuple(values)
    kept = kept_by(column.type_sql)
    pin = Pin(table.placement, column.type_name, every, inserts=True, kept=kept)
    return Routed(Sql(candidate.text), (pin,), otherwise)


def key_of_row(
    row: Sequence[Message],
    at: int,
    functions: Functions,
    translation: Translation,
    key: BoundColumn | None,
) -> Value:
    """The shard key of a row of VALUES.

    Args:
        row: Its values.
        at: Which one is the key.
        functions: To know which types are PostgreSQL's.
        translation: Where parameters come from.
        key: The column.

    Raises:
        Unplannable: It is computed, or not there.
    """
    if len(row) == 1 and row[0].HasField("param_ref"):
        number = row[0].param_ref.number
        # (%s) has one value, and %s alone a tuple with its own brackets.
        if number in translation.bracketed:  # VALUES %s
            return Parameter(translation.parameters[number - 1], item=at)
    if at >= len(row):
        raise Unplannable("a row to be inserted has too few values", None, GIVE_KEY)
    value = Restrictions(functions, translation).value(row[at], key)
    if value is None:
        raise Unplannable("the shard key of a row is computed", location_of(row[at]), GIVE_KEY)
    return value


def _check_keys(table: Table, kind: str, inner: Any) -> None:
    """Refuse to move a row to another shard."""
    if not table.sharded or table.key is None:
        return
    targets = inner.target_list if kind == "update_stmt" else ()
    if kind == "insert_stmt":
        targets = inner.on_conflict_clause.target_list
    for target in targets:
        if target.res_target.name == table.key.name:
            raise Unplannable(
                f"the shard key {table.key.name} is changed, and the row would have to move",
                target.res_target.location,
                MOVE,
            )


def _check_complete(table: Table, columns: Sequence[str], rows: Any) -> None:
    """Refuse defaults, which may be volatile."""
    left = [each.name for each in table.relation.columns if each.name not in columns]
    if left or sets_default(rows):
        raise Unplannable(
            f"reference table {table.relation.name} would get "
            f"{left[0] + ', which is left out,' if left else 'the default of a column'} from each "
            "shard",
            None,
            "Write all columns, with a value or NULL. What a sequence or a function makes, take "
            "first: SELECT nextval('...').",
        )


def _check_defaults(table: Table, targets: Any) -> None:
    if sets_default(targets):
        raise Unplannable(
            f"reference table {table.relation.name} would get a default from each shard"
        )


def _check_reference(candidate: Candidate) -> None:
    """Refuse what would write something else on each shard."""
    if candidate.sharded:
        table = candidate.sharded[0]
        raise Unplannable(
            f"a reference table is written by what {table.relation.name} holds on each shard",
            table.node.location,
        )
    # Each shard runs the same text on its own copy: whatever is left open may come out differently,
    # and the copies would differ from then on.
    choice = first_choice(candidate.query, candidate.functions)
    if choice is not None:
        raise Unplannable(f"{choice.what} may choose otherwise on each shard", choice.offset)
    for what, at in of_server(candidate.query, candidate.roots, candidate.functions):
        raise Unplannable(f"{what} may be another one on each shard", at)
    for each in computed_times(candidate.query, candidate.functions):
        if not each.is_proved:
            raise Unplannable(
                "a text becomes a time, which is another one on each shard if it says 'now' or "
                "the like",
                each.offset,
            )


def _position(candidate: Candidate, inner: Any) -> int | None:
    return candidate.position(inner.relation.location)
