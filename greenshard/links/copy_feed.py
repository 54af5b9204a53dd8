"""One file of the program's, and COPYs on several connections.

COPY FROM: whichever shard runs out of rows reads on, and what it has read is split; the others'
rows wait for them. No shard gets far ahead of the slowest one: while too much waits for one, none
reads. So the memory is bounded by shards x `LARGEST_BYTES`, and what is read at once.

COPY TO: all servers send at the same time, but only one shard's rows are written: the first one's,
then the second one's. The others wait, and with them their servers, when the buffers of the
connections are full.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import pairwise

from greenshard import _green
from greenshard.links.copy_stream import Reads, Writes

#: So much may wait for one shard when the file is read on, in bytes.
LARGEST_BYTES = 1 << 20
#: So much is read before it is split, as far as it is there at all.
PIECE_BYTES = 1 << 17


class Feed:
    """The rows of a COPY FROM for several shards.

    Args:
        read: Gives the pieces of the file, empty at the end.
        split: Gives each shard's rows, of one piece more; of an empty one, what was left.
        shards: Which.
    """

    def __init__(
        self, read: Reads, split: Callable[[bytes], Mapping[str, bytes]], shards: Sequence[str]
    ) -> None:
        self._read = read
        self._split = split
        self._waiting: dict[str, deque[bytes]] = {shard: deque() for shard in shards}
        self._sizes = dict.fromkeys(shards, 0)
        self._busy = False  # one of the shards reads on; for ever, if that has failed
        self._ended = False
        self._news = _green.Event()

    def of(self, shard: str) -> Reads:
        """What a shard's COPY reads."""
        return partial(self._next, shard)

    def _next(self, shard: str) -> bytes:
        waiting = self._waiting[shard]
        while not waiting:
            if self._ended:
                return b""
            if self._busy or max(self._sizes.values()) > LARGEST_BYTES:
                self._news.wait()
            else:
                self._read_on()
        data = waiting.popleft()
        self._sizes[shard] -= len(data)
        self._tell()
        return data

    def _read_on(self) -> None:
        self._busy = True
        # What fails here leaves it busy: nobody else shall go on in the midst of a row.
        pieces = []
        size = 0
        while size < PIECE_BYTES:
            piece = self._read()
            if not piece:
                self._ended = True
                break
            pieces.append(piece)
            size += len(piece)
        if pieces:
            self._put(self._split(b"".join(pieces)))
        if self._ended:
            self._put(self._split(b""))
        self._busy = False
        self._tell()

    def _tell(self) -> None:
        """Wake all that wait for news, whatever happens until it is their turn."""
        # An event that is cleared before they have run would leave them waiting, for ever.
        told, self._news = self._news, _green.Event()
        told.set()

    def _put(self, rows: Mapping[str, bytes]) -> None:
        for shard, data in rows.items():
            if data:
                self._waiting[shard].append(data)
                self._sizes[shard] += len(data)


class Turns:
    """The rows of a COPY TO of several shards, one shard after the other.

    Args:
        write: Writes to the file.
        shards: Which, in order.
        trim: By shard, makes of its rows what goes to the file: of none, at the end.
    """

    def __init__(
        self,
        write: Callable[[bytes], None],
        shards: Sequence[str],
        trim: Mapping[str, Callable[[list[bytes]], bytes]],
    ) -> None:
        self._write = write
        self._trim = trim
        self._begun = {shard: _green.Event() for shard in shards}
        self._after = dict(pairwise(shards))
        self._begun[shards[0]].set()

    def of(self, shard: str) -> Writes:
        """What takes a shard's rows."""
        return partial(self._take, shard)

    def _take(self, shard: str, rows: list[bytes]) -> None:
        self._begun[shard].wait()
        if data := self._trim[shard](rows):
            self._write(data)
        if not rows and shard in self._after:
            self._begun[self._after[shard]].set()
