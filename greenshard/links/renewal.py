"""Make a session as good as new, in one message.

It does what DISCARD ALL does, which cannot be sent together with anything else, and gives the
random numbers another seed: whoever has set one knows what comes.

Source: PostgreSQL manual, "DISCARD"; ``DiscardAll`` in PostgreSQL's discard.c.
"""

from __future__ import annotations

import random

from greenshard._driver import RawConnection, RawCursor, ours

_RENEWING = (
    "CLOSE ALL",
    "SET SESSION AUTHORIZATION DEFAULT",
    # RESET ALL leaves the role out: it is flagged GUC_NO_RESET_ALL in PostgreSQL's table of
    # settings.
    "RESET ROLE",
    "RESET ALL",
    "DEALLOCATE ALL",
    "UNLISTEN *",
    "SELECT pg_catalog.pg_advisory_unlock_all()",
    "DISCARD PLANS",
    "DISCARD TEMP",
    "DISCARD SEQUENCES",
    "SELECT pg_catalog.setseed(%s::pg_catalog.float8)",
)
#: A server in recovery takes no LISTEN, and no UNLISTEN either.
_IN_RECOVERY = tuple(text for text in _RENEWING if text != "UNLISTEN *")


def make_new(raw: RawConnection) -> None:
    """Take from a session what statements may have left there; it is in no transaction.

    Raises:
        DriverError: It cannot be done; the connection must be closed.

    Switches: yes. Cost: one round trip.
    """
    recovering = RawConnection.get_parameter_status(raw, "in_hot_standby") == "on"
    texts = _IN_RECOVERY if recovering else _RENEWING
    # As text: a number that is negative would be written with an operator before it, which the
    # search path could find elsewhere.
    seed = str(random.SystemRandom().uniform(-1, 1))
    RawCursor(raw).execute("; ".join(texts), (ours(seed),))


def forget_sequences(raw: RawConnection) -> None:
    """Take the values of sequences from a session: `lastval()` and its kin.

    Raises:
        DriverError: It cannot be done; the connection must be closed.

    Switches: yes. Cost: one round trip.
    """
    RawCursor(raw).execute("DISCARD SEQUENCES")
