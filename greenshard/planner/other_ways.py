"""How a write is planned that cannot be run as it is: as other statements, or one after the other.

INSERT INTO t VALUES (1, (SELECT max(id) FROM orders))      as INSERT ... SELECT; or `hoisted`
INSERT INTO t SELECT nextval('s'), note FROM orders         see `numbered_rows`
UPDATE t SET id = DEFAULT                                   see `numbered`
MERGE INTO t USING s ON t.a = s.b ... THEN INSERT ...       see `split_merge`
"""

from __future__ import annotations

from copy import copy as shallow_copy
from dataclasses import replace
from functools import partial
from typing import Any

from greenshard.planner.binding.query import Derived, Table
from greenshard.planner.one_write import OneWrite, reads_rows
from greenshard.planner.plan import Plan, Refused, Step, Transfer
from greenshard.planner.strategies.candidate import Unplannable
from greenshard.planner.strategies.completing import counted_targets
from greenshard.planner.strategies.hoisted import (
    plan_hoisted,
    plan_hoisted_merge,
    without_subqueries,
)
from greenshard.planner.strategies.merge_defaults import inserts
from greenshard.planner.strategies.merge_into import named_columns
from greenshard.planner.strategies.mirror import plan_mirror
from greenshard.planner.strategies.numbered import (
    counting_values,
    plan_numbered,
    without_counting,
)
from greenshard.planner.strategies.numbered_rows import (
    numbers_rows,
    plan_numbered_rows,
    without_numbers,
)
from greenshard.planner.strategies.simple_views import SimpleView
from greenshard.planner.strategies.split_merge import SplitMerge
from greenshard.planner.strategies.view_insert import plan_view_insert
from greenshard.planner.strategies.write import as_select
from greenshard.sql.deparsing import Unwritable
from greenshard.sql.nodes import copy
from greenshard.sql.nodes import select as parse_select
from greenshard.sql.parser import Message, type_name, walk
from greenshard.sql.text import Sql
from greenshard.sql.tree import unwrap

#: What a MERGE is refused for that could be done in parts.
_RETURNING: dict[str, Any] = {
    "message": "RETURNING of a MERGE whose ON does not tell the shard of the rows that it inserts",
    "position": None,
    "hint": "Leave RETURNING out; or compare the shard key in ON with a column of the source, and "
    "insert that column as the key.",
}


