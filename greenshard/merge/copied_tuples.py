r"""Goal: cut COPY's binary format into rows, and find one value of each.

    PGCOPY\n\377\r\n\0  flags  length, ...          the header, which each server gets
    2  4 bytes, 0 0 0 7  1 byte, x                  a row of two values; key 7 is the first
    -1                                              the end

Numbers are big-endian, of 2 bytes for how many values there are, and of 4 for how long one is, -1
for NULL.

Source: PostgreSQL manual, COPY, "Binary Format".
"""

from __future__ import annotations

from collections.abc import Sequence
from struct import unpack_from

from greenshard.merge.copied_lines import MISSING, UnreadableRow

SIGNATURE = b"PGCOPY\n\xff\r\n\0"
TRAILER = b"\xff\xff"
_FIXED_BYTES = len(SIGNATURE) + 8


class Tuples:
    """Cuts a file, piece by piece.

    Args:
        at: The value's column, from 0; None if no value is wanted.

    Attributes:
        header: What the file begins with; empty until it is there.
        ended: Whether the rows have ended by their mark, which may be missing: nothing may follow.
    """

    def __init__(self, at: int | None) -> None:
        self.header = b""
        self.ended = False
        self._at = at
        self._left = b""
        self._more: list[bytes] = []
        self._wanted = 0
        self._line = 0

    def cut(self, piece: bytes, *, last: bool = False) -> tuple[list[bytes], Sequence[object]]:
        """The rows that a piece completes, and the value of each: bytes, None, or `MISSING`.

        Args:
            piece: What follows.
            last: Whether nothing follows that.

        Raises:
            UnreadableRow: It is not in this format.
        """
        self._more.append(piece)
        self._wanted -= len(piece)
        if self._wanted > 0 and not last:
            return [], []
        data = b"".join((self._left, *self._more))
        self._more.clear()
        start = self._begin(data) if not self.header else 0
        rows: list[bytes] = []
        values: list[object] = []
        if start is not None:
            start = self._take(data, start, rows, values)
        self._left = data[start or 0 :]
        self._wanted = len(self._left) if not rows else 0
        if self.ended and self._left:
            problem = "received copy data after EOF marker"
        elif last and not self.header:
            problem = "COPY file signature not recognized"
        elif last and self._left:
            problem = "unexpected EOF in COPY data"
        else:
            return rows, values
        raise UnreadableRow(problem, self._line + 1, refused=True)

    def _begin(self, data: bytes) -> int | None:
        """Where the first row begins; None if that is not there yet."""
        if not SIGNATURE.startswith(data[: len(SIGNATURE)]):
            raise UnreadableRow("COPY file signature not recognized", 1, refused=True)
        if len(data) < _FIXED_BYTES:
            return None
        (length,) = unpack_from(">i", data, _FIXED_BYTES - 4)
        end = _FIXED_BYTES + max(0, int(length))
        if len(data) < end:
            return None
        self.header = data[:end]
        return end

    def _take(self, data: bytes, start: int, rows: list[bytes], values: list[object]) -> int:
        """Take the rows that are complete; gives where the next one begins."""
        size, wanted = len(data), self._at
        while not self.ended and start + 2 <= size:
            (count,) = unpack_from(">h", data, start)
            at = start + 2
            if count == -1:
                self.ended = True
                return at
            value: object = MISSING
            for number in range(count):
                if at + 4 > size:
                    return start
                (length,) = unpack_from(">i", data, at)
                at += 4
                if length < -1:
                    raise UnreadableRow("invalid field size", self._line + 1, refused=True)
                if number == wanted:
                    value = None if length < 0 else data[at : at + length]
                at += max(0, length)
            if at > size:
                return start
            self._line += 1
            rows.append(data[start:at])
            values.append(value)
            start = at
        return start
