"""psycopg2's placeholders as the parser's.

psycopg2 puts the values into the text, `%s` or `%(name)s`, wherever it finds them: it does
not look at quotes. The parser reads `$1`, `$2`, ...::

    SELECT * FROM t WHERE k=%s AND name LIKE 'a%%' LIMIT%(n)s
    SELECT * FROM t WHERE k=$1 AND name LIKE 'a%' LIMIT $2

What psycopg2 refuses to format (`%d`, `%5s`, `%(a`, a single `%`) stays as it is: psycopg2
raises its own error before anything is sent.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass
from itertools import count

from greenshard.sql.parser import char_offset

# Each `%` must be read with what follows it, so that `%%s` is `%` and an `s`. A name with a
# bracket or a percent sign in it is an error to psycopg2.
_PLACEHOLDER = re.compile(r"%(?:%|s|\((?P<name>[^()%]*)\)s)")
_LIST_BEFORE = re.compile(r"(?<![\w$])(?:in|values)\s*\Z", re.IGNORECASE | re.ASCII)
_LIST_REACH = 32  # characters before a placeholder in which its IN or VALUES is looked for


@dataclass(frozen=True)
class Edit:
    """A placeholder: `[start:end]` of the translation was `[old_start:old_end]`."""

    start: int
    end: int
    old_start: int
    old_end: int


@dataclass(frozen=True)
class Translation:
    """A text in the parser's placeholders, and the way back.

    Attributes:
        text: The text for the parser.
        parameters: What `$1`, `$2`, ... stand for: an index into the sequence of parameters,
            or a name. A name used twice is one parameter.
        bracketed: The numbers of those that stand for a list with its own brackets (`IN %s`).
        edits: The placeholders, in order.
        computed: How many more stand for `text.Computed` values; they are not in the user's text.
    """

    text: str
    parameters: tuple[int | str, ...] = ()
    bracketed: frozenset[int] = frozenset()
    edits: tuple[Edit, ...] = ()
    computed: int = 0

    def old_position_of(self, byte_offset: int | None) -> int | None:
        """Like `old_position`, for a byte of `text`, as the parser counts."""
        if byte_offset is None:
            return None
        return self.old_position(char_offset(self.text, byte_offset))

    def old_position(self, position: int) -> int:
        """Return where in the user's text the character at `position` of `text` came from."""
        index = bisect_right(self.edits, position, key=lambda edit: edit.start) - 1
        if index < 0:
            return position
        edit = self.edits[index]
        return edit.old_start if position < edit.end else edit.old_end + position - edit.end


def translate(sql: str, has_parameters: bool) -> Translation:
    """Put the parser's placeholders in the place of psycopg2's.

    A placeholder keeps apart from an identifier or number beside it, as its value would
    (`LIMIT%s`), and gets brackets where a tuple is usual (`IN %s`), whose value brings its own.
    One inside a literal or comment stays inside it.

    Args:
        sql: The statement as given to `execute`.
        has_parameters: Whether `execute` was given parameters, an empty sequence too. psycopg2
            leaves a text without parameters alone, `%%` included.

    Cost: 0.4 us without a placeholder, 3 us for each.
    """
    if not has_parameters or "%" not in sql:
        return Translation(sql)
    return _Translator(sql).run()


class _Translator:
    def __init__(self, sql: str) -> None:
        self._sql = sql
        self._pieces: list[str] = []
        self._length = 0
        self._numbers: dict[tuple[int | str, bool], int] = {}
        self._positional = count()
        self._edits: list[Edit] = []

    def run(self) -> Translation:
        done = 0
        for match in _PLACEHOLDER.finditer(self._sql):
            self._append(self._sql[done : match.start()])
            start = self._length
            self._append(self._replacement(match))
            self._edits.append(Edit(start, self._length, match.start(), match.end()))
            done = match.end()
        self._append(self._sql[done:])
        return Translation(
            "".join(self._pieces),
            tuple(key for key, _ in self._numbers),
            frozenset(number for (_, listed), number in self._numbers.items() if listed),
            tuple(self._edits),
        )

    def _append(self, piece: str) -> None:
        self._pieces.append(piece)
        self._length += len(piece)

    def _replacement(self, match: re.Match[str]) -> str:
        if match.group() == "%%":
            return "%"
        name: str | None = match["name"]
        key = next(self._positional) if name is None else name
        before = self._sql[max(0, match.start() - _LIST_REACH) : match.start()]
        listed = _LIST_BEFORE.search(before) is not None
        number = self._numbers.setdefault((key, listed), len(self._numbers) + 1)
        if listed:
            return f"(${number})"
        left = " " if _glues(before[-1:]) else ""
        right = " " if _glues(self._sql[match.end() : match.end() + 1]) else ""
        return f"{left}${number}{right}"


def _glues(neighbour: str) -> bool:
    """Whether a `$1` beside this character would be read as one token with it."""
    return neighbour.isalnum() or neighbour in ("_", "$") or neighbour > "\x7f"
