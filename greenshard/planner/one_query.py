"""How one query is planned: the strategies are tried in turn."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, TypeVar

from greenshard.planner.analysis.of_shard import misplaced_call
from greenshard.planner.bound_statement import ON_ONE, BoundStatement
from greenshard.planner.calls import calls, name_of
from greenshard.planner.plan import (
    Broadcast,
    CarriedQuery,
    Combine,
    Gather,
    Refusal,
    Refused,
    Scatter,
    Step,
    Subqueries,
)
from greenshard.planner.problem import Problem
from greenshard.planner.refusals import reasons
from greenshard.planner.strategies import ON_SHARDS, STRATEGIES, Found, Strategy
from greenshard.planner.strategies.candidate import Candidate, Read, Unplannable
from greenshard.planner.strategies.coordinated import plan_elsewhere
from greenshard.planner.strategies.gather import plan_gather
from greenshard.planner.strategies.matches import with_matches
from greenshard.planner.strategies.reference import plan_reference
from greenshard.planner.strategies.route import plan_route
from greenshard.planner.strategies.setting import plan_setting, sets_sequence
from greenshard.planner.strategies.subqueries import with_results
from greenshard.planner.strategies.unread_columns import leave_out_unread
from greenshard.sql.deparsing import Unwritable, write
from greenshard.sql.functions import SETTING
from greenshard.sql.nodes import as_statement, copy
from greenshard.sql.parser import (
    type_name,
    walk,
)
from greenshard.sql.text import Sql

_Apart = TypeVar("_Apart")

TOO_DEEP = "the statement is nested too deeply"


class OneQuery(BoundStatement):
    """Plans a SELECT."""

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
        self._leave_out_unread(select)
        candidate, problem = self._bind(select)
        if problem is None:
            return self._choose(candidate)
        counted = set() if self._touched is None else self._touched.counted
        alone = counted <= {self._cluster.names[0]}
        if candidate.sharded and alone and sets_sequence(written, self._functions):
            return plan_setting(written, self._apart_from, self._written)
        return self._refused(problem)

    def _leave_out_unread(self, select: Any) -> None:
        """See `leave_out_unread`."""
        made = copy(select)
        if not leave_out_unread(made, self._functions):
            return
        # The user's own text can be sent, where the tree cannot be written as text.
        with suppress(Unwritable):
            self._written(made)
            select.CopyFrom(made)
            self._changed = True

    def _written(self, select: Any) -> Sql:
        return write(as_statement(select), self._translation)

    def _own(self, call: Any) -> bool:
        """Whether no function of the user's own is meant."""
        return self._functions.is_own(call) or not self._functions.of(call)

    def _set_config(self, select: Any) -> Step:
        # SELECT set_config('x', name, false) FROM t: what is set would be another value on each
        # shard.
        if any(type_name(message) == "RangeVar" for message in walk(select)):
            return Refused("set_config() in a query that reads tables", "GS410", ON_ONE)
        # SELECT set_config('x', f(), false): so may f.
        for call in calls(select):
            if not self._functions.is_own(call) and not self._functions.is_immutable(call):
                reason = f"set_config() beside {name_of(call)}(), which may read tables"
                return self._refused(Problem(reason, call.location, "GS410", ON_ONE))
        return Broadcast(Sql(self._text), answer_of_one=True)

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
        found, tried = _first(STRATEGIES, candidate)
        refusals += tried
        if found is not None and not isinstance(found, Gather):
            return self._combined(found, candidate)
        # That it names sharded tables is why `reference` refused, and no reason to the user.
        if found is not None:
            found = self._with_matches(candidate) or found
        whole = found or Refused(
            "the statement cannot be run over several shards:\n"
            + reasons(refusals[1:])
            + self._equality_note,
            "GS410",
            "Restrict it to one shard key, or run it on one shard with conn.on('...').",
        )
        if isinstance(whole, Gather):
            whole = self._with_elsewhere(whole, candidate)
        return self._subqueries_first(candidate, whole) or whole

    def _subqueries_first(
        self, candidate: Candidate, otherwise: Gather | Refused
    ) -> Subqueries | None:
        """The plan by which subqueries are computed first; None if there is none."""
        made, queries = _if_writable(with_results, candidate, self._apart_from)
        if not queries:
            return None
        spread, _ = _first((plan_reference, *ON_SHARDS), made)
        gather, _ = _first((plan_gather,), made)
        if gather is not None:
            gather = self._with_matches(made) or gather
        if spread is None and gather is None:
            return None
        return Subqueries(
            queries,
            None if isinstance(spread, Gather) else spread,
            gather if isinstance(gather, Gather) else None,
            otherwise,
            _repeats(queries, candidate, made),
        )

    def _with_matches(self, candidate: Candidate) -> Gather | None:
        """The plan that gathers what EXISTS compares, and not what it reads; None: it has none."""
        made, tables = _if_writable(with_matches, candidate, self._apart_from)
        gather = _attempt(plan_gather, made) if tables else None
        if not isinstance(gather, Gather):
            return None
        return replace(gather, tables=(*gather.tables, *tables))

    def _combined(self, step: Found, candidate: Candidate) -> Found:
        """A step; a combination with what the coordinator runs if its partial rows are too many."""
        if isinstance(step, Combine) and isinstance(step.otherwise, Gather):
            return replace(step, otherwise=self._with_elsewhere(step.otherwise, candidate))
        return step

    def _with_elsewhere(self, step: Gather, candidate: Candidate) -> Gather:
        """A gather, with what the coordinator runs if its rows are too many.

        Args:
            step: The step.
            candidate: The whole statement, as the user wrote it.
        """
        if self._cluster.coordinator is None:
            return step
        return replace(step, elsewhere=plan_elsewhere(candidate))


