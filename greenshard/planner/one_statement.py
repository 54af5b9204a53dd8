"""How one statement is planned: what its names mean, what stands in its way, who can do it.

A query is bound and tried by the strategies in turn; a write is looked at as the SELECT that finds
its rows. `planner` reads the text, and keeps the plan.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from greenshard.cluster import Cluster, Sharded, Single
from greenshard.planner.analysis.asked_settings import settings_asked
from greenshard.planner.analysis.clock_words import clock_words, holds_word, may_hold_word
from greenshard.planner.analysis.consequences import (
    Consequences,
    called,
    defaulted,
    sets_default,
)
from greenshard.planner.analysis.homes import Homes, Touched, unknown_calls
from greenshard.planner.analysis.objections import objections, scattered_objection
from greenshard.planner.analysis.of_shard import misplaced_call
from greenshard.planner.analysis.rights import filterings, readings
from greenshard.planner.analysis.statistics import statistics
from greenshard.planner.analysis.whole_rows import telling_row
from greenshard.planner.binding.attributes import Attributes
from greenshard.planner.binding.binder import Binder
from greenshard.planner.binding.bound_views import WholeViews
from greenshard.planner.binding.bound_views import name_of as view_name
from greenshard.planner.binding.namesakes import doubtful_time, resolve_types
from greenshard.planner.binding.query import Derived, Item, Query, Table, tables
from greenshard.planner.binding.views import (
    PathBound,
    put_views,
    unqualify_columns,
    view_tells_time,
)
from greenshard.planner.calls import Functions, calls, name_of
from greenshard.planner.catalog import Catalog, Relation
from greenshard.planner.code import SYSTEM_SCHEMAS, Trace
from greenshard.planner.ddl_events import fired
from greenshard.planner.key_changes import key_change
from greenshard.planner.plan import (
    Anywhere,
    Broadcast,
    Combine,
    Filtering,
    Gather,
    Mirror,
    Move,
    Parameter,
    Plan,
    Reading,
    Refusal,
    Refused,
    Routed,
    Scatter,
    Step,
    Transfer,
    Value,
)
from greenshard.planner.problem import Problem
from greenshard.planner.refusals import reasons
from greenshard.planner.strategies import STRATEGIES, Strategy
from greenshard.planner.strategies.at_home import (
    counted_elsewhere,
    plan_at_home,
    touched,
    with_all_tables,
)
from greenshard.planner.strategies.candidate import Candidate, Unplannable
from greenshard.planner.strategies.completing import (
    WRITES,
    NeedsValues,
    complete,
    put_default_times,
    tells,
)
from greenshard.planner.strategies.ddl_at_home import plan_ddl_at_home
from greenshard.planner.strategies.gather import plan_gather
from greenshard.planner.strategies.insert import Apart, Texts, check_reference
from greenshard.planner.strategies.merge_into import source_of
from greenshard.planner.strategies.mirror import plan_mirror
from greenshard.planner.strategies.route import plan_route
from greenshard.planner.strategies.setting import plan_setting, sets_sequence
from greenshard.planner.strategies.simple_views import TABLES, SimpleView, simple_view
from greenshard.planner.strategies.utility import plan_utility, temporary_table
from greenshard.planner.strategies.with_writes import (
    DML,
    as_rows,
    parts_of,
    plan_with_writes,
    untold,
    writes_in_with,
)
from greenshard.planner.strategies.write import (
    READ_FIRST,
    as_select,
    assignments,
    plan_write,
)
from greenshard.planner.strategies.write_at_home import plan_write_at_home
from greenshard.sql.deparsing import Unwritable, faithful, now_number, write
from greenshard.sql.functions import SETTING
from greenshard.sql.insert_rows import InsertRows, cut
from greenshard.sql.nodes import as_statement, copy
from greenshard.sql.nodes import select as parse_select
from greenshard.sql.now import put_times, replace_now, tells_time
from greenshard.sql.parser import (
    Message,
    parse,
    type_name,
    walk,
)
from greenshard.sql.placeholders import Translation
from greenshard.sql.text import Sql
from greenshard.sql.tree import enum_name, location_of, unwrap

TOO_DEEP = "the statement is nested too deeply"
_TABLE = "RangeVar"
#: What they name first is new.
_MAKING = frozenset({"create_stmt", "view_stmt", "create_seq_stmt"})
_ON = "Run it on one shard with conn.on('...')."
_GIVE_TIME = "Take the time first, SELECT now(), and give it as a parameter."
_PARTS = "Execute its parts one after the other, or the whole on one shard with conn.on(...)."


class OneStatement:
    """Plans one statement."""

    def __init__(
        self,
        cluster: Cluster,
        catalog: Catalog,
        text: str,
        translation: Translation,
        path: tuple[str, ...],
        other: Callable[[str, bool], Plan],
        homes: Homes | None = None,
    ) -> None:
        """Take what is known.

        Args:
            cluster: As declared.
            catalog: Of it.
            text: The statement.
            translation: The same in the parser's placeholders.
            path: ``current_schemas(true)``.
            other: Plans another text, which has parameters or not.
            homes: Where tables are that one shard alone has; None if there are none.
        """
        self._other = other
        self._homes = homes
        self._cluster = cluster
        self._catalog = catalog
        self._functions = Functions(catalog, path)
        self._text = text
        self._translation = translation
        self._path = path
        self._refusals: tuple[Refusal, ...] = ()
        self._tables: tuple[str, ...] = ()
        self._names: frozenset[str] = frozenset()
        self._policies: tuple[Filtering, ...] = ()
        self._settings: tuple[Value, ...] | None = ()
        self._reads = False
        self._statement: Message
        self._changed = False
        self._view_tells_time = False
        self._clock: frozenset[Parameter] = frozenset()
        self._longer_word: int | None = None
        self._unknown = False
        self._touched: Touched | None = None
        self._view: SimpleView | None = None
        self._inside: Sequence[Candidate] = ()
        self._whole: WholeViews = {}
        #: The text for one shard with the time in it, or why there is none; None: it tells no time.
        self._timed: Sql | Refused | None = None
        self._untold: str | None = None
        self._rows: Callable[[str, Any], Any] | None = None

    def plan(self, raw: Any, reads: bool, trace: Trace) -> Plan:
        self._reads = reads
        # Before names are looked up: DDL may name what is not there yet.
        step = plan_utility(self._text, raw.stmt)
        written = raw if self._homes is None else copy(raw)
        if self._homes is not None and (own := self._at_home(raw.stmt, step)) is not None:
            step = own
            if isinstance(own, Routed):
                self._timed = self._timed_at_home(written, reads, trace)
        if (set_off := self._truncating(raw.stmt)) is not None:
            step = self._refused(set_off)
        if isinstance(step, Broadcast) and (changes := self._beside_ddl(raw.stmt)) is not None:
            step = self._refused(changes)
        elif isinstance(step, Broadcast):
            self._names = _named_by(raw.stmt)
        if step is None and (unknown := self._unknown_parameter(raw)) is not None:
            step = self._refused(unknown)
        # Before anything asks which type a cast is to.
        resolve_types(raw.stmt, self._functions)
        if step is None and (doubtful := doubtful_time(raw.stmt, self._functions)) is not None:
            step = self._refused(doubtful)
        if step is None:
            self._names = frozenset(
                each.relname for each in walk(raw.stmt) if type_name(each) == "RangeVar"
            )
            self._statement = raw.stmt
            # Each shard's transaction has begun at another moment, so now() is one placeholder for
            # all.
            self._changed = replace_now(raw.stmt, now_number(self._translation))
            kind, inner = unwrap(raw.stmt)
            select = kind == "select_stmt"
            step = self._planned(kind, inner, raw)
            if select and self._homes is not None and self._touched is not None:
                step = with_all_tables(step, self._touched, self._homes)
        return Plan(
            step,
            self._refusals,
            reads,
            trace,
            self._tables,
            self._names,
            self._policies,
            self._settings,
            clock=self._clock,
            only_sets=raw.stmt.HasField("variable_set_stmt"),
            unknown=self._unknown,
            makes=_made_by(raw.stmt, step),
            timed=self._timed_step(step),
        )

    # The time of the transaction, on one shard -------------------------------------------------

    def _timed_step(self, step: Step) -> Step | None:
        """See `Plan.timed`."""
        if self._timed is None or not isinstance(step, (Anywhere, Routed)):
            return None
        if isinstance(self._timed, Sql):
            return replace(step, sql=self._timed)
        # Any shard may run it: then the one whose time counts does.
        if isinstance(step, Anywhere):
            return self._timed if step.first else step
        # With the queries of views in the place of their names.
        return step.otherwise if self._view_tells_time and self._reads else self._timed

    def _note_times(self, statement: Any, candidates: Sequence[Candidate]) -> None:
        """Note what is sent of a statement to one shard whose own time is not the transaction's.

        Args:
            statement: Its tree, with the time in it, before a strategy changes that.
            candidates: Its parts.
        """
        told = next(filter(None, map(self._time_objection, candidates)), None)
        number = now_number(self._translation)
        if self._untold is not None:
            self._timed = Refused(self._untold, "GS412", _GIVE_TIME, unreadable=True)
        elif told is not None:
            self._timed = self._refused(told)
        elif self._view_tells_time:
            reason = "a view tells the time, which is another one on each shard"
            self._timed = Refused(reason, "GS410", _GIVE_TIME)
        elif any(type_name(m) == "ParamRef" and m.number == number for m in walk(statement)):
            try:
                self._timed = write(statement, self._translation)
            except Unwritable as unwritable:
                self._timed = Refused(str(unwritable), "GS410", _GIVE_TIME)

    def _timed_at_home(self, raw: Any, reads: bool, trace: Trace) -> Sql | Refused | None:
        """The same of what one shard alone has; see `_note_times`."""
        other = OneStatement(
            self._cluster, self._catalog, self._text, self._translation, self._path, self._other
        )
        tells_it = tells_time(raw)
        step = other.plan(raw, reads, trace).step
        self._clock = other._clock
        if other._timed is None and tells_it and isinstance(step, Refused):
            reason = "it tells the time of its shard, whose transaction began at another moment"
            return Refused(reason, "GS410", _GIVE_TIME)
        return other._timed

    def _at_home(self, node: Any, step: Step | None) -> Step | None:
        """The step of what one shard alone can run; None of anything else."""
        homes, functions, path = self._homes, self._functions, self._path
        assert homes is not None  # noqa: S101  # whoever calls has looked
        if isinstance(step, Broadcast):
            own = plan_ddl_at_home(self._text, node, homes, functions, path)
            return self._refused(own) if isinstance(own, Problem) else own
        self._touched = found = touched(node, homes, functions, path)
        if found is None:
            return None
        own = plan_at_home(self._text, node, found, homes, functions)
        if isinstance(own, (Routed, Broadcast)):
            roots = [node, *found.views, *found.bodies]
            self._tables = tuple(sorted(found.declared))
            self._names = frozenset(name for _, name in found.relations)
            self._settings = settings_asked(roots, self._translation)
            self._unknown = unknown_calls(roots, functions)
        return self._refused(own) if isinstance(own, Problem) else own

    def _beside_ddl(self, node: Any) -> Problem | None:
        return key_change(node, self._cluster, self._catalog, self._path, everywhere=True) or fired(
            node, self._cluster, self._catalog
        )

    def _unknown_parameter(self, raw: Any) -> Problem | None:
        """A placeholder of the server's own: there is nothing that it could stand for."""
        known = len(self._translation.parameters)
        for message in walk(raw.stmt) if "$" in self._text else ():
            if type_name(message) == "ParamRef" and message.number > known:
                reason = f"there is no parameter ${message.number}"
                return Problem(reason, message.location, "GS404", "Write %s.", "42P02")
        return None

    def _planned(self, kind: str, inner: Any, raw: Any) -> Step:
        """What is done with a statement that is planned by what it names."""
        if kind in DML and writes_in_with(inner):
            return self._with_writes(kind, inner, raw)
        if kind == "select_stmt":
            return self._select(inner)
        if kind == "call_stmt":
            return self._call(inner.funccall)
        return self._write(kind, inner, raw)

    def _call(self, call: Any) -> Step:
        """What is done with CALL: any shard runs a procedure that is declared to read nothing."""
        functions, name = self._functions, name_of(call)
        arguments = parse_select("SELECT")
        for node in call.args:
            value = node.named_arg_expr.arg if node.HasField("named_arg_expr") else node
            arguments.target_list.add().res_target.val.CopyFrom(value)
        step = self._select(arguments)
        if not isinstance(step, Anywhere):
            return step
        if not functions.of(call):
            self._unknown = True  # the server says so, unless it was made a moment ago
        elif functions.is_of_shard(call):
            reason = f"CALL of {name}(), which is declared to read rows of one shard, names none"
            hint = "Name it: with conn.on(key=...), or conn.on('...')."
            return self._refused(Problem(reason, call.location, "GS410", hint))
        elif not functions.is_immutable(call):
            reason = f"CALL of {name}(), which may read or write any table"
            hint = (
                "If it touches no table, say so under [functions] in the cluster's TOML: "
                f'{name} = {{ reads = "nothing" }}. Or name its shards with conn.on(...).'
            )
            return self._refused(Problem(reason, call.location, "GS410", hint))
        if isinstance(self._timed, Sql):  # of the SELECT of its arguments
            reason = f"CALL of {name}() tells the time, which is another one on the first shard"
            self._timed = Refused(reason, "GS410", _GIVE_TIME)
        return Anywhere(Sql(self._text), step.first)

    # SELECT ---------------------------------------------------------------------------------

    def _select(self, select: Any) -> Step:
        if select.HasField("into_clause"):
            return Refused(
                "SELECT INTO over several shards", "GS410",
                "Each shard would make a table of its own rows. Declare the table; or create it, "
                "then insert into it.",
            )  # fmt: skip
        # SELECT set_config('x', 'y', false) is SET, and like SET it is for all shards.
        if any(name_of(call) == SETTING and self._own(call) for call in calls(select)):
            return self._set_config(select)
        written = copy(select)
        candidate, problem = self._bind(select)
        if problem is None:
            return self._choose(candidate)
        counted = set() if self._touched is None else self._touched.counted
        alone = counted <= {self._cluster.names[0]}
        if candidate.sharded and alone and sets_sequence(written, self._functions):
            return plan_setting(written, self._apart_from, self._written)
        return self._refused(problem)

    def _written(self, select: Any) -> Sql:
        return write(as_statement(select), self._translation)

    def _own(self, call: Any) -> bool:
        """Whether no function of the user's own is meant."""
        return self._functions.is_own(call) or not self._functions.of(call)

    def _set_config(self, select: Any) -> Step:
        # SELECT set_config('x', name, false) FROM t: what is set would be another value on each
        # shard.
        if any(type_name(message) == "RangeVar" for message in walk(select)):
            return Refused("set_config() in a query that reads tables", "GS410", _ON)
        # SELECT set_config('x', f(), false): so may f.
        for call in calls(select):
            if not self._functions.is_own(call) and not self._functions.is_immutable(call):
                reason = f"set_config() beside {name_of(call)}(), which may read tables"
                return self._refused(Problem(reason, call.location, "GS410", _ON))
        return Broadcast(Sql(self._text), answer_of_one=True)

    def _bind(self, select: Any, write: Any = None) -> tuple[Candidate, Problem | None]:
        """Resolve names, and note what is found; a statement may be looked at in several parts.

        Args:
            select: What is looked at.
            write: The INSERT or UPDATE that it was made of; None if none.
        """
        candidate, problems = self._candidate(select, self._changed)
        # The tree is another one now, and a `Candidate` keeps what it has found out.
        if self._put_times(candidate, select, write):
            candidate, problems = self._candidate(select, True)
        filtering = filterings(candidate.query, self._functions, self._rebind, reads=self._reads)
        self._policies += tuple(filtering)
        if any(map(view_tells_time, candidate.views)):
            self._view_tells_time = True
            # Before the views are gone from the tree: then nothing would tell whose rights are to
            # be asked for.
            readings_ = tuple(readings(candidate.query, candidate.mentions, view_tells_time))
            try:
                put_views(select, candidate.query, view_tells_time)
                unqualify_columns(select)
            except PathBound as bound:
                return candidate, Problem(bound.reason, bound.offset, "GS410", _ON)
            replace_now(select, now_number(self._translation))
            # With the view's query in its place, v.* as a value is of no named type.
            row = telling_row(candidate.query, self._functions)
            candidate, problems = self._candidate(select, True, readings_)
            if row is not None:
                reason = "a whole row stands beside a view that tells the time"
                problems.append(Problem(reason, row, "GS410", _ON))
        relations = [table.relation for table in candidate.tables if not table.system]
        named = {f"{each.schema}.{each.name}" for each in relations}
        self._tables = tuple(sorted(named.union(self._tables)))
        self._names |= {each.name for each in relations}
        asked = settings_asked(candidate.roots, self._translation)
        none_computed = self._settings is not None and asked is not None
        self._settings = (*(self._settings or ()), *(asked or ())) if none_computed else None
        every = (call for root in candidate.roots for call in calls(root))
        self._unknown = self._unknown or not all(map(self._functions.of, every))
        found = [
            *problems,
            *objections(
                candidate.roots,
                self._functions,
                sharded=bool(candidate.sharded),
                views=len(candidate.views),
            ),
            *Attributes(self._functions, self._catalog).problems(
                candidate.query, sharded=bool(candidate.sharded)
            ),
        ]
        found.extend(self._called_unseen(candidate))
        found += statistics(candidate.tables, candidate.roots)
        # orders JOIN pg_class: each shard would join its own catalog, with OIDs of its own.
        if candidate.sharded and any(table.system for table in candidate.tables):
            found.append(
                Problem(
                    "a sharded table is read beside PostgreSQL's own catalog, which differs "
                    "from shard to shard",
                    None,
                    "GS410",
                    _ON,
                )
            )
        refreshed = next((table for table in candidate.tables if table.refreshed), None)
        if candidate.sharded and refreshed is not None:
            name = f"{refreshed.relation.schema}.{refreshed.relation.name}"
            reason = f"materialized view {name} is read beside a sharded table, and not declared"
            hint = f"Declare it as a reference table, if it is always refreshed for all. Or: {_ON}"
            found.append(Problem(reason, refreshed.node.location, "GS409", hint))
        return candidate, found[0] if found else None

    def _called_unseen(self, candidate: Candidate) -> Iterator[Problem]:
        """What comparing and casting the values of some columns may call."""
        for table in candidate.tables if self._catalog.tainted else ():
            name = (table.relation.schema, table.relation.name)
            beside = self._catalog.besides.get(name)
            for call in () if beside is None else beside.calls:
                if call.kind == "type" and call.name in candidate.mentions.of(table):
                    yield called(call, name, table.node.location, "GS410")
        for view in candidate.views:
            relation = view.relation
            name = (relation.schema, relation.name) if relation else ("", "")
            beside = self._catalog.besides.get(name)
            for call in beside.calls if beside else ():
                if call.kind == "view":
                    yield called(call, name, None, "GS410")

    def _put_times(self, candidate: Candidate, select: Any, write: Any) -> bool:
        """Put the time in the place of literals that stand for one; whether there were such."""
        # Most texts hold no such word, and no tree is walked for them.
        if not (self._translation.parameters or may_hold_word(self._translation.text)):
            return False
        words = clock_words(
            candidate.query,
            assignments(candidate.query, write),
            self._functions,
            self._translation,
        )
        self._clock |= words.parameters | set(self._computed_parameters(candidate))
        if self._longer_word is None:
            self._longer_word = words.longer
        if not words.literals:
            return False
        # A write is planned by a SELECT made of copies of its parts, and sent as its own tree.
        for root in (select, self._statement):
            put_times(root, words.literals, now_number(self._translation))
        self._changed = True
        return True

    def _computed_parameters(self, candidate: Candidate) -> Iterator[Parameter]:
        """Those in texts that become times."""
        known = self._translation.parameters
        for each in candidate.computed_times if known else ():
            # The number behind is that of the time of the transaction.
            yield from (Parameter(known[n - 1]) for n in each.parameters if n <= len(known))

    def _scattered_objection(self, candidate: Candidate) -> Problem | None:
        """What would have another value on each shard."""
        return self._time_objection(candidate) or scattered_objection(
            candidate.roots, self._functions
        )

    def _time_objection(self, candidate: Candidate) -> Problem | None:
        """What tells the time, and cannot be given it."""
        told = (each.offset for each in candidate.computed_times if each.may_say_now)
        words = [*([] if self._longer_word is None else [self._longer_word]), *told]
        if words:
            return Problem(
                "a text that tells the time is another time on each shard, unlike now() and "
                "CURRENT_DATE",
                words[0],
                "GS410",
                "Write now(), CURRENT_DATE or LOCALTIMESTAMP, and compute with it.",
            )
        for body, query in candidate.bodies:
            # The text that is sent has the call, and no place for one time.
            if tells_time(query.node) or holds_word(body.text):
                return Problem(
                    f"function {body.name}() tells the time, which is another one on each shard",
                    location_of(query.node),
                    "GS410",
                    "Give it the time as an argument: now() is one time for all shards.",
                )
        return None

    def _candidate(
        self, select: Any, changed: bool, readings_: tuple[Reading, ...] = ()
    ) -> tuple[Candidate, list[Problem]]:
        binder = Binder(self._cluster, self._catalog, self._path, self._whole, self._rows)
        query = binder.bind(select)
        candidate = Candidate(
            self._text,
            self._translation,
            query,
            self._catalog,
            self._functions,
            changed,
            self._rebind,
            readings_,
        )
        return candidate, binder.problems

    def _rebind(self, tree: Any, whole: WholeViews | None = None) -> Query:
        whole = {**(whole or {}), **self._whole}
        return Binder(self._cluster, self._catalog, self._path, whole, self._rows).bind(tree)

    def _choose(self, candidate: Candidate) -> Step:
        refusals: list[Refusal] = []
        self._note_times(as_statement(candidate.select), [candidate])
        step = self._several(candidate, refusals)
        routed = plan_route(candidate, step)
        if isinstance(routed, Refusal):
            # First in the list, for it is the cheapest; but it is tried last, as it needs `step` to
            # fall back to.
            refusals.insert(0, replace(routed, reason=routed.reason + self._equality_note))
        self._refusals = tuple(refusals)
        return step if isinstance(routed, Refusal) else routed

    def _several(self, candidate: Candidate, refusals: list[Refusal]) -> Step:
        """The first strategy that can do it over several shards."""
        if candidate.sharded:
            objection = self._scattered_objection(candidate)
            if objection is not None:
                return self._refused(objection)
        misplaced = misplaced_call(candidate.query, self._functions)
        if misplaced is not None:
            return self._refused(misplaced)
        for strategy in STRATEGIES:
            found = _attempt(strategy, candidate)
            # `Gather` has its own, which are more: every view of it is read so.
            if isinstance(found, (Scatter, Combine)):
                found = replace(found, rights=candidate.readings)
            if not isinstance(found, Refusal):
                return _with_fallback(found, candidate)
            refusals.append(found)
        # That it names sharded tables is why `reference` refused, and no reason to the user.
        return Refused(
            "the statement cannot be run over several shards:\n"
            + reasons(refusals[1:])
            + self._equality_note,
            "GS410",
            "Restrict it to one shard key, or run it on one shard with conn.on('...').",
        )

    @property
    def _equality_note(self) -> str:
        """What to add to a reason if no `=` without its schema tells anything."""
        schema = self._catalog.equality_beside(self._path)
        return "" if schema is None else f"; the = of schema {schema} is not PostgreSQL's own"

    def _refused(self, problem: Problem) -> Refused:
        position = self._translation.old_position_of(problem.offset)
        return Refused(problem.reason, problem.code, problem.hint, position, problem.pgcode)

    # The others -----------------------------------------------------------------------------

    def _with_writes(self, kind: str, inner: Any, raw: Message) -> Step:
        """The step of a statement whose WITH queries write."""
        self._rows = as_rows
        try:
            select = inner if kind == "select_stmt" else as_rows(kind, inner)
            candidate, problem = self._bind(copy(select), inner)
            if problem is not None:
                return self._refused(problem)
            parts = parts_of(candidate, kind, inner)
            self._untold = next(filter(None, (untold(candidate, part) for part in parts)), None)
            self._note_times(raw, [candidate])
            texts = self._texts(candidate, raw, (), None)
            step = plan_with_writes(candidate, parts, texts.whole)
        except Unplannable as error:
            position = self._translation.old_position_of(error.offset)
            reason = f"WITH queries write, and {error.reason}"
            return Refused(reason, error.code, error.hint or _PARTS, position, error.pgcode)
        except Unwritable as unwritable:
            return Refused(str(unwritable), "GS412", _PARTS)
        for part in parts:
            if not isinstance(step, Refused):
                own = replace(candidate, query=part.query)
                step = self._looked_beside(step, [own], part.kind, part.inner)
        return step

    def _write(self, kind: str, inner: Any, raw: Message) -> Step:
        written = copy(inner)
        step = self._changing(kind, inner, raw)
        if isinstance(step, Refused) and kind == "insert_stmt" and step.pgcode is None:
            return self._inserting_otherwise(step, written, inner, raw)
        return step

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
        self._translation = replace(self._translation, computed=0)
        self._timed = self._untold = None
        step: Step = refused
        if _row_reads(inner):
            # VALUES (1, (SELECT max(id) FROM orders)) is a row that is read, too.
            _as_rows_read(inner)
            self._changed = True
            step = self._changing("insert_stmt", inner, raw)
        if not isinstance(step, Refused) or _reads_rows("insert_stmt", written):
            return step
        inner.CopyFrom(written)
        try:
            candidate, problem = self._bind(as_select("insert_stmt", inner), inner)
            first = candidate.query.items[0]
            if problem is not None or not isinstance(first, Table) or candidate.sharded:
                return refused
            step = plan_mirror(first, "insert_stmt", inner, self._texts(candidate, raw, (), None))
        except (Unplannable, Unwritable):
            return refused
        return self._looked_beside(step, [candidate], "insert_stmt", written)

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
            position = self._translation.old_position_of(error.offset)
            hint = error.hint or READ_FIRST
            return Refused(error.reason, error.code, hint, position, error.pgcode)
        except Unwritable as unwritable:
            return Refused(str(unwritable), "GS412", READ_FIRST)
        # What travels has been read by a plan of its own.
        alone = apart is None or isinstance(step, Transfer)
        read = [candidate] if alone or apart is None else [candidate, apart.reading]
        return self._looked_beside(step, read, kind, written)

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
        found = self._catalog.relation(named.schemaname or None, named.relname, self._path)
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
        """SET at = DEFAULT is one time for all shards, if it is now()."""
        changed = inner.on_conflict_clause if kind == "insert_stmt" else inner
        if kind not in {"update_stmt", "insert_stmt"} or not sets_default(changed.target_list):
            return
        named = inner.relation
        # Of a view it is the view's own default, or NULL, whatever the table has.
        found = self._catalog.relation(named.schemaname or None, named.relname, self._path)
        declared = found and self._cluster.table(found.schema, found.name)
        placed = (Sharded, Single)
        sharded = isinstance(declared, placed) if self._view is None else self._view.table.sharded
        if found is not None and sharded and put_default_times(changed, found, self._functions):
            replace_now(inner, now_number(self._translation))
            self._changed = True

    def _put_with_in(self, kind: str, inner: Any) -> None:
        """WITH x AS (...) INSERT INTO t SELECT ...: the SELECT is the one that may read it."""
        if not inner.HasField("with_clause") or not _reads_rows(kind, inner):
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
        elif _reads_rows(kind, inner):
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
            self._check_scattered(candidate)
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
        named = insert.relation
        found = self._catalog.relation(named.schemaname or None, named.relname, self._path)
        declared = found and self._cluster.table(found.schema, found.name)
        alone = isinstance(declared, Single)
        key = declared.column if isinstance(declared, Sharded) else None
        if self._view is not None:
            self._view.check_insert(insert, self._functions)
            found, key = self._view.whole.relation, self._view.key
        elif declared is None:
            return (), None
        if found is None:
            return (), None
        if alone and _reads_rows("insert_stmt", insert):
            self._untold = _untold(_told_default(insert, found))
        completion = complete(insert, found, key, self._functions, self._translation, alone=alone)
        if completion is None:
            return (), None
        self._untold = _untold(completion.untold)
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
            for each in (candidate, *([] if apart is None else [apart.reading]), *self._inside):
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

    def _apart_from(self, select: Any) -> tuple[Sql, Plan]:
        """A SELECT as a statement of its own, and its plan."""
        sql = write(as_statement(select), self._translation)
        return sql, self._other(sql.text, bool(sql.binds))

    def _other_text(self, raw: Any, inner: Any) -> Sql:
        """The text of a statement with another tree."""
        made = copy(raw)
        unwrap(made.stmt)[1].CopyFrom(inner)
        return write(made, self._translation)

    def _check_scattered(self, candidate: Candidate) -> None:
        """Refuse what would have another value on each shard.

        Raises:
            Unplannable: There is such a thing.
        """
        objection = self._scattered_objection(candidate)
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
        return Consequences(self._cluster, self._catalog).of_write(kind, inner, name, columns)

    def _truncating(self, node: Any) -> Problem | None:
        """What TRUNCATE sets off that is not harmless."""
        if not node.HasField("truncate_stmt") or not self._catalog.besides:
            return None
        consequences = Consequences(self._cluster, self._catalog)
        cascades = enum_name(node.truncate_stmt, "behavior") == "DROP_CASCADE"
        for each in node.truncate_stmt.relations:
            named = each.range_var
            found = self._catalog.relation(named.schemaname or None, named.relname, self._path)
            if found is not None:
                name = (found.schema, found.name)
                problem = consequences.of_truncate(name, cascades=cascades, at=named.location)
                if problem is not None:
                    return problem
        return None


