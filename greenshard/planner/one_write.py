"""How one write is planned: it is looked at as the SELECT that finds its rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from greenshard.cluster import Sharded, Single
from greenshard.planner.analysis.consequences import (
    Consequences,
    defaulted,
    sets_default,
)
from greenshard.planner.analysis.of_shard import misplaced_call
from greenshard.planner.binding.bound_views import name_of as view_name
from greenshard.planner.binding.query import Derived, Item, Table, tables
from greenshard.planner.bound_statement import BoundStatement
from greenshard.planner.catalog import Relation
from greenshard.planner.code import SYSTEM_SCHEMAS
from greenshard.planner.plan import (
    Anywhere,
    Mirror,
    Move,
    Plan,
    Refused,
    Routed,
    Step,
    Transfer,
)
from greenshard.planner.problem import Problem
from greenshard.planner.strategies.at_home import (
    counted_elsewhere,
)
from greenshard.planner.strategies.candidate import Candidate, Unplannable
from greenshard.planner.strategies.checked_times import checked_times
from greenshard.planner.strategies.completing import (
    NeedsValues,
    complete,
    put_default_times,
    tells,
)
from greenshard.planner.strategies.insert import Apart, Texts, check_reference
from greenshard.planner.strategies.merge_defaults import put_merge_times
from greenshard.planner.strategies.merge_into import source_of
from greenshard.planner.strategies.simple_views import TABLES, NotUpdatable, simple_view
from greenshard.planner.strategies.staged import plan_staged
from greenshard.planner.strategies.stand_ins import names_relation
from greenshard.planner.strategies.with_writes import (
    ROWS_READ,
    as_rows,
    parts_of,
    plan_with_writes,
    untold,
)
from greenshard.planner.strategies.write import (
    READ_FIRST,
    as_select,
    plan_write,
)
from greenshard.planner.strategies.write_at_home import plan_write_at_home
from greenshard.sql.deparsing import Unwritable, faithful, now_number, write
from greenshard.sql.insert_rows import InsertRows, cut
from greenshard.sql.nodes import copy
from greenshard.sql.nodes import select as parse_select
from greenshard.sql.now import STATEMENT_TIME, replace_now
from greenshard.sql.parser import (
    Message,
    parse,
    type_name,
    walk,
)
from greenshard.sql.text import Sql
from greenshard.sql.tree import WRITES, enum_name, location_of, unwrap

_TABLE = "RangeVar"
_PARTS = "Execute its parts one after the other, or the whole on one shard with conn.on(...)."


class OneWrite(BoundStatement):
    """Plans INSERT, UPDATE, DELETE and MERGE."""

    def _with_writes(self, kind: str, inner: Any, raw: Message) -> Step:
        """The step of a statement whose WITH queries write."""
        self._rows = as_rows
        if names_relation(inner, ROWS_READ):
            reason = f"a relation is called {ROWS_READ}"
            return self._with_writes_refused(Unplannable(reason, None, "Give it another name."))
        select = inner if kind == "select_stmt" else as_rows(kind, inner)
        try:
            candidate, problem = self._bind(copy(select), inner)
        except Unplannable as error:
            return self._with_writes_refused(error)
        if problem is not None:
            return self._refused(problem)
        step = self._in_one_piece(candidate, kind, inner, raw)
        alone = step.otherwise if isinstance(step, Routed) else step
        if not isinstance(alone, Refused) or alone.pgcode is not None:
            return step
        try:
            staged = plan_staged(
                candidate, kind, inner, self._relation, partial(self._text_of, raw)
            )
        except (Unplannable, Unwritable):
            return step  # it tells what to change
        return replace(step, otherwise=staged) if isinstance(step, Routed) else staged

    def _in_one_piece(self, candidate: Candidate, kind: str, inner: Any, raw: Message) -> Step:
        """The step if all of it runs as it is."""
        try:
            parts = parts_of(candidate, kind, inner)
            self._untold = next(filter(None, (untold(candidate, part) for part in parts)), None)
            self._note_times(raw, [candidate])
            texts = self._texts(candidate, raw, (), None)
            step = plan_with_writes(candidate, parts, texts.whole)
        except Unplannable as error:
            return self._with_writes_refused(error)
        except Unwritable as unwritable:
            return Refused(str(unwritable), "GS412", _PARTS)
        for part in parts:
            if not isinstance(step, Refused):
                own = replace(candidate, query=part.query)
                step = self._looked_beside(step, [own], part.kind, part.inner)
        return step

    def _with_writes_refused(self, error: Unplannable) -> Refused:
        position = self._translation.old_position_of(error.offset)
        reason = f"WITH queries write, and {error.reason}"
        return Refused(reason, error.code, error.hint or _PARTS, position, error.pgcode)

    def _text_of(self, raw: Any, kind: str, inner: Any) -> Sql:
        """The text of another statement."""
        made = copy(raw)
        getattr(made.stmt, kind).CopyFrom(inner)
        return write(made, self._translation)

    def _start_again(self) -> None:
        """Forget what was noted of another form of the statement."""
        self._translation = replace(self._translation, computed=0)
        self._timed = self._untold = None

    def _changing(self, kind: str, inner: Any, raw: Message) -> Step:
        """The step of a write; `inner` and `raw` are its tree, which is changed."""
        written = copy(inner)  # by which is judged what it sets off
        try:
            if (problem := self._look_into_view(inner)) is not None:
                return self._refused(problem)
            self._put_with_in(kind, inner)
            self._put_default_times(kind, inner)
            computing, problem = self._complete(inner) if kind == "insert_stmt" else ((), None)
            candidate, other = self._bind(as_select(kind, inner), inner)
            apart, third = self._apart(kind, inner, raw, candidate)
            first = candidate.query.items[0]
            problem = problem or other or third or self._counted_elsewhere(inner, first)
            if problem is not None:
                return self._refused(problem)
            texts = self._texts(candidate, raw, computing, apart)
            every = [candidate, *([] if apart is None else [apart.reading]), *self._inside]
            self._note_times(raw, every)
            if isinstance(first, Table) and first.home is not None:
                step = plan_write_at_home(candidate, first, kind, inner, texts)
            else:
                if self._view is not None and not self._view.table.sharded:
                    check_reference(self._inside[0])
                step = plan_write(candidate, kind, inner, texts)
        except NeedsValues:
            reason = "VALUES %s leaves columns to their defaults"
            return Refused(reason, "GS412", READ_FIRST, unreadable=True)
        except Unplannable as error:
            return self._not_planned(error)
        except Unwritable as unwritable:
            return Refused(str(unwritable), "GS412", READ_FIRST)
        # What travels has been read by a plan of its own.
        alone = apart is None or isinstance(step, Transfer)
        read = [candidate] if alone or apart is None else [candidate, apart.reading]
        return self._looked_beside(step, read, kind, written)

    def _not_planned(self, error: Unplannable) -> Step:
        if isinstance(error, NotUpdatable):
            # Whichever server gets it refuses it before a row is written.
            return Anywhere(Sql(self._text))
        position = self._translation.old_position_of(error.offset)
        hint = error.hint or READ_FIRST
        return Refused(error.reason, error.code, hint, position, error.pgcode)

    def _counted_elsewhere(self, inner: Any, first: Item) -> Problem | None:
        """What is wrong with a column of a table on one shard which is counted elsewhere, too."""
        if self._homes is None or not isinstance(first, Table) or first.home is None:
            return None
        return counted_elsewhere(inner, [first.relation], self._homes, first.home)

    def _look_into_view(self, inner: Any) -> Problem | None:
        """Note what is behind a view that is written to; what is amiss in its query.

        Raises:
            Unplannable: It is not a simple one.
        """
        if self._view is not None:
            return None
        named = inner.relation
        found = self._relation(named)
        if found is None or found.kind != "v" or found.schema in SYSTEM_SCHEMAS:
            return None
        select = parse_select("SELECT")
        select.from_clause.add().range_var.CopyFrom(named)
        candidate, problem = self._bind(select)
        view = candidate.query.items[0]
        if problem is not None or not isinstance(view, Derived) or view.view is None:
            return problem or Problem("the view tells the time", named.location, "GS412", TABLES)
        self._view = simple_view(view, self._functions, self._translation, self._catalog.besides)
        # From here on it is a table with the shard key of the one behind it.
        self._whole = {view_name(view): self._view.whole}
        self._inside = [candidate]
        return None

    def _put_default_times(self, kind: str, inner: Any) -> None:
        """A default that is now() is one time for all shards, in SET and in INSERT of MERGE."""
        changed = inner.on_conflict_clause if kind == "insert_stmt" else inner
        merges = kind == "merge_stmt"
        if not merges and (
            kind not in {"update_stmt", "insert_stmt"} or not sets_default(changed.target_list)
        ):
            return
        # Of a view it is the view's own default, or NULL, whatever the table has.
        found = self._relation(inner.relation)
        declared = found and self._cluster.table(found.schema, found.name)
        placed = (Sharded, Single)
        sharded = isinstance(declared, placed) if self._view is None else self._view.table.sharded
        if found is None:
            return
        if merges:
            if self._view is not None:
                self._view.check_merge(inner, self._functions)
                found = self._view.whole.relation or found
            elif declared is None:
                return
            put = put_merge_times(inner, found, self._functions, copies=not sharded)
        else:
            put = sharded and put_default_times(changed.target_list, found, self._functions)
        if put:
            replace_now(inner, now_number(self._translation))
            self._changed = True

    def _put_with_in(self, kind: str, inner: Any) -> None:
        """WITH x AS (...) INSERT INTO t SELECT ...: the SELECT is the one that may read it."""
        if not inner.HasField("with_clause") or not reads_rows(kind, inner):
            return
        writes = any(type_name(each) in WRITES for each in walk(inner.with_clause))
        behind = (inner.on_conflict_clause, inner.returning_clause)
        named = {each.common_table_expr.ctename for each in inner.with_clause.ctes}
        read = {each.relname for part in behind for each in walk(part) if type_name(each) == _TABLE}
        select = inner.select_stmt.select_stmt
        if writes or named & read or select.HasField("with_clause"):
            raise Unplannable("WITH stands before INSERT ... SELECT", None, "Write it after INTO.")
        select.with_clause.CopyFrom(inner.with_clause)
        inner.ClearField("with_clause")
        self._changed = True

    def _apart(
        self, kind: str, inner: Any, raw: Any, candidate: Candidate
    ) -> tuple[Apart | None, Problem | None]:
        """The parts of INSERT ... SELECT, or MERGE."""
        if kind == "merge_stmt":
            read_rows = source_of(inner)
        elif reads_rows(kind, inner):
            read_rows = inner.select_stmt.select_stmt
        else:
            return None, None
        select = copy(read_rows)
        reading, problem = self._bind(read_rows)

        def read() -> tuple[Sql, Plan]:
            return self._apart_from(select)

        def complete(skeleton: Any) -> tuple[Sql, ...]:
            clock, longer_word = self._clock, self._longer_word
            computing, problem = self._complete(skeleton)
            self._clock, self._longer_word = clock, longer_word
            if problem is not None:
                raise Unplannable(problem.reason, problem.offset, problem.hint)
            return computing

        def send(insert: Any) -> Sql:
            self._check_scattered(candidate, _inserted(candidate, raw))
            return self._other_text(raw, insert)

        return Apart(reading, read, complete, send), problem

    def _looked_beside(self, step: Step, read: Sequence[Candidate], kind: str, inner: Any) -> Step:
        """A write's step, or why it cannot be taken for what runs beside it."""
        if isinstance(step, Refused):
            return replace(step, message=step.message + self._equality_note)
        every = [*read, *self._inside]
        # What one server has computed from its rows, the others get.
        for each in () if isinstance(step, Mirror) else every:
            if (seeing := self._seeing_itself(each, read[0])) is not None:
                return self._refused(seeing)
        found = (misplaced_call(each.query, self._functions) for each in every)
        misplaced = next(filter(None, found), None)
        if misplaced is not None:
            refused = self._refused(misplaced)
            # On the shard of one key the rows are there, whatever it is given.
            if not isinstance(step, Routed):
                return refused
            step = replace(step, otherwise=refused)
        # Last: what the statement itself does wrong is the better message.
        set_off = self._set_off(kind, inner, read[0])
        return self._looked_on_the_way(step, read[0]) if set_off is None else self._refused(set_off)

    def _looked_on_the_way(self, step: Step, candidate: Candidate) -> Step:
        """A write's step, without rows that move where that would set something off."""
        moves = step.otherwise if isinstance(step, Routed) else step
        if not isinstance(moves, Move):
            return step
        table = candidate.query.items[0]
        assert isinstance(table, Table)  # noqa: S101  # a write to a view is refused
        relation = table.relation
        consequences = Consequences(self._cluster, self._catalog)
        name, at = (relation.schema, relation.name), table.node.location
        found = consequences.of_move(name, at, partitioned=relation.kind == "p")
        if found is None:
            return step
        refused = self._refused(found)
        return replace(step, otherwise=refused) if isinstance(step, Routed) else refused

    def _seeing_itself(self, candidate: Candidate, write: Candidate) -> Problem | None:
        """A function by which a reference table would be written otherwise on each shard."""
        first = write.query.items[0] if self._view is None else self._view.table
        if not isinstance(first, Table) or first.sharded:
            return None
        return _seeing(candidate, first.relation)

    def _complete(self, insert: Any) -> tuple[tuple[Sql, ...], Problem | None]:
        """Have computed first what an INSERT needs: the queries that do it, and what is amiss.

        Raises:
            NeedsValues, Unplannable, Unwritable: It cannot be done.
        """
        found = self._relation(insert.relation)
        declared = found and self._cluster.table(found.schema, found.name)
        alone = isinstance(declared, Single)
        key = declared.column if isinstance(declared, Sharded) else None
        if self._view is not None:
            self._view.check_insert(insert, self._functions, sets_later=self._sets_later)
            found, key = self._view.whole.relation, self._view.key
        elif declared is None:
            return (), None
        if found is None:
            return (), None
        if alone and reads_rows("insert_stmt", insert):
            self._untold = _untold(_told_default(insert, found))
        completion = complete(insert, found, key, self._functions, self._translation, alone=alone)
        if completion is None:
            return (), None
        self._untold = _untold(completion.untold)
        self._completed = completion.added
        self._translation = replace(self._translation, computed=completion.count)
        self._changed = True
        number = now_number(self._translation)
        replace_now(insert, number)
        selects, before = [], len(self._policies)
        for select in completion.selects:
            replace_now(select, number)
            candidate, problem = self._bind(select)
            problem = problem or misplaced_call(candidate.query, self._functions)
            if problem is None and len(insert.select_stmt.select_stmt.values_lists) > 1:
                # It would see the rows that come before its own.
                problem = _seeing(candidate, found)
            if problem is not None:
                return (), problem
            at = candidate.sharded[0].node.location if candidate.sharded else None
            if candidate.sharded or len(self._policies) > before:
                reason = "a value that must be computed before the rows are placed reads "
                reason += "a sharded table" if candidate.sharded else "what a policy filters"
                raise Unplannable(reason, at)
            selects.append(candidate.write(candidate.select))
        # One server reads what tells the time in them, and once.
        self._clock, self._longer_word = frozenset(), None
        return tuple(selects), None

    def _texts(
        self,
        candidate: Candidate,
        raw: Any,
        computing: tuple[Sql, ...],
        apart: Apart | None,
    ) -> Texts:
        """What several servers are sent of a write."""

        def check() -> None:
            # Only if several servers run it: on the one shard of a key, the text means what it
            # says.
            self._check_scattered(candidate, _inserted(candidate, raw))
            for each in (*([] if apart is None else [apart.reading]), *self._inside):
                self._check_scattered(each)
            if self._view_tells_time:
                raise Unplannable("a view tells the time, which is another one on each shard")

        def whole() -> Sql:
            check()
            return write(raw, self._translation) if self._changed else Sql(self._text)

        def changed() -> Sql:
            check()
            return write(raw, self._translation)

        def parts() -> InsertRows:
            check()
            if not self._changed:
                return cut(self._translation.text, unwrap(raw.stmt)[1], self._translation)
            text = faithful(raw)
            (statement,) = parse(text)
            return cut(text, unwrap(statement.stmt)[1], self._translation)

        return Texts(
            whole,
            changed,
            self._apart_from,
            partial(self._other_text, raw),
            parts,
            computing,
            apart,
        )

    def _other_text(self, raw: Any, inner: Any) -> Sql:
        """The text of a statement with another tree."""
        made = copy(raw)
        unwrap(made.stmt)[1].CopyFrom(inner)
        return write(made, self._translation)

    def _check_scattered(self, candidate: Candidate, inserted: Sequence[Any] = ()) -> None:
        """Refuse what would have another value on each shard; `inserted` as of the objection.

        Raises:
            Unplannable: There is such a thing.
        """
        objection = self._scattered_objection(candidate, inserted)
        if objection is not None:
            raise Unplannable(objection.reason, objection.offset)

    def _set_off(self, kind: str, inner: Any, candidate: Candidate) -> Problem | None:
        """What a write sets off that is not harmless."""
        table = candidate.query.items[0]
        assert isinstance(table, Table)  # noqa: S101  # a simple view is one, too
        relation = table.relation
        columns = [column.name for column in relation.columns]
        if self._view is not None:
            relation, columns = self._view.table.relation, self._view.columns
            inner = self._view.as_of_table(inner)
        name = (relation.schema, relation.name)
        number = now_number(self._translation)
        told = (
            checked_times(kind, inner, relation, self._catalog, each)
            for each in (number, STATEMENT_TIME)
        )
        clocked = next(filter(None, told), None)
        self._clocked = None if clocked is None else self._refused(clocked)
        return Consequences(self._cluster, self._catalog).of_write(kind, inner, name, columns)

    def _truncating(self, node: Any) -> Problem | None:
        """What TRUNCATE sets off that is not harmless."""
        if not node.HasField("truncate_stmt") or not self._catalog.besides:
            return None
        consequences = Consequences(self._cluster, self._catalog)
        cascades = enum_name(node.truncate_stmt, "behavior") == "DROP_CASCADE"
        for each in node.truncate_stmt.relations:
            named = each.range_var
            found = self._relation(named)
            if found is not None:
                name = (found.schema, found.name)
                problem = consequences.of_truncate(name, cascades=cascades, at=named.location)
                if problem is not None:
                    return problem
        return None