def _repeats(queries: Sequence[CarriedQuery], whole: Candidate, rest: Candidate) -> bool:
    """Whether a sharded table is read in more than one of several steps."""
    sharded = {each.relation.qualified for each in whole.sharded}
    steps = [sharded & set(query.plan.tables) for query in queries]
    steps.append({each.relation.qualified for each in rest.sharded})
    return sum(map(len, steps)) > len(set().union(*steps))


def _if_writable(
    change: Callable[[Candidate, Read], tuple[Candidate, tuple[_Apart, ...]]],
    candidate: Candidate,
    read: Read,
) -> tuple[Candidate, tuple[_Apart, ...]]:
    """What `change` gives; the query as it is if a part of it cannot be a statement of its own."""
    try:
        return change(candidate, read)
    except (Unplannable, Unwritable, RecursionError):
        return candidate, ()


def _first(
    strategies: Iterable[Strategy], candidate: Candidate
) -> tuple[Found | None, list[Refusal]]:
    """The step of the first strategy that has one, and the refusals of those before it."""
    refusals: list[Refusal] = []
    for strategy in strategies:
        found = _attempt(strategy, candidate)
        if not isinstance(found, Refusal):
            # `Gather` has its own, which are more: every view of it is read so.
            if isinstance(found, (Scatter, Combine)):
                found = replace(found, rights=candidate.readings)
            return _with_fallback(found, candidate), refusals
        refusals.append(found)
    return None, refusals


def _attempt(strategy: Strategy, candidate: Candidate) -> Found | Refusal:
    name = strategy.__name__.removeprefix("plan_")
    try:
        return strategy(candidate)
    except Unwritable as unwritable:
        return candidate.refusal(name, str(unwritable))
    except RecursionError:
        return candidate.refusal(name, TOO_DEEP)


def _with_fallback(step: Found, candidate: Candidate) -> Found:
    """The step, with another one if its partial columns' types do not allow it."""
    if not isinstance(step, Combine):
        return step
    # Which types partial columns have is known when the shards have answered; the plan must be
    # there.
    other = _attempt(plan_gather, candidate)
    if not isinstance(other, Gather):
        assert isinstance(other, Refusal)  # noqa: S101  # `plan_gather` gives no other
        return replace(step, otherwise=Refused(other.reason, "GS410", ON_ONE, other.position))
    return replace(step, otherwise=other)
