"""COPY from and to the program's file over a declared cluster: how it is planned.

    COPY t FROM STDIN           as an INSERT into t, by `strategies.copy_in`
    COPY t TO STDOUT            as SELECT ... FROM ONLY t, by `copy_out`
    COPY (query) TO STDOUT      as that query, likewise

What is no COPY from or to the client runs as any statement, which is what psycopg2 does.
"""

from __future__ import annotations

from greenshard.executor.answers.answer import Answer
from greenshard.executor.asked import Asked
from greenshard.executor.client_copy import CopyFile
from greenshard.executor.copy_out import copy_out, query_of
from greenshard.executor.dispatch import note
from greenshard.executor.knowledge.one_database import OneDatabase, PlanOutdated
from greenshard.executor.others import Runs
from greenshard.executor.planned import Planned
from greenshard.executor.strategies.copy_in import Load, copy_in
from greenshard.planner.plan import Plan, Refused
from greenshard.planner.strategies.copy_from import check_copy_from, columns_of, not_copied
from greenshard.sql.copy_statement import CopyStatement, as_insert, read_copy


class Copies:
    """Runs COPY for a connection.

    Args:
        runs: What runs its statements.
    """

    def __init__(self, runs: Runs) -> None:
        self._runs = runs

    def run(self, asked: Asked, database: OneDatabase, text: str | bytes, file: CopyFile) -> Answer:
        """Run one; the caller has taken the session.

        Raises:
            errors.Error: It cannot be run, a shard failed, or time is up.

        Switches: yes.
        """
        said = self._runs.decoded(text)
        copy = read_copy(said)
        if copy is not None and not copy.with_client:
            raise not_copied(
                "a file or program of the servers' is another one on each",
                "Use FROM STDIN or TO STDOUT, with a file of the program's.",
            )
        if copy is None:
            return self._runs.planned(asked, database, text, None)
        while True:
            try:
                if copy.reads:
                    return self._load(asked, database, copy, file, said)
                return self._unload(asked, database, copy, file, said)
            except PlanOutdated:
                continue  # nothing was sent

    def _load(
        self, asked: Asked, database: OneDatabase, copy: CopyStatement, file: CopyFile, said: str
    ) -> Answer:
        check_copy_from(copy)
        named = copy.node.relation
        relation, encoding = database.relation(
            named.schemaname or None, named.relname, asked.timeout
        )
        columns = columns_of(copy, relation)
        insert = as_insert(copy, columns)
        e = self._execution(asked, database, insert, [""] * 2 * len(columns))
        try:
            if relation is None:
                raise not_copied(f"the table {named.relname} is not known")
            return copy_in(e, Load(copy, relation, columns, encoding, file))
        finally:
            note(e, e.plan)
            asked.parts.sent = said.encode()

    def _unload(
        self, asked: Asked, database: OneDatabase, copy: CopyStatement, file: CopyFile, said: str
    ) -> Answer:
        named = copy.node.relation
        relation = None
        if copy.query is None:
            relation, _ = database.relation(named.schemaname or None, named.relname, asked.timeout)
        query = query_of(copy, relation)
        e = self._execution(asked, database, query, None)
        try:
            return copy_out(e, copy, file)
        finally:
            note(e, e.plan)
            asked.parts.sent = said.encode()

    def _execution(self, asked: Asked, database: OneDatabase, text: str, given: object) -> Planned:
        plan: Plan = database.plan(text, given is not None, asked.timeout)
        if isinstance(plan.step, Refused) or plan.unknown:
            # A table may have been made a moment ago by another process.
            plan = database.plan_anew(text, given is not None, asked.timeout)
        return self._runs.execution(asked, database, text, given, plan)
