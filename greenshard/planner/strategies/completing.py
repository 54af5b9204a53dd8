"""Goal: have PostgreSQL compute once what an INSERT needs before its rows can be placed.

    INSERT INTO orders (id, note) VALUES (DEFAULT, %s), (nextval('s'), upper('x'))

    first, on the cluster's first shard     VALUES (nextval('orders_id_seq'), nextval('s'))
    then, as an INSERT of known rows        INSERT INTO orders (id, note)
                                            VALUES (%(c0)s, %s), (%(c1)s, upper('x'))

1. Computed are a row's shard key, if it is more than a value; what a sequence counts, for each
   shard has a sequence of that name, and they count on the first one; and of a row that goes to
   several shards whatever need not be the same on each: defaults, calls, subqueries.
2. A column that is left out and has such a default is put into the list of columns.
3. Defaults that tell the time are written out, also for a row that goes to one shard: the time of
   the transaction may be another shard's.
4. What is computed travels as a literal of its own type, and gets into the column as the expression
   itself would: by assignment.

Rows of one statement get their defaults one after the other, as on one PostgreSQL. VALUES, not
SELECT, computes what is written in rows: so aggregates and window functions are refused in
PostgreSQL's words.

Source: transformInsertStmt and transformInsertRow in PostgreSQL's analyze.c; manual, INSERT and
5.3 "Identity Columns".
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from greenshard.planner.analysis.clock_words import holds_word
from greenshard.planner.analysis.consequences import sets_default
from greenshard.planner.analysis.restriction import Restrictions
from greenshard.planner.analysis.server_values import is_numbered
from greenshard.planner.binding.qualifying import path_bound, qualify
from greenshard.planner.binding.scope import BoundColumn
from greenshard.planner.calls import Functions, calls, is_harmless, name_of
from greenshard.planner.catalog import Column, Relation
from greenshard.planner.strategies.candidate import Unplannable
from greenshard.sql.deparsing import computed_number
from greenshard.sql.functions import Fact, facts_of
from greenshard.sql.nodes import copy, expression
from greenshard.sql.nodes import select as parse_select
from greenshard.sql.now import is_replaced, is_telling, tells_time
from greenshard.sql.parser import Message, parse, type_name, walk
from greenshard.sql.placeholders import Translation
from greenshard.sql.text import Sql
from greenshard.sql.tree import WRITES, enum_name, unwrap

#: Of one VALUES: PostgreSQL has 1,664 columns at most.
_WIDTH = 1_000


class NeedsValues(Exception):
    """It can only be told with the parameters in the text: VALUES %s leaves columns to defaults."""


@dataclass(frozen=True, slots=True)
class Completion:
    """What is to be computed before an INSERT.

    Attributes:
        selects: Queries, whose values have the numbers 0, 1, ... row by row, one after the other.
        count: How many values they give.
        untold: A column whose default tells the time and cannot be written out, for the one shard
            that runs the text as it is; None if there is none.
        added: The columns that the list of columns did not have.
    """

    selects: tuple[Any, ...]
    count: int
    untold: str | None = None
    added: tuple[str, ...] = ()


def complete(
    insert: Any,
    relation: Relation,
    key: str | None,
    functions: Functions,
    translation: Translation,
    *,
    alone: bool = False,
) -> Completion | None:
    """Put placeholders into an INSERT for what is to be computed first; None if it stays as it is.

    Args:
        insert: The `InsertStmt`; it is changed.
        relation: Where it inserts.
        key: The shard key's column; None of a reference table.
        functions: What it may call.
        translation: Where its parameters come from.
        alone: Whether the table is on one shard alone, which computes all but the time.

    Raises:
        Unplannable: A default is not known, or may be another one by the search path.
    """
    if insert.HasField("select_stmt") and not insert.select_stmt.select_stmt.values_lists:
        return None
    column = None if key is None else relation.column(key)
    if column is not None and column.generated:
        raise Unplannable(
            f"the shard key {key} is computed from other columns, and not known before",
            None,
            "Insert the row on the shard of its key over a connection without the declaration: "
            "greenshard.connect({...}), conn.on('...').",
        )
    completing = _Completing(insert, relation, key, functions, translation, alone)
    return completing.run() if completing.is_regular() else None


def tuple_of(row: Sequence[Message], translation: Translation) -> int | None:
    """The number of the placeholder that stands for all of a row, ``VALUES %s``; None if none does.

    (%s) has one value, and %s alone a tuple with its own brackets.
    """
    if len(row) != 1 or not row[0].HasField("param_ref"):
        return None
    number: int = row[0].param_ref.number
    return number if number in translation.bracketed else None


def series(count: int) -> str:
    """What has so many rows, in FROM."""
    return f"pg_catalog.generate_series(1, {count})"


def repeated(computing: Sql, few: int, count: int) -> Sql | None:
    """What computes defaults for `few` rows, for `count` rows; None if it computes other values."""
    if not computing.text.endswith(series(few)):
        return None
    return replace(computing, text=computing.text.removesuffix(series(few)) + series(count))


def ignored_columns(insert: Any, relation: Relation) -> frozenset[str]:
    """The columns for which an INSERT's values are ignored: OVERRIDING USER VALUE.

    An INSERT action of a MERGE is asked likewise.

    Source: PostgreSQL manual, INSERT.
    """
    if enum_name(insert, "override") != "OVERRIDING_USER_VALUE":
        return frozenset()
    return frozenset(column.name for column in relation.columns if column.identity)


def is_counted(column: Column) -> bool:
    """Whether a sequence gives a column its default."""
    return column.default is not None and "nextval(" in column.default


def counted_targets(relation: Relation, targets: Any) -> Iterator[str]:
    """The columns that SET gives the default of a sequence."""
    for each in targets:
        column = relation.column(each.res_target.name)
        if column is not None and is_counted(column) and sets_default([each]):
            yield column.name


def varies(column: Column) -> bool:
    """Whether a column's default may be another one on each server."""
    if not column.default:
        return column.default is not None  # empty: it could not be read
    default = expression(column.default)
    return holds_word(column.default) or not _is_constant(default) or is_numbered(default)


