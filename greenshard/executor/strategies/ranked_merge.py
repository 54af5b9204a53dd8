"""Rows that the shards have sorted by what only PostgreSQL compares, merged page by page.

The rows that are here of all shards are put in order together, for which PostgreSQL ranks their
values in one round trip. Of these, a row can be given out if it stands before the last one here of
each shard that has more: what is still on a server stands behind that one::

    s0 has more:  a c e      s1 has more:  b d f      s2 has no more:  x

    a b c d e     given out
    f x           kept: s0 may have an e or an f yet; now s0 is asked for its next page

A shard is asked for a page when less than half a page of it is here, and not when nothing is:
where all have rows from everywhere, each round trip then gives out about a page of each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import chain

from greenshard.executor.answers.buffered import Row
from greenshard.links.streams import Stream, fetch_together


def merge_pages(
    streams: Sequence[Stream], order: Callable[[list[Row]], list[Row]]
) -> Iterator[Row]:
    """The rows of some streams in order.

    Less than one and a half pages of each stream are held.

    Args:
        streams: Each sorted on its server.
        order: Puts rows in order; those that are equal stay as they come.

    Switches: while iterating.
    """
    here: list[list[Row]] = [[] for _ in streams]
    while True:
        _fill(here, streams)
        ordered = list(chain.from_iterable(here))
        # Its own server has sorted it already.
        if sum(map(bool, here)) > 1:  # not if one shard has all that is left
            ordered = order(ordered)
        if not ordered:
            return
        end = _safe(ordered, here, streams)
        # By identity: equal rows of two shards are two rows.
        kept = set(map(id, ordered[end:]))
        here = [[row for row in rows if id(row) in kept] for rows in here]
        del ordered[end:]
        yield from ordered


def _fill(here: Sequence[list[Row]], streams: Sequence[Stream]) -> None:
    """Fetch a page of each stream that has more, and less than half a page here."""
    fetch_together(
        [
            stream
            for rows, stream in zip(here, streams, strict=True)
            # All that need one, together: else each page would be a round trip of its own.
            if not stream.ended and not stream.has_ahead and 2 * len(rows) < stream.itersize
        ]
    )
    for rows, stream in zip(here, streams, strict=True):
        rows.extend(stream.take_ahead())


def _safe(ordered: list[Row], here: Sequence[Sequence[Row]], streams: Sequence[Stream]) -> int:
    """How many rows cannot be preceded by one that is still on a server."""
    lasts = {id(rows[-1]) for rows, stream in zip(here, streams, strict=True) if not stream.ended}
    # All shards have given all they have.
    if not lasts:
        return len(ordered)
    return next(at for at, row in enumerate(ordered, 1) if id(row) in lasts)
