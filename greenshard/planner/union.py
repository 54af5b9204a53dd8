"""What the union of shards refuses to run.

Without declared tables nobody knows which rows belong where, so an INSERT that runs on several
shards puts the same rows on each of them, and the union then shows them several times.
"""

from __future__ import annotations

import re
from typing import NoReturn

from greenshard import errors
from greenshard.planner.analysis.objections import current_of
from greenshard.planner.target import Target
from greenshard.sql.ending import Ending, EndKind
from greenshard.sql.parser import ParserError, parse
from greenshard.sql.placeholders import translate
from greenshard.sql.statement import Statement, Unreadable

_CURRENT_OF = re.compile(r"\bcurrent\b.*\bof\b", re.IGNORECASE | re.ASCII | re.DOTALL)


def refuse_insert(statement: Statement | Unreadable, target: Target) -> None:
    """Refuse a statement that inserts, or that may and cannot be read.

    Raises:
        errors.NotSupportedError: It inserts.
        errors.ProgrammingError: It cannot be read.
    """
    if isinstance(statement, Statement) and not statement.inserts:
        return
    shards = ", ".join(target.shards)
    if isinstance(statement, Unreadable):
        at = "" if statement.position is None else f" at character {statement.position + 1}"
        raise errors.ProgrammingError(
            f"{statement.message}{at}; it may insert rows and would run on {shards}",
            code="GS404",
            hint="Correct the statement, or run it on one shard with conn.on(...).",
        )
    raise errors.NotSupportedError(
        f"{statement.construct} at character {(statement.position or 0) + 1} would put the "
        f"same rows on each of {shards}",
        code="GS401",
        hint="Name the shard with conn.on('...'), or, for a table that every shard holds "
        "whole, say so with conn.broadcast().",
    )


def refuse_current_of(text: str, bound: bool) -> None:
    """Refuse what is said of the row at which a cursor stands, where each shard has one.

    Raises:
        errors.NotSupportedError: It says so.
    """
    if _CURRENT_OF.search(text) is None:
        return
    try:
        said = current_of(parse(translate(text, bound).text))
    except ParserError:
        return  # whatever the servers say of it
    if said is not None:
        raise errors.refused(said.reason, code=said.code, hint=said.hint)


def refuse_ending(ending: Ending) -> NoReturn:
    """Refuse a text that each shard would end its transaction by, whatever the others do.

    Raises:
        errors.NotSupportedError: Always.
    """
    if ending.end is EndKind.TWO_PHASE:
        raise errors.NotSupportedError(TWO_PHASE, code="GS410", hint=PREPARE_ON_ONE)
    raise errors.NotSupportedError(BESIDE_OTHERS, code="GS411", hint=ONE_AT_A_TIME)


#: Prepared on all shards it would be in doubt on each, and commit() would seem to have done it.
TWO_PHASE = "a two-phase transaction over several shards"
PREPARE_ON_ONE = "Prepare on one shard, with conn.on('...') or the tpc_ methods."
#: A shard on which another statement fails would not come to it, and the others would commit.
BESIDE_OTHERS = "the end of a transaction beside other statements in one string"
ONE_AT_A_TIME = "Execute one statement at a time, or call conn.commit()."
