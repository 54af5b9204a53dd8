r"""Goal: cut COPY's text and CSV into rows as PostgreSQL does, and find one value of each.

    7,"two
    lines",x                    CSV; the key is the first column
    8,y,z

    rows     7,"two\nlines",x   8,y,z
    keys     7                  8

Nothing else is made of a row: it goes on as it came, but for the end of its last line. Most pieces
have no quotes or escapes where a line or a value ends, and are cut by ``bytes.split``; only for the
others the rules are followed letter by letter, by regular expressions:

- text: a backslash takes the next character with it, also the end of a line, and a delimiter;
- CSV: quotes may stand anywhere in a value, what is between them ends nothing, and an escape takes
  a quote or an escape with it;
- a line ends as the first one does, by LF, CR or CRLF; another end in a value is an error;
- ``\.`` on a line of its own ends the rows (in CSV, up to PostgreSQL 17);
- in an encoding whose letters may have ASCII in them (SJIS, GBK ...), these bytes end nothing.

Source: PostgreSQL, src/backend/commands/copyfromparse.c, CopyReadLineText, CopyReadAttributesText
and CopyReadAttributesCSV.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

#: A row without the value, which PostgreSQL refuses.
MISSING = object()
#: More than ASCII in its letters' second bytes: how long they are, by their first one.
EMBEDDING = {
    "SJIS": rb"[\x80-\xa0\xe0-\xff][\s\S]",
    "SHIFTJIS2004": rb"[\x80-\xa0\xe0-\xff][\s\S]",
    "BIG5": rb"[\x80-\xff][\s\S]",
    "GBK": rb"[\x80-\xff][\s\S]",
    "UHC": rb"[\x80-\xff][\s\S]",
    "GB18030": rb"[\x80-\xff](?:[0-9][\s\S]{2}|[\s\S])",
    "JOHAB": rb"\x8f[\s\S]{2}|[\x80-\xff][\s\S]",
}

_ENDS = {b"\n": "newline", b"\r": "carriage return", b"\r\n": "carriage return"}


class UnreadableRow(Exception):
    """PostgreSQL would refuse a row, or may read it otherwise than this module.

    Attributes:
        message: Why.
        line: Of the file, from 1.
        refused: Whether PostgreSQL refuses it.
    """

    def __init__(self, message: str, line: int, *, refused: bool) -> None:
        super().__init__(message)
        self.message, self.line, self.refused = message, line, refused


@dataclass(frozen=True, slots=True)
class Writing:
    r"""How rows are written.

    Attributes:
        csv: Whether it is CSV, else PostgreSQL's text format.
        delimiter, null: Between values; for NULL.
        quote, escape: Of CSV.
        header: Whether the first line has names.
        ends_csv: Whether ``\.`` ends CSV, too.
        embedding: What letters look like that have ASCII in them; None: there are none.
    """

    csv: bool = False
    delimiter: bytes = b"\t"
    null: bytes = b"\\N"
    quote: bytes = b'"'
    escape: bytes = b'"'
    header: bool = False
    ends_csv: bool = True
    embedding: bytes | None = None


@dataclass(slots=True)
class Cut:
    """Some rows.

    Attributes:
        rows: Each without its end.
        heights: How many lines of the file each one takes; None: one each.
        special: Whether some have quotes or escapes.
    """

    rows: list[bytes] = field(default_factory=list)
    heights: list[int] | None = None
    special: bool = False


class Lines:
    """Cuts a file, piece by piece.

    Args:
        writing: How it is written.

    Attributes:
        end: How lines end; a newline as long as none has.
        header: The first line, once it is there, if it has names.
        ended: Whether the rows have ended, by their mark: what follows is not read.
        unfinished: Whether the file has ended within a line.
    """

    def __init__(self, writing: Writing) -> None:
        self.end = b"\n"
        self.header: bytes | None = None
        self.ended = False
        self.unfinished = False
        self._writing = writing
        self._known_end = False
        self._left = b""
        self._more: list[bytes] = []
        self._wanted = 0
        self._line = 0
        self._row = _row_pattern(writing)
        embedding = writing.embedding
        self._letters = None if embedding is None else re.compile(embedding)
        self._marks = _marks(writing)

    def cut(self, piece: bytes, *, last: bool = False) -> Cut:
        """The rows that a piece completes.

        Args:
            piece: What follows.
            last: Whether nothing follows that.

        Raises:
            UnreadableRow: A line ends otherwise than the first one, say.
        """
        self._more.append(piece)
        self._wanted -= len(piece)
        if self.ended or (self._wanted > 0 and not last):
            return Cut()
        data = b"".join((self._left, *self._more))
        self._more.clear()
        found = self._cut_plain(data)
        if found is None:
            found = self._cut_any(data, last=last)
        elif last and self._left:
            found.rows.append(self._left)
            self._left = b""
            self.unfinished = True
        # A row that goes on for ever is not looked through again with each piece.
        self._wanted = len(self._left) if not found.rows else 0
        if self._writing.header and self.header is None and found.rows:
            self.header = found.rows.pop(0)
            self._line += found.heights.pop(0) if found.heights else 1
        self._line += sum(found.heights) if found.heights else len(found.rows)
        return found

    @property
    def line(self) -> int:
        """How many lines have been cut."""
        return self._line

    def _cut_plain(self, data: bytes) -> Cut | None:
        """Cut what has nothing special in it; None if it may have."""
        if self._letters is not None or any(mark in data for mark in self._marks):
            return None
        if self.end == b"\r" or (not self._known_end and b"\r" in data):
            return None
        breaks = data.count(b"\n")
        if data.count(b"\r") != (breaks if self.end == b"\r\n" else 0):
            return None
        if self.end == b"\r\n" and data.count(b"\r\n") != breaks:
            return None
        rows = data.split(self.end)
        self._left = rows.pop()
        self._known_end = self._known_end or bool(rows)
        return Cut(rows)

    def _cut_any(self, data: bytes, *, last: bool) -> Cut:
        shape = data
        if self._letters is not None:
            shape = self._letters.sub(lambda found: b"\x80" * len(found[0]), data)
        found = Cut([], [], special=True)
        heights = found.heights or []
        at, size, match_row = 0, len(data), self._row.match
        first = not self._known_end
        line = self._line + 1  # of the next row's first line
        while at < size:
            row = match_row(shape, at)
            end = size if row is None else row.end()
            mark = shape[end : end + 1]
            if mark == b"\r" and end + 1 == size and not last:
                break  # a newline may follow
            if mark not in (b"\n", b"\r"):
                if not last:
                    break
                end, after = size, size
                self.unfinished = True
            else:
                after = self._end_at(shape, end, line)
            if self._is_mark(shape, at, end, line):
                if after == end:
                    raise UnreadableRow(_NOT_ALONE, line, refused=False)
                self.ended = True
                at = size
                break
            found.rows.append(data[at:end])
            height = 1 + self._breaks(shape, at, end, first=first)
            heights.append(height)
            line += height
            first = False
            at = after
        found.heights = heights
        self._left = data[at:]
        return found

    def _breaks(self, shape: bytes, at: int, end: int, *, first: bool) -> int:
        """How many further lines a row takes: PostgreSQL counts those between quotes.

        In the first row it does not know yet how lines end, and counts the carriage returns.
        """
        if not self._writing.csv:
            return 0
        return shape.count(b"\r" if first or self.end[:1] == b"\r" else b"\n", at, end)

    def _end_at(self, shape: bytes, at: int, line: int) -> int:
        """Where the next row begins."""
        mark = b"\r\n" if shape[at : at + 2] == b"\r\n" else shape[at : at + 1]
        if not self._known_end:
            self.end, self._known_end = mark, True
        if mark == b"\r\n" and self.end == b"\r":
            return at + 1  # the newline is on the next line
        if mark != self.end:
            kind = "unquoted" if self._writing.csv else "literal"
            what = _ENDS[b"\r" if mark == b"\r\n" else mark]
            raise UnreadableRow(f"{kind} {what} found in data", line, refused=True)
        return at + len(mark)

    def _is_mark(self, shape: bytes, at: int, end: int, line: int) -> bool:
        """Whether a row is the mark that ends all."""
        if self._writing.csv:
            return self._writing.ends_csv and shape[at:end] == b"\\."
        if shape[at:end] == b"\\.":
            return True
        if _MARK_WITHIN.match(shape, at, end):
            raise UnreadableRow(_NOT_ALONE, line, refused=False)
        return False


_NOT_ALONE = "end-of-copy marker is not alone on its line"
_MARK_WITHIN = re.compile(rb"(?:[^\\]|\\[^.])*\\\.", re.DOTALL)


def _marks(writing: Writing) -> tuple[bytes, ...]:
    """What makes a piece special."""
    if writing.csv:
        return (writing.quote, b"\\.")
    return (b"\\\n", b"\\\r", b"\\.", b"\\" + writing.delimiter)


def _quoted(writing: Writing) -> bytes:
    quote, escape = re.escape(writing.quote), re.escape(writing.escape)
    if writing.quote == writing.escape:
        return quote + b"[^" + quote + b"]*" + quote
    others = b"[^" + quote + escape + b"]*"
    return quote + others + b"(?:" + escape + rb"[\s\S]" + others + b")*" + quote


def _row_pattern(writing: Writing) -> re.Pattern[bytes]:
    """A row up to its end; of one that is not complete, a part."""
    special = re.escape(writing.quote) if writing.csv else rb"\\"
    group = _quoted(writing) if writing.csv else rb"\\[\s\S]"
    plain = b"[^" + special + rb"\r\n]*"
    return re.compile(plain + b"(?:" + group + plain + b")*" + rb"(?=[\r\n])")


def _value_pattern(writing: Writing) -> bytes:
    special = re.escape(writing.quote) if writing.csv else rb"\\"
    group = _quoted(writing) if writing.csv else rb"\\[\s\S]"
    plain = b"[^" + special + re.escape(writing.delimiter) + b"]*"
    return plain + b"(?:" + group + plain + b")*"


class Values:
    """Finds a row's values.

    Args:
        writing: How rows are written.
        force_null, force_not_null: Whether the options say so of the column.
    """

    def __init__(
        self, writing: Writing, *, force_null: bool = False, force_not_null: bool = False
    ) -> None:
        self._writing = writing
        self._force_null, self._force_not_null = force_null, force_not_null
        self._patterns: dict[int, re.Pattern[bytes]] = {}
        embedding = writing.embedding
        self._letters = None if embedding is None else re.compile(embedding)

    def raw(self, cut: Cut, at: int) -> Sequence[object]:
        """A value of each row as it is written (bytes), or `MISSING`.

        Args:
            cut: The rows.
            at: The value's column, from 0.
        """
        if not cut.special:
            mark = self._writing.delimiter
            if at == 0:
                return [row.partition(mark)[0] for row in cut.rows]
            split = [row.split(mark, at + 1) for row in cut.rows]
            return [values[at] if len(values) > at else MISSING for values in split]
        return [self.one_raw(row, at) for row in cut.rows]

    def one_raw(self, row: bytes, at: int) -> object:
        """A value of one row, likewise."""
        pattern = self._patterns.get(at)
        if pattern is None:
            value, mark = _value_pattern(self._writing), re.escape(self._writing.delimiter)
            before = b"(?:" + value + mark + b"){%d}" % at
            pattern = self._patterns[at] = re.compile(
                before + b"(" + value + rb")(?=" + mark + rb"|\Z)"
            )
        shape = row
        if self._letters is not None:
            shape = self._letters.sub(lambda found: b"\x80" * len(found[0]), row)
        found = pattern.match(shape)
        return MISSING if found is None else row[found.start(1) : found.end(1)]

    def is_plain(self, raw: bytes) -> bool:
        """Whether what is written is the value itself, or NULL."""
        return (self._writing.quote if self._writing.csv else b"\\") not in raw

    def read(self, raw: bytes) -> tuple[bytes | None, bool]:
        """The value that is written, None for NULL; and whether escapes have made bytes of it."""
        writing = self._writing
        if not writing.csv:
            if raw == writing.null:
                return None, False
            return (raw, False) if b"\\" not in raw else unescaped(raw)
        quoted = writing.quote in raw
        value = raw
        if quoted:
            value = unquoted(raw, writing.quote, writing.escape)
        elif raw == writing.null:
            return (writing.null, False) if self._force_not_null else (None, False)
        if self._force_null and value == writing.null:
            return None, False
        return value, False


def unquoted(raw: bytes, quote: bytes, escape: bytes) -> bytes:
    """A CSV value without its quotes.

    >>> unquoted(b'"a""b"c', b'"', b'"'), unquoted(b"'a!'!b'", b"'", b"!")
    (b'a"bc', b"a'!b")
    """
    made, at, size, within = bytearray(), 0, len(raw), False
    q, e = quote[0], escape[0]
    while at < size:
        byte = raw[at]
        at += 1
        if not within:
            if byte == q:
                within = True
            else:
                made.append(byte)
        elif byte == e and at < size and raw[at] in (q, e):
            made.append(raw[at])
            at += 1
        elif byte == q:
            within = False
        else:
            made.append(byte)
    return bytes(made)


_ESCAPE = re.compile(rb"\\(?:([0-7]{1,3})|x([0-9A-Fa-f]{1,2})|([\s\S]))")
_LETTERS = {b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t", b"v": b"\v"}


def unescaped(raw: bytes) -> tuple[bytes, bool]:
    r"""A value of the text format without its escapes, and whether some are bytes beyond ASCII.

    >>> unescaped(rb"a\tb\x41\101\q\\"), unescaped(rb"\303\251")
    ((b'a\tbAAq\\', False), (b'\xc3\xa9', True))
    """
    high = False

    def put(found: re.Match[bytes]) -> bytes:
        nonlocal high
        octal, digits, letter = found.groups()
        if letter is not None:
            return _LETTERS.get(letter, letter)
        number = int(octal, 8) & 0xFF if octal is not None else int(digits, 16)
        high = high or number > 0x7F
        return bytes((number,))

    return _ESCAPE.sub(put, raw), high
