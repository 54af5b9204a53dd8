"""Statements that psycopg2 makes of others: executemany and callproc."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from greenshard import errors
from greenshard._driver import RawCursor, quote_ident
from greenshard.executor.answers.answer import Answer, CountedAnswer
from greenshard.executor.atomic import atomically, needs_transaction
from greenshard.executor.dispatch import note, run_plan
from greenshard.executor.execution import in_turns
from greenshard.executor.knowledge.one_database import PlanOutdated
from greenshard.executor.planned import Planned
from greenshard.executor.sql_values import plan_for, with_literals_in
from greenshard.executor.strategies.concatenate import concatenate
from greenshard.executor.strategies.insert import numbered_rows
from greenshard.planner.analysis.clock_words import told_by
from greenshard.planner.place import Place
from greenshard.planner.plan import Routed
from greenshard.planner.tasks import ANYWHERE, Stage, Task, own_place
from greenshard.sql.text import Sql

#: Rows that are new are locked by nobody else: they are loaded on all shards at once.
_ONLY_INSERTS = re.compile(r"\s*insert\b(?!.*\bconflict\b)", re.IGNORECASE | re.DOTALL)
#: Classes of errors that a server has for a row: its values, constraints, triggers.
_OF_SETS = frozenset({"21", "22", "23", "44", "P0"})


def run_many(e: Planned) -> Answer:
    """Run the statement, as one that writes, for each set of parameters of the list ``e.given``.

    If each set goes to one shard, each shard runs its own at the same time as the others. In
    autocommit mode all are undone when one fails; then they are run one by one, so that those
    before it are done, and none behind it, as on one server.

    Switches: yes.
    """
    stage = None if e.plan.unknown else _split(e)
    if stage is not None:
        # All shards that any set needs, in one message.
        if e.database.is_unsure:
            e.confirm([task.place.shard for task in stage])
    elif not e.plan.unknown:
        stage = numbered_rows(e)
    if stage is not None:
        alone = needs_transaction(e, [task.place.shard for task in stage])
        try:
            return _run_stage(e, stage)
        except errors.DatabaseError as error:
            if not (alone and _is_of_a_set(error)):
                raise
    count, status = 0, None
    for given in e.given:
        answer = _run_one(e, given)
        count += max(0, answer.rowcount)
        # As psycopg2's executemany does: the rows are added up, the status is the last one's.
        status = answer.statusmessage
    return CountedAnswer(count, status)


def _is_of_a_set(error: errors.DatabaseError) -> bool:
    """Whether an error is one that some set of parameters has, so that others are done by now."""
    if isinstance(error, errors.PartialCommitError):
        return False
    found: Sequence[Any] = [*error.failures.values()] or [error]
    return all(str(each.pgcode)[:2] in _OF_SETS for each in found)


def _run_stage(e: Planned, stage: Stage) -> Answer:
    """Run all sets of parameters, each shard its own."""
    e.strategy = e.plan.step.strategy
    try:
        shards = [task.place.shard for task in stage]
        if _ONLY_INSERTS.match(e.text):
            e.effect = replace(e.effect, in_turn=False)
        return atomically(e, shards, partial(concatenate, e, (stage,)))
    finally:
        note(e, e.plan)


def _run_one(e: Planned, given: Any) -> Answer:
    """Run the statement for one set of parameters."""
    while True:
        text, values, plan = plan_for(e.database, e.parts, e.text, given, e.timeout)
        one = replace(
            e,
            plan=plan,
            text=text,
            given=values,
            stages=None,
            now=None,
            moment=None,
            query=None,
            ran=set(),
        )
        try:
            return run_plan(one)
        except PlanOutdated:
            continue  # nothing of this set was sent
        finally:
            e.query, e.strategy = one.query, one.strategy


def _split(e: Planned) -> Stage | None:
    """A task for each shard, with its sets of parameters; None if a set is not for one shard.

    Switches: now and then, if they are many.
    """
    step = e.plan.step
    # Sets that go to several shards must be run one after the other, in the order given.
    if not isinstance(step, Routed) or step.sql.binds is not None or e.failed is not None:
        return None
    if e.plan.policies:
        return None
    split: dict[Place, list[Any]] = {}
    for given in in_turns(e.given):
        literals = with_literals_in(e.parts, given, e.text)
        if literals is None:
            return None
        taken, stages = replace(e, given=literals).settled(step)
        # A set that names several shards, or none (a NULL key), is run by itself, and so are all
        # the others.
        if taken is not step or (task := stages[0][0]).place is ANYWHERE:
            return None
        split.setdefault(task.place, []).append(literals)
    places = [place for place in map(own_place, e.session.shards) if place in split]
    tasks = [_in_time(e, Task(place, step.sql, split[place], repeats=True)) for place in places]
    return None if None in tasks else tuple(filter(None, tasks)) or None


def _in_time(e: Planned, task: Task) -> Task | None:
    """A task of one shard's sets of parameters that tells the time of the transaction.

    Returns:
        None if each set must be looked at by itself.

    Switches: if the time must be asked for, or a connection opened.
    """
    plan, shard, sets = e.plan, task.place.shard, task.given
    # 'now' in a parameter: that is found out set by set.
    if plan.clock and any(told_by(plan.clock, given) for given in sets):
        return None
    if plan.timed is None:
        return task
    e.session.reach((shard,), e.timeout)
    physical = e.session.physicals.get(shard)
    if physical is None or e.database.clock.tells_right(plan, None, physical):
        return task
    if not isinstance(plan.timed, Routed):
        return None
    sql = plan.timed.sql
    values = [e.parameters(sql, given, shard) for given in in_turns(sets)]
    return replace(task, sql=Sql(sql.text), given=values)


def calling(
    cursor: RawCursor, procname: str | bytes, parameters: Sequence[Any] | Mapping[str, Any] = ()
) -> tuple[str, Any]:
    """The statement, and its parameters, that psycopg2's ``callproc`` executes.

    Args:
        cursor: To quote names with.
        procname: The function's name; goes into the text as it is.
        parameters: By position or by name.
    """
    name = procname.decode() if isinstance(procname, bytes) else procname
    if isinstance(parameters, Mapping):
        # The text goes through psycopg2's placeholders once more.
        names = [quote_ident(each, cursor).replace("%", "%%") for each in parameters]
        arguments, values = [f"{each}:=%s" for each in names], list(parameters.values())
    else:
        values = list(parameters or ())
        arguments = ["%s"] * len(values)
    return f"SELECT * FROM {name.replace('%', '%%')}({','.join(arguments)})", values
