"""Goal: let a write reach exactly the rows that one PostgreSQL would have changed.

    UPDATE orders SET o_comment = 'late' WHERE o_orderkey = 7     the shard of key 7
    DELETE FROM lineitem USING orders WHERE l_orderkey = o_orderkey AND o_custkey = 3
                                                                  every shard: the join is local
    UPDATE orders SET o_orderkey = 7 WHERE o_orderkey = 7         the shard of key 7: it stays there
    UPDATE nation SET n_name = 'x' WHERE n_nationkey = 1          every shard, counted once

An UPDATE or DELETE is looked at as the SELECT that finds its rows. On a reference table it must do
the same everywhere: where there is something in it that a server chooses (`chance`), one does.

INSERT has files of its own, `insert` and `insert_select`, and so has MERGE, `merge_into`. What is
written by rows of other shards is in `carry`; a row whose shard key is changed goes where it
belongs, see `move`; and what each copy of a reference table could get otherwise, one shard decides,
see `mirror`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

from greenshard.cluster import Unknown
from greenshard.planner.analysis.chance import is_one_row, matches_once
from greenshard.planner.analysis.clock_words import Assigned
from greenshard.planner.analysis.restriction import Restrictions
from greenshard.planner.binding.query import Query, Table
from greenshard.planner.binding.scope import BoundColumn
from greenshard.planner.catalog import Column
from greenshard.planner.pins import kept_by
from greenshard.planner.plan import (
    Broadcast,
    Carry,
    Copies,
    Mirror,
    Pin,
    Refused,
    Routed,
    Scatter,
    Step,
)
from greenshard.planner.strategies.candidate import (
    Candidate,
    Unplannable,
    check_no_crossing,
)
from greenshard.planner.strategies.carry import plan_carry
from greenshard.planner.strategies.completing import counted_targets
from greenshard.planner.strategies.copies import other_tables, written_alone
from greenshard.planner.strategies.insert import (
    Texts,
    check_defaults,
    check_reference,
    plan_insert,
)
from greenshard.planner.strategies.insert_select import plan_insert_select
from greenshard.planner.strategies.merge_defaults import actions, inserts, set_targets
from greenshard.planner.strategies.merge_into import plan_merge_into
from greenshard.planner.strategies.mirror import plan_mirror
from greenshard.planner.strategies.move import HIDDEN, add_places, plan_move
from greenshard.sql.nodes import add_target
from greenshard.sql.nodes import select as parse_select
from greenshard.sql.parser import Message, type_name
from greenshard.sql.text import Sql
from greenshard.sql.tree import names_of, unwrap

CODE = "GS412"

READ_FIRST = "Read first what it is to write, and give it as a parameter."
MOVE = "Delete the row and insert it anew, with its new key."


def as_select(kind: str, inner: Any) -> Any:
    """The SELECT that finds the rows of an UPDATE or DELETE, or what an INSERT reads."""
    made = parse_select("SELECT")
    if inner.HasField("with_clause"):
        made.with_clause.CopyFrom(inner.with_clause)
    # The table that is written comes first; `plan_write` and others take it from there.
    made.from_clause.add().range_var.CopyFrom(inner.relation)
    if kind == "insert_stmt":
        _add_insert(made, inner)
    elif kind == "merge_stmt":
        _add_merge(made, inner)
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


def _add_merge(made: Any, inner: Any) -> None:
    """The source, and what the actions compute."""
    made.from_clause.add().CopyFrom(inner.source_relation)
    made.where_clause.CopyFrom(inner.join_condition)
    for each in actions(inner):
        if each.HasField("condition"):
            add_target(made, each.condition, "when")
        for value in each.values:
            if unwrap(value)[0] != "set_to_default":
                add_target(made, value, "value")
    for target in set_targets(inner):
        add_target(made, target.res_target.val, "set")


def put_select(inner: Any, select: Any) -> None:
    """Put the parts of such a SELECT back into its UPDATE or DELETE.

    Args:
        inner: The statement; it is changed, but for the table that it writes to.
        select: What `as_select` made of it, with other names in it.
    """
    kind = type_name(inner)
    if select.HasField("with_clause"):
        inner.with_clause.CopyFrom(select.with_clause)
    sources = inner.from_clause if kind == "UpdateStmt" else inner.using_clause
    del sources[:]
    sources.extend(select.from_clause[1:])
    if select.HasField("where_clause"):
        inner.where_clause.CopyFrom(select.where_clause)
    values = list(select.target_list)
    for target in inner.target_list if kind == "UpdateStmt" else ():
        target.res_target.val.CopyFrom(values.pop(0).res_target.val)
    if values:
        del inner.returning_clause.exprs[:]
        inner.returning_clause.exprs.extend(values)


def set_targets_of(inner: Any) -> Any:
    """What SET names, of an UPDATE, of ON CONFLICT or of MERGE."""
    if type_name(inner) == "MergeStmt":
        return set_targets(inner)
    if type_name(inner) == "InsertStmt":
        return inner.on_conflict_clause.target_list
    return inner.target_list if type_name(inner) == "UpdateStmt" else ()


def assignments(query: Query, inner: Any) -> Iterator[Assigned]:
    """The values that an INSERT or UPDATE gives to columns.

    Args:
        query: What `as_select` made of it.
        inner: The statement; anything else assigns nothing.
    """
    first = query.items[0] if query.items else None
    kind = type_name(inner) if inner is not None else ""
    if not isinstance(first, Table) or kind not in ("InsertStmt", "MergeStmt", "UpdateStmt"):
        return
    columns = {column.name: column for column in first.relation.columns}
    for target in set_targets_of(inner):
        column = columns.get(target.res_target.name)
        if column is not None:
            yield Assigned(target.res_target.val, column, path=target.res_target.indirection)
    if kind == "InsertStmt":
        yield from _inserted(inner, columns)
    for action in inserts(inner) if kind == "MergeStmt" else ():
        yield from _of_row(action.target_list, action.values, columns)


def _inserted(inner: Any, columns: Mapping[str, Column]) -> Iterator[Assigned]:
    """The values that an INSERT gives to a table's columns."""
    select = inner.select_stmt.select_stmt
    # Of SELECT, what is of no type yet; in UNION it becomes a text.
    targets = [each.res_target.val for each in select.target_list]
    rows = [list(row.list.items) for row in select.values_lists] or [targets]
    for items in rows:
        # VALUES %s, given a tuple: one placeholder for the whole row.
        several = bool(select.values_lists) and len(items) == 1 and items[0].HasField("param_ref")
        yield from _of_row(inner.cols, items, columns, several=several)


