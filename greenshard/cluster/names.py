"""Names of tables and columns as PostgreSQL reads them.

``Orders`` is orders, ``"Orders"`` is Orders, ``sales."Two ""Words"" "`` has a schema.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

MAX_BYTES = 63
"""PostgreSQL cuts longer names off (NAMEDATALEN)."""

_IDENTIFIER = r'"(?:[^"]|"")+"|[A-Za-z_\x80-\U0010ffff][\w$\x80-\U0010ffff]*'
_COLUMN = re.compile(_IDENTIFIER)
_TABLE = re.compile(rf"(?:({_IDENTIFIER})\s*\.\s*)?({_IDENTIFIER})")
_PLAIN = re.compile(r"[a-z_\x80-\U0010ffff][a-z0-9_$\x80-\U0010ffff]*")


class BadName(ValueError):
    """A text is no name."""


@dataclass(frozen=True, slots=True)
class TableName:
    """A table's name, as it is in the catalog.

    Attributes:
        schema: None if the declaration names none: then any.
        name: Without quotes.
    """

    schema: str | None
    name: str

    @classmethod
    def read(cls, text: str) -> TableName:
        """Read a name as it is written in SQL.

        Raises:
            BadName: It is none.

        >>> TableName.read('Sales."Orders"')
        TableName(schema='sales', name='Orders')
        """
        match = _TABLE.fullmatch(text.strip())
        if match is None:
            raise BadName("is not a table's name, nor a schema's and a table's with a dot between")
        return cls(match[1] and _folded(match[1]), _folded(match[2]))

    def __str__(self) -> str:
        return ".".join(quoted(part) for part in (self.schema, self.name) if part is not None)


def column_name(text: str) -> str:
    """Read the name of a column as it is written in SQL.

    Raises:
        BadName: It is none.

    >>> column_name("O_OrderKey"), column_name('"O_OrderKey"')
    ('o_orderkey', 'O_OrderKey')
    """
    if _COLUMN.fullmatch(text.strip()) is None:
        raise BadName("is not the name of a column")
    return _folded(text.strip())


def quoted(name: str) -> str:
    """Write a name of the catalog so that it is read as itself."""
    # Keywords too are written without quotes: this is for messages and keys, not for SQL.
    return name if _PLAIN.fullmatch(name) else '"' + name.replace('"', '""') + '"'


def _folded(identifier: str) -> str:
    if identifier.startswith('"'):
        name = identifier[1:-1].replace('""', '"')
    else:
        # Like PostgreSQL, which in UTF-8 folds the letters of ASCII only.
        name = re.sub("[A-Z]+", lambda letters: letters[0].lower(), identifier)
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        raise BadName("holds half of a surrogate pair") from None
    if size > MAX_BYTES:
        raise BadName(f"is longer than {MAX_BYTES} bytes")
    if "\0" in name:
        raise BadName("holds a NUL character")
    return name
