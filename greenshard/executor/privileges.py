"""Ask the servers, as whoever the session is now, what rights mean for a statement.

A plan is shared by all users. Where it reads relations in the place of views, two things must hold:

- PostgreSQL would run the statement. It checks that itself for ``EXPLAIN`` of the user's own text:
  the rights to each view and column, those of the views' owners, ``row_security``;
- the rows are the same: the user may read what the views' owners read, and row-level security
  hides nothing from either, or both are the same role.

Both are asked in one message, of every shard that the statement reads: owners, grants, policies and
roles are each server's own. Any one that objects ends the statement.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from greenshard import errors
from greenshard._driver import RawCursor, ours, own_cursor
from greenshard.executor.planned import Planned
from greenshard.planner.plan import (
    Carry,
    Combine,
    Filtering,
    Gather,
    Insert,
    Mirror,
    Move,
    Reading,
    Scatter,
    SetSequence,
    Staged,
    Step,
    Subqueries,
    Transfer,
)
from greenshard.planner.tasks import Stage

#: What may stand before a statement.
_BLANK = b"; \t\r\n"

#: One row of one bytea, as in `knowledge.catalog_queries`. Of each relation that is asked for: who
#: reads it, who would in PostgreSQL, whether the first may not, from whom of the two row-level
#: security hides rows, and whether a policy is for the second.
_ASK = """
WITH me AS (
    SELECT oid, rolname FROM pg_catalog.pg_roles
    WHERE rolname OPERATOR(pg_catalog.=) CURRENT_USER
), asked AS (
    SELECT a.number, c.oid, a.columns, c.relowner, c.relrowsecurity, c.relforcerowsecurity,
        c.relnamespace, a.policy, me.oid AS me, me.rolname AS my_name,
        CASE WHEN v.oid IS NULL OR EXISTS (
            SELECT FROM pg_catalog.pg_options_to_table(v.reloptions) AS o
            WHERE o.option_name OPERATOR(pg_catalog.=) 'security_invoker'
                AND o.option_value::pg_catalog.bool
        ) THEN me.oid ELSE v.relowner END AS reader
    FROM me CROSS JOIN pg_catalog.json_to_recordset(%(asked)s::pg_catalog.json) AS a (
        number pg_catalog.int4, schema pg_catalog.text, name pg_catalog.text,
        columns pg_catalog.text[], view_schema pg_catalog.text, view pg_catalog.text,
        policy pg_catalog.text)
    JOIN pg_catalog.pg_namespace AS s ON s.nspname OPERATOR(pg_catalog.=) a.schema
    JOIN pg_catalog.pg_class AS c ON c.relnamespace OPERATOR(pg_catalog.=) s.oid
        AND c.relname OPERATOR(pg_catalog.=) a.name
    LEFT JOIN (
        pg_catalog.pg_class AS v JOIN pg_catalog.pg_namespace AS t
        ON v.relnamespace OPERATOR(pg_catalog.=) t.oid
    ) ON t.nspname OPERATOR(pg_catalog.=) a.view_schema AND v.relname OPERATOR(pg_catalog.=) a.view
), role AS (
    SELECT a.number, r.oid, r.rolname, a.relrowsecurity AND NOT (
        r.rolsuper OR r.rolbypassrls OR NOT a.relforcerowsecurity
        AND pg_catalog.pg_has_role(r.oid, a.relowner, 'USAGE')) AS filtered
    FROM asked AS a JOIN pg_catalog.pg_roles AS r
    ON r.oid OPERATOR(pg_catalog.=) a.me OR r.oid OPERATOR(pg_catalog.=) a.reader
)
SELECT pg_catalog.convert_to(pg_catalog.json_agg(pg_catalog.json_build_array(
    a.number, a.my_name, r.rolname,
    CASE WHEN NOT pg_catalog.has_schema_privilege(a.relnamespace, 'USAGE') THEN true
        WHEN pg_catalog.cardinality(a.columns) OPERATOR(pg_catalog.=) 0
        THEN NOT pg_catalog.has_any_column_privilege(a.oid, 'SELECT')
        ELSE EXISTS (
            SELECT FROM pg_catalog.unnest(a.columns) AS n (name)
            WHERE NOT pg_catalog.has_column_privilege(a.oid, n.name, 'SELECT')) END,
    m.filtered, r.filtered,
    EXISTS (
        SELECT FROM pg_catalog.pg_policy AS p CROSS JOIN pg_catalog.unnest(p.polroles) AS g (oid)
        WHERE p.polrelid OPERATOR(pg_catalog.=) a.oid
            AND p.polname OPERATOR(pg_catalog.=) a.policy
            AND CASE WHEN g.oid OPERATOR(pg_catalog.=) 0::pg_catalog.oid THEN true
                ELSE pg_catalog.pg_has_role(a.reader, g.oid, 'USAGE') END)
))::pg_catalog.text, 'UTF8')
FROM asked AS a
JOIN role AS m ON m.number OPERATOR(pg_catalog.=) a.number AND m.oid OPERATOR(pg_catalog.=) a.me
JOIN role AS r ON r.number OPERATOR(pg_catalog.=) a.number AND r.oid OPERATOR(pg_catalog.=) a.reader
"""


class _Said(NamedTuple):
    """What the server says of one relation.

    Attributes:
        user: Who the session is.
        reader: As whom PostgreSQL would read.
        denied: Whether the user may not read.
        user_filtered, reader_filtered: Whether row-level security applies to them.
        has_policy: Whether the policy is for the reader.
    """

    user: str
    reader: str
    denied: bool
    user_filtered: bool
    reader_filtered: bool
    has_policy: bool


def check_rights(e: Planned, step: Scatter | Combine | Gather, stages: Sequence[Stage]) -> None:
    """Make sure that reading as the user gives what reading as the views' owners would give.

    Raises:
        errors.Error: PostgreSQL would refuse the statement (of its class), or it cannot be run so.

    Switches: yes.
    Cost: one round trip, in which the servers plan the statement.
    """
    # EXPLAIN has the user's text in it, with the parameters: what is wrong with them is psycopg2's
    # to say.
    e.check_parameters()
    asked = [(each, "") for each in step.rights]
    answers = _ask(e, asked, shards_read(e, step, stages), explains=True)
    for number, (reading, _) in enumerate(asked):
        found = {shard: said[number] for shard, said in answers.items() if number in said}
        reasons = {shard: _difference(said) for shard, said in found.items()}
        for shard, reason in reasons.items():
            if reason is not None:
                # Named only if others differ: else the shard has nothing to do with it.
                only = None if all(reasons.values()) else shard
                raise _refused_reading(reading, found[shard], reason, only)


def check_may_read(
    e: Planned, readings: Sequence[Reading], step: Gather, stages: Sequence[Stage]
) -> None:
    """Refuse as PostgreSQL does if the user may not read what somebody else is to read instead.

    Raises:
        errors.ProgrammingError: There is such a table or view.

    Switches: yes.
    Cost: one round trip.
    """
    answers = _ask(e, [(each, "") for each in readings], shards_read(e, step, stages))
    for shard, said in answers.items():
        for number, reading in enumerate(readings):
            if number in said and said[number].denied:
                name = reading.relation[1]
                error = errors.refused(f"permission denied for table {name}", pgcode="42501")
                error.shard = shard
                raise error


def check_policies(
    e: Planned, filterings: Sequence[Filtering], step: Step, stages: Sequence[Stage]
) -> None:
    """Refuse a statement to whose reader a policy applies that would need rows of other shards.

    Raises:
        errors.NotSupportedError: There is one.

    Switches: yes.
    Cost: one round trip.
    """
    asked = [(each.reading, each.policy) for each in filterings]
    answers = _ask(e, asked, shards_read(e, step, stages))
    for number, filtering in enumerate(filterings):
        found = [said[number] for said in answers.values() if number in said]
        if any(said.reader_filtered and said.has_policy for said in found):
            raise errors.refused(
                f'policy "{filtering.policy}" on {_shown(filtering.reading.relation)} cannot be '
                f"applied by each shard: {filtering.reason}",
                code="GS410",
                hint="Let the policy read reference tables, or rows with the same shard key; or "
                "run the statement on one shard with conn.on('...').",
            )


def shards_read(e: Planned, step: Step, stages: Sequence[Stage]) -> tuple[str, ...]:
    """The shards whose tables a step's tasks read or write, at least one."""
    waits = isinstance(step, Insert) and (step.computing or not stages)
    apart = isinstance(step, Subqueries) or (isinstance(step, Carry) and bool(step.queries))
    if waits or apart or isinstance(step, (Move, Mirror, SetSequence, Staged, Transfer)):
        return e.session.shards  # any of them may get a row
    tasks = [task for stage in stages for task in stage]
    read = {task.place.shard for task in tasks if task.table is None or not task.table.reference}
    if isinstance(step, Gather):
        # Reference tables may be read where it gathers, and where a transaction is open.
        read |= {e.gathers_on, e.any_shard()}
    return tuple(shard for shard in e.session.shards if shard in read)


