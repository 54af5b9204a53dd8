"""Goal: know on which line of the file a row was that a shard has told the line of.

    file     line 1 -> s0    2 -> s1    3 -> s0    4 -> s1
    s1 says  line 2                                it is line 4

A server tells of a row soon after it has got it. So what is remembered is bounded: the shards of
the last `ROWS` rows.
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

#: So many rows are remembered, of 2 bytes each, or somewhat more.
ROWS = 1 << 21


@dataclass(frozen=True, slots=True)
class _Block:
    first: int
    before: tuple[int, ...]
    homes: Sequence[int]
    heights: Sequence[int] | None


class LineNumbers:
    """Where the rows of a file have gone.

    Args:
        shards: How many there are.
        header: How many lines each of them gets first.
    """

    def __init__(self, shards: int, header: int = 0) -> None:
        self._header = self._line = header
        self._lines = [header] * shards
        self._blocks: deque[_Block] = deque()
        self._rows = 0

    def note(self, homes: Sequence[int], heights: Sequence[int] | None) -> None:
        """Take note of the next rows.

        Args:
            homes: For each the number of its shard.
            heights: How many lines it takes; None: one.
        """
        kept = array("H", homes)
        self._blocks.append(_Block(self._line, tuple(self._lines), kept, heights))
        self._rows += len(kept)
        for home, height in zip(kept, heights or (), strict=True) if heights else ():
            self._lines[home] += height
        if heights is None:
            for home in range(len(self._lines)):
                self._lines[home] += kept.count(home)
        self._line += len(kept) if heights is None else sum(heights)
        while self._rows - len(self._blocks[0].homes) > ROWS:
            self._rows -= len(self._blocks.popleft().homes)

    def line_of(self, shard: int, line: int) -> int | None:
        """The line of the file, of a line that a shard got; None if it is not known any more.

        >>> numbers = LineNumbers(2)
        >>> numbers.note([0, 1, 0, 1], None)
        >>> numbers.line_of(1, 2), numbers.line_of(0, 1)
        (4, 1)
        """
        if line <= self._header:
            return line
        for block in reversed(self._blocks):
            if block.before[shard] < line:
                return self._within(block, shard, line)
        return None

    @staticmethod
    def _within(block: _Block, shard: int, line: int) -> int:
        here, there = block.first, block.before[shard]
        for number, home in enumerate(block.homes):
            height = 1 if block.heights is None else block.heights[number]
            here += height
            if home == shard:
                there += height
                if there >= line:
                    return here - (there - line)
        return here + 1  # behind the last row: what ends the file
