"""What psycopg2 cannot do with cooperative connections, refused with what to use instead."""

from __future__ import annotations

from typing import Any, NoReturn

from greenshard import errors
from greenshard._driver import Replication


class NotCooperativeError(errors.NotSupportedError, errors.ProgrammingError):
    """psycopg2 cannot do it with a wait callback; its own error for that is a ProgrammingError."""


def refuse_copy() -> NoReturn:
    """Refuse COPY from or to the client where there is no file to read or write.

    Raises:
        errors.NotSupportedError: Always.
    """
    raise _not_done(
        "execute() has no file for COPY from or to the client",
        "Use cursor.copy_expert(sql, file), copy_from(file, table) or copy_to(file, table).",
    )


def refuse_foreign_callback() -> NoReturn:
    """Refuse COPY where the program has set a wait callback of its own.

    Raises:
        errors.NotSupportedError: Always.
    """
    raise _not_done(
        "COPY from or to the client needs greenshard's own wait callback, and the program has set "
        "another one (psycopg2.extensions.set_wait_callback)",
        "Leave the callback to greenshard; or use executemany, and named cursors.",
    )


def refuse_named_copy() -> NoReturn:
    """Refuse COPY with a cursor whose rows would stay on the server.

    Raises:
        errors.NotSupportedError: Always.
    """
    raise _not_done("a named cursor cannot COPY", "Use a cursor without a name.")


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
    return _not_done(f"{message} with cooperative connections", hint)


def _not_done(message: str, hint: str) -> NotCooperativeError:
    return NotCooperativeError(message, code="GS402", hint=hint)
