"""A query within a statement is run as a statement of its own, before the rest of it.

By whichever strategy its plan has; its values come as text, to be passed on to other servers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from greenshard._driver import RawCursor
from greenshard.executor.answers.answer import Answer, ShardTiming
from greenshard.executor.answers.parts import Parts
from greenshard.executor.planned import Planned
from greenshard.executor.strategies.held import check_rows
from greenshard.executor.strategies.insert import passed_on
from greenshard.executor.types.casting import AsText, Casting
from greenshard.planner.plan import Plan
from greenshard.sql.effects import NO_EFFECT
from greenshard.sql.text import Sql

Row = tuple[str | None, ...]


class Texts(NamedTuple):
    """What a query has given.

    Attributes:
        types: The names of its columns' types.
        rows: Its rows, their values as text.
        timings: What each shard took.
    """

    types: Sequence[str]
    rows: Sequence[Row]
    timings: Mapping[str, ShardTiming]


def read_apart(
    e: Planned, read: Sql, plan: Plan, run: Callable[[Planned], Answer], what: str
) -> Texts:
    """What a query gives, as text.

    Args:
        e: The execution of the statement that needs them.
        read: The query.
        plan: Its plan.
        run: Runs a planned statement.
        what: What the rows are, for a message.

    Switches: yes.
    """
    cursor = cursor_of_texts(e)
    parts = e.parts.for_another(cursor)
    answer = run_apart(e, read.text, e.parameters(read, e.given), plan, run, parts)
    return rows_as_text(e, answer, what)


def cursor_of_texts(e: Planned) -> RawCursor:
    """A cursor whose values come as text; whoever makes `Parts` of it keeps it."""
    cursor = RawCursor(e.parts.quoting())
    # To the strategies it is as if the program had registered typecasters that give texts.
    Casting(cursor, AsText.ALL, False)
    return cursor


def rows_as_text(e: Planned, answer: Answer, what: str) -> Texts:
    """What `read_apart` gives, of an answer of `run_apart`."""
    check_rows(e, answer.rowcount, what)
    columns, shard = answer.description or (), answer.described_on
    names = passed_on(e, shard or e.any_shard(), [column.type_code for column in columns])
    return Texts(names, answer.rows.fetchall(), answer.timings)


def run_apart(
    e: Planned,
    text: str,
    given: Any,
    plan: Plan,
    run: Callable[[Planned], Answer],
    parts: Parts,
) -> Answer:
    """Run a part of a statement.

    Args:
        e: The execution of the statement.
        text: The part.
        given: Its parameters.
        plan: Its plan.
        run: Runs a planned statement.
        parts: What gets its answer.

    Switches: yes.
    """
    part = replace(
        e,
        parts=parts,
        plan=plan,
        text=text,
        given=given,
        bound=given is not None,
        reads=plan.reads,
        tolerant=False,
        streaming=None,
        effect=NO_EFFECT if plan.reads else plan.effect,
        stages=None,
        query=None,
        computed=(),
        results=(),
    )
    return run(part)
