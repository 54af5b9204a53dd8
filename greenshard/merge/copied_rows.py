r"""Goal: make of the COPY TO of several servers what one server would have sent.

    server 0   id,name     1,a     3,c
    server 1   id,name     2,b

    id,name    1,a    3,c    2,b

Each server sends a header, if one is asked for, as a message of its own. In the binary format the
first message begins with a signature, and the last one is a trailer:

    PGCOPY\n\377\r\n\0, flags, 0 | row      row      \377\377
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

#: The signature, the flags and the length of what could follow them, in bytes.
BINARY_HEADER_BYTES = 19
BINARY_TRAILER = b"\xff\xff"

Trim = Callable[[list[bytes]], bytes]


def trims(shards: Sequence[str], form: str, header: bool) -> dict[str, Trim]:
    r"""By shard, what makes of its messages its part of the whole; the shards are in order.

    Args:
        shards: Their names.
        form: ``text``, ``csv`` or ``binary``.
        header: Whether a line of names comes first.

    >>> made = trims(["s0", "s1"], "csv", True)
    >>> made["s0"]([b"id\n", b"1\n"]) + made["s1"]([b"id\n", b"2\n"])
    b'id\n1\n2\n'
    """
    if form == "binary":
        return {s: _Binary(first=s == shards[0], last=s == shards[-1]).trim for s in shards}
    return {s: _Lines(skips=header and s != shards[0]).trim for s in shards}


class _Lines:
    def __init__(self, *, skips: bool) -> None:
        self._skips = skips

    def trim(self, messages: list[bytes]) -> bytes:
        if self._skips and messages:
            self._skips = False
            messages = messages[1:]
        return b"".join(messages)


class _Binary:
    def __init__(self, *, first: bool, last: bool) -> None:
        self._begun, self._last = first, last
        self._kept = b""

    def trim(self, messages: list[bytes]) -> bytes:
        if not messages:
            return self._kept if self._last else b""
        if not self._begun:
            self._begun = True
            messages = [messages[0][BINARY_HEADER_BYTES:], *messages[1:]]
        # The last message of all, which nothing tells beforehand.
        data = self._kept + b"".join(messages)
        self._kept = data[-len(BINARY_TRAILER) :]
        return data[: -len(BINARY_TRAILER)]
