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

ROLLBACK TO a savepoint ends those that were declared after it. Which these are, PostgreSQL knows:
if there may be a savepoint, a cursor is declared on a shard as a `Marker`, and looked for later.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from greenshard import _green, errors
from greenshard._driver import DriverError, own_cursor
from greenshard.links.deadline import Deadline, within
from greenshard.links.gatherer import Gatherer, let_go
from greenshard.links.outlets import declaring, new_name
from greenshard.links.session import Session
from greenshard.planner.code import Trace
from greenshard.transaction.state import State, state_of


@dataclass(frozen=True, slots=True)
class Marker:
    """A cursor that is there as long as the transaction is not rolled back to before it.

    Attributes:
        shard: Where.
        name: Its name, quoted.
    """

    shard: str
    name: str

    @classmethod
    def declared(cls, session: Session, shard: str, timeout: Deadline) -> Marker:
        """A new one. Switches: yes."""
        marker = cls(shard, new_name())
        call = partial(own_cursor(session.physical(shard).raw).execute, *marker._declaring)
        session.run({shard: call}, timeout)
        return marker

    @property
    def _declaring(self) -> tuple[str]:
        return (declaring(self.name, "SELECT 1"),)

    def can_be_asked(self, session: Session) -> bool:
        """Whether its shard can be asked; after an error, it cannot yet."""
        physical = session.physicals.get(self.shard)
        # In a failed transaction PostgreSQL answers nothing until ROLLBACK TO has been run.
        return physical is not None and state_of(physical) is State.OPEN


@dataclass(slots=True, eq=False)
class Portal:
    """The answer of one named cursor.

    Attributes:
        name: The named cursor's name.
        holds: Whether it outlives a commit.
        marker: What tells whether the transaction was rolled back to before it; None if it cannot
            be.
        gatherer: The connection that has rows that were not fetched; None if there are none.
        kept: Whether it has outlived its transaction.
        open: Whether rows may be given out.
        undone: Whether the transaction was rolled back to before it.
    """

    name: str
    holds: bool
    marker: Marker | None = None
    gatherer: Gatherer | None = None
    kept: bool = False
    open: bool = True
    undone: bool = False

    def check(self) -> None:
        """Refuse if its time is over.

        Raises:
            errors.OperationalError: As PostgreSQL does.
            errors.ProgrammingError: As psycopg2 does.
        """
        if self.undone:
            raise errors.refused(f'cursor "{self.name}" does not exist', pgcode="34000")
        if not self.open:
            raise errors.ProgrammingError("named cursor isn't valid anymore")

    def hold(self, session: Session, held: Gatherer) -> None:
        """Keep the connection that has rows which were not fetched yet."""
        # Without `kept`, the next statement that gathers would take the connection for its own
        # rows.
        self.gatherer = held
        session.kept.add(held.place)

    def close(self, session: Session, *, at_once: bool = False) -> None:
        """End it. Switches: unless `at_once`, if it has rows on a server."""
        self.open = False
        # First: if closing fails, it is not tried again with the same one.
        marker, self.marker = self.marker, None
        try:
            if marker is not None and not at_once and marker.can_be_asked(session):
                call = partial(
                    own_cursor(session.physical(marker.shard).raw).execute, f"CLOSE {marker.name}"
                )
                session.run({marker.shard: call}, within(session.grace_s))
        finally:
            self.free(session, at_once=at_once)

    def free(self, session: Session, *, at_once: bool = False) -> None:
        """Let the connection go, if there is one; what was fetched can still be given out.

        Switches: unless `at_once`.
        """
        held, self.gatherer = self.gatherer, None
        if held is not None:
            let_go(session, held, at_once=at_once)


@dataclass(slots=True, eq=False)
class SqlCursor:
    """A cursor that SQL has declared.

    Attributes:
        holds: Whether it outlives a commit.
        shard: The shard whose server has it; None if `logical` stands for it.
        logical: A named cursor.
        at: How many rows of that were fetched.
        kept: Whether it has outlived its transaction.
        trace: What its query may leave.
    """

    holds: bool
    shard: str | None = None
    logical: Any = None
    at: int = 0
    kept: bool = False
    trace: Trace = Trace.CODE


