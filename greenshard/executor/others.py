"""Statements that stand for others, or for what the connection itself does.

    UPDATE ...; UPDATE ...          several statements, see `several`
    EXECUTE p (1)                   the prepared statement with its arguments, see `prepared`
    DECLARE, FETCH, MOVE, CLOSE     cursors, see `sql_cursors`

Each of those that run in their place is planned as if it had been executed by itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any, Protocol

from greenshard import errors
from greenshard._driver import RawCursor
from greenshard.executor.answers.answer import Answer, CountedAnswer
from greenshard.executor.answers.parts import Parts
from greenshard.executor.answers.portals import Portals, SqlCursor
from greenshard.executor.asked import Asked
from greenshard.executor.execution import Execution
from greenshard.executor.knowledge.one_database import OneDatabase
from greenshard.executor.planned import Planned
from greenshard.executor.prepared import statement_of
from greenshard.executor.several import SeveralStatements
from greenshard.executor.sql_cursors import (
    check_declaring,
    fetch,
    named_for,
    no_cursor,
    shards_with,
)
from greenshard.executor.sql_values import written_out
from greenshard.executor.strategies.route import route
from greenshard.links.deadline import Deadline
from greenshard.links.session import Session
from greenshard.planner.code import Trace
from greenshard.planner.plan import (
    Anywhere,
    Broadcast,
    Closed,
    Created,
    Declared,
    Executed,
    Fetched,
    Plan,
    Several,
)
from greenshard.planner.tasks import Task, own_place, settle
from greenshard.sql.splitting import Part
from greenshard.sql.text import Sql
from greenshard.transaction.state import Transaction

OTHERS = (Several, Created, Executed, Fetched, Closed)
"""The steps of such statements; and a plan that `declares` a cursor is one of them."""


class Runs(Protocol):
    """What runs the statements of a connection: `Statements`."""

    session: Session
    transaction: Transaction
    portals: Portals

    def decoded(self, query: str | bytes) -> str:
        """A text as the servers will read it."""

    def planned(
        self, asked: Asked, database: OneDatabase, query: str | bytes, given: Any
    ) -> Answer:
        """Plan a statement, and run it."""

    def run_planned(
        self,
        asked: Asked,
        database: OneDatabase,
        text: str,
        given: Any,
        plan: Plan,
        *,
        many: bool = False,
    ) -> Answer:
        """Run a statement by its plan, which is none of `OTHERS`."""

    def execution(
        self, asked: Asked, database: OneDatabase, text: str, given: Any, plan: Plan
    ) -> Planned:
        """What runs a plan."""

    def note(self, trace: Trace, parts: Parts | None = None) -> None:
        """Take note of what a statement may leave."""

    def leave(self, trace: Trace, shards: Iterable[str]) -> None:
        """Take note of what a statement may have left."""


class Others:
    """Runs such statements of one connection.

    Args:
        runs: What runs all others. It does not keep this one, for a cycle would keep connections
            open until the garbage collector runs.
    """

    def __init__(self, runs: Runs) -> None:
        self._runs = runs
        self._session, self._transaction = runs.session, runs.transaction
        self._portals = runs.portals

    def run(
        self,
        asked: Asked,
        database: OneDatabase,
        text: str,
        given: Any,
        plan: Plan,
        *,
        many: bool,
    ) -> Answer:
        """Run what stands for other statements; with `many`, for each of the parameters given."""
        parts, step = asked.parts, plan.step
        # In a failed transaction nothing is asked for: the server says so.
        if not isinstance(step, Several) and self._transaction.failed is not None:
            return self._runs.run_planned(asked, database, text, given, plan, many=many)
        if many:
            answers = [self._runs.planned(asked, database, text, each) for each in given]
            count = sum(max(0, answer.rowcount) for answer in answers)
            return CountedAnswer(count, answers[-1].statusmessage if answers else None)
        if parts.named and not isinstance(step, Several):
            word = text.split(None, 1)[0]
            raise errors.refused(f'syntax error at or near "{word}"', pgcode="42601")
        # First: psycopg2 refuses wrong parameters before anything is sent.
        query = RawCursor(parts.quoting()).mogrify(text, given)
        try:
            if isinstance(step, Several):
                return self._several(asked, database, given, step.parts, step.strategy)
            if isinstance(step, Created):
                both = (Part(step.made.text), Part(step.filled.text))
                answer = self._several(
                    asked, database, step.made.values(given), both, step.strategy, tells=False
                )
                return CountedAnswer(answer.rowcount, f"SELECT {answer.rowcount}")
            if isinstance(step, Executed):
                return self._executed(asked, database, text, given, step)
            return self._of_cursor(asked, database, text, given, plan)
        finally:
            parts.sent = query

    def _several(
        self,
        asked: Asked,
        database: OneDatabase,
        given: Any,
        statements: Sequence[Part],
        strategy: str,
        *,
        tells: bool = True,
    ) -> Answer:
        """Run the statements of one string; `tells` whether errors tell which one they are of."""
        parts = asked.parts
        if parts.named:
            raise errors.NotSupportedError(
                "several statements in one string, for a named cursor",
                code="GS411",
                hint="Give the named cursor one query.",
            )
        execution = Execution(
            self._session, self._transaction, parts, asked.timeout, False, False, None, strategy
        )
        asked.follow(execution)
        # A part of the rows is no answer where what follows may write.
        whole = replace(asked, partial=False)
        try:
            return SeveralStatements(
                execution=execution,
                database=database,
                parts=statements,
                given=given,
                tells=tells,
                run_one=partial(self._runs.planned, whole, database),
                note=partial(self._runs.note, parts=parts),
            ).run()
        finally:
            asked.follow(execution)

    def _executed(
        self, asked: Asked, database: OneDatabase, text: str, given: Any, step: Executed
    ) -> Answer:
        """Run a prepared statement."""
        written = written_out(asked.parts, text, given).removeprefix(step.prefix)
        # One that has the transaction already, so that no other need begin it.
        there = sorted(self._session.alive, key=lambda physical: not physical.in_transaction)
        shard = there[0].shard if there else database.home
        self._session.reach((shard,), asked.timeout)
        found = statement_of(written, database, self._session, shard, asked.timeout)
        return self._runs.planned(asked, database, step.prefix + found, None)

    # Cursors that SQL declares --------------------------------------------------------------

    def _of_cursor(
        self, asked: Asked, database: OneDatabase, text: str, given: Any, plan: Plan
    ) -> Answer:
        if isinstance(plan.step, Fetched):
            return self._fetched(asked, database, text, given, plan.step)
        if isinstance(plan.step, Closed):
            return self._closed(asked, database, text, given, plan.step)
        return self._declare(asked, database, text, given, plan)

    def _declare(
        self, asked: Asked, database: OneDatabase, text: str, given: Any, plan: Plan
    ) -> Answer:
        """Declare a cursor: on the one shard that runs its query, or as a named one."""
        assert plan.declares is not None  # noqa: S101
        (name, holds), step = plan.declares, plan.step
        session, portals = self._session, self._portals
        check_declaring(session, self._transaction, portals, name, asked.timeout, holds=holds)
        with suppress(LookupError, TypeError):  # psycopg2 says which parameter is missing
            step, _ = settle(database.certain(step, text, given), database.cluster.names, given)
        if not isinstance(step, Declared):
            answer = self._runs.run_planned(asked, database, text, given, plan, many=False)
            found = SqlCursor(holds, next(iter(answer.timings)), trace=plan.trace)
        else:
            logical = named_for(asked.parts, name, session, holds=holds)
            own = Asked(logical._parts, asked.timeout, False, None, record=asked.record)
            own.parts.begin()
            own.parts.answer = self._runs.planned(own, database, text[step.at :], given)
            answer = CountedAnswer(-1, "DECLARE CURSOR")
            found = SqlCursor(holds, None, logical)
        if found.logical is None or found.logical._parts.portal is None:
            portals.declared[name] = holds
        found.kept = holds and not self._transaction.is_open
        portals.by_sql[name] = found
        return answer

    def _fetched(
        self, asked: Asked, database: OneDatabase, text: str, given: Any, step: Fetched
    ) -> Answer:
        """Fetch from a cursor that SQL has declared."""
        cursor = self._portals.by_sql.get(step.fetch.name)
        if cursor is not None and cursor.logical is not None:
            return fetch(self._session, asked.parts, cursor, step.fetch, asked.timeout)
        shard = self._shard_with(step.fetch.name, asked.timeout)
        trace = Trace.CODE if cursor is None else cursor.trace
        try:
            return self._on_shard(asked, database, text, given, shard)
        finally:
            if trace > Trace.ANYTHING:  # it was run now, and not when it was declared
                self._runs.leave(trace, (shard,))

    def _closed(
        self, asked: Asked, database: OneDatabase, text: str, given: Any, step: Closed
    ) -> Answer:
        """Close a cursor that SQL has declared, or all cursors."""
        portals, name = self._portals, step.name
        if name is None:
            portals.end_all()
            portals.by_sql.clear()
            plan = Plan(Broadcast(Sql(text), answer_of_one=True))
            return self._runs.run_planned(asked, database, text, given, plan, many=False)
        cursor = portals.by_sql.get(name)
        if cursor is not None and cursor.logical is not None:
            with self._session.lent():
                cursor.logical.close()
            portals.forget(name)
            return CountedAnswer(-1, "CLOSE CURSOR")
        shard = self._shard_with(name, asked.timeout)
        answer = self._on_shard(asked, database, text, given, shard)
        portals.forget(name)
        return answer

    def _shard_with(self, name: str, timeout: Deadline) -> str:
        """The shard whose server has a cursor.

        Raises:
            errors.Error: None has, or several have.

        Switches: if they must be asked.
        """
        cursor = self._portals.by_sql.get(name)
        if cursor is not None and cursor.shard is not None:
            return cursor.shard
        there = shards_with(self._session, name, timeout)
        if len(there) > 1 or any(portal.name == name for portal in self._portals.open):
            raise errors.NotSupportedError(
                f'"{name}" is a named cursor over several shards',
                code="GS410",
                hint="Use the methods of that cursor.",
            )
        if not there:
            raise no_cursor(name)
        return there[0]

    def _on_shard(
        self, asked: Asked, database: OneDatabase, text: str, given: Any, shard: str
    ) -> Answer:
        """Run a text on one shard as it is."""
        sql = Sql(text)
        execution = self._runs.execution(asked, database, text, given, Plan(Anywhere(sql)))
        return route(execution, Task(own_place(shard), sql, given))