def _of_row(
    named: Sequence[Any],
    items: Sequence[Any],
    columns: Mapping[str, Column],
    *,
    several: bool = False,
) -> Iterator[Assigned]:
    """The values of a row.

    Args:
        named: The columns that are named; empty: all.
        items: The values.
        columns: All of the table's.
        several: Whether one placeholder may stand for all of them.
    """
    targets = [each.res_target for each in named]
    names = [each.name for each in targets] or list(columns)
    several = several and len(names) > 1
    for at, name in enumerate(names):
        value = items[0] if several else items[at] if at < len(items) else None
        if name in columns and value is not None:
            path = targets[at].indirection if targets else ()
            yield Assigned(value, columns[name], at if several else None, path)


def plan_write(candidate: Candidate, kind: str, inner: Any, texts: Texts) -> Step:
    """Plan INSERT, UPDATE, DELETE or MERGE.

    Args:
        candidate: What `as_select` made of it.
        kind: "insert_stmt", "update_stmt", "delete_stmt" or "merge_stmt".
        inner: The statement.
        texts: What several servers are sent.
    """
    first = candidate.query.items[0]
    if not isinstance(first, Table):
        # WITH t AS (...) UPDATE t
        return Refused(
            "a WITH query is written to", CODE, "Write to a table.", _position(candidate, inner)
        )
    try:
        if kind == "merge_stmt":
            _check_counted(first, inner)
            return plan_merge_into(candidate, first, inner, texts)
        return _plan_rows(candidate, first, kind, inner, texts)
    except Unplannable as unplannable:
        return Refused(
            unplannable.reason,
            CODE,
            unplannable.hint or READ_FIRST,
            candidate.position(unplannable.offset),
        )


def _plan_rows(candidate: Candidate, table: Table, kind: str, inner: Any, texts: Texts) -> Step:
    """Plan INSERT, UPDATE or DELETE; arguments as of `plan_write`."""
    keys = list(new_keys(candidate, table, kind, inner))
    if kind == "insert_stmt" or table.sharded:
        _check_counted(table, inner)
    if kind == "insert_stmt":
        _check_conflicts(table, inner.on_conflict_clause)
    if texts.apart is not None:
        return plan_insert_select(candidate, table, inner, texts, texts.apart)
    if kind == "insert_stmt":
        return plan_insert(candidate, table, inner, texts)
    if table.sharded:
        step = _plan_sharded(candidate, inner, texts, moves=bool(keys))
        return _with_keys(step, keys) if keys else step
    return _plan_reference(candidate, table, kind, inner, texts)


