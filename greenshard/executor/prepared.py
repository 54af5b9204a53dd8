"""EXECUTE over several shards: the prepared statement is planned with its arguments.

PREPARE, DEALLOCATE and DISCARD go to all shards, so that each server knows the prepared statements
of its session, and tells what is wrong with a name. What a name stands for is asked of one of them;
that is remembered until something may have changed it (`OneDatabase.prepared`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from greenshard import errors
from greenshard._driver import own_cursor
from greenshard.executor.knowledge.one_database import OneDatabase
from greenshard.links.beginning import executing
from greenshard.links.deadline import Deadline
from greenshard.links.session import Session
from greenshard.sql.deparsing import Unwritable
from greenshard.sql.parser import Message, ParserError, parse
from greenshard.sql.preparing import (
    Prepared,
    cast_to,
    computing,
    executed,
    is_computed,
    literal,
    plain_argument,
)

_FIND = """
SELECT p.statement, ARRAY(
    SELECT pg_catalog.format('%%I.%%I', n.nspname, t.typname)
    FROM pg_catalog.unnest(p.parameter_types) WITH ORDINALITY AS of (type, at)
    JOIN pg_catalog.pg_type t ON t.oid OPERATOR(pg_catalog.=) of.type
    JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) t.typnamespace
    ORDER BY of.at)
FROM pg_catalog.pg_prepared_statements p WHERE p.name OPERATOR(pg_catalog.=) %s
"""


def statement_of(
    text: str, database: OneDatabase, session: Session, shard: str, timeout: Deadline
) -> str:
    """The statement that an EXECUTE runs.

    Args:
        text: The EXECUTE, without placeholders.
        database: What the connection knows.
        session: Its connections; the caller holds it.
        shard: Whom to ask.
        timeout: What that may take.

    Raises:
        errors.Error: There is none, its arguments are wrong, or it cannot be written.

    Switches: if a server must be asked for it, or for the values of arguments.
    """
    (parsed,) = parse(text)
    execute: Any = parsed.stmt.execute_stmt
    prepared = database.prepared.get(execute.name)
    if prepared is None:
        prepared = _found(execute.name, session, shard, timeout)
        database.prepared[execute.name] = prepared
    given, wanted = len(execute.params), len(prepared.types)
    if given != wanted:
        raise errors.refused(
            f'wrong number of parameters for prepared statement "{execute.name}"\n'
            f"DETAIL:  Expected {wanted} parameters but got {given}.",
            pgcode="42601",
        )
    try:
        values = _arguments(text, execute.params, prepared.types, session, timeout)
        return executed(prepared, values)
    except (ParserError, Unwritable) as error:
        raise errors.NotSupportedError(
            f'prepared statement "{execute.name}" cannot be written with its arguments: {error}',
            code="GS410",
            hint="Execute the statement itself.",
        ) from None


def _found(name: str, session: Session, shard: str, timeout: Deadline) -> Prepared:
    """What a server knows of a prepared statement.

    Raises:
        errors.Error: There is none.

    Switches: yes.
    """
    cursor = own_cursor(session.physical(shard).raw)
    call = executing(session.physical(shard), cursor, _FIND, (name,))
    session.run({shard: call}, timeout)
    row: Any = cursor.fetchone()
    if row is None:
        raise errors.refused(f'prepared statement "{name}" does not exist', pgcode="26000")
    return Prepared(name, row[0], tuple(row[1]))


def _arguments(
    text: str, nodes: Sequence[Any], types: Sequence[str], session: Session, timeout: Deadline
) -> list[Message]:
    """The arguments, each of its parameter's type.

    Raises:
        errors.Error: As PostgreSQL, one is of another type, or cannot be computed.
        ParserError, Unwritable: One cannot be written.

    Switches: if one is no literal.
    """
    found = [plain_argument(node, target) for node, target in zip(nodes, types, strict=True)]
    if None not in found:
        return [each for each in found if each is not None]
    given = list(zip(nodes, types, strict=True))
    wanted = [(node, target) for node, target in given if is_computed(node)]
    # There sequences count. It says what is wrong with the arguments, too.
    shard = session.shards[0]
    physical = session.physical(shard)
    cursor = own_cursor(physical.raw)
    asked = f"EXPLAIN {text}\n;{computing(wanted)}" if wanted else f"EXPLAIN {text}"
    session.run({shard: executing(physical, cursor, asked)}, timeout)
    row: Any = cursor.fetchone()
    values = iter(row if wanted else ())
    return [
        literal(next(values), target) if is_computed(node) else each or cast_to(node, target)
        for (node, target), each in zip(given, found, strict=True)
    ]