def _told_default(insert: Any, relation: Relation) -> str | None:
    """A column that is left out of INSERT ... SELECT, and whose default tells the time."""
    names = defaulted(insert, [column.name for column in relation.columns])
    told = (each.name for each in relation.columns if each.name in names and tells(each))
    return next(told, None)


def _untold(column: str | None) -> str | None:
    if column is None:
        return None
    return f"the default of {column} tells the time, which is another one on each shard"


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


def _reads_rows(kind: str, inner: Any) -> bool:
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


def _named_by(node: Any) -> frozenset[str]:
    """The relations that a utility statement names, of which a temporary one may hide another."""
    if unwrap(node)[0] in _MAKING and temporary_table(node) is None:
        return frozenset()
    return frozenset(m.relname for m in walk(node) if type_name(m) == "RangeVar")


def _made_by(node: Any, step: Step | None) -> frozenset[str]:
    """The temporary tables that a statement makes on every shard."""
    name = temporary_table(node) if isinstance(step, Broadcast) and step.on is None else None
    return frozenset() if name is None else frozenset([name])


def _attempt(strategy: Strategy, candidate: Candidate) -> Step | Refusal:
    name = strategy.__name__.removeprefix("plan_")
    try:
        return strategy(candidate)
    except Unwritable as unwritable:
        return candidate.refusal(name, str(unwritable))
    except RecursionError:
        return candidate.refusal(name, TOO_DEEP)


def _with_fallback(step: Step, candidate: Candidate) -> Step:
    """The step, with another one if its partial columns' types do not allow it."""
    if not isinstance(step, Combine):
        return step
    # Which types partial columns have is known when the shards have answered; the plan must be
    # there.
    other = _attempt(plan_gather, candidate)
    if isinstance(other, Refusal):
        other = Refused(other.reason, "GS410", _ON, other.position)
    assert isinstance(other, (Gather, Refused))  # noqa: S101  # `plan_gather` gives no other
    return replace(step, otherwise=other)
