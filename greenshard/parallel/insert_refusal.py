"""Refuse to insert the same rows through several connections, in any dialect of SQL.

PostgreSQL's parser decides, as for shards. What it does not know is looked for besides: REPLACE,
UPSERT and LOAD, and the comments that MySQL executes. A text that has the word of an insertion as
a keyword and cannot be read is refused too. So a statement in vain is possible, a second copy of a
row is not; but for what no client can see in the text, such as a procedure that inserts.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from greenshard import errors
from greenshard.sql.statement import Unreadable, read_statement

_INSERTS_ELSEWHERE = re.compile(
    r"""
      ^ (?: [\s(] | (?:--|\#)[^\n]*(?:\n|$) | /\*(?:[^*]|\*(?!/))*\*/ )*  # blanks and comments
        (?: replace | upsert | load ) \b
    | \b (?:replace|upsert) \s+ (?:\w+\s+)? into \b
    | /\*! [^*]* \b (?:insert|replace|load) \b
    """,
    re.IGNORECASE | re.VERBOSE,
)
#: The placeholders of PEP 249 that are none of PostgreSQL's.
_PLACEHOLDER = re.compile(r"\?\d*|(?<![:\w])[:@]\w+|%s|%\(\w+\)s")


def refuse_insert(query: Any, connections: Sequence[Any]) -> None:
    """Refuse a statement that inserts, or that may and cannot be read, if there are several.

    Raises:
        errors.NotSupportedError: It inserts.
        errors.ProgrammingError: It cannot be read.
    """
    if len(connections) == 1:
        return
    each = f"each of {len(connections)} connections"
    hint = "Execute it on the one connection that is to have the rows."
    text = _text(query, connections[0])
    statement = read_statement(_PLACEHOLDER.sub(" NULL ", text), False)
    if isinstance(statement, Unreadable):
        message = f"{statement.message}; it may insert rows and would run on {each}"
        raise errors.ProgrammingError(message, code="GS404", hint=hint)
    if statement.inserts or _INSERTS_ELSEWHERE.search(text):
        message = f"{statement.construct or 'the statement'} would put the same rows on {each}"
        raise errors.NotSupportedError(message, code="GS401", hint=hint)


def _text(query: Any, connection: Any) -> str:
    if hasattr(query, "as_string"):  # the composed SQL of psycopg 2 and 3
        query = query.as_string(connection)
    return query.decode(errors="replace") if isinstance(query, bytes) else str(query)