class Portals:
    """The named cursors of one connection.

    Args:
        session: The connections; whoever calls has `taken` it.

    Attributes:
        open: The answers that are neither closed nor over.
        declared: The names of other named cursors of the transaction, which the shards have, and
            whether they outlive a commit; there may be none of the name any more.
        outlived: Likewise, the names of those that have outlived their transaction.
        by_sql: Those that SQL has declared, by name; there may be none of the name any more.
    """

    __slots__ = ("by_sql", "declared", "open", "outlived", "session")

    def __init__(self, session: Session) -> None:
        self.session = session
        self.open: list[Portal] = []
        self.declared: dict[str, bool] = {}
        self.outlived: set[str] = set()
        self.by_sql: dict[str, SqlCursor] = {}

    @property
    def end_with_transaction(self) -> bool:
        """Whether there may be some whose fate the end of the transaction decides."""
        if not self.open:  # as most often, and this is asked at each statement
            return bool(self.declared)
        return bool(self.declared) or any(not portal.kept for portal in self.open)

    def check_name(self, name: str) -> None:
        """Refuse a named cursor if another of its name is open, whose answer one server has made.

        Raises:
            errors.ProgrammingError: As PostgreSQL does.
        """
        if any(portal.name == name for portal in self.open):
            raise duplicate(name)

    def close(self, portal: Portal, *, at_once: bool = False) -> None:
        """End one. Switches: unless `at_once`, if it has rows on a server."""
        if portal in self.open:
            self.open.remove(portal)
        portal.close(self.session, at_once=at_once)

    def forget(self, name: str) -> None:
        """Take note that the shards have no cursor of a name any more."""
        self.by_sql.pop(name, None)
        self.declared.pop(name, None)
        self.outlived.discard(name)

    def end(self, *, committed: bool) -> None:
        """End those whose transaction has ended; with them goes what their connections have.

        Raises:
            BaseException: What arrived from outside meanwhile. All have ended nevertheless.

        Switches: if one has rows on a server.
        """
        # WITH HOLD: PostgreSQL computes the rest at the commit, and keeps it for the session.
        if committed:
            self.outlived.update(name for name, holds in self.declared.items() if holds)
        self.declared.clear()
        for name, cursor in tuple(self.by_sql.items()):
            cursor.kept = cursor.kept or (committed and cursor.holds)
            if not cursor.kept:
                del self.by_sql[name]
        arrived: BaseException | None = None
        for portal in tuple(self.open):
            # With its transaction, the marker is gone.
            portal.marker = None
            portal.kept = portal.kept or (committed and portal.holds)
            if portal.kept:
                continue
            # All are closed, whatever arrives meanwhile; after it nobody is waited for.
            arrived = _green.graver(arrived, self._closed(portal, at_once=arrived is not None))
        if arrived is not None:
            raise arrived

    def end_undone(self, timeout: Deadline, *, ask: bool) -> None:
        """End those before which the transaction was rolled back, to a savepoint.

        Args:
            timeout: For asking.
            ask: Whether the shards are asked which; if not, all that may be have ended.

        Switches: if there may be some, and they are asked.
        """
        session = self.session
        marked = [(p, p.marker) for p in self.open if p.marker is not None]
        # Too many may be ended, which an error then tells; to give out rows of one that is over
        # would be wrong.
        by_sql = self._shards_by_sql()
        if not ask:
            for portal, _ in marked:
                portal.undone = True
            for name in by_sql:
                self.forget(name)
            return
        shards = {marker.shard for _, marker in marked if marker.can_be_asked(session)}
        shards.update(by_sql.values())
        cursors = {shard: own_cursor(session.physical(shard).raw) for shard in shards}
        query = "SELECT pg_catalog.quote_ident(name), name FROM pg_catalog.pg_cursors"
        calls: dict[str, Callable[[], Any]] = {
            shard: partial(cursor.execute, query) for shard, cursor in cursors.items()
        }
        if calls:
            session.run(calls, timeout)
        rows = [(shard, *row) for shard, cursor in cursors.items() for row in cursor.fetchall()]
        there = {(shard, quoted) for shard, quoted, _ in rows}
        for name in by_sql.keys() - {name for _, _, name in rows}:
            self.forget(name)
        for portal, marker in marked:
            # ROLLBACK TO has undone the DECLARE of the marker, and so that of the named cursor.
            if marker.shard in shards and (marker.shard, marker.name) not in there:
                portal.undone, portal.marker = True, None
                self.close(portal)

    def _shards_by_sql(self) -> dict[str, str]:
        """A shard for each cursor of SQL's that named cursors of several shards stand for.

        Rows of it may be here that were fetched before it was undone.
        """
        found = {}
        for name, cursor in self.by_sql.items():
            parts = None if cursor.logical is None else cursor.logical._parts
            shards = () if parts is None or parts.portal is not None else parts.made()
            for shard in shards:
                physical = self.session.physicals.get(shard)
                if physical is not None and state_of(physical) is State.OPEN:
                    found[name] = shard
        return found

    def end_all(self) -> None:
        """End them all; see `end`."""
        for portal in self.open:
            portal.kept = False
        self.end(committed=False)

    def _closed(self, portal: Portal, *, at_once: bool) -> BaseException | None:
        """Close a portal; returns what arrived from outside meanwhile."""
        try:
            with suppress(DriverError):  # then the connection is closed, which does as well
                self.close(portal, at_once=at_once)
        except BaseException as exc:
            return exc
        return None


def duplicate(name: str) -> errors.Error:
    """PostgreSQL's error for a second cursor of a name."""
    return errors.refused(f'cursor "{name}" already exists', pgcode="42P03")
