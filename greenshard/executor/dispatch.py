"""What each kind of plan does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from greenshard import errors
from greenshard.executor.answers.answer import Answer
from greenshard.executor.planned import Planned
from greenshard.executor.privileges import check_policies, check_rights
from greenshard.executor.strategies.combine import combine
from greenshard.executor.strategies.gather import gather
from greenshard.executor.strategies.merge import merge
from greenshard.executor.strategies.streamed_combine import stream_combined
from greenshard.planner.code import Trace
from greenshard.planner.plan import (
    Anywhere,
    Broadcast,
    Combine,
    Gather,
    Plan,
    Refused,
    Routed,
    Scatter,
    Slice,
    Step,
)
from greenshard.planner.refusals import refusal_error
from greenshard.sql.text import Sql

#: SQLSTATEs for a table, a column and a function that the server does not know.
_UNKNOWN_NAMES = frozenset({"42P01", "42703", "42883"})


def run_plan(e: Planned) -> Answer:
    """Run the statement; the caller has `taken` the session.

    Raises:
        errors.Error: A shard failed, time is up, or the plan is a refusal.

    Switches: yes.
    """
    if isinstance(e.plan.step, Refused):
        e.plan = e.database.plan_anew(e.text, e.given is not None, e.timeout)
    plan, step = e.plan, e.plan.step
    try:
        if not isinstance(step, (Broadcast, Refused)) and (failed := e.failed) is not None:
            # That server says what one PostgreSQL would say.
            return _direct(e, Sql(e.text), (failed,))
        if plan.policies:
            check_policies(e, plan.policies)
        return _run(e, step)
    except errors.Error as error:
        if error.pgcode in _UNKNOWN_NAMES:
            e.database.mistrust()
        raise
    finally:
        note(e, plan)


def note(e: Planned, plan: Plan) -> None:
    """Take note of what a statement may have left."""
    changes = isinstance(plan.step, Broadcast) and plan.step.resets_catalog
    if changes or plan.trace >= Trace.ANYTHING:
        e.database.note(plan.trace, e.ran, changes=changes)


def _run(e: Planned, step: Step) -> Answer:
    e.strategy = step.strategy
    if isinstance(step, (Scatter, Combine, Gather)) and step.rights:
        check_rights(e, step)
    return _STRATEGIES[type(step)](e, step)


def _direct(e: Planned, sql: Sql, shards: tuple[str, ...]) -> Answer:
    """Send a text; the rows of all are the answer."""
    if sql.binds is not None:
        e.check_parameters()
    return e.fan_out(shards, lambda cursors: e.calls(sql, cursors))


def _routed(e: Planned, step: Routed) -> Answer:
    named = e.named(step.pins)
    if named is None or len(named) > 1:
        return _run(e, step.otherwise)
    return _direct(e, step.sql, tuple(named) or (e.any_shard(),))


def _anywhere(e: Planned, step: Anywhere) -> Answer:
    return _direct(e, step.sql, (e.session.shards[0] if step.first else e.any_shard(),))


def _broadcast(e: Planned, step: Broadcast) -> Answer:
    answer = _direct(e, step.sql, e.session.shards)
    return answer.of_first() if step.answer_of_one else answer


def _scatter(e: Planned, step: Scatter) -> Answer:
    shards = e.targets(step.pins)
    plain = step.slice == Slice() and not step.hidden
    if plain and (len(shards) == 1 or not step.sort):
        return _direct(e, step.sql, shards)
    return merge(e, step, shards)


def _combine(e: Planned, step: Combine) -> Answer:
    make = combine if e.streaming is None else stream_combined
    answer = make(e, step, e.targets(step.pins))
    if answer is not None:
        return answer
    if step.otherwise is None:
        raise errors.NotSupportedError(
            "the shards' parts of the answer are of a type that has no values as text",
            code="GS403",
            hint="Give the columns a named type.",
        )
    return _run(e, step.otherwise)


def _gather(e: Planned, step: Gather) -> Answer:
    if not e.limits.allow_gather:
        raise errors.NotSupportedError(
            "the statement would gather rows of several shards, and allow_gather is off",
            code="GS407",
            hint="Write it so that less is needed (conn.explain tells what is in the way), or "
            "set allow_gather.",
        )
    return gather(e, step)


def _refused(e: Planned, step: Refused) -> Answer:
    raise refusal_error(step, e.plan.refusals)


_STRATEGIES: dict[type, Callable[[Planned, Any], Answer]] = {
    Routed: _routed,
    Anywhere: _anywhere,
    Broadcast: _broadcast,
    Scatter: _scatter,
    Combine: _combine,
    Gather: _gather,
    Refused: _refused,
}