def tells(column: Column) -> bool:
    """Whether a column's default tells the time."""
    return bool(column.default) and tells_time(expression(column.default or ""))


def put_default_times(targets: Any, relation: Relation, functions: Functions) -> bool:
    """Write out the defaults in SET that tell the time, so that it is one time for all shards.

    Other defaults are each row's own, and its shard computes them.

    Args:
        targets: What SET names; it is changed.
        relation: What it changes.
        functions: What defaults may call.

    Returns:
        Whether there are such.

    Raises:
        Unplannable: A default is not known, or stands where it cannot be written out.
    """
    changed = False
    for each in targets:
        column = relation.column(each.res_target.name)
        if column is None or column.default is None or not sets_default([each]):
            continue
        if column.default and not tells_time(expression(column.default)):
            continue
        default = default_of(relation, column, functions)
        if unwrap(each.res_target.val)[0] != "set_to_default":
            raise Unplannable("a default, as now(), may be another one on each shard")
        each.res_target.val.CopyFrom(default)
        changed = True
    return changed


def default_of(relation: Relation, column: Column, functions: Functions) -> Message:
    """What a column gets by default; its names have their schemas.

    Raises:
        Unplannable: It is not known, or may be another one by the search path.
    """
    if not column.default:
        raise Unplannable(
            f"the default of {column.name} cannot be read: {relation.name} is locked",
            None,
            "Execute it again when the lock is gone.",
        )
    default = expression(column.default)
    qualify(default, functions)
    if path_bound(default):
        raise Unplannable(
            f"the default of {column.name} compares by what the search path has first",
            None,
            f"Give {column.name} a value.",
        )
    return default


