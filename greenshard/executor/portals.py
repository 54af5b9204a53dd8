"""The answers of named cursors that one server makes: they stay there, and come page by page.

The server is the one that combined or gathered, and the rows wait in a cursor of its own there, in
the transaction of the connection that gathers. The session holds that connection (`Portal`) until
the rows have come to their end, the named cursor is closed, or its transaction ends: that of the
shards, in which PostgreSQL would have declared it::

                              commit              rollback
    a named cursor            is over             is over
    WITH HOLD                 goes on, for good   is over

What fits one page is fetched with the statement, and the connection is free at once. That such rows
are here is not told: they are over when the others would be.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from greenshard import _green, errors
from greenshard._driver import DriverError
from greenshard.executor.gatherer import Gatherer, let_go

if TYPE_CHECKING:
    from greenshard.executor.session import Session


@dataclass(slots=True, eq=False)
class Portal:
    """The answer of one named cursor.

    Attributes:
        hold: Whether it outlives a commit.
        gatherer: The connection that has rows that were not fetched; None if there are none.
        kept: Whether it has outlived its transaction.
        open: Whether rows may be given out.
    """

    hold: bool
    gatherer: Gatherer | None = None
    kept: bool = False
    open: bool = True

    def check(self) -> None:
        """Refuse if its time is over.

        Raises:
            errors.ProgrammingError: As psycopg2 does.
        """
        if not self.open:
            raise errors.ProgrammingError("named cursor isn't valid anymore")

    def close(self, session: Session, *, at_once: bool = False) -> None:
        """End it. Switches: unless `at_once`, if it has rows on a server."""
        self.open = False
        if self in session.portals:
            session.portals.remove(self)
        self.free(session, at_once=at_once)

    def free(self, session: Session, *, at_once: bool = False) -> None:
        """Let the connection go, if there is one; what was fetched can still be given out.

        Switches: unless `at_once`.
        """
        held, self.gatherer = self.gatherer, None
        if held is not None:
            let_go(session, held, at_once=at_once)


def end_portals(session: Session, *, committed: bool) -> None:
    """End those whose transaction has ended; with them goes what their connections have.

    Raises:
        BaseException: What arrived from outside meanwhile. All have ended nevertheless.

    Switches: if one has rows on a server.
    """
    arrived: BaseException | None = None
    for portal in tuple(session.portals):
        portal.kept = portal.kept or (committed and portal.hold)
        if portal.kept:
            if portal.gatherer is None:
                session.portals.remove(portal)  # nothing ends it any more
            continue
        arrived = _green.graver(arrived, _closed(portal, session, at_once=arrived is not None))
    if arrived is not None:
        raise arrived


def end_all_portals(session: Session) -> None:
    """End them all; see `end_portals`."""
    for portal in session.portals:
        portal.kept = False
    end_portals(session, committed=False)


def _closed(portal: Portal, session: Session, *, at_once: bool) -> BaseException | None:
    """Close a portal; returns what arrived from outside meanwhile."""
    try:
        with suppress(DriverError):  # then the connection is closed, which does as well
            portal.close(session, at_once=at_once)
    except BaseException as exc:
        return exc
    return None