def _difference(said: _Said) -> str | None:
    """Why the rows that the user reads are not those that the reader would read."""
    if said.denied:
        return "may not read it"
    # If they are one role, the policies filter the same rows, whoever is asked for.
    if said.user != said.reader and (said.user_filtered or said.reader_filtered):
        return "may see other rows of it, because of row-level security"
    return None


def _refused_reading(reading: Reading, said: _Said, reason: str, only: str | None) -> errors.Error:
    view = _shown(reading.view or ("", ""))
    where, drift = "", ""
    if only is not None:
        where = f"on shard {only}, "
        drift = " Other shards have other rights: greenshard check tells which."
    return errors.refused(
        f"{where}view {view} reads {_shown(reading.relation)} as {said.reader}, and over several "
        f"shards that would have to be done as {said.user}, who {reason}",
        code="GS410",
        hint=f"Shards cannot make the rows of {view} alone. Let the view show rows, and aggregate, "
        "join and ask for the time in the statement; or run the statement as the view's owner."
        f"{drift}",
    )


def _ask(
    e: Planned,
    asked: Sequence[tuple[Reading, str]],
    shards: Sequence[str],
    *,
    explains: bool = False,
) -> Mapping[str, Mapping[int, _Said]]:
    """What each server says of each reading and policy; nothing of relations that are not there.

    Args:
        e: The statement.
        asked: Relations to ask for, and policies on them.
        shards: Whom to ask. One that is gone says nothing, if the statement can do without it.
        explains: Whether the servers are to plan the user's own text, too.

    Returns:
        The answers by shard and number.

    Raises:
        errors.NotSupportedError: Their sessions would not read the text as it is meant.
        errors.Error: A shard failed.
    """
    e.session.reach(shards, e.timeout)
    e.check_sessions(shards)  # before the user's text is sent, if only to be planned
    told = [
        {
            "number": number,
            "schema": reading.relation[0],
            "name": reading.relation[1],
            "columns": reading.columns,
            "view_schema": reading.view and reading.view[0],
            "view": reading.view and reading.view[1],
            "policy": policy,
        }
        for number, (reading, policy) in enumerate(asked)
    ]
    parameters = {"asked": ours(json.dumps(told))}
    calls: dict[str, Callable[[], Any]] = dict.fromkeys(shards, lambda: None)
    for shard in shards:
        physical = e.session.physicals.get(shard)
        if physical is not None and physical.alive:
            cursor = own_cursor(physical.raw)
            question = RawCursor.mogrify(cursor, _ASK, parameters)
            if explains:
                # Not ANALYZE: the statement is planned, which checks all rights
                # (ExecCheckPermissions runs at the start of the executor, which EXPLAIN goes
                # through), and no row is read.
                question = b"EXPLAIN " + e.written(physical.raw).lstrip(_BLANK) + b"\n;" + question
            calls[shard] = partial(_answer, cursor, question)
    e.ran.update(shards)
    outcome = e.session.run(calls, e.timeout, tolerant=e.tolerant)
    for shard, failure in outcome.failures.items():
        # It would be read nevertheless. One that is gone is missed when the statement runs.
        physical = e.session.physicals.get(shard)
        if physical is not None and physical.alive:
            raise errors.from_shards({shard: failure}, len(e.session.shards))
    answers: dict[str, Any] = {shard: job.result for shard, job in outcome.jobs.items()}
    return answers


def _answer(cursor: RawCursor, question: bytes) -> Mapping[int, _Said]:
    cursor.execute(question)
    row: Any = cursor.fetchone()
    # bytea, then JSON: psycopg2 reads it alike whatever typecasters and encoding the user has.
    said = json.loads(bytes(row[0])) if row[0] is not None else []
    return {number: _Said(*facts) for number, *facts in said}


def _shown(relation: tuple[str, str]) -> str:
    return ".".join(relation)
