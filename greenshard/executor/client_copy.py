"""COPY from and to the program's file, on the shards that are named: the text is sent as it is.

One shard reads or writes the file itself. From several, the rows are those of the union, one shard
after the other, with one header; the rows that all of them shall take come to each.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from greenshard._driver import RawCursor, python_encoding
from greenshard.executor.execution import Calls
from greenshard.links.beginning import begin_first
from greenshard.links.copy_feed import Feed, Turns
from greenshard.links.copy_stream import ClientCopy, Reads, Writes, reading, writing
from greenshard.links.session import Session
from greenshard.merge.copied_rows import trims
from greenshard.sql.copy_statement import read_copy


@dataclass(frozen=True, slots=True)
class CopyFile:
    """The program's file, and how much is read of it at once."""

    file: Any
    size: int

    def reading(self, raw: Any) -> Reads:
        """What reads it for a connection's encoding."""
        return reading(self.file, self.size, python_encoding(raw))

    def writing(self, raw: Any) -> Callable[[bytes], None]:
        """What writes to it, likewise."""
        return writing(self.file, python_encoding(raw))


def copying(
    session: Session, text: str | bytes, file: CopyFile, raws: Mapping[str, RawCursor]
) -> Calls:
    """The calls that run a COPY on each shard that there is a cursor for.

    Args:
        session: Where the connections are.
        text: The COPY; what is none runs all the same.
        file: The program's.
        raws: The cursors.
    """
    shards = list(raws)
    if not shards:
        return {}
    raw = raws[shards[0]].connection
    read, write = file.reading(raw), file.writing(raw)
    if len(shards) == 1:
        return {
            shards[0]: copy_call(session, shards[0], raws[shards[0]], text, read, joined(write))
        }
    copy = read_copy(text if isinstance(text, str) else text.decode(python_encoding(raw)))
    form, header = ("text", False) if copy is None else (copy.form, bool(copy.header))
    turns = Turns(write, shards, trims(shards, form, header))
    feed = Feed(read, lambda rows: dict.fromkeys(shards, rows), shards)
    return {
        shard: copy_call(session, shard, raws[shard], text, feed.of(shard), turns.of(shard))
        for shard in shards
    }


def joined(write: Callable[[bytes], None]) -> Writes:
    """What writes rows as they come."""

    def take(rows: list[bytes]) -> None:
        if rows:
            write(b"".join(rows))

    return take


def copy_call(
    session: Session,
    shard: str,
    cursor: RawCursor,
    text: str | bytes,
    read: Reads,
    write: Writes,
) -> Callable[[], None]:
    """The call that runs one COPY on one shard, whichever way its rows go.

    Args:
        session: Where the connection is.
        shard: Which one.
        cursor: Of the connection; it has the row count afterwards.
        text: The COPY.
        read: Gives the rows, if it reads.
        write: Takes them, if it writes.
    """
    physical = session.physicals[shard]
    copy = ClientCopy(physical, session.grace_s, read, write)

    def call() -> None:
        begin_first(physical)
        copy.run(partial(cursor.execute, text))

    return call