def _inserted(candidate: Candidate, raw: Message) -> Sequence[Any]:
    """Of the SELECT in the place of an INSERT, what RETURNING gives; of others nothing."""
    kind, inner = unwrap(raw.stmt)
    count = len(inner.returning_clause.exprs) if kind == "insert_stmt" else 0
    return list(candidate.select.target_list)[-count:] if count else ()


def _told_default(insert: Any, relation: Relation) -> str | None:
    """A column that is left out of INSERT ... SELECT, and whose default tells the time."""
    names = defaulted(insert, [column.name for column in relation.columns])
    told = (each.name for each in relation.columns if each.name in names and tells(each))
    return next(told, None)


def _untold(column: str | None) -> str | None:
    if column is None:
        return None
    return f"the default of {column} tells the time, which is another one on each shard"


def reads_rows(kind: str, inner: Any) -> bool:
    """Whether a statement is INSERT ... SELECT."""
    if kind != "insert_stmt" or not inner.HasField("select_stmt"):
        return False
    return not inner.select_stmt.select_stmt.values_lists


def _seeing(candidate: Candidate, relation: Relation) -> Problem | None:
    """A function that reads a table while that is written, and sees each row that is."""
    for body, query in candidate.bodies:
        # The rows come in the order in which each copy has them (PostgreSQL manual, 38.7 "Function
        # Volatility Categories").
        if body.volatile and any(each.relation is relation for each in tables(query)):
            return Problem(
                f"function {body.name}() is VOLATILE, and reads {relation.name} while that is "
                "written",
                location_of(query.node),
                "GS410",
                "Declare it STABLE: then it sees the rows as they were before the statement.",
            )
    return None
