"""The rows of a COPY FROM, piece by piece: cut, sent where they belong, and put together again."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

from greenshard.executor.strategies.copy_routing import Routing, UntoldKey
from greenshard.merge.copied_lines import Cut, Lines, UnreadableRow, Values, Writing
from greenshard.merge.copied_tuples import TRAILER, Tuples
from greenshard.merge.line_numbers import LineNumbers
from greenshard.planner.analysis.clock_words import WORDS

_WORD = re.compile(rb"(?<![a-z])(?:" + "|".join(WORDS).encode() + rb")(?![a-z])", re.IGNORECASE)


@dataclass(slots=True)
class Behind:
    """What is put behind each row.

    Attributes:
        columns: The names of its columns.
        cells: For each row; None: there is nothing.
        keys: For each row the key, if that is among it; None: it is in the row.
    """

    columns: tuple[str, ...] = ()
    cells: Iterator[bytes] | None = None
    keys: Iterator[bytes | None] | None = None


@dataclass(slots=True, eq=False)
class LinesIn:
    """Rows of text or CSV.

    Attributes:
        shards: Where rows may go.
        writing: How they are written.
        at: Which value is the key.
        routing: Tells the shards; None: each row goes to all.
        key: Finds the key.
        values: Finds other values.
        watched: Those that must not tell the time.
        behind: What is put behind them.
        numbers: Which shard got which line.
    """

    shards: Sequence[str]
    writing: Writing
    at: int
    routing: Routing | None
    key: Values
    watched: Sequence[int]
    behind: Behind
    numbers: LineNumbers
    lines: Lines = field(init=False)
    _sent_header: bool = False

    def __post_init__(self) -> None:
        self.lines = Lines(self.writing)

    def split(self, piece: bytes) -> Mapping[str, bytes]:
        """Each shard's rows of one piece more; of an empty one, what was left.

        Raises:
            UnreadableRow: A row cannot go on.
        """
        line = self.lines.line
        cut = self.lines.cut(piece, last=not piece)
        header = self._header()
        if header and self.lines.header is not None:
            line += 1 if cut.heights is None else self.lines.line - line - sum(cut.heights)
        if not cut.rows:
            return dict.fromkeys(self.shards, header) if header else {}
        if self.watched:
            self._watch(cut, line)
        homes = self._homes(cut, line)
        rows = cut.rows
        if self.behind.cells is not None:
            if self.lines.unfinished and not self.writing.csv and rows[-1].endswith(b"\\"):
                raise UnreadableRow(
                    "the last line ends in a backslash", self.lines.line, refused=False
                )
            rows = [row + cell for row, cell in zip(rows, self.behind.cells, strict=False)]
            if len(rows) != len(cut.rows):
                raise AssertionError("there are more rows than were counted")
        if homes is None:
            return dict.fromkeys(self.shards, self._joined(header, rows, last=True))
        self.numbers.note(homes, cut.heights)
        parts: list[list[bytes]] = [[] for _ in self.shards]
        add = [part.append for part in parts]
        for row, home in zip(rows, homes, strict=True):
            add[home](row)
        return {
            shard: self._joined(header, part, last=number == homes[-1])
            for number, (shard, part) in enumerate(zip(self.shards, parts, strict=True))
        }

    def _joined(self, header: bytes, rows: list[bytes], *, last: bool) -> bytes:
        """Some rows; `last` tells whether the last one of all is among them."""
        end = self.lines.end
        if not rows:
            return header
        # What the file leaves open (quotes, an escape), stays open.
        return header + end.join(rows) + (b"" if last and self.lines.unfinished else end)

    def _header(self) -> bytes:
        if self._sent_header or self.lines.header is None:
            return b""
        self._sent_header = True
        more = b"".join(self.writing.delimiter + name.encode() for name in self.behind.columns)
        return self.lines.header + more + self.lines.end

    def _homes(self, cut: Cut, line: int) -> list[int] | None:
        if self.routing is None:
            return None
        if self.behind.keys is not None:
            return [self.routing.home_of(key) for key in islice(self.behind.keys, len(cut.rows))]
        try:
            return self.routing.homes(self.key.raw(cut, self.at))
        except UntoldKey as untold:
            at = line_of(cut, line, untold.args[0])
            raise UnreadableRow(
                "the shard key of a row does not tell its shard", at, refused=False
            ) from None

    def _watch(self, cut: Cut, line: int) -> None:
        """Refuse rows that tell the time: each shard would read another one."""
        hidden = self._hidden()
        whole = b"\n".join(cut.rows)
        if not (_WORD.search(whole) or hidden.search(whole)):
            return
        for number, row in enumerate(cut.rows):
            if _WORD.search(row) or hidden.search(row):
                for at in self.watched:
                    raw = self.key.one_raw(row, at)
                    value = self.key.read(raw)[0] if isinstance(raw, bytes) else None
                    if value is not None and _WORD.search(value):
                        raise UnreadableRow(
                            "a row tells the time ('now' or the like), which is another one on "
                            "each shard",
                            line_of(cut, line, number),
                            refused=False,
                        )

    def _hidden(self) -> re.Pattern[bytes]:
        """What a word may be hidden by."""
        if self.writing.csv:
            mark = re.escape(self.writing.quote)
            return re.compile(b"[a-z]" + mark + b"+[a-z]", re.IGNORECASE)
        return re.compile(rb"\\[^N]")


@dataclass(slots=True, eq=False)
class TuplesIn:
    """Rows in the binary format; attributes as of `LinesIn`."""

    shards: Sequence[str]
    tuples: Tuples
    routing: Routing
    numbers: LineNumbers
    _sent_header: bool = False
    _line: int = 0

    def split(self, piece: bytes) -> Mapping[str, bytes]:
        """See `LinesIn.split`."""
        rows, keys = self.tuples.cut(piece, last=not piece)
        parts: list[list[bytes]] = [[] for _ in self.shards]
        if self.tuples.header and not self._sent_header:
            self._sent_header = True
            parts = [[self.tuples.header] for _ in self.shards]
        try:
            homes = self.routing.homes(keys)
        except UntoldKey as untold:
            line = self._line + 1 + int(untold.args[0])
            raise UnreadableRow(
                "the shard key of a row does not tell its shard", line, refused=False
            ) from None
        self.numbers.note(homes, None)
        self._line += len(rows)
        for row, home in zip(rows, homes, strict=True):
            parts[home].append(row)
        if not piece:
            for part in parts:
                part.append(TRAILER)
        return {s: b"".join(part) for s, part in zip(self.shards, parts, strict=True)}


def line_of(cut: Cut, before: int, number: int) -> int:
    """The line of the file of one of some rows, by PostgreSQL's count: the last one of the row."""
    if cut.heights is None:
        return before + number + 1
    return before + sum(cut.heights[: number + 1])


Split = Callable[[bytes], Mapping[str, bytes]]
