"""What a statement may be told through SQLAlchemy's execution options.

::

    session.execute(select(Order), execution_options={"greenshard_on": "s1"})
    connection.execution_options(greenshard_timeout=2.0)

``greenshard_on``: a shard's name, or several. ``greenshard_key`` (and ``greenshard_table``, where
tables are placed by different rules): a value of the shard key. ``greenshard_timeout``: seconds.
``greenshard_allow_gather``, ``greenshard_allow_scatter``: as on a connection.
``greenshard_snapshot`` is of whole transactions: `dialect` has it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from difflib import get_close_matches
from itertools import count
from typing import Any

from sqlalchemy.dialects.postgresql.psycopg2 import PGExecutionContext_psycopg2

from greenshard.arguments import unusable

_PREFIX = "greenshard_"
_LIMITS = ("allow_gather", "allow_scatter")
_KNOWN = frozenset(_PREFIX + n for n in ("on", "key", "table", "timeout", "snapshot", *_LIMITS))
_NOTHING = nullcontext()
#: Of named cursors, whose names are each session's own.
_NUMBERS = count(1)


class ExecutionContext(PGExecutionContext_psycopg2):
    """One execution: its cursor is made as the execution options say."""

    def create_default_cursor(self) -> Any:
        """A cursor on the shards that were named."""
        return self._made(None)

    def create_server_side_cursor(self) -> Any:
        """The same on their servers."""
        return self._made(f"gs_{next(_NUMBERS)}")

    def _made(self, name: str | None) -> Any:
        connection: Any = self._dbapi_connection.dbapi_connection
        told = _told(self.execution_options)
        if not told:
            return connection.cursor(name)
        where = connection
        if "on" in told:
            where = connection.on(told["on"])
        elif "key" in told:
            where = connection.on(key=told["key"], table=told.get("table"))
        cursor = where.cursor(name)
        if "timeout" in told:
            cursor.timeout = told["timeout"]
        return cursor


def _told(options: Any) -> dict[str, Any]:
    """Those of the execution options that are greenshard's, without the prefix.

    Raises:
        greenshard.ProgrammingError: One is called so, and there is none.
    """
    told = {name: value for name, value in options.items() if name.startswith(_PREFIX)}
    for name in told.keys() - _KNOWN:
        near = get_close_matches(name, _KNOWN, 1)
        meant = f"; is {near[0]} meant?" if near else ""
        raise unusable(f"there is no execution option {name}{meant}")
    return {name.removeprefix(_PREFIX): value for name, value in told.items()}


def limits_of(context: Any) -> AbstractContextManager[None]:
    """A block in which a statement's connection has the limits that its options tell."""
    options = {} if context is None else context.execution_options
    limits = {name: options[at] for name in _LIMITS if (at := _PREFIX + name) in options}
    return _limited(context._dbapi_connection.dbapi_connection, limits) if limits else _NOTHING


@contextmanager
def _limited(connection: Any, limits: dict[str, bool]) -> Iterator[None]:
    before = {name: getattr(connection, name) for name in limits}
    _set(connection, limits)
    try:
        yield
    finally:
        _set(connection, before)


def _set(connection: Any, limits: dict[str, bool]) -> None:
    for name, value in limits.items():
        setattr(connection, name, value)
