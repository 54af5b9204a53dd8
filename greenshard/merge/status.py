"""One command tag for the tags of all shards."""

from __future__ import annotations

from collections.abc import Sequence


def merge_status(messages: Sequence[str | None]) -> str | None:
    """Add up the row counts of command tags.

    >>> merge_status(["UPDATE 2", "UPDATE 3"])
    'UPDATE 5'
    >>> merge_status(["SET", "SET"])
    'SET'
    """
    known = [message for message in messages if message is not None]
    if len(known) < 2:
        return known[0] if known else None
    heads, _, counts = zip(*(message.rpartition(" ") for message in known), strict=True)
    # INSERT 0 2: the head is "INSERT 0".
    if len(set(heads)) == 1 and all(count.isdigit() for count in counts):
        return f"{heads[0]} {sum(map(int, counts))}"
    return known[0]