def _plan_reference(
    candidate: Candidate, table: Table, kind: str, inner: Any, texts: Texts
) -> Step:
    """Change rows of a reference table, the same on every shard."""
    everywhere = partial(_everywhere, candidate, table, kind, inner, texts)
    mirrored = partial(_mirrored, candidate, table, kind, inner, texts)
    # The one row with a key, by what is in it: whoever changes that row has it on the first shard
    # first, and where none is, none is asked for on the others.
    settled = is_one_row(candidate.query) and not any(other_tables(candidate, table))
    if settled:
        try:
            return everywhere(Copies(table.relation.name))
        except Unplannable as differing:
            return _or_refused(differing, mirrored)
    try:
        step = mirrored()
    except Unplannable as refused:
        try:
            return everywhere(written_alone(candidate, table=table))
        except Unplannable as differing:
            raise _both(differing, refused) from None
    if step.carry is None:
        with suppress(Unplannable):
            other = everywhere(written_alone(candidate, table=table))
            assert isinstance(other, Broadcast)  # noqa: S101  # nothing is carried
            return replace(step, otherwise=other)
    return step


def _or_refused(differing: Unplannable, mirrored: Callable[[], Mirror]) -> Mirror:
    try:
        return mirrored()
    except Unplannable as refused:
        raise _both(differing, refused) from None


def _both(differing: Unplannable, refused: Unplannable) -> Unplannable:
    reason = f"{differing.reason}, and {refused.reason}"
    return Unplannable(reason, differing.offset, differing.hint)


def _mirrored(candidate: Candidate, table: Table, kind: str, inner: Any, texts: Texts) -> Mirror:
    carry = _carried_to_first(candidate, inner, texts) if candidate.sharded else None
    return replace(plan_mirror(candidate, table, kind, inner, texts), carry=carry)


def _carried_to_first(candidate: Candidate, inner: Any, texts: Texts) -> Carry:
    """What brings the rows that a write reads to the first shard, which chooses for all."""

    def check(made: Candidate) -> None:
        if made.sharded:
            table = made.sharded[0]
            reason = f"what {table.relation.name} holds on each shard is read"
            raise Unplannable(reason, table.node.location)

    changed = partial(_changed, inner, texts)
    return plan_carry(candidate, [check], changed, texts.read, reference=True)


def _everywhere(
    candidate: Candidate, table: Table, kind: str, inner: Any, texts: Texts, copies: Copies
) -> Broadcast | Carry:
    """Have every shard run it by itself.

    Raises:
        Unplannable: It may come out differently.
    """
    check = check_reference
    if kind == "update_stmt":
        _check_counted(table, inner)
        check_defaults(table, inner.target_list)
        check = _check_copies
    if candidate.sharded:
        # Which rows match is told by what the queries in it are.
        checks = [check_reference, *([_check_matches] if kind == "update_stmt" else [])]
        changed = partial(_changed, inner, texts)
        made = plan_carry(candidate, checks, changed, texts.read, reference=True)
        return replace(made, copies=copies)
    check(candidate)
    return Broadcast(texts.whole(), answer_of_one=True, first_alone=True, copies=copies)


def _changed(inner: Any, texts: Texts, select: Any, key: str | None = None) -> Sql:
    """The text of an UPDATE or DELETE with other names in it.

    Args:
        inner: The statement.
        texts: What the shards are sent.
        select: Where the names are, of `as_select`; None if they are the user's own.
        key: The shard key, if that is changed; None: it is not.
    """
    if select is not None:
        put_select(inner, select)
    if key is not None:
        add_places(inner, key)
    return texts.changed()


def _check_copies(candidate: Candidate) -> None:
    """Refuse an UPDATE that would write something else to each copy of a reference table."""
    check_reference(candidate)
    _check_matches(candidate)


def _check_matches(candidate: Candidate) -> None:
    # UPDATE nation SET n_name = r_name FROM region WHERE ...: of several matches PostgreSQL takes
    # any.
    if not matches_once(candidate.query, candidate.functions):
        raise Unplannable("a row may match several, and each shard take another one of them")


def _plan_sharded(candidate: Candidate, inner: Any, texts: Texts, *, moves: bool) -> Step:
    """Change rows of a sharded table, on one shard or where they are.

    Args:
        candidate: The SELECT that finds them.
        inner: The statement.
        texts: What the shards are sent.
        moves: Whether the shard key is changed.
    """
    written = candidate.query.items[0]
    try:
        moved = written if moves and isinstance(written, Table) else None
        # A view need not show all that its rows are made of.
        if moved is not None and moved.relation.kind == "v":
            raise _moved(moved)
        step = plan_several(candidate, inner, texts, moved)
    except Unplannable as unplannable:
        step = Refused(
            unplannable.reason,
            CODE,
            unplannable.hint or f"Compare the shard key with a value. Or: {READ_FIRST}",
            candidate.position(unplannable.offset),
        )
    if candidate.pins:
        return Routed(Sql(candidate.text), candidate.pins, step)
    return step


