"""The short way of a statement that one shard answers, in sessions about which nothing is in doubt.

Most statements of most programs compare the shard key with a parameter. On the general way
(`dispatch`) each part of the house is asked what may stand in the way of such a statement, and says
that nothing does: that took twice as long as to send it. Here the same is asked in one place, by as
few calls as can be. At the first answer that is not the usual one the statement takes the general
way, from its beginning: nothing has been sent.

So nothing is decided here, and nothing can be done here that the general way cannot do. A statement
takes the general way if

- it has several sets of parameters, a name, a listener, or may do without shards
  (`Statements.planned`), or the transaction has failed somewhere: that server says what is wrong;
- its text or a parameter could be read in two ways, or what its plan goes by is in doubt
  (`sure_plan`);
- it tells the time, and that of its shard is not the transaction's (`Clock.tells_right`);
- its plan is not to send this text to one shard and nothing else, or that shard's session is not
  there, or is not as the plan takes it to be (`short_way`).

What else must come before a statement is sent has its place in one of these, too.
"""

from __future__ import annotations

from typing import Any

from greenshard import errors
from greenshard.executor.answers.answer import Answer
from greenshard.executor.answers.parts import Parts
from greenshard.executor.dispatch import UNKNOWN_NAMES
from greenshard.executor.knowledge.one_database import OneDatabase
from greenshard.executor.sql_values import are_usual
from greenshard.links.beginning import executing
from greenshard.links.deadline import Deadline
from greenshard.links.physical import Physical
from greenshard.links.quoting import is_plain, is_usual
from greenshard.links.session import Session
from greenshard.planner.code import Trace
from greenshard.planner.pins import named_shards
from greenshard.planner.plan import Plan, Routed
from greenshard.planner.tasks import are_texts
from greenshard.sql.statement import MAX_CACHED_CHARACTERS
from greenshard.sql.text import Sql

Way = tuple[Sql, Physical]


def sure_plan(database: OneDatabase, text: str, given: Any) -> Plan | None:
    """The plan of a statement, if nothing that it goes by is in doubt; else None.

    Args:
        database: What the connection knows.
        text: The statement.
        given: Its parameters, `as_read`.

    Cost: 3 us for a text seen before.
    """
    # Of a long text no plan is kept, and looking at thousands of parameters costs.
    if len(text) > MAX_CACHED_CHARACTERS:
        return None
    # A backslash or a letter beyond ASCII may be read in two ways, AsIs() may be any SQL.
    if not is_plain(text) or not (given is None or are_usual(given)):
        return None
    return database.sure_plan(text, given is not None)


def short_way(
    plan: Plan, database: OneDatabase, session: Session, given: Any, timeout: Deadline
) -> Way | None:
    """The text of a planned statement, and the connection to send it to; None if it is not so.

    Args:
        plan: The statement's `sure_plan`.
        database: What the connection knows.
        session: Its connections; held by the caller. Its transaction has not failed anywhere.
        given: The statement's parameters.
        timeout: What it may take.

    Switches: if a connection must be opened.
    """
    step = plan.step
    # `binds`: a text of ours, or now() in it.
    if not isinstance(step, Routed) or step.sql.binds is not None:
        return None
    # The hash is of the server's bytes, and a client encoding may change letters on the way.
    altered = are_texts(step.pins) and database.may_alter(given)
    if altered or plan.trace >= Trace.ANYTHING or plan.policies:
        return None
    try:
        named = named_shards(step.pins, database.cluster.names, given)
    except (LookupError, TypeError):
        return None  # psycopg2 says which parameter is missing
    if named is None or len(named) != 1:
        return None
    session.reach(named, timeout)
    (shard,) = named
    there = session.physicals.get(shard)
    # A shard that is late may be on its way out: the general way finds out.
    if there is None or there.late is not None or not there.alive:
        return None
    # After `reach`: a connection that was opened just now tells its bearings with that.
    sure = database.bearings.are_plans(named) and is_usual(there)
    return (step.sql, there) if sure else None


def run_short(
    way: Way,
    plan: Plan,
    database: OneDatabase,
    session: Session,
    parts: Parts,
    given: Any,
    timeout: Deadline,
) -> Answer:
    """Run a statement on its short way.

    Raises:
        errors.Error: The shard failed, or time is up.

    Switches: yes.
    """
    sql, physical = way
    cursor = parts.ready_one(physical, timeout)
    sent = (sql.text,) if given is None else (sql.text, given)
    call = executing(physical, cursor, *sent)
    try:
        job = session.run_one(physical, call, timeout, writes=not plan.reads)
    except errors.Error as error:
        if error.pgcode in UNKNOWN_NAMES:
            database.mistrust()
        raise
    return Answer.of_one(physical.shard, cursor, job)
