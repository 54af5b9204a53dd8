"""Goal: run a statement whose WITH queries write where all that it reads and writes is.

    WITH gone AS (DELETE FROM lineitem WHERE l_orderkey = 7 RETURNING *)
    INSERT INTO archived SELECT * FROM gone                               the shard of key 7
    WITH gone AS (DELETE FROM lineitem WHERE l_quantity = 0 RETURNING *)
    INSERT INTO archived SELECT * FROM gone                               every shard, by the key

1. Each part that writes is looked at as a query of its rows, those that RETURNING shows.
2. If all keys that are read, or written, are of one shard, that one has the answer.
3. Else every shard runs the statement as it is, if no row that it writes is made of another
   shard's: no VALUES, which each would insert, and no main query that puts rows of all together.

Refused are others, by the part that is in the way: such a statement sees its tables as they were
before, so it cannot be run part by part.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from greenshard.cluster import Unknown
from greenshard.planner.analysis.clock_words import Words, clock_words
from greenshard.planner.analysis.consequences import defaulted, sets_default
from greenshard.planner.analysis.locality import Locality
from greenshard.planner.analysis.restriction import Restrictions
from greenshard.planner.analysis.shape import Crosses, Where
from greenshard.planner.binding.query import Query, Table
from greenshard.planner.pins import kept_by
from greenshard.planner.plan import Pin, Refused, Routed, Scatter, Step
from greenshard.planner.strategies.candidate import Candidate, Unplannable
from greenshard.planner.strategies.completing import (
    counted_targets,
    ignored_columns,
    is_counted,
    tells,
    varies,
)
from greenshard.planner.strategies.insert import key_of_row
from greenshard.planner.strategies.write import (
    CODE,
    as_select,
    assignments,
    new_keys,
    set_targets_of,
)
from greenshard.sql.text import Sql
from greenshard.sql.tree import unwrap

#: What may have such WITH queries.
DML = frozenset({"select_stmt", "insert_stmt", "update_stmt", "delete_stmt", "merge_stmt"})
#: The name of the rows of INSERT ... SELECT, as a WITH query of it.
ROWS_READ = "gs rows"
_HINT = (
    "Compare the shard keys of all tables with one value; or execute the parts one after the "
    "other, or the whole on one shard with conn.on(...)."
)


@dataclass(frozen=True)
class Part:
    """A part that writes.

    Attributes:
        kind: "insert_stmt", "update_stmt", "delete_stmt" or "merge_stmt".
        inner: Its tree.
        query: The SELECT that `as_rows` made of it, bound.
        name: What it is called in messages.
    """

    kind: str
    inner: Any
    query: Query
    name: str

    @property
    def table(self) -> Table:
        """What it writes to.

        Raises:
            Unplannable: It is no table.
        """
        first = self.query.items[0]
        if not isinstance(first, Table) or first.relation.kind not in "rp":
            raise Unplannable(f"{self.name} writes to something else than a table")
        return first

    @property
    def rows(self) -> Query | None:
        """What INSERT ... SELECT reads."""
        found = (cte.query for cte in self.query.ctes if cte.name == ROWS_READ)
        return next(found, None)


def writes_in_with(inner: Any) -> bool:
    """Whether a statement has WITH queries that write."""
    if not inner.HasField("with_clause"):
        return False
    ctes = (each.common_table_expr for each in inner.with_clause.ctes)
    return any(not each.ctequery.HasField("select_stmt") for each in ctes)


def as_rows(kind: str, inner: Any) -> Any:
    """What `as_select` makes of a write, and the rows of INSERT ... SELECT as a WITH query."""
    made = as_select(kind, inner)
    if kind == "insert_stmt" and inner.HasField("select_stmt"):
        select = inner.select_stmt.select_stmt
        if not select.values_lists:
            cte = made.with_clause.ctes.add().common_table_expr
            cte.ctename = ROWS_READ
            cte.ctequery.select_stmt.CopyFrom(select)
    return made


def parts_of(candidate: Candidate, kind: str, inner: Any) -> list[Part]:
    """The parts that write.

    Args:
        candidate: The statement, as `as_rows` made it of a write.
        kind: The kind of the whole.
        inner: Its tree.
    """
    parts = [
        Part(*unwrap(cte.node.ctequery), cte.query, f"WITH query {cte.name}")
        for cte in candidate.query.ctes
        if cte.name != ROWS_READ and not cte.node.ctequery.HasField("select_stmt")
    ]
    if kind != "select_stmt":
        parts.append(Part(kind, inner, candidate.query, "the statement"))
    return parts


def plan_with_writes(candidate: Candidate, parts: Sequence[Part], whole: Callable[[], Sql]) -> Step:
    """Plan a statement with WITH queries that write.

    Args:
        candidate: See `parts_of`.
        parts: Those that write.
        whole: What several servers are sent.

    Raises:
        Unplannable: It cannot be planned.
    """
    locality = Locality(candidate.functions)
    found = [pin for part in parts for pin in _Writing(candidate, part, locality).pins()]
    try:
        several: Step = _on_every_shard(candidate, parts, locality, whole)
    except Unplannable as unplannable:
        several = Refused(
            f"WITH queries write, and {unplannable.reason}",
            CODE,
            unplannable.hint or _HINT,
            candidate.position(unplannable.offset),
        )
    pins = _read(candidate, parts)
    if pins is None or not (pins or found):
        return several
    return Routed(Sql(candidate.text), (*pins, *found), several)


def _read(candidate: Candidate, parts: Sequence[Part]) -> Sequence[Pin] | None:
    """The keys of what is read, changed or deleted; None: any."""
    into = [part.table for part in parts if part.kind == "insert_stmt"]
    found = [
        each.pin
        for each in candidate.restrictions
        if each.table.sharded and not any(each.table is table for table in into)
    ]
    pins = [pin for pin in found if pin is not None]
    return pins if len(pins) == len(found) else None


def _on_every_shard(
    candidate: Candidate, parts: Sequence[Part], locality: Locality, whole: Callable[[], Sql]
) -> Scatter:
    analyses = [candidate.analysis]
    for part in parts:
        _check_alike(candidate, part)
        if part.kind == "merge_stmt":
            raise Unplannable(f"{part.name} is a MERGE")
        if part.kind == "insert_stmt":
            # FROM has the table, for the names; its rows are not read.
            _check_read(part, locality)
        else:
            analyses.append(_analysed(locality, part.query))
    for analysis in analyses:
        for crosses in analysis.crossing.values():
            raise Unplannable(crosses.reason, crosses.offset)
        if analysis.rows.where is not Where.SPLIT:
            raise Unplannable("a part of it has the same rows on every shard")
    node = candidate.select
    if node.sort_clause or node.HasField("limit_count") or node.HasField("limit_offset"):
        raise Unplannable("the rows of several shards would have to be put in order")
    return Scatter(whole())


def _analysed(locality: Locality, query: Query) -> Any:
    try:
        return locality.analyse(query)
    except Crosses as crosses:
        raise Unplannable(crosses.reason, crosses.offset) from None


def _check_read(part: Part, locality: Locality) -> None:
    """Refuse rows to be inserted that each shard would insert."""
    if part.rows is None:
        raise Unplannable(f"{part.name} inserts VALUES, which each shard would do")
    analysis = _analysed(locality, part.rows)
    for crosses in analysis.crossing.values():
        raise Unplannable(crosses.reason, crosses.offset)
    if analysis.rows.where is not Where.SPLIT:
        raise Unplannable(f"{part.name} inserts rows that every shard has")


def _check_alike(candidate: Candidate, part: Part) -> None:
    """Refuse what would be another value on each shard."""
    words = _clock_words(candidate, part)
    if words.literals or words.parameters or words.longer is not None:
        raise Unplannable(f"{part.name} writes a text that may tell the time")
    if sets_default(set_targets_of(part.inner)):
        raise Unplannable(f"{part.name} sets a default, which may be another one on each shard")
    for column in _defaulted(part):
        if varies(column):
            reason = f"{column.name} would get a default that is another one on each shard"
            raise Unplannable(reason)


def _clock_words(candidate: Candidate, part: Part) -> Words:
    """The texts in a part that may tell the time."""
    assigned = assignments(part.query, part.inner)
    return clock_words(part.query, assigned, candidate.functions, candidate.translation)


def untold(candidate: Candidate, part: Part) -> str | None:
    """What a part writes that tells the time, and has no place for it in its text."""
    words = _clock_words(candidate, part)
    if words.literals or words.longer is not None:
        return f"{part.name} writes a text that may tell the time"
    every = {column.name: column for column in part.table.relation.columns}
    changed = (each.res_target.name for each in set_targets_of(part.inner) if sets_default([each]))
    columns = [*_defaulted(part), *(every[name] for name in changed if name in every)]
    told = next(filter(tells, columns), None)
    return None if told is None else f"the default of {told.name} tells the time"


def _defaulted(part: Part) -> Iterator[Any]:
    """The columns that get their default in an INSERT."""
    if part.kind == "insert_stmt":
        relation = part.table.relation
        columns = relation.columns
        names = defaulted(part.inner, [column.name for column in columns])
        names |= ignored_columns(part.inner, relation)
        yield from (column for column in columns if column.name in names)


class _Writing:
    """A part that writes; arguments as of `plan_with_writes`."""

    def __init__(self, candidate: Candidate, part: Part, locality: Locality) -> None:
        self._candidate = candidate
        self._part = part
        self._locality = locality

    def pins(self) -> Iterator[Pin]:
        """The keys of the rows that it inserts, or moves.

        Raises:
            Unplannable: They are not known.
        """
        part, table = self._part, self._part.table
        if not table.sharded:
            raise Unplannable(f"{part.name} writes to reference table {table.relation.name}")
        if table.key is None or table.key.column is None or isinstance(table.placement, Unknown):
            raise Unplannable(f"the placement of {table.relation.name} does not tell")
        for column in counted_targets(table.relation, set_targets_of(part.inner)):
            raise Unplannable(f"{column} would be counted by the sequence of its row's shard")
        for column in _defaulted(part):
            if is_counted(column):
                reason = f"{column.name} would be counted by the sequence of its row's shard"
                raise Unplannable(reason, None, "Take the number first: SELECT nextval('...').")
        if part.kind == "merge_stmt":
            raise Unplannable(f"{part.name} is a MERGE")
        own = replace(self._candidate, query=part.query)
        for pin in new_keys(own, table, part.kind, part.inner):
            if pin is None:
                raise Unplannable(f"{part.name} changes the shard key {table.key.name}")
            yield pin
        if part.kind == "insert_stmt":
            yield from self._inserted(table)

    def _inserted(self, table: Table) -> Iterator[Pin]:
        key, inner = table.key, self._part.inner
        assert key is not None and key.column is not None  # noqa: S101, PT018  # `pins`
        assert table.placement is not None  # noqa: S101  # likewise
        names = [each.res_target.name for each in inner.cols]
        names = names or [column.name for column in table.relation.columns]
        if key.name not in names or not inner.HasField("select_stmt"):
            raise Unplannable(f"{self._part.name} inserts rows without {key.name}, their shard key")
        at, functions = names.index(key.name), self._candidate.functions
        translation, select = self._candidate.translation, inner.select_stmt.select_stmt
        if self._part.rows is None:
            rows = [row.list.items for row in select.values_lists]
            values = tuple(key_of_row(row, at, functions, translation, key) for row in rows)
        else:
            targets = select.target_list
            node = targets[at].res_target.val if at < len(targets) else None
            value = node and Restrictions(functions, translation).value(node, key)
            if value is None:
                self._check_colocated(self._part.rows, at, table)
                return
            values = (value,)
        kept = kept_by(key.column.type_sql)
        yield Pin(table.placement, key.column.type_name, values, inserts=True, kept=kept)

    def _check_colocated(self, rows: Query, at: int, table: Table) -> None:
        """Refuse rows that are read, unless their keys are of the shard where they are read."""
        # Registers what the WITH queries mean.
        with_all = self._candidate.query
        try:
            self._locality.analyse(with_all)
            shape = self._locality.shape(rows)
        except Crosses as crosses:
            raise Unplannable(crosses.reason, crosses.offset) from None
        shown = (rows.outputs or ())[at : at + 1]
        own = table.key.column if table.key is not None else None
        same = [
            column
            for column in shown
            if column.id in shape.keys
            and column.column is not None
            and own is not None
            # Of equal types: a cast on the way might round to another key.
            and column.column.type_sql == own.type_sql
        ]
        if shape.where is not Where.SPLIT or shape.placement != table.placement or not same:
            name = own.name if own is not None else ""
            reason = f"the {name} of the rows that {self._part.name} inserts is not the shard key "
            raise Unplannable(f"{reason}of a colocated table")
