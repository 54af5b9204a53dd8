"""What is known of a statement as it is planned: what its names mean, and what is amiss.

A statement may be looked at in several parts; what is found in each adds up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from typing import Any, Protocol

from greenshard.cluster import Cluster
from greenshard.planner.analysis.asked_settings import settings_asked
from greenshard.planner.analysis.clock_words import clock_words, holds_word, may_hold_word
from greenshard.planner.analysis.consequences import (
    called,
)
from greenshard.planner.analysis.homes import Homes, Touched, unknown_calls
from greenshard.planner.analysis.objections import current_of, objections, scattered_objection
from greenshard.planner.analysis.rights import filterings, readings
from greenshard.planner.analysis.statistics import statistics
from greenshard.planner.analysis.whole_rows import telling_row
from greenshard.planner.binding.attributes import Attributes
from greenshard.planner.binding.binder import Binder
from greenshard.planner.binding.bound_views import WholeViews
from greenshard.planner.binding.query import Query
from greenshard.planner.binding.views import (
    PathBound,
    put_views,
    unqualify_columns,
    view_tells_time,
)
from greenshard.planner.calls import Functions
from greenshard.planner.catalog import Catalog, Relation
from greenshard.planner.plan import (
    Filtering,
    Parameter,
    Plan,
    Reading,
    Refusal,
    Refused,
    Value,
)
from greenshard.planner.problem import Problem
from greenshard.planner.strategies.candidate import Candidate
from greenshard.planner.strategies.simple_views import SimpleView
from greenshard.planner.strategies.write import (
    assignments,
)
from greenshard.sql.deparsing import Unwritable, now_number, write
from greenshard.sql.nodes import as_statement
from greenshard.sql.now import put_times, replace_now, tells_time
from greenshard.sql.parser import (
    Message,
    type_name,
    walk,
)
from greenshard.sql.placeholders import Translation
from greenshard.sql.text import Sql
from greenshard.sql.tree import location_of

ON_ONE = "Run it on one shard with conn.on('...')."
GIVE_TIME = "Take the time first, SELECT now(), and give it as a parameter."


class PlanOther(Protocol):
    """Plans another text, which has parameters or not.

    `sets_later`: whether it is an INSERT after which columns are set that it leaves to the shards'
    defaults, see `view_insert`. No text of the user's is one.
    """

    def __call__(self, text: str, has_parameters: bool, *, sets_later: bool = False) -> Plan:
        """Its plan."""


class BoundStatement:
    """A statement, and what was found in it."""

    def __init__(
        self,
        cluster: Cluster,
        catalog: Catalog,
        text: str,
        translation: Translation,
        path: tuple[str, ...],
        other: PlanOther,
        homes: Homes | None = None,
        *,
        sets_later: bool = False,
    ) -> None:
        """Take what is known.

        Args:
            cluster: As declared.
            catalog: Of it.
            text: The statement.
            translation: The same in the parser's placeholders.
            path: ``current_schemas(true)``.
            other: Plans another text.
            homes: Where tables are that one shard alone has; None if there are none.
            sets_later: See `PlanOther`.
        """
        self._other = other
        self._homes = homes
        self._sets_later = sets_later
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
        #: What keeps rows that are given the time from being checked by another shard's.
        self._clocked: Refused | None = None
        self._completed: tuple[str, ...] = ()
        self._rows: Callable[[str, Any], Any] | None = None

    def _note_times(self, statement: Any, candidates: Sequence[Candidate]) -> None:
        """Note what is sent of a statement to one shard whose own time is not the transaction's.

        Args:
            statement: Its tree, with the time in it, before a strategy changes that.
            candidates: Its parts.
        """
        told = next(filter(None, map(self._time_objection, candidates)), None)
        number = now_number(self._translation)
        if self._untold is not None:
            self._timed = Refused(self._untold, "GS412", GIVE_TIME, unreadable=True)
        elif told is not None:
            self._timed = self._refused(told)
        elif self._view_tells_time:
            reason = "a view tells the time, which is another one on each shard"
            self._timed = Refused(reason, "GS410", GIVE_TIME)
        elif any(type_name(m) == "ParamRef" and m.number == number for m in walk(statement)):
            try:
                self._timed = write(statement, self._translation)
            except Unwritable as unwritable:
                self._timed = Refused(str(unwritable), "GS410", GIVE_TIME)

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
            candidate, problems = self._without_views_of_time(candidate, select)
        self._note(candidate)
        found = next(chain(problems, self._problems(candidate)), None)
        return candidate, found

    def _without_views_of_time(
        self, candidate: Candidate, select: Any
    ) -> tuple[Candidate, list[Problem]]:
        """The statement with the queries of views that tell the time in the place of their names.

        Args:
            candidate: It.
            select: Its tree, which is changed.
        """
        # Before the views are gone from the tree: then nothing would tell whose rights are to be
        # asked for.
        readings_ = tuple(readings(candidate.query, candidate.mentions, view_tells_time))
        try:
            put_views(select, candidate.query, view_tells_time)
            unqualify_columns(select)
        except PathBound as bound:
            return candidate, [Problem(bound.reason, bound.offset, "GS410", ON_ONE)]
        replace_now(select, now_number(self._translation))
        # With the view's query in its place, v.* as a value is of no named type.
        row = telling_row(candidate.query, self._functions)
        candidate, problems = self._candidate(select, True, readings_)
        if row is not None:
            reason = "a whole row stands beside a view that tells the time"
            problems.append(Problem(reason, row, "GS410", ON_ONE))
        return candidate, problems

    def _note(self, candidate: Candidate) -> None:
        """Note what a part of the statement names, asks for and calls."""
        relations = [table.relation for table in candidate.tables if not table.system]
        named = {each.qualified for each in relations}
        self._tables = tuple(sorted(named.union(self._tables)))
        self._names |= {each.name for each in relations}
        asked = settings_asked(candidate.roots, self._translation)
        none_computed = self._settings is not None and asked is not None
        self._settings = (*(self._settings or ()), *(asked or ())) if none_computed else None
        self._unknown = self._unknown or unknown_calls(candidate.roots, self._functions)

    def _problems(self, candidate: Candidate) -> Iterator[Problem]:
        """What is amiss with a part of the statement, whoever runs it."""
        sharded = bool(candidate.sharded)
        yield from objections(
            candidate.roots, self._functions, sharded=sharded, views=len(candidate.views)
        )
        if (current := current_of(candidate.roots)) is not None:
            yield current
        attributes = Attributes(self._functions, self._catalog)
        yield from attributes.problems(candidate.query, sharded=sharded)
        yield from self._called_unseen(candidate)
        yield from statistics(candidate.tables, candidate.roots)
        # orders JOIN pg_class: each shard would join its own catalog, with OIDs of its own.
        if sharded and any(table.system for table in candidate.tables):
            reason = "a sharded table is read beside PostgreSQL's own catalog, which differs from "
            yield Problem(reason + "shard to shard", None, "GS410", ON_ONE)
        refreshed = next((table for table in candidate.tables if table.refreshed), None)
        if sharded and refreshed is not None:
            name = refreshed.relation.qualified
            reason = f"materialized view {name} is read beside a sharded table, and not declared"
            hint = (
                f"Declare it as a reference table, if it is always refreshed for all. Or: {ON_ONE}"
            )
            yield Problem(reason, refreshed.node.location, "GS409", hint)

    def _called_unseen(self, candidate: Candidate) -> Iterator[Problem]:
        """What comparing and casting the values of some columns may call."""
        for table in candidate.tables:
            name = (table.relation.schema, table.relation.name)
            beside = self._catalog.besides.get(name)
            for call in () if beside is None else beside.calls:
                comparing = call.kind in ("type", "operator class")
                if comparing and call.name in candidate.mentions.of(table):
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

    def _scattered_objection(
        self, candidate: Candidate, inserted: Sequence[Any] = ()
    ) -> Problem | None:
        """What would have another value on each shard; see `scattered_objection`."""
        return self._time_objection(candidate) or scattered_objection(
            candidate.roots, self._functions, inserted
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

    def _relation(self, named: Any) -> Relation | None:
        """What a name in FROM, or of what is written to, means; None if it is not there."""
        return self._catalog.relation(named.schemaname or None, named.relname, self._path)

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

    @property
    def _equality_note(self) -> str:
        """What to add to a reason if no `=` without its schema tells anything."""
        schema = self._catalog.equality_beside(self._path)
        return "" if schema is None else f"; the = of schema {schema} is not PostgreSQL's own"

    def _refused(self, problem: Problem) -> Refused:
        position = self._translation.old_position_of(problem.offset)
        return Refused(problem.reason, problem.code, problem.hint, position, problem.pgcode)

    def _apart_from(self, select: Any) -> tuple[Sql, Plan]:
        """A SELECT as a statement of its own, and its plan."""
        sql = write(as_statement(select), self._translation)
        return sql, self._other(sql.text, bool(sql.binds))
