"""What subqueries give is computed first, and then the rest, by the shards or where it gathers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from greenshard import errors
from greenshard.executor.answers.answer import Answer
from greenshard.executor.atomic import all_commit_alone, at_one_moment
from greenshard.executor.planned import Planned
from greenshard.executor.strategies.apart import Texts, read_apart
from greenshard.executor.strategies.carry import table_query, with_queries
from greenshard.executor.strategies.exactness import spoilt
from greenshard.executor.strategies.table_rows import Rows
from greenshard.executor.strategies.travelling import travelling
from greenshard.merge.arrays import array_text
from greenshard.planner.catalog import Column
from greenshard.planner.plan import (
    Anywhere,
    CarriedQuery,
    Combine,
    Gather,
    GatheredColumn,
    GatheredTable,
    Scatter,
    Step,
    Subqueries,
)
from greenshard.planner.strategies.stand_ins import PREFIX
from greenshard.planner.tasks import ANYWHERE, settle
from greenshard.sql.nodes import quoted
from greenshard.sql.text import Sql

#: So many values go to every shard with its text, at most.
_SPREAD_VALUES = 20_000
_NO_TEXT = Sql("")

#: Takes a step of a statement.
Take = Callable[[Planned, Step], Answer]


def subqueries(
    e: Planned, step: Subqueries, run: Callable[[Planned], Answer], take: Take
) -> Answer:
    """Compute what the subqueries give, and take the step for the rest.

    Args:
        e: The execution.
        step: The plan.
        run: Runs a planned statement.
        take: Takes a step.

    Raises:
        errors.Error: A shard failed, time is up, or rows are too many.

    Switches: yes.
    """
    e.check_parameters()
    e.check_clock()
    # on_error="partial" does without a shard's part of the rows, never without one of a subquery.
    if e.tolerant or spoilt(e) or travelling(e.session.alive) is not None:
        return take(e, step.otherwise)
    shards = _shards(e, step)
    alone = e.streaming is None and all_commit_alone(e, shards)
    isolated = e.database.bearings.may_be_isolated or e.session.exported is not None
    # At READ COMMITTED each step sees what others have committed meanwhile. Gathered, a table is
    # read once.
    if step.repeats and not (alone or isolated) and isinstance(step.otherwise, Gather):
        return take(e, step.otherwise)
    go_on = partial(_subqueries, e, step, run, take)
    # FOR UPDATE, and what asks for settings, are not for a transaction that only reads.
    reads = e.reads and not e.plan.trace and e.plan.settings == ()
    answer = at_one_moment(e, shards, go_on) if alone and reads else go_on()
    return take(e, step.otherwise) if answer is None else answer


def _shards(e: Planned, step: Subqueries) -> Sequence[str]:
    """The shards that have rows which are read."""
    names = e.database.cluster.names
    settled = [settle(q.plan.step, names, e.parameters(q.read, e.given))[1] for q in step.queries]
    settled += [settle(each, names, e.given)[1] for each in (step.spread, step.gather) if each]
    tasks = (task for stages in settled for stage in stages for task in stage)
    return tuple(dict.fromkeys(task.place.shard for task in tasks if task.place is not ANYWHERE))


def _subqueries(
    e: Planned, step: Subqueries, run: Callable[[Planned], Answer], take: Take
) -> Answer | None:
    """The answer; None if the subqueries' rows cannot travel so."""
    found = _results(e, step, run)
    if found is None:
        return None
    e.results = [_as_table(query, texts) for query, texts in zip(step.queries, found, strict=True)]
    values = sum(len(texts.rows) * len(texts.types) for texts in found)
    few = values <= _SPREAD_VALUES or not e.limits.allow_gather
    rest: Step | None = step.gather
    if step.spread is not None and (few or rest is None):
        rest = _spread(e, step.spread)
    assert rest is not None  # noqa: S101  # one of the two is there
    answer = take(e, rest)
    for texts in found:
        answer.add_before(texts.timings)
    e.strategy = step.strategy
    return answer


def _results(
    e: Planned, step: Subqueries, run: Callable[[Planned], Answer]
) -> Sequence[Texts] | None:
    """What the subqueries give; None if their rows cannot travel as text. Switches: yes."""
    try:
        return [
            read_apart(e, each.read, each.plan, run, "those of a subquery") for each in step.queries
        ]
    except errors.NotSupportedError as error:
        if error.pgcode is not None:  # a server's: the transaction has failed
            raise
        # Types that have no values as text, settings, a limit: nothing has been written. Whatever
        # is in the way of the whole, too, it says itself.
        return None


def _as_table(query: CarriedQuery, texts: Texts) -> Rows:
    """A subquery's rows, as those that are gathered are."""
    columns = tuple(
        # Each value is a text, like that of an array.
        GatheredColumn(f"c{at}", _type(shown, name), is_array=True)
        for at, (shown, name) in enumerate(zip(query.shown, texts.types, strict=True))
    )
    table = GatheredTable(query.name, quoted(query.name), columns, _NO_TEXT)
    arrays = tuple(array_text([row[at] for row in texts.rows]) for at in range(len(columns)))
    return Rows(table, len(texts.rows), (arrays,) if texts.rows else (), None)


def _type(shown: Column | None, name: str) -> str:
    """A column's type: of one that a table has, with its modifiers, if it is shown as it is."""
    # A column that USING has merged may have become another type.
    if shown is None or name.rpartition(".")[2].strip('"') != shown.type_name:
        return name
    return shown.type_sql


def _spread(e: Planned, step: Anywhere | Scatter | Combine) -> Anywhere | Scatter | Combine:
    """A step for the shards, with the results before its texts."""
    values: list[Any] = []
    put = [table_query(rows, values) for rows in e.results]
    e.computed = values

    def after(sql: Sql) -> Sql:
        return with_queries(sql, put, len(values)) if PREFIX in sql.text else sql

    if isinstance(step, Combine):
        return replace(step, partial=after(step.partial), combine=after(step.combine))
    return replace(step, sql=after(step.sql))
