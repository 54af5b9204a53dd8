"""A restriction of a connection to some shards, for a block or for a cursor."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, Protocol, TypeVar, overload

from greenshard._driver import RawCursor
from greenshard.cursor import Cursor
from greenshard.planner.target import Target
from greenshard.statements import Statements


class _Connected(Protocol):
    @property
    def _statements(self) -> Statements: ...

    def cursor(self, *args: Any, **kwargs: Any) -> Any: ...


_C = TypeVar("_C", bound=_Connected)
_CursorT = TypeVar("_CursorT", bound=RawCursor)


class Scope(Generic[_C]):
    """What `Connection.on` and `Connection.broadcast` return.

    As a context manager it holds for everything that the connection executes in the block;
    `cursor` makes a cursor for which it always holds.
    """

    def __init__(self, connection: _C, target: Target) -> None:
        self._connection = connection
        self.target = target
        self._outer: list[Target] = []

    def __enter__(self) -> _C:
        statements = self._connection._statements
        self._outer.append(statements.target)
        statements.target = self.target
        return self._connection

    def __exit__(self, *exc: object) -> None:
        self._connection._statements.target = self._outer.pop()

    @overload
    def cursor(
        self,
        name: str | bytes | None = None,
        cursor_factory: None = None,
        withhold: bool = False,
        scrollable: bool | None = None,
    ) -> Cursor: ...

    @overload
    def cursor(
        self,
        name: str | bytes | None = None,
        *,
        cursor_factory: Callable[..., _CursorT],
        withhold: bool = False,
        scrollable: bool | None = None,
    ) -> _CursorT: ...

    def cursor(self, *args: Any, **kwargs: Any) -> Any:
        """A cursor that runs on these shards only; arguments as for `Connection.cursor`."""
        cursor = self._connection.cursor(*args, **kwargs)
        cursor._target = self.target
        return cursor