def plan_several(
    candidate: Candidate, inner: Any, texts: Texts, moved: Table | None = None
) -> Step:
    """The step of an UPDATE or DELETE for several shards.

    Args:
        candidate: The SELECT that finds the rows.
        inner: The statement.
        texts: What the shards are sent.
        moved: The table, if its shard key is changed.

    Raises:
        Unplannable: It cannot be planned.
    """
    key = moved.key.name if moved is not None and moved.key is not None else None
    step: Scatter | Carry
    try:
        check_no_crossing(candidate)
    except Unplannable:
        changed = partial(_changed, inner, texts, key=key)
        step = plan_carry(candidate, [check_no_crossing], changed, texts.read, reference=False)
    else:
        sql = texts.whole() if key is None else _changed(inner, texts, None, key)
        step = Scatter(sql, candidate.pins)
    if moved is None:
        return step
    return plan_move(step, moved, len(inner.returning_clause.exprs) > HIDDEN)


def _check_counted(table: Table, inner: Any) -> None:
    """Refuse SET id = DEFAULT, which would count on the row's shard, and all count on the first.

    Raises:
        Unplannable: There is one.
    """
    for column in counted_targets(table.relation, set_targets_of(inner)):
        raise Unplannable(
            f"{column} would be counted by the sequence of its row's shard",
            None,
            "Take the number first, which counts for all: SELECT nextval('...').",
        )


def _check_conflicts(table: Table, conflict: Any) -> None:
    """Refuse ON CONFLICT by columns of which rows on other shards may have the same values.

    Raises:
        Unplannable: The shard key is not among them.
    """
    if not table.sharded or table.key is None or not conflict.HasField("infer"):
        return
    named = [each.index_elem.name for each in conflict.infer.index_elems]
    # ON CONFLICT ON CONSTRAINT names none.
    if named and table.key.name not in named:
        raise Unplannable(
            f"ON CONFLICT would find rows of one shard only: {table.key.name}, the shard key, is "
            "not among its columns",
            conflict.infer.location,
            "Look first whether there is such a row: a unique index without the shard key holds on "
            "each shard, not over all of them.",
        )


def _with_keys(step: Step, keys: Sequence[Pin | None]) -> Step:
    """The step of an UPDATE that gives rows a key: on one shard, if that is where they belong."""
    if not isinstance(step, Routed):
        return step
    known = [pin for pin in keys if pin is not None]
    if len(known) < len(keys):
        return step.otherwise
    return replace(step, pins=(*step.pins, *known))


def new_keys(candidate: Candidate, table: Table, kind: str, inner: Any) -> Iterator[Pin | None]:
    """The shard keys that an UPDATE gives to rows, if they are other than the rows have.

    Yields:
        One whose value is known; None for one that is computed.

    Raises:
        Unplannable: No row can get it.
    """
    if not table.sharded or table.key is None:
        return
    for each in set_targets_of(inner):
        target = each.res_target
        if target.name != table.key.name or _is_own_key(candidate, table.key, target.val):
            continue
        column, placement = table.key.column, table.placement
        value = Restrictions(candidate.functions, candidate.translation).value(
            target.val, table.key
        )
        if (
            column is None
            or placement is None
            or kind == "insert_stmt"
            or target.indirection
            or isinstance(placement, Unknown)
        ):
            raise _moved(table, target.location)
        kept = kept_by(column.type_sql)
        yield None if value is None else Pin(placement, column.type_name, (value,), True, kept)


def _is_own_key(candidate: Candidate, key: BoundColumn, value: Message) -> bool:
    """Whether a value is certainly the row's own key, or one that belongs where the row is."""
    if not value.HasField("column_ref"):
        return False
    # ON CONFLICT: the row that was to be inserted has been sent to the shard of its key.
    if names_of(value.column_ref.fields) == ("excluded", key.name):
        return True
    column = candidate.query.level.resolve(value)
    return column is not None and column.id == key.id


def _moved(table: Table, offset: int | None = None) -> Unplannable:
    key = table.key.name if table.key else ""
    reason = f"the shard key {key} is changed, and the row would have to move"
    return Unplannable(reason, offset, MOVE)


def _position(candidate: Candidate, inner: Any) -> int | None:
    return candidate.position(inner.relation.location)
