"""Goal: say of a text that it certainly writes, without parsing it.

    UPDATE t SET a = 1                  writes: UPDATE
    SELECT 1; DROP TABLE t              writes: DROP
    SELECT f()                          nobody knows
    WITH a AS (DELETE ...) SELECT 1     not seen; the server says so

Limit: only the first word of each statement counts.
"""

from __future__ import annotations

from greenshard.sql.first_words import remembering, statements_of
from greenshard.sql.parser import ParserError

_WRITING = frozenset(
    {"insert", "update", "delete", "merge", "truncate", "create", "alter", "drop", "grant",
     "revoke", "comment", "import", "refresh", "security", "reassign"}
)  # fmt: skip


@remembering
def written_by(text: str) -> str | None:
    """The first word of a statement that writes, in upper case; None if none does for sure.

    Cost: 5 us, 0.1 us if seen before.

    >>> written_by("SELECT 1; /* now */ drop table t"), written_by("SELECT 'drop'")
    ('DROP', None)
    """
    try:
        words = [statement[0] for statement in statements_of(text) if statement]
    except ParserError:
        return None
    return next((word.upper() for word in words if word in _WRITING), None)
