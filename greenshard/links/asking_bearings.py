"""Ask a session for its bearings, and keep them with its connection."""

from __future__ import annotations

import time
from typing import Any

from greenshard.links.bearings import BEARINGS, read_bearings
from greenshard.links.outside import understood, value
from greenshard.links.physical import Physical


def ask_bearings(physical: Physical, *, before: str = "") -> None:
    """Ask a session for its bearings.

    Args:
        physical: Its connection.
        before: SQL to run before, in the same message.

    Switches: yes. Cost: one round trip.
    """
    began = time.monotonic()
    keep_bearings(physical, value(physical, f"{before} SELECT {BEARINGS}"), began)


def keep_bearings(physical: Physical, found: Any, asked_at: float) -> None:
    """Keep with a connection what its server has told.

    Args:
        physical: The connection.
        found: What `BEARINGS` has given.
        asked_at: A moment before the server was asked, of the monotonic clock.

    Raises:
        errors.OperationalError: That cannot be read.
    """
    with understood(physical.shard):
        physical.bearings, user = read_bearings(bytes(found), physical.session_user)
    physical.bearings_at = asked_at
    physical.session_user = physical.session_user or user
