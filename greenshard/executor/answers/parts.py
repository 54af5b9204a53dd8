"""The shards' own cursors behind one logical cursor."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from greenshard._driver import Attribute, RawConnection, RawCursor
from greenshard.executor.answers.answer import NOTHING, Answer
from greenshard.executor.answers.portals import Portal, Portals
from greenshard.executor.types.typecasters import has_user_typecasters, shard_typecasters
from greenshard.links.beginning import without_begin
from greenshard.links.deadline import UNLIMITED, Deadline
from greenshard.links.physical import Physical, string_types
from greenshard.links.session import Session
from greenshard.planner.code import Trace

row_factory = Attribute(RawCursor, "row_factory")
tzinfo_factory = Attribute(RawCursor, "tzinfo_factory")
Row = tuple[Any, ...]


class Parts:
    """A plain cursor of psycopg2 for each shard, made when first needed, and what they answered.

    Args:
        logical: The cursor whose settings they share; itself never executed.
        session: Where the shards' connections are.
        home: The connection on which the OIDs of typecasters are looked up.
        registered: The typecasters of the logical connection.
        portals: The connection's named cursors.

    Attributes:
        named: Whether the logical cursor has a name, and its rows stay on servers.
        trace: What it may leave in the sessions.
        sent: It, as psycopg2 would have sent it, where another text was sent.
        asked: The first of the cursors that the last statement ran on; None before one did.
        portal: The answer of a named cursor, if one server made it.
        fetch_timeout: What the call may take that fetches from a named cursor: all pages together.
    """

    # What most cursors leave so costs nothing to be set.
    _typed = _tzinfo_set = _rows_set = False
    _shapes = True
    fetch_timeout = UNLIMITED
    trace = Trace.NOTHING
    sent: bytes | None = None
    asked: RawCursor | None = None
    portal: Portal | None = None

    def __init__(
        self,
        logical: RawCursor,
        session: Session,
        home: Physical,
        registered: Mapping[int, Any],
        portals: Portals,
    ) -> None:
        # Weak: a cycle would keep rows in memory until the garbage collector runs.
        self._reference: Callable[[], Any] = weakref.ref(logical)
        self._session = session
        self._home = home
        self._registered = registered
        self.portals = portals
        self._cursors: dict[str, RawCursor] = {}
        self._lasts: dict[str, RawCursor] = {}
        self.named = logical.name is not None

    def for_another(self, logical: RawCursor) -> Parts:
        """The parts of another cursor, which the caller keeps: for a statement within one."""
        return Parts(logical, self._session, self._home, {}, self.portals)

    @property
    def logical(self) -> Any:
        """The logical cursor."""
        return self._reference()

    @property
    def answer(self) -> Answer:
        """What the last statement gave.

        The logical cursor has it: rows that are streamed refer to the parts, so that it would keep
        itself, and a connection that gathers, until the garbage collector runs.
        """
        logical = self._reference()
        return NOTHING if logical is None else logical._answer

    @answer.setter
    def answer(self, answer: Answer) -> None:
        logical = self._reference()
        if logical is not None:
            logical._answer = answer

    def begin(self) -> None:
        """Forget the last statement: another one begins."""
        self.asked, self.sent, self.answer = None, None, NOTHING

    @property
    def query(self) -> bytes | None:
        """The last statement as it was sent to the first shard."""
        # psycopg2's `query` is the last text sent; the BEGIN that went with it is ours.
        return self.sent or (None if self.asked is None else without_begin(self.asked.query))

    def made(self) -> Mapping[str, RawCursor]:
        """The cursors that there are so far, by shard."""
        return self._cursors

    def of(self, shard: str) -> RawCursor:
        """The cursor of a shard whose connection there is."""
        cursor = self._cursors.get(shard)
        if cursor is None:
            physical = self._session.physicals[shard]
            cursor = self._make(physical, self.name if self.named else None)
            self._cursors[shard] = cursor
            if self._rows_set:
                self._bridge(cursor)
        return cursor

    def ready(self, shards: Iterable[str], timeout: Deadline) -> dict[str, RawCursor]:
        """The cursors for a statement, of the shards whose connections there are.

        Switches: the first time that a user's type is registered, or a shard is needed.
        """
        cursors = {shard: self.of(shard) for shard in self._there(shards, timeout)}
        physicals = self._session.physicals
        # At each statement: a program may register a typecaster between two.
        self._apply_typecasters(cursors.values(), map(physicals.__getitem__, cursors), timeout)
        self.asked = next(iter(cursors.values()), None)
        return cursors

    def ready_one(self, physical: Physical, timeout: Deadline) -> RawCursor:
        """Like `ready`, the cursor of one shard, whose connection is there.

        Switches: the first time that a user's type is registered.
        """
        cursor = self.of(physical.shard)
        self._apply_typecasters((cursor,), (physical,), timeout)
        self.asked = cursor
        return cursor

    def plain(self, shards: Iterable[str], timeout: Deadline) -> dict[str, RawCursor]:
        """Like `ready`, but new cursors, unnamed, for rows that are not the answer yet.

        They give rows as tuples, whatever the row factory.

        Switches: the first time that a user's type is registered.
        """
        there = self._there(shards, timeout)
        physicals = self._session.physicals
        cursors = {shard: self._make(physicals[shard], None) for shard in there}
        self._apply_typecasters(cursors.values(), map(physicals.__getitem__, there), timeout)
        return cursors

    def plain_on(self, shard: str, timeout: Deadline) -> RawCursor:
        """Like `plain`, on one shard that must be there.

        Raises:
            errors.Error: It is not.

        Switches: the first time that a user's type is registered.
        """
        cursors = self.plain((shard,), timeout)
        self._session.physical(shard)
        return cursors[shard]

    def beside(self, physical: Physical, timeout: Deadline) -> RawCursor:
        """A new cursor on a connection beside those of the shards, like those of `plain`.

        Switches: the first time that a user's type is registered.
        """
        cursor = self._make(physical, None)
        self._apply_typecasters((cursor,), (physical,), timeout)
        return cursor

    def unshaped(self, shards: Iterable[str], timeout: Deadline) -> dict[str, RawCursor]:
        """Like `ready`, but the rows are tuples, whatever the row factory, from now on.

        Switches: the first time that a user's type is registered.
        """
        # Rows are merged by the places of their values, and made what the user wants afterwards.
        self._shapes = False
        cursors = self.ready(shards, timeout)
        for cursor in cursors.values():
            row_factory.write(cursor, None)
        return cursors

    def last(self, shard: str, timeout: Deadline) -> RawCursor:
        """The cursor for a last stage on one shard, unnamed; its rows are the answer.

        Switches: the first time that a user's type is registered.
        """
        physical = self._session.physical(shard)
        cursor = self._lasts.get(shard)
        # A connection that was lost and opened anew has another raw one.
        if cursor is None or cursor.connection is not physical.raw:
            cursor = self._lasts[shard] = self._make(physical, None)
            self._bridge(cursor)
        self._apply_typecasters((cursor,), (physical,), timeout)
        self.asked = cursor
        return cursor

    def quoting(self) -> RawConnection:
        """A connection that can quote: the home, or another one that is there.

        Raises:
            errors.Error: None is.
        """
        if self._home.alive:
            return self._home.raw
        self._session.check_alive()
        return self._session.alive[0].raw

    @property
    def name(self) -> str:
        """The name of the named cursor."""
        return str(self.logical.name)

    @property
    def holds(self) -> bool:
        """Whether the named cursor outlives a commit."""
        return bool(self.logical.withhold)

    @property
    def itersize(self) -> int:
        """How many rows a page has."""
        # A page of none would never come to an end.
        return max(1, int(self.logical.itersize))

    def _there(self, shards: Iterable[str], timeout: Deadline) -> list[str]:
        self._session.reach(shards, timeout)
        physicals = self._session.physicals
        return [s for s in shards if (found := physicals.get(s)) is not None and found.alive]

    @property
    def own_time_zones(self) -> bool:
        """Whether the user has set what makes the time zone of a timestamp."""
        return self._tzinfo_set

    def _make(self, physical: Physical, name: str | None) -> RawCursor:
        cursor = RawCursor(physical.raw, name)
        if name is not None:
            logical = self.logical
            cursor.withhold = logical.withhold
            cursor.scrollable = logical.scrollable
        if self._tzinfo_set:
            tzinfo_factory.write(cursor, tzinfo_factory.read(self.logical))
        return cursor

    def _apply_typecasters(
        self, cursors: Iterable[RawCursor], physicals: Iterable[Physical], timeout: Deadline
    ) -> None:
        """Give cursors on some connections the typecasters that were registered."""
        registered = self._registered
        # register_type(t, conn) puts it into the connection's table, register_type(t, cursor) into
        # the cursor's.
        at_home, own = string_types.read(self._home.raw), self.logical.string_types
        if at_home or own:
            # What is narrower goes first, as in psycopg2: the cursor's, then the connection's.
            registered = {**(at_home or {}), **registered, **(own or {})}
        # Once there were any, the cursors have tables, which must follow also when all are gone.
        self._typed = self._typed or bool(registered) or has_user_typecasters()
        if not self._typed:
            return
        for cursor, physical in zip(cursors, physicals, strict=True):
            cursor.string_types = shard_typecasters(
                self._session, self._home, physical, registered, timeout
            )

    def shaping(self, cast: Callable[[Row], Row] | None) -> Callable[[Row], Any] | None:
        """What makes of values a row as psycopg2 does with the logical cursor's row factory.

        Args:
            cast: What is done with the values first.

        Returns:
            None if the row is just the values.
        """
        logical = self.logical
        factory = row_factory.read(logical)
        if factory is None:
            return cast

        def shape(values: Row) -> Any:
            # psycopg2's row factories make an empty row of the cursor, and fill it by place.
            row = factory(logical)
            for at, value in enumerate(values if cast is None else cast(values)):
                row[at] = value
            return row

        return shape

    def set_row_factory(self, factory: Any) -> None:
        """Set psycopg2's ``row_factory``."""
        self._rows_set = True
        row_factory.write(self.logical, factory)
        for cursor in (*self._cursors.values(), *self._lasts.values()):
            self._bridge(cursor)

    def set_tzinfo_factory(self, factory: Any) -> None:
        """Set psycopg2's ``tzinfo_factory``."""
        self._tzinfo_set = True
        tzinfo_factory.write(self.logical, factory)
        for cursor in (*self._cursors.values(), *self._lasts.values()):
            tzinfo_factory.write(cursor, factory)

    def _bridge(self, cursor: RawCursor) -> None:
        """Let the shard's rows be made for the logical cursor, which knows all columns."""
        if not (self._rows_set and self._shapes):
            return
        # Not the cursor itself: it would keep itself alive through the shard's cursor.
        reference, factory = self._reference, row_factory.read(self.logical)
        row_factory.write(cursor, None if factory is None else lambda _: factory(reference()))
