"""What subqueries give is computed first, and then the rest, by the shards or where it gathers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from greenshard import errors
from greenshard.executor.answers.answer import Answer, ShardTiming
from greenshard.executor.atomic import all_commit_alone, at_one_moment
from greenshard.executor.planned import Planned
from greenshard.executor.strategies.apart import Row, cursor_of_texts, rows_as_text, run_apart
from greenshard.executor.strategies.carry import with_queries
from greenshard.executor.strategies.combine import partial_arrays, partial_rows
from greenshard.executor.strategies.exactness import travels_as_text
from greenshard.executor.strategies.table_rows import Rows
from greenshard.executor.strategies.travelling import travelling
from greenshard.merge.arrays import array_text
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


@dataclass(frozen=True, slots=True)
class _Result:
    """What a subquery has given.

    Attributes:
        query: The subquery.
        types: Its columns' types.
        rows: Its rows, the values as text.
        timings: What each shard took.
    """

    query: CarriedQuery
    types: Sequence[str]
    rows: Sequence[Row]
    timings: Mapping[str, ShardTiming]


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
    if e.tolerant or not travels_as_text(e) or travelling(e.session.alive) is not None:
        return take(e, step.otherwise)
    go_on = partial(_subqueries, e, step, run, take)
    shards = _shards(e, step)
    if not all_commit_alone(e, shards):
        # At READ COMMITTED each step sees what others have committed meanwhile. Gathered, a table
        # is read once.
        isolated = e.database.bearings.may_be_isolated or e.session.exported is not None
        if step.repeats and not isolated and isinstance(step.otherwise, Gather):
            return take(e, step.otherwise)
        answer = go_on()
    elif e.reads and not e.plan.trace and e.plan.settings == ():
        answer = at_one_moment(e, shards, go_on)
    else:  # FOR UPDATE, and what asks for settings, are not for a transaction that only reads
        answer = go_on()
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
    results = _results(e, step, run)
    if results is None:
        return None
    e.results = tuple(map(_as_table, results))
    values = sum(len(result.rows) * len(result.types) for result in results)
    few = values <= _SPREAD_VALUES or not e.limits.allow_gather
    rest: Step | None = step.gather
    if step.spread is not None and (few or rest is None):
        rest = _spread(e, step.spread, results)
    assert rest is not None  # noqa: S101  # one of the two is there
    answer = take(e, rest)
    for result in results:
        answer.add_before(result.timings)
    e.strategy = step.strategy
    return answer


def _results(
    e: Planned, step: Subqueries, run: Callable[[Planned], Answer]
) -> Sequence[_Result] | None:
    """What the subqueries give; None if their rows cannot travel as text. Switches: yes."""
    try:
        return [_result(e, each, run) for each in step.queries]
    except errors.NotSupportedError as error:
        if error.pgcode is not None:  # a server's: the transaction has failed
            raise
        # Types that have no values as text, settings, a limit: nothing has been written. Whatever
        # is in the way of the whole, too, it says itself.
        return None


def _result(e: Planned, query: CarriedQuery, run: Callable[[Planned], Answer]) -> _Result:
    cursor = cursor_of_texts(e)
    given = e.parameters(query.read, e.given)
    answer = run_apart(e, query.read.text, given, query.plan, run, e.parts.for_another(cursor))
    types, rows = rows_as_text(e, answer, "those of a subquery")
    return _Result(query, types, rows, answer.timings)


def _spread(
    e: Planned, step: Anywhere | Scatter | Combine, results: Sequence[_Result]
) -> Anywhere | Scatter | Combine:
    """A step for the shards with the results before its texts."""
    values: list[Any] = []
    put = []
    for result in results:
        types = _types(result)
        names = [f"c{len(values) + at}" for at in range(len(types))]
        values += partial_arrays([result.rows], len(names)).values()
        put.append(f"{quoted(result.query.name)} AS {partial_rows(types, None, names)}")
    e.computed = values

    def after(sql: Sql) -> Sql:
        return with_queries(sql, put, len(values)) if PREFIX in sql.text else sql

    if isinstance(step, Combine):
        return replace(step, partial=after(step.partial), combine=after(step.combine))
    return replace(step, sql=after(step.sql))


def _as_table(result: _Result) -> Rows:
    """A result as what is gathered is."""
    types = _types(result)
    columns = tuple(
        GatheredColumn(f"c{at}", type_, is_array=True) for at, type_ in enumerate(types)
    )
    name = result.query.name
    table = GatheredTable(name, quoted(name), columns, _NO_TEXT)
    texts = tuple(array_text([row[at] for row in result.rows]) for at in range(len(columns)))
    return Rows(table, len(result.rows), (texts,) if result.rows else (), None)


def _types(result: _Result) -> list[str]:
    """The types of the columns: those of tables with their modifiers, where they are shown."""
    # A column that USING has merged may have become another type.
    return [
        name
        if shown is None or name.rpartition(".")[2].strip('"') != shown.type_name
        else shown.type_sql
        for shown, name in zip(result.query.shown, result.types, strict=True)
    ]
