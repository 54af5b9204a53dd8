"""Goal: put each row that is inserted on the shard of its key, or on all of them.

    INSERT INTO orders (o_orderkey, ...) VALUES (7, ...)              the shard of key 7
    INSERT INTO orders (o_orderkey, ...) VALUES (7, ...), (8, ...)    each row on its own shard
    INSERT INTO nation (n_nationkey, ...) VALUES (1, ...)             every shard, counted once

1. What must be computed once is a placeholder by now, see `completing`.
2. A key that is a constant or a parameter is known when the statement runs; a server is asked for
   one of another type than its column's. If all are of one shard, that gets the statement as it is.
3. Otherwise each shard gets the statement with its own rows, all at the same time; RETURNING's rows
   come back in the order of VALUES.

Refused are rows whose shard is not known. INSERT ... SELECT has a file of its own, `insert_select`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from greenshard.cluster import Unknown
from greenshard.planner.analysis.chance import first_choice
from greenshard.planner.analysis.consequences import sets_default
from greenshard.planner.analysis.restriction import Restrictions, home_pin
from greenshard.planner.analysis.server_values import of_server
from greenshard.planner.binding.query import Table
from greenshard.planner.binding.scope import BoundColumn
from greenshard.planner.calls import Functions
from greenshard.planner.pins import kept_by
from greenshard.planner.plan import (
    Anywhere,
    Broadcast,
    Constant,
    Copies,
    Insert,
    Keys,
    Parameter,
    Pin,
    Plan,
    Refused,
    Routed,
    Step,
    Value,
)
from greenshard.planner.strategies.candidate import Candidate, Read, Unplannable
from greenshard.planner.strategies.completing import tuple_of
from greenshard.planner.strategies.copies import other_tables
from greenshard.sql.deparsing import computed_number
from greenshard.sql.insert_rows import InsertRows
from greenshard.sql.parser import Message
from greenshard.sql.placeholders import Translation
from greenshard.sql.text import Computed, Sql
from greenshard.sql.tree import location_of

# Never `conn.on`: what it names would have to be the right shard, which only the key tells.
GIVE_KEY = (
    "Give each row its shard key as a value. If a sequence makes it, take it first: "
    "SELECT nextval('...')."
)
_NAME = "Name the shard of its rows with conn.on(...)."


@dataclass(frozen=True, slots=True)
class Apart:
    """The parts of INSERT ... SELECT, which are planned apart where its rows travel.

    Attributes:
        reading: The SELECT.
        read: Gives it as a statement of its own, and its plan.
        complete: Completes an INSERT, and gives what computes its defaults; see `completing`.
        write: Gives the text of an INSERT.
    """

    reading: Candidate
    read: Callable[[], tuple[Sql, Plan]]
    complete: Callable[[Any], tuple[Sql, ...]]
    write: Callable[[Any], Sql]

    def rows(self, locked: str) -> tuple[Sql, Plan]:
        """What gives the rows, to be read before they travel, and its plan.

        Args:
            locked: What to say if it locks them: they would not be when others are written.

        Raises:
            Unplannable: They cannot be read so.
        """
        if clauses := self.reading.select.locking_clause:
            raise Unplannable(locked, location_of(clauses[0]))
        read, plan = self.read()
        if isinstance(plan.step, Refused):
            raise Unplannable(plan.step.message, None, plan.step.hint)
        return read, plan


@dataclass(frozen=True, slots=True)
class Texts:
    """What several servers are sent of a write.

    Attributes:
        whole: Gives the statement.
        changed: Gives the statement as its tree is now.
        read: Gives a SELECT as a statement of its own, and its plan.
        other: Gives another one in its place, for one server at a time.
        parts: Gives it in parts, if it is an INSERT with VALUES.
        computing: What gives the values that are computed first.
        apart: The parts of INSERT ... SELECT; None of others.
    """

    whole: Callable[[], Sql]
    changed: Callable[[], Sql]
    read: Read
    other: Callable[[Any], Sql]
    parts: Callable[[], InsertRows]
    computing: tuple[Sql, ...] = ()
    apart: Apart | None = None


def plan_insert(candidate: Candidate, table: Table, inner: Any, texts: Texts) -> Step:
    """Plan an INSERT with VALUES.

    Args:
        candidate: What `write.as_select` made of it.
        table: Where it inserts.
        inner: The statement, completed.
        texts: What the shards are sent.

    Raises:
        Unplannable: It cannot be planned.
    """
    # The one is the table itself; any other is read in a subquery of VALUES or RETURNING.
    if len(candidate.sharded) > (1 if table.sharded else 0):
        raise Unplannable("an INSERT reads a sharded table")
    name, conflicts = table.relation.name, inner.HasField("on_conflict_clause")
    computing = texts.computing
    if not table.sharded:
        check_defaults(table, inner.on_conflict_clause.target_list)
        check_reference(candidate)
        if conflicts and table.relation.primary_key and any(other_tables(candidate, table)):
            raise Unplannable("what ON CONFLICT reads may change between one shard and the next")
        if not computing:
            copies = Copies(name)
            return Broadcast(texts.whole(), answer_of_one=True, first_alone=True, copies=copies)
        return Insert(texts.parts(), name, None, computing, in_turn=True)
    if _is_uneven(candidate, inner):
        # Whichever server gets it refuses it before a row is written; each gets rows of one length.
        return Anywhere(Sql(candidate.text))
    keys = _keys(candidate, table, inner)
    step = Insert(texts.parts(), name, keys, computing, in_turn=conflicts)
    return step if computing else Routed(Sql(candidate.text), (keys.pin,), step)


def _is_uneven(candidate: Candidate, inner: Any) -> bool:
    """Whether some rows of VALUES certainly have more values than others, or than columns."""
    rows = [row.list.items for row in inner.select_stmt.select_stmt.values_lists]
    # VALUES %s, %s: how many values a tuple has, the parameters tell.
    if any(tuple_of(row, candidate.translation) for row in rows):
        return False
    widths = set(map(len, rows))
    return len(widths) > 1 or (len(inner.cols) > 0 and widths != {len(inner.cols)})


def home_keys(table: Table) -> Keys:
    """Where the rows belong of a table that one shard alone has."""
    assert table.home is not None  # noqa: S101  # whoever calls has looked
    return Keys(home_pin(table.home), (Constant(0),), table.relation.columns[0], 0)


def check_defaults(table: Table, targets: Any) -> None:
    """Refuse SET x = DEFAULT of a reference table.

    Raises:
        Unplannable: A column would get a default from each shard.
    """
    if sets_default(targets):
        raise Unplannable(
            f"reference table {table.relation.name} would get a default from each shard"
        )


def check_reference(candidate: Candidate) -> None:
    """Refuse what would write something else on each shard.

    Raises:
        Unplannable: It would.
    """
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
    for each in candidate.computed_times:
        if not each.is_proved:
            raise Unplannable(
                "a text becomes a time, which is another one on each shard if it says 'now' or "
                "the like",
                each.offset,
            )


def keys_of(
    table: Table,
    columns: Sequence[str],
    values_at: Callable[[int, BoundColumn], tuple[Sequence[Value | Computed], int]],
) -> Keys:
    """The shard keys of rows that are inserted.

    Args:
        table: Where.
        columns: The names of the columns that they have.
        values_at: Gives, for the place and the column, the keys, and `Keys.at`.

    Raises:
        Unplannable: It is not known where they belong.
    """
    if table.placement is None or table.key is None or table.key.column is None:
        raise Unplannable("the placement is not known", None, _NAME)
    # It tells where a row that is there can be found (everywhere), but not where a new one belongs.
    if isinstance(table.placement, Unknown):
        reason = f"the placement of {table.relation.name} does not tell the rows' shard"
        raise Unplannable(reason, None, _NAME)
    name, column = table.key.name, table.key.column
    if (objection := table.placement.objection(column.type_name)) is not None:
        raise Unplannable(objection, None, _NAME)
    if name not in columns:  # which `completing` has left to the server to refuse
        reason = f"the rows to be inserted have no {name}, their shard key"
        raise Unplannable(reason, None, GIVE_KEY)
    values, at = values_at(columns.index(name), table.key)
    known = tuple(value for value in values if not isinstance(value, Computed))
    kept = kept_by(column.type_sql)
    pin = Pin(table.placement, column.type_name, known, inserts=True, kept=kept)
    return Keys(pin, tuple(values), column, at)


def _keys(candidate: Candidate, table: Table, inner: Any) -> Keys:
    """The rows' shard keys."""
    columns = [each.res_target.name for each in inner.cols]
    columns = columns or [each.name for each in table.relation.columns]
    rows = [row.list.items for row in inner.select_stmt.select_stmt.values_lists]

    def values_at(at: int, key: BoundColumn) -> tuple[Sequence[Value | Computed], int]:
        return [_key(candidate, row, at, key) for row in rows], at

    return keys_of(table, columns, values_at)


def _key(
    candidate: Candidate, row: Sequence[Message], at: int, key: BoundColumn
) -> Value | Computed:
    translation = candidate.translation
    if at < len(row) and row[at].HasField("param_ref"):
        number = row[at].param_ref.number - computed_number(translation, 0)
        if 0 <= number < translation.computed:
            return Computed(number)
    return key_of_row(row, at, candidate.functions, translation, key)


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
    whole = tuple_of(row, translation)
    if whole is not None:
        return Parameter(translation.parameters[whole - 1], item=at)
    if at >= len(row):
        raise Unplannable("a row to be inserted has too few values", None, GIVE_KEY)
    value = Restrictions(functions, translation).value(row[at], key)
    if value is None:
        raise Unplannable("the shard key of a row is computed", location_of(row[at]), GIVE_KEY)
    return value
