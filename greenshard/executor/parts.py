"""The shards' own cursors behind one logical cursor."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Mapping
from typing import Any

from greenshard._driver import Attribute, RawCursor
from greenshard.executor.physical import Physical
from greenshard.executor.session import Session
from greenshard.executor.typecasters import has_user_typecasters, shard_typecasters

row_factory = Attribute(RawCursor, "row_factory")
tzinfo_factory = Attribute(RawCursor, "tzinfo_factory")


class Parts:
    """A plain cursor of psycopg2 for each shard, made when first needed.

    Args:
        logical: The cursor whose settings they share; itself never executed.
        session: Where the shards' connections are.
        home: The connection on which typecasters are registered.
    """

    def __init__(self, logical: RawCursor, session: Session, home: Physical) -> None:
        # Weak: a cycle would keep rows in memory until the garbage collector runs.
        self._reference = weakref.ref(logical)
        self._session = session
        self._home = home
        self._cursors: dict[str, RawCursor] = {}
        self._typed = self._tzinfo_set = self._rows_set = False

    @property
    def _logical(self) -> Any:
        return self._reference()

    def made(self) -> Mapping[str, RawCursor]:
        """Those that there are so far, by shard."""
        return self._cursors

    def of(self, shard: str) -> RawCursor:
        """The cursor of a shard whose connection there is."""
        cursor = self._cursors.get(shard)
        if cursor is None:
            cursor = self._cursors[shard] = self._make(self._session.physicals[shard])
        return cursor

    def _make(self, physical: Physical) -> RawCursor:
        logical = self._logical
        cursor = RawCursor(physical.raw, logical.name)
        if logical.name is not None:
            cursor.withhold = logical.withhold
            cursor.scrollable = logical.scrollable
        if self._tzinfo_set:
            tzinfo_factory.write(cursor, tzinfo_factory.read(logical))
        if self._rows_set:
            self._bridge(cursor)
        return cursor

    def apply_typecasters(
        self, shards: Iterable[str], registered: Mapping[int, Any], timeout_s: float | None
    ) -> None:
        """Give the shards' cursors the typecasters that were registered.

        Switches: the first time that a user's type is registered.
        """
        self._typed = self._typed or bool(registered) or has_user_typecasters()
        if not self._typed:
            return
        for shard in shards:
            physical = self._session.physicals[shard]
            self.of(shard).string_types = shard_typecasters(
                self._session, self._home, physical, registered, timeout_s
            )

    def set_row_factory(self, factory: Any) -> None:
        """Set psycopg2's ``row_factory``."""
        self._rows_set = True
        row_factory.write(self._logical, factory)
        for cursor in self._cursors.values():
            self._bridge(cursor)

    def set_tzinfo_factory(self, factory: Any) -> None:
        """Set psycopg2's ``tzinfo_factory``."""
        self._tzinfo_set = True
        tzinfo_factory.write(self._logical, factory)
        for cursor in self._cursors.values():
            tzinfo_factory.write(cursor, factory)

    def _bridge(self, cursor: RawCursor) -> None:
        """Let the shard's rows be made for the logical cursor, which knows all columns."""
        reference, factory = self._reference, row_factory.read(self._logical)
        row_factory.write(cursor, None if factory is None else lambda _: factory(reference()))
