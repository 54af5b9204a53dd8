"""The connections of one slot."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from greenshard import _green
from greenshard._driver import Attribute, DriverError, RawConnection
from greenshard.links.physical import (
    Physical,
    autocommit,
    client_encoding,
    has_characteristics,
    string_types,
)
from greenshard.links.quoting import letters_of
from greenshard.links.renewal import make_new

#: Seconds that a server may take to end a session that was closed.
_END_S = 1.0

_binary_types = Attribute(RawConnection, "binary_types")


@dataclass(slots=True, eq=False)
class Holding:
    """What a slot holds, and what is known of it from one lease to the next.

    Attributes:
        physicals: Its connections, by the shard's name.
        compared: Those of which no two were found to be to the same database.
        type_names, oids_there: What sessions know of the shards' types.
    """

    physicals: dict[str, Physical] = field(default_factory=dict)
    compared: Mapping[str, Physical] = field(default_factory=dict)
    type_names: dict[tuple[str, int], str] = field(default_factory=dict)
    oids_there: dict[tuple[str, str], tuple[frozenset[int], Mapping[int, int]]] = field(
        default_factory=dict
    )


def restore(physical: Physical, encoding: str) -> bool:
    """Set back what psycopg2 keeps for a connection.

    Returns:
        Whether it is now like new, as far as psycopg2 knows; if not, the server must be asked.
    """
    raw = physical.raw
    string_types.read(raw).clear()
    _binary_types.read(raw).clear()
    # SQL may have begun a transaction in autocommit mode: psycopg2 does not know of it.
    if physical.in_transaction or not physical.idle:
        return False
    physical.leave_block(None, None, None)  # if its end comes after that of the connection
    # psycopg2 sends these to the server, so they are undone there, too.
    if has_characteristics(raw) or client_encoding.read(raw) != encoding:
        return False
    if autocommit.read(raw):
        autocommit.write(raw, False)
    return True


def with_news(physicals: Iterable[Physical]) -> set[str]:
    """The shards of connections that nobody uses and that have received something.

    That is most likely their end.

    Cost: 1 us, and 0.5 us for each.
    """
    found, numbers = set(), {}
    for physical in physicals:
        if physical.alive:
            # Readable without having been asked anything: FATAL "terminating connection", or its
            # end.
            numbers[RawConnection.fileno(physical.raw)] = physical.shard
        else:
            found.add(physical.shard)
    return found | {numbers[number] for number in _green.with_news(numbers)}


def renew(physical: Physical, encoding: str) -> None:
    """Make a session that is in no transaction as good as new.

    Settings, cursors, prepared statements, temporary tables, locks and subscriptions go.

    Raises:
        DriverError: It cannot be; it must be closed.

    Switches: yes. Cost: one round trip.
    """
    raw = physical.raw
    default = {"isolation_level": "DEFAULT", "readonly": "DEFAULT", "deferrable": "DEFAULT"}
    # In autocommit mode: what follows is to begin no transaction.
    RawConnection.set_session(raw, **default, autocommit=True)  # type: ignore[arg-type]
    if client_encoding.read(raw) != encoding:
        RawConnection.set_client_encoding(raw, encoding)
    make_new(raw)
    if not _parameter(raw, "DateStyle").startswith("ISO"):
        RawConnection.reset(raw)  # psycopg2 cannot read dates in another style
        RawConnection.set_session(raw, **default)  # type: ignore[arg-type]
    # RESET ALL gives the role's or the database's default, which psycopg2 does not hear of.
    if letters_of(_parameter(raw, "client_encoding")) != letters_of(encoding):
        raise DriverError("the session's encoding cannot be set back")
    autocommit.write(raw, False)


def _parameter(raw: RawConnection, name: str) -> str:
    return RawConnection.get_parameter_status(raw, name) or ""


def close_all(physicals: Iterable[Physical]) -> None:
    """Close connections, and wait until their servers have ended the sessions, if they do soon.

    Until then a session counts on its server, and another in its place would be one too many.

    Switches: yes, for 2 s at most.
    """
    done = _green.Event()
    _green.spawn(_close_all, list(physicals), done)
    arrived = _green.wait_through(done, 2 * _END_S)
    if arrived is not None:
        raise arrived


def _close_all(physicals: list[Physical], done: Any) -> None:
    descriptors = []
    try:
        for physical in physicals:
            with suppress(DriverError, OSError):
                # A copy outlives the close, and tells by its end that the server has ended the
                # session.
                descriptors.append(os.dup(RawConnection.fileno(physical.raw)))
            physical.discard()
        for descriptor in descriptors:
            _green.wait_end(descriptor, _END_S / len(descriptors))
    finally:
        for descriptor in descriptors:
            os.close(descriptor)
        done.set()


def share_encoding(physical: Physical, encoding: str | None) -> str:
    """Give a new connection the encoding of the others; returns it.

    Switches: if it has another.
    """
    own: str = client_encoding.read(physical.raw)
    if encoding is not None and own != encoding:
        RawConnection.set_client_encoding(physical.raw, encoding)
    return encoding or own
