"""A plan's step, its tasks, and the strategy that carries them out."""

from __future__ import annotations

from functools import partial

from greenshard import errors
from greenshard.executor.answers.answer import Answer
from greenshard.executor.atomic import atomically
from greenshard.executor.knowledge.one_database import PlanOutdated
from greenshard.executor.planned import Planned
from greenshard.executor.privileges import (
    check_may_read,
    check_policies,
    check_rights,
    shards_read,
)
from greenshard.executor.sql_values import written_out
from greenshard.executor.strategies.carry import carry
from greenshard.executor.strategies.combine import combine
from greenshard.executor.strategies.concatenate import concatenate
from greenshard.executor.strategies.coordinated import (
    TOO_MANY,
    able_elsewhere,
    of_a_write,
    run_elsewhere,
)
from greenshard.executor.strategies.copies import write_copies
from greenshard.executor.strategies.explained import explain
from greenshard.executor.strategies.gather import gather
from greenshard.executor.strategies.insert import insert
from greenshard.executor.strategies.merge import merge
from greenshard.executor.strategies.mirror import is_spoilt_here, mirror
from greenshard.executor.strategies.move import move
from greenshard.executor.strategies.route import route
from greenshard.executor.strategies.setting import set_sequence
from greenshard.executor.strategies.staged import staged
from greenshard.executor.strategies.streamed_combine import stream_combined
from greenshard.executor.strategies.subqueries import subqueries
from greenshard.executor.strategies.transfer import transfer
from greenshard.planner.code import Trace
from greenshard.planner.plan import (
    Anywhere,
    Broadcast,
    Carry,
    Combine,
    Explained,
    Gather,
    Insert,
    Mirror,
    Move,
    Other,
    Plan,
    Refused,
    Routed,
    Scatter,
    SetSequence,
    Slice,
    Staged,
    Step,
    Subqueries,
    Transfer,
    Writing,
)
from greenshard.planner.refusals import refusal_error
from greenshard.planner.tasks import Stage, Task, own_place
from greenshard.sql.text import Sql
from greenshard.transaction.failing import fail_rest, savepoints_alike

#: What leaves nothing.
_NOTHING = Plan(Broadcast(Sql("")))

#: SQLSTATEs for a table, a column and a function that the server does not know.
UNKNOWN_NAMES = frozenset({"42P01", "42703", "42883"})

_DENIED = "42501"
_COMPLETED = (
    "Defaults that are to be the same on all shards, or are counted for all, are computed first, "
    "and inserted as values. So the right to insert into these columns is needed, too:"
)

_Stages = tuple[Stage, ...]


def run_plan(e: Planned) -> Answer:
    """Run the statement; the caller has `taken` the session.

    Raises:
        PlanOutdated: Nothing was sent: it must be planned again.
        errors.Error: A shard failed, time is up, or the plan is a refusal.

    Switches: yes.
    """
    if isinstance(e.plan.step, Refused):
        # A table may have been made a moment ago by another process: before it is refused, the
        # catalog is loaded anew.
        e.plan = e.database.plan_anew(e.text, e.given is not None, e.timeout)
        if not isinstance(e.plan.step, Refused):
            raise PlanOutdated
    # Likewise a function; if there is none even so, the servers say so.
    elif e.plan.unknown:
        plan = e.database.plan_anew(e.text, e.given is not None, e.timeout)
        if plan != e.plan:
            raise PlanOutdated
    plan, step = e.plan, e.plan.step
    try:
        if _fails_with_transaction(step) and (failed := e.failed) is not None:
            # That server says what one PostgreSQL would say.
            return route(e, Task(own_place(failed), Sql(e.text), e.given))
        answer = _run(e, step, checked=not plan.policies)
        if plan.makes:
            e.database.made_temporary(plan.makes)
        return answer
    except errors.Error as error:
        if error.pgcode in UNKNOWN_NAMES:
            e.database.mistrust()
        _explain_denial(error, plan)
        told = of_a_write(e, error)
        raise told from told.__cause__
    except PlanOutdated:
        plan = _NOTHING  # nothing of the statement has run
        raise
    finally:
        note(e, plan)


def _explain_denial(error: errors.Error, plan: Plan) -> None:
    if error.pgcode == _DENIED and plan.completed:
        errors.give_hint(error, f"{_COMPLETED} {', '.join(plan.completed)}.")


def _fails_with_transaction(step: Step) -> bool:
    """Whether PostgreSQL lets nothing of the kind be run in a transaction that has failed.

    It says so of a table that does not exist, too, but not of what it cannot parse.
    """
    if isinstance(step, Refused):
        # PostgreSQL parses a text before it looks at the transaction; what no server would refuse
        # has no pgcode.
        return step.pgcode not in {None, "42601"}
    return not isinstance(step, Broadcast)


def _needs_confirming(step: Step, plan: Plan) -> bool:
    """Whether a step goes by more than its text: what may end a difference is not held up by it."""
    # SET and ROLLBACK mean the same whatever the catalog says, and may be the way out.
    if isinstance(step, Broadcast):
        return step.resets_catalog or bool(plan.names)
    return not isinstance(step, Refused)