@dataclass
class _Completing:
    insert: Any
    relation: Relation
    key: str | None
    functions: Functions
    translation: Translation
    alone: bool = False
    cells: list[Message] = field(default_factory=list)
    """What is computed in the place of single values."""
    columns: list[Message] = field(default_factory=list)
    """Defaults that every row gets, one for each column."""
    changed: bool = False
    untold: str | None = None
    added: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.values = self.insert.select_stmt.select_stmt
        if not self.insert.HasField("select_stmt"):  # DEFAULT VALUES: a row of none
            self.values = parse_select("VALUES (1)")
            del self.values.values_lists[0].list.items[:]
        self.rows = [row.list.items for row in self.values.values_lists]
        named = [each.res_target for each in self.insert.cols]
        # The columns of VALUES without a list of them: as many as there are values.
        width = min((len(row) for row in self.rows), default=0)
        self.names = [each.name for each in named]
        if not named:
            self.names = [column.name for column in self.relation.columns[:width]]
        #: An element, or a field, is not the column.
        self.partial = {each.name for each in named if each.indirection}

    def is_regular(self) -> bool:
        """Whether the rows fit the columns; if not, the server says what is wrong."""
        if self._is_tuple():
            return True
        whole = [name for name in self.names if name not in self.partial]
        return len(set(whole)) == len(whole) and all(
            len(row) == len(self.names) for row in self.rows
        )

    def _is_tuple(self) -> bool:
        return all(tuple_of(row, self.translation) is not None for row in self.rows)

    def run(self) -> Completion | None:
        wanted = [each for each in self.relation.columns if self._wants_default(each)]
        every = [each for each in wanted if self._has_every_row_default(each)]
        if self._is_tuple():
            if every or (self.key is not None and self.key not in self.names):
                raise NeedsValues
            return Completion((), 0, self.untold) if self.untold else None
        read = [
            (at, column, column in wanted)
            for at, name in enumerate(self.names)
            if (column := self.relation.column(name)) is not None
            and name not in self.partial
            and column not in every
        ]
        for row in self.rows:  # as PostgreSQL computes them
            for at, column, computes in read:
                if computes or not self.alone:
                    self._read_cell(row[at], column, computes=computes)
        defaults = [(column, self._default(column)) for column in every]
        computed = {
            column.name
            for column, default in defaults
            if column.name == self.key
            or not (tells_only_time(default, self.functions) or self._is_only_told(default))
        }
        first, width = len(self.cells), len(computed)
        for column, default in defaults:
            values = [default] * len(self.rows)
            if column.name in computed:
                numbers = range(first + len(self.columns), first + width * len(values), width)
                values = [self._placeholder(number) for number in numbers]
                self.columns.append(default)
            self._put_column(column, values)
        if self.key is not None and self.key not in self.names:
            # Without a default: the row's key is NULL.
            self._add_column(self.key, [expression("NULL")] * len(self.rows))
        if self.rows[0] and not self.insert.HasField("select_stmt"):
            self.insert.select_stmt.select_stmt.CopyFrom(self.values)
        return self._completion() if self.changed or self.untold else None

    def _completion(self) -> Completion:
        selects = []
        for start in range(0, len(self.cells), _WIDTH):
            made = parse_select("VALUES (1)")
            del made.values_lists[0].list.items[:]
            made.values_lists[0].list.items.extend(self.cells[start : start + _WIDTH])
            self._copy_ctes(made)
            selects.append(made)
        count = len(self.rows)
        if self.columns:
            made = parse_select(f"SELECT FROM {series(count)}")
            for default in self.columns:
                made.target_list.add().res_target.val.CopyFrom(default)
            selects.append(made)
        values = len(self.cells) + count * len(self.columns)
        return Completion(tuple(selects), values, self.untold, tuple(self.added))

    def _copy_ctes(self, select: Any) -> None:
        """Let values read the WITH queries of the statement."""
        if not self.insert.HasField("with_clause"):
            return
        with_clause = self.insert.with_clause
        if any(type_name(message) in WRITES for message in walk(with_clause)):
            raise Unplannable("a WITH query writes, beside values that must be computed first")
        select.with_clause.CopyFrom(with_clause)

    # Defaults -------------------------------------------------------------------------------

    def _wants_default(self, column: Column) -> bool:
        """Whether some row gets the column's default, and it is to be computed first."""
        if column.name in self.partial or column.default is None:
            return False
        if column.name in self.names and not any(
            unwrap(cell)[0] == "set_to_default" for cell in self._cells(column.name)
        ):
            return self._ignores(column)
        default = expression(column.default) if column.default else None
        if default is None:
            return True  # it could not be read
        if column.name == self.key:
            return True
        if self._is_placed() and (self.alone or not counts(default, self.functions)):
            return self._is_told(column, default)
        return varies(column) and not self._is_left(column, default)

    def _is_left(self, column: Column, default: Message) -> bool:
        """Whether each shard may compute a default, though it is more than a constant.

        The role may have no right to insert into the column: what is written out needs one.
        """
        if holds_word(column.default or "") or is_numbered(default) or not _is_fixed(default):
            return False
        return all(
            self.functions.is_immutable(call)
            # random() is another one in each row anyway.
            or (self.key is not None and self.functions.is_own(call) and is_harmless(call))
            for call in calls(default)
        )

    def _is_placed(self) -> bool:
        """Whether all rows are for one shard, which computes what is left to it."""
        return self.alone or (self.key is not None and len(self.rows) < 2)

    def _is_only_told(self, default: Message) -> bool:
        """Whether a default is written out for the time in it, and computed by the row's shard."""
        return self._is_placed() and (self.alone or not counts(default, self.functions))

    def _is_told(self, column: Column, default: Message) -> bool:
        """Whether a default tells the time, and can be written out."""
        if not tells_time(default):
            return False
        # As it is, the text is right where the shard's own time is: it is not refused for this.
        if self._is_tuple():
            self.untold = column.name
            return False
        try:
            self._default(column)
        except Unplannable:
            self.untold = column.name
            return False
        return True

    def _ignores(self, column: Column) -> bool:
        """Whether OVERRIDING USER VALUE has the values of a column ignored."""
        return column.name in ignored_columns(self.insert, self.relation)

    def _has_every_row_default(self, column: Column) -> bool:
        return (
            column.name not in self.names
            or self._ignores(column)
            or all(unwrap(cell)[0] == "set_to_default" for cell in self._cells(column.name))
        )

    def _cells(self, name: str) -> Iterator[Message]:
        at = self.names.index(name)
        if not self._is_tuple():
            for row in self.rows:
                yield row[at]

    def _default(self, column: Column) -> Message:
        return default_of(self.relation, column, self.functions)

    def _put_column(self, column: Column, values: Sequence[Message]) -> None:
        """Have every row get a value in the place of a default."""
        if column.name in self.names:
            for cell, value in zip(self._cells(column.name), values, strict=True):
                self._put(cell, value)
        else:
            self._add_column(column.name, values)
        if column.identity:
            # It is what the column itself would have made of it.
            system = "OVERRIDING SYSTEM VALUE" if column.identity == "a" else ""
            (made,) = parse(f"INSERT INTO t {system} VALUES (1)")
            self.insert.override = made.stmt.insert_stmt.override

    def _add_column(self, name: str, values: Sequence[Message]) -> None:
        """Give every row one value more."""
        if not self.insert.cols:
            for each in self.names:
                self.insert.cols.add().res_target.name = each
        self.insert.cols.add().res_target.name = name
        self.names.append(name)
        self.added.append(name)
        for row, value in zip(self.rows, values, strict=True):
            self._put(row.add(), value)

    # Values ---------------------------------------------------------------------------------

    def _read_cell(self, cell: Message, column: Column, *, computes: bool) -> None:
        """Have a value computed that must be."""
        if unwrap(cell)[0] != "set_to_default":
            if self._must_be_computed(cell, column.name):
                self._compute(cell, copy(cell))
        elif column.name == self.key and column.default is None:
            self._put(cell, expression("NULL"))
        elif computes:
            system = enum_name(self.insert, "override") == "OVERRIDING_SYSTEM_VALUE"
            if column.identity == "a" and not system:
                raise Unplannable(
                    f'cannot insert a non-DEFAULT value into column "{column.name}"',
                    None,
                    "It is GENERATED ALWAYS: use OVERRIDING SYSTEM VALUE to override.",
                    pgcode="428C9",
                )
            default = self._default(column)
            (self._put if self._is_only_told(default) else self._compute)(cell, default)

    def _put(self, cell: Any, value: Message) -> None:
        cell.CopyFrom(value)
        self.changed = True

    def _compute(self, cell: Message, what: Message) -> None:
        self.cells.append(what)
        self._put(cell, self._placeholder(len(self.cells) - 1))

    def _placeholder(self, number: int) -> Message:
        return expression(f"${computed_number(self.translation, number)}")

    def _must_be_computed(self, cell: Message, name: str) -> bool:
        if name == self.key:
            # Of no type yet: by itself it would become a text.
            if cell.HasField("param_ref") or cell.a_const.HasField("sval"):
                return False
            key = BoundColumn(name, (0, 0), self.relation.column(name))
            return Restrictions(self.functions, self.translation).value(cell, key) is None
        if _is_constant(cell):
            return False
        found = list(calls(cell))
        # What may read tables is refused, or declared to be harmless, where it stands.
        if any(self.functions.may_read_tables(call) for call in found):
            return False
        if self.key is None:
            return not (_is_fixed(cell) and all(map(self.functions.is_immutable, found)))
        return counts(cell, self.functions)