class OtherWays(OneWrite):
    """Plans INSERT, UPDATE, DELETE and MERGE, whichever way they go."""

    def _write(self, kind: str, inner: Any, raw: Message) -> Step:
        written = copy(inner)
        step = self._changing(kind, inner, raw)
        in_vain = kind == "merge_stmt" and _counts_in_vain(step)
        refused = isinstance(step, Refused) and step.pgcode is None
        if not in_vain and not refused:
            return step
        # What it notes on the way is nothing, unless it gets there.
        other = shallow_copy(self)
        found = other._otherwise(kind, step, written, inner, raw)
        if found is not step:
            vars(self).update(vars(other))
        return found

    def _otherwise(self, kind: str, step: Step, written: Any, inner: Any, raw: Any) -> Step:
        """The step of a write in another way; `step`, if there is none.

        Args:
            kind: Of the statement.
            step: Its step as it is.
            written: Its tree as it was.
            inner: Its tree, which is changed.
            raw: The statement with `inner`.
        """
        if kind == "merge_stmt":
            return self._merging_in_parts(step, written, raw)
        if not isinstance(step, Refused):
            return step
        if kind == "insert_stmt":
            return self._inserting(step, written, inner, raw)
        return self._numbering(step, written, raw) if kind == "update_stmt" else step

    def _inserting(self, refused: Refused, written: Any, inner: Any, raw: Message) -> Step:
        """The step of an INSERT that cannot be run as it is; see `_inserting_otherwise`."""
        if self._sets_later:
            return refused
        if self._view is not None:
            return self._through_view(refused, self._view, written, raw)
        if reads_rows("insert_stmt", written) and numbers_rows(written, self._functions):
            return self._numbering_rows(refused, written, raw)
        return self._inserting_otherwise(refused, written, inner, raw)

    def _merging_in_parts(self, step: Step, merge: Any, raw: Message) -> Step:
        """The step of a MERGE that cannot be run as it is, or would count for rows in vain.

        Args:
            step: Its step otherwise.
            merge: It.
            raw: The statement with it.
        """
        kind = "merge_stmt"
        try:
            self._start_again()
            candidate, problem = self._bind(as_select(kind, copy(merge)), merge)
            if problem is None and (bare := without_subqueries(merge)) is not None:
                made = plan_hoisted_merge(candidate, copy(merge), partial(self._text_of, raw))
                return made if self._is_plannable(kind, bare, raw) else step
            if not inserts(merge):
                return step
            alias, columns = named_columns(candidate.query.items[1], merge)
            bare = copy(merge)
            bare.ClearField("returning_clause")
            split = SplitMerge(bare, alias, [each.name for each in columns])
            every = [(kind, split.matching)] if split.matching is not None else []
            every += [("insert_stmt", split.alone(each)) for each in split.inserting]
            if not all(self._is_plannable(*part, raw) for part in every):
                return step
            if merge.returning_clause.exprs:
                # The rows that it inserts and those that it changes are given by several parts.
                return replace(step, **_RETURNING) if isinstance(step, Refused) else step
            self._start_again()
            return split.staged(partial(self._text_of, raw))
        except (Unplannable, Unwritable):
            return step

    def _is_plannable(self, kind: str, inner: Any, raw: Message) -> bool:
        """Whether another statement in the place of one could be run."""
        made: Any = copy(raw)
        getattr(made.stmt, kind).CopyFrom(inner)
        self._start_again()
        plan = self._write if kind == "insert_stmt" else self._changing
        return not isinstance(plan(kind, getattr(made.stmt, kind), made), Refused)

    def _numbering(self, refused: Refused, update: Any, raw: Message) -> Step:
        """The step of an UPDATE that cannot be run as it is, if it sets what is counted."""
        found = self._relation(update.relation)
        if found is None or not (
            any(counted_targets(found, update.target_list))
            or any(counting_values(update, self._functions))
        ):
            return refused
        try:
            bare = without_counting(update, self._functions)
            candidate, problem = self._bind(as_select("update_stmt", bare))
            first = candidate.query.items[0]
            if problem is not None or not isinstance(first, Table) or first.home is not None:
                return refused
            return plan_numbered(first, update, self._functions, partial(self._text_of, raw))
        except (Unplannable, Unwritable):
            return refused

    def _inserting_otherwise(
        self, refused: Refused, written: Any, inner: Any, raw: Message
    ) -> Step:
        """The step of an INSERT that cannot be run as it is.

        Args:
            refused: Why.
            written: It.
            inner: Its tree, which is changed.
            raw: The statement with it.
        """
        inner.CopyFrom(written)
        self._start_again()
        step: Step = refused
        if _row_reads(inner):
            # VALUES (1, (SELECT max(id) FROM orders)) is a row that is read, too.
            _as_rows_read(inner)
            self._changed = True
            step = self._changing("insert_stmt", inner, raw)
        if not isinstance(step, Refused) or reads_rows("insert_stmt", written):
            return step
        inner.CopyFrom(written)
        try:
            candidate, problem = self._bind(as_select("insert_stmt", inner), inner)
            first = candidate.query.items[0]
            if problem is not None or not isinstance(first, Table):
                return refused
            if first.sharded or candidate.sharded:
                return plan_hoisted(candidate, inner, partial(self._text_of, raw))
            texts = self._texts(candidate, raw, (), None)
            step = plan_mirror(candidate, first, "insert_stmt", inner, texts)
        except (Unplannable, Unwritable):
            return refused
        return self._looked_beside(step, [candidate], "insert_stmt", written)

    def _through_view(self, refused: Refused, view: SimpleView, insert: Any, raw: Message) -> Step:
        """The step of an INSERT into a view that cannot be run as it is."""
        derived = self._inside[0].query.items[0]
        try:
            assert isinstance(derived, Derived)  # noqa: S101  # a view's
            self._start_again()
            write, besides = partial(self._text_of, raw), self._catalog.besides
            return plan_view_insert(
                view, derived, insert, self._functions, besides, write, self._setting_later
            )
        except (Unplannable, Unwritable):
            return refused

    def _setting_later(self, insert: Sql) -> Plan:
        """The plan of an INSERT whose hidden columns are set later.

        Raises:
            Unplannable: It has none.
        """
        plan = self._other(insert.text, bool(insert.binds), sets_later=True)
        if isinstance(plan.step, Refused):
            raise Unplannable(plan.step.message)
        return plan

    def _numbering_rows(self, refused: Refused, insert: Any, raw: Message) -> Step:
        """The step of INSERT ... SELECT that cannot be run as it is, and takes numbers."""
        try:
            bare = without_numbers(insert, self._functions)
            if not self._is_plannable("insert_stmt", bare, raw):
                return refused
            self._start_again()
            return plan_numbered_rows(insert, self._functions, partial(self._text_of, raw))
        except (Unplannable, Unwritable):
            return refused


def _counts_in_vain(step: Step) -> bool:
    """Whether a MERGE takes numbers for rows that it may not insert."""
    return isinstance(step, Transfer) and any("nextval(" in each.text for each in step.computing)


def _row_reads(insert: Any) -> bool:
    """Whether an INSERT has one row of VALUES, and a subquery in it."""
    rows = [row.list.items for row in insert.select_stmt.select_stmt.values_lists]
    if len(rows) != 1:
        return False
    kinds = {type_name(message) for value in rows[0] for message in walk(value)}
    # DEFAULT must be left out, and only the column's name tells which one.
    return "SubLink" in kinds and ("SetToDefault" not in kinds or bool(insert.cols))


def _as_rows_read(insert: Any) -> None:
    """Write the only row of VALUES as a SELECT; it is changed."""
    values = insert.select_stmt.select_stmt
    made = parse_select("SELECT")
    names = list(insert.cols)
    for at, value in enumerate(values.values_lists[0].list.items):
        if unwrap(value)[0] == "set_to_default":
            del insert.cols[at - len(names)]
        else:
            made.target_list.add().res_target.val.CopyFrom(value)
    if values.HasField("with_clause"):
        made.with_clause.CopyFrom(values.with_clause)
    values.CopyFrom(made)