def note(e: Planned, plan: Plan) -> None:
    """Take note of what a statement may have left."""
    changes = isinstance(plan.step, Broadcast) and plan.step.resets_catalog
    if changes or plan.trace >= Trace.ANYTHING:
        e.database.note(plan.trace, e.ran, changes=changes)
    if isinstance(plan.step, Broadcast):
        e.database.note_undone(e.text)


def _run(e: Planned, step: Step, *, checked: bool = True) -> Answer:
    """Take a step, or the one that its parameters lead to.

    Args:
        e: The execution.
        step: The step.
        checked: Whether no policy is left to be asked for.
    """
    step, stages = _placed(e, step)
    if isinstance(step, Refused):
        # A time beside the values of VALUES %s: with them in the text, there is a place for it.
        if step is e.plan.timed and step.unreadable and e.given is not None:
            text = written_out(e.parts, e.text, e.given)
            plan = e.database.plan(text, False, e.timeout)
            e.plan, e.text, e.given = plan, text, None
            return _run(e, plan.step, checked=not plan.policies)
        if step.code == "GS408":  # that it does not exist
            e.database.refuse_hidden(e.plan.names, e.timeout)
        raise refusal_error(step, e.plan.refusals)
    inner = step.step if isinstance(step, Explained) else step
    _check(e, step, inner, stages, checked=checked)
    if isinstance(step, Explained):
        return explain(e, step, stages)
    if isinstance(step, (Routed, Anywhere)):
        return route(e, stages[0][0])
    if isinstance(step, Writing):
        return _write(e, step, stages)
    assert not isinstance(step, Other)  # noqa: S101  # see `Statements._other`
    if not e.reads and isinstance(step, (Broadcast, Scatter)):
        shards = tuple(dict.fromkeys(task.place.shard for stage in stages for task in stage))
        return atomically(e, shards, partial(_on_shards, e, step, stages))
    return _on_shards(e, step, stages)


def _placed(e: Planned, step: Step) -> tuple[Step, _Stages]:
    """The step that the parameters lead to, and its tasks, which have places."""
    step, stages = e.settled(step)
    step, stages = e.in_time(step, e.placed(stages))
    e.strategy = step.strategy
    return step, stages


def ready(e: Planned) -> tuple[Step, _Stages]:
    """The step of a query that only reads, and its tasks, of which nothing is in doubt.

    Whoever asks sends them in another way than `run_plan`.

    Raises:
        PlanOutdated: It must be planned again.
        errors.Error: It may not be run.

    Switches: if something must be asked for.
    """
    step, stages = _placed(e, e.plan.step)
    if isinstance(step, Refused):
        raise refusal_error(step, e.plan.refusals)
    _check(e, step, step, stages, checked=not e.plan.policies)
    if isinstance(step, Scatter) and step.rights:
        check_rights(e, step, stages)
    return step, stages


def _write(e: Planned, step: Writing, stages: _Stages) -> Answer:
    """Run a step that writes rows which come from elsewhere than where they are written."""
    if isinstance(step, Insert):
        return insert(e, step, stages)
    if isinstance(step, Carry):
        return carry(e, step, stages, run_plan)
    if isinstance(step, Move):
        return move(e, step, stages, run_plan)
    if isinstance(step, Mirror):
        other = step.otherwise if is_spoilt_here(e, step) else None
        return mirror(e, step, stages, run_plan) if other is None else _run(e, other)
    return _write_after_others(e, step)


def _write_after_others(e: Planned, step: SetSequence | Staged | Transfer) -> Answer:
    """Run one that has no tasks before other statements have run."""
    if isinstance(step, SetSequence):
        return set_sequence(e, step, run_plan)
    if isinstance(step, Staged):
        return staged(e, step, run_plan)
    return transfer(e, step, run_plan)


def _check(e: Planned, step: Step, inner: Step, stages: _Stages, *, checked: bool) -> None:
    """See that a step may be taken, before anything of it is sent.

    Args:
        e: The execution.
        step: The step.
        inner: What an `Explained` one explains, else the same.
        stages: Its tasks.
        checked: See `_run`.

    Raises:
        PlanOutdated: It must be planned again.
        errors.Error: It may not.
    """
    # Not if a part has run: what was planned is done then.
    if e.database.is_unsure and not e.ran and _needs_confirming(step, e.plan):
        e.confirm(shards_read(e, inner, stages))
    runs = not isinstance(step, Explained) or step.analyzes
    if isinstance(inner, Mirror) and inner.carry is not None:
        inner = inner.carry
    if runs and isinstance(inner, (Scatter, Combine, Gather, Carry, Move)):
        _check_limits(e, inner, stages)
    if sum(map(len, stages)) > 1:
        e.check_clock()
    if not checked:
        check_policies(e, e.plan.policies, inner, stages)
    if inner is not step and isinstance(inner, (Scatter, Combine, Gather)) and inner.rights:
        check_rights(e, inner, stages)