def _is_fixed(cell: Message) -> bool:
    """Whether an expression, but for what it calls, is certainly the same on every server."""
    for message in walk(cell):
        each: Any = message
        kind = type_name(message)
        if kind in ("SubLink", "SQLValueFunction"):
            return False
        # A text that is put together may say 'now'.
        if kind == "TypeCast" and not _is_constant(each.arg):
            return False
    return True


def counts(value: Message, functions: Functions) -> bool:
    """Whether a value must come from the one place where it is counted for everybody."""
    return any(
        Fact.COUNTED in facts_of(name_of(call))
        or (functions.is_volatile(call) and not is_harmless(call))
        for call in calls(value)
        if functions.is_own(call)
    )


def tells_only_time(default: Message, functions: Functions) -> bool:
    """Whether a default is known as soon as the time of the transaction is."""
    if is_numbered(default):
        return False
    for message in walk(default):
        each: Any = message
        kind = type_name(message)
        if kind == "SubLink" or (
            kind == "FuncCall" and not (is_telling(each) or functions.is_immutable(each))
        ):
            return False
        if kind == "Node" and each.HasField("sqlvalue_function") and not is_replaced(each):
            return False
        # A text that is put together, or is more than the word, may say 'now'.
        if kind == "Node" and each.HasField("type_cast") and not is_replaced(each):
            inner = each.type_cast.arg
            if holds_word(str(inner)) or not (_is_constant(inner) or tells_time(inner)):
                return False
    return True


def _is_constant(node: Message) -> bool:
    """Whether an expression is a literal, a parameter, or a cast or an array of such."""
    kind, inner = unwrap(node)
    if kind == "type_cast":
        return _is_constant(inner.arg)
    if kind == "a_array_expr":
        return all(map(_is_constant, inner.elements))
    return kind in ("a_const", "param_ref")
