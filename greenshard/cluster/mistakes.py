"""What is wrong with a declaration: everything at once, each mistake with its place."""

from __future__ import annotations

import re

from greenshard import errors

_BARE = re.compile(r"[A-Za-z0-9_-]+")
_MOST_LINES = 100
_MOST_CHARACTERS = 300
_MOST_SHOWN = 100


class Mistakes:
    """A list of mistakes that becomes one error.

    Args:
        source: What has them: "the cluster", or a file's name.
    """

    def __init__(self, source: str = "the cluster") -> None:
        self._source = source
        self._found: list[str] = []

    def add(self, at: str, what: str) -> None:
        """Note a mistake.

        Args:
            at: Its place, by `place`.
            what: What is wrong. Never a connection string: it may hold a password.
        """
        self._found.append(f"{_cut(at, _MOST_CHARACTERS)}: {_cut(what, _MOST_CHARACTERS)}")

    def raise_any(self) -> None:
        """Raise if there are mistakes.

        Raises:
            errors.ProgrammingError: There are; the message has a line for each.
        """
        if not self._found:
            return
        count = "a mistake" if len(self._found) == 1 else f"{len(self._found)} mistakes"
        lines = "".join(f"\n  {line}" for line in self._found[:_MOST_LINES])
        if len(self._found) > _MOST_LINES:
            lines += f"\n  and {len(self._found) - _MOST_LINES:,} more"
        raise errors.ProgrammingError(f"{self._source} has {count}:{lines}", code="GS105")


def place(*keys: object) -> str:
    """Where something is declared, as a dotted key of TOML.

    >>> place("tables", "sales.orders", "shard_key")
    'tables."sales.orders".shard_key'
    """
    parts = (str(key) for key in keys if key != "")
    return ".".join(p if _BARE.fullmatch(p) else '"' + p.replace('"', '\\"') + '"' for p in parts)


def shown(value: object) -> str:
    """A value as Python writes it, for a message; a long one is cut.

    >>> shown("a"), shown(7), shown(1 << 70)
    ("'a'", '7', 'a number of more than 64 bits')
    """
    if isinstance(value, int) and value.bit_length() > 64:
        return "a number of more than 64 bits"  # Python refuses to write one of 5,000 digits
    return _cut(repr(value), _MOST_SHOWN)


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 3] + "..."


def kind(value: object) -> str:
    """What a value is, for a message that must not quote it."""
    return "nothing" if value is None else type(value).__name__