def _on_shards(
    e: Planned, step: Broadcast | Scatter | Combine | Gather | Subqueries, stages: _Stages
) -> Answer:
    """Run a step for several shards."""
    if isinstance(step, Subqueries):
        return _after_subqueries(e, step)
    if isinstance(step, Broadcast):
        fail_rest(e.session, e.session.shards)
        with savepoints_alike(e.session, e.session.shards, e.text):
            answer = write_copies(e, step.copies, stages)
        # UPDATE of a reference table says UPDATE 3, not 3 for each shard.
        return answer.of_first() if step.answer_of_one else answer
    if step.rights:
        check_rights(e, step, stages)
    return _on_several(e, step, stages)


def _after_subqueries(e: Planned, step: Subqueries) -> Answer:
    """Run subqueries first; if the rest needs too many rows, the coordinator runs the whole."""
    try:
        return subqueries(e, step, run_plan, _run)
    except errors.NotSupportedError as refusal:
        whole = step.otherwise
        # Without results it was the whole that was refused.
        if refusal.code != TOO_MANY or not e.results:
            raise
        if not isinstance(whole, Gather) or whole.elsewhere is None:
            raise
        too_many = refusal
    e.results, e.computed = (), ()
    stages = e.placed(e.settled(whole)[1])
    _check_limits(e, whole, stages)
    return _elsewhere(e, whole, stages, too_many)


def _on_several(e: Planned, step: Scatter | Combine | Gather, stages: _Stages) -> Answer:
    """Run a step whose rows are on several shards."""
    if isinstance(step, (Combine, Gather)):
        return _coordinated(e, step, stages)
    # ORDER BY on a single shard is that shard's business.
    plain = step.slice == Slice() and not step.hidden
    if plain and (len(stages[0]) == 1 or not step.sort):
        return concatenate(e, stages)
    return merge(e, step, stages[0])


def _coordinated(e: Planned, step: Combine | Gather, stages: _Stages) -> Answer:
    """Bring the rows; if they are too many, let the coordinator run it, if there is one."""
    try:
        return gather(e, step, stages[0]) if isinstance(step, Gather) else _combine(e, step, stages)
    except errors.NotSupportedError as refusal:
        whole = step if isinstance(step, Gather) else step.otherwise
        if not isinstance(whole, Gather) or whole.elsewhere is None:
            raise
        # Of a combination that was gathered after all, the coordinator has been asked already.
        if refusal.code != TOO_MANY or e.strategy != step.strategy:
            raise
        too_many = refusal
    return _elsewhere(e, whole, stages, too_many)


def _elsewhere(
    e: Planned, whole: Gather, stages: _Stages, too_many: errors.NotSupportedError
) -> Answer:
    """Let the coordinator run a statement.

    Args:
        e: The execution.
        whole: The statement's gather.
        stages: Its tasks.
        too_many: The refusal of that, or of one that would have brought less.
    """
    assert whole.elsewhere is not None  # noqa: S101  # there is a coordinator
    found = able_elsewhere(e, whole.elsewhere, too_many)
    # The coordinator reads as somebody who may read more: the shards say what the user may.
    check_may_read(e, found.rights, whole, stages)
    if whole.rights:
        check_rights(e, whole, stages)
    return run_elsewhere(e, found, stages[0], too_many)


def _combine(e: Planned, step: Combine, stages: _Stages) -> Answer:
    make = combine if e.streaming is None else stream_combined
    answer = make(e, step, stages[0])
    if answer is not None:
        return answer
    if step.otherwise is None:
        raise errors.NotSupportedError(
            "the shards' parts of the answer are of a type that has no values as text",
            code="GS403",
            hint="Give the columns a named type.",
        )
    # The types of the partial columns are known only now, and the plan for others was made
    # beforehand.
    return _run(e, step.otherwise)


def _check_limits(
    e: Planned, step: Scatter | Combine | Gather | Carry | Move, stages: _Stages
) -> None:
    """Refuse what the connection does not allow.

    Raises:
        errors.NotSupportedError: It does not.
    """
    if isinstance(step, Move):
        if not e.limits.allow_scatter:
            raise errors.NotSupportedError(
                "rows that get another shard key may move, and allow_scatter is off",
                code="GS406",
                hint="Give them a key of the shard that they are on, or set allow_scatter.",
            )
        step = step.write
    brings = isinstance(step, Gather) or (isinstance(step, Carry) and bool(step.tables))
    if brings and not e.limits.allow_gather:
        raise errors.NotSupportedError(
            "the statement would gather rows of several shards, and allow_gather is off",
            code="GS407",
            hint="Write it so that less is needed (conn.explain tells what is in the way), or "
            "set allow_gather.",
        )
    if e.limits.allow_scatter:
        return
    if isinstance(step, Carry) and step.reference:
        stages = stages[:1]  # what it writes concerns all shards by its nature
    for stage in stages:
        # Of a gather, table by table: each may be read on one shard, though not on the same.
        for table in dict.fromkeys(task.table for task in stage):
            shards = [task.place.shard for task in stage if task.table == table]
            if len(shards) > 1:
                raise errors.NotSupportedError(
                    f"the statement would run on {', '.join(shards)}, and allow_scatter is off",
                    code="GS406",
                    hint="Compare the shard key with a value, or set allow_scatter.",
                )
