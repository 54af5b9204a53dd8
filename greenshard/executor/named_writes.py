"""What goes to named shards as it is may put no row where it does not belong."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from greenshard import errors
from greenshard._driver import DriverError, RawCursor, python_encoding
from greenshard.executor.answers.parts import Parts
from greenshard.executor.knowledge.one_database import OneDatabase
from greenshard.executor.sql_values import with_literals_in
from greenshard.links.deadline import Deadline
from greenshard.links.quoting import check_usual, is_plain
from greenshard.links.session import Session
from greenshard.planner.analysis.clock_words import told_by
from greenshard.planner.belonging import EVERYWHERE, NamedWrites, objection
from greenshard.planner.plan import Broadcast, Insert, Refused, Several, by_itself
from greenshard.planner.refusals import refusal_error
from greenshard.planner.strategies.write import CODE
from greenshard.planner.target import Target

#: Without one of these words no table is written or changed but by functions.
_WRITING = re.compile(
    r"(?<!\w)(?:insert|update|delete|merge|copy|truncate|alter|drop|into|create)(?!\w)",
    re.IGNORECASE,
)


def check_named_writes(
    database: OneDatabase,
    session: Session,
    parts: Parts,
    text: str,
    every: Sequence[Any],
    target: Target,
    timeout: Deadline,
) -> None:
    """Refuse a text that writes rows which belong on other shards than those that are named.

    Args:
        database: What is known.
        session: The connections.
        parts: The shards' cursors.
        text: The text.
        every: The sets of parameters that it is run with; None among them for no parameters.
        target: The shards.
        timeout: What it may take to find out.

    Raises:
        errors.NotSupportedError: It does, or that cannot be told.
        errors.Error: A shard cannot be asked, or time is up.

    Switches: when something must be asked for first.
    Cost: 5 us for each set of parameters, and 0.5 ms for a text that was not seen before.
    """
    for given in every:
        try:
            sent, values = _readable(parts, text, given)
        except errors.Error:
            raise
        except (DriverError, AttributeError, LookupError, TypeError, ValueError):
            return  # the statement fails, in the driver's words
        # A word in a literal or a name is found, too: then the text is parsed for nothing.
        if not _WRITING.search(sent):
            continue
        found = database.named_writes(sent, values is not None, target.shards, timeout)
        # "INSERT INTO orders %s" given AsIs(...): only with the value in it can it be read.
        if values is not None and any(isinstance(x, Refused) and x.unreadable for x in found):
            sent, values = _written(parts, text, given), None
            found = database.named_writes(sent, False, target.shards, timeout)
        for writes in found:
            if isinstance(writes, Refused):
                raise refusal_error(writes, ())
            if not writes.are_any:
                continue
            refused = _objection(database, session, writes, sent, values, target, timeout)
            if refused is not None:
                raise refusal_error(refused, ())


def _objection(
    database: OneDatabase,
    session: Session,
    writes: NamedWrites,
    text: str,
    given: Any,
    target: Target,
    timeout: Deadline,
) -> Refused | None:
    """Why a text may not run on the shards that are named; None if it may."""
    if writes.pins and not (is_plain(text) and is_plain(ascii(given))):
        # They read another key than is read here.
        check_usual([session.physicals[s] for s in target.shards if s in session.physicals])
        if database.may_alter((text, given)):
            reason = "the letters of a shard key are others in this client encoding"
            return Refused(reason, CODE, "conn.set_client_encoding('UTF8')")
    try:
        refused = objection(writes, target.shards, database.cluster.names, given)
    except (LookupError, TypeError):
        return None  # psycopg2 says that a parameter is not there
    if refused is None and writes.everywhere:
        # Whatever is chosen by each server for itself would make the copies differ.
        # All shards may be named, and INSERT INTO nation VALUES (random()) would give each another
        # value.
        # The plan says so by refusing it, or by putting one time in the place of now(), which this
        # text does not.
        plan = database.plan(text, given is not None, timeout)
        if isinstance(plan.step, Refused):
            return plan.step
        if isinstance(plan.step, Several):
            reason = "a reference table is written beside other statements in one string"
            return Refused(reason, "GS411", "Execute one statement at a time.")
        step = by_itself(plan.step)
        as_it_is = isinstance(step, Broadcast) and step.sql.binds is None
        if not as_it_is or told_by(plan.clock, given):
            what = "other values" if isinstance(step, Insert) else "another time"
            reason = f"reference table {writes.everywhere[0]} would get {what} on each shard"
            return Refused(reason, CODE, EVERYWHERE)
    return refused


def _readable(parts: Parts, text: str, given: Any) -> tuple[str, Any]:
    """The text and its parameters, or the text with them in it if they may be any SQL."""
    if given is None:
        return text, None
    literals = with_literals_in(parts, given, text)
    return (_written(parts, text, given), None) if literals is None else (text, literals)


def _written(parts: Parts, text: str, given: Any) -> str:
    raw = parts.quoting()
    return RawCursor(raw).mogrify(text, given).decode(python_encoding(raw))
