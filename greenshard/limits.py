"""What psycopg2 cannot do with cooperative connections, refused with what to use instead."""

from __future__ import annotations

from typing import Any, NoReturn

from greenshard import errors
from greenshard._driver import Replication


class NotCooperativeError(errors.NotSupportedError, errors.ProgrammingError):
    """psycopg2 cannot do it with a wait callback; its own error for that is a ProgrammingError."""


def refuse_copy() -> NoReturn:
    """Refuse COPY from or to the client.

    Raises:
        errors.NotSupportedError: Always.
    """
    raise _not_cooperative(
        "COPY is not possible",
        "Load with executemany, or execute_values on one shard; or COPY over a plain connection "
        "to the shard in a process without a wait callback (psql's \\copy, say). "
        "Read large results with a named cursor.",
    )


def refuse_large_objects() -> NoReturn:
    """Refuse large objects.

    Raises:
        errors.NotSupportedError: Always.
    """
    raise _not_cooperative(
        "large objects are not possible",
        "Call the server's functions (lo_get, lo_put, lo_from_bytea), or use bytea.",
    )


def refuse_replication(factory: Any) -> None:
    """Refuse psycopg2's classes for the replication protocol.

    Raises:
        errors.NotSupportedError: `factory` is one of them.
    """
    if isinstance(factory, type) and issubclass(factory, Replication):
        raise _not_cooperative(
            "replication is not possible",
            "Use psycopg2 itself, in a process without a wait callback.",
        )


def refuse_async() -> NoReturn:
    """Refuse an asynchronous connection over several shards.

    Raises:
        errors.NotSupportedError: Always.
    """
    raise errors.NotSupportedError(
        "an asynchronous connection works over one shard only, named by its connection string",
        code="GS403",
        hint="Every call waits cooperatively already: use greenlets instead of poll().",
    )


def _not_cooperative(message: str, hint: str) -> NotCooperativeError:
    return NotCooperativeError(f"{message} with cooperative connections", code="GS402", hint=hint)
