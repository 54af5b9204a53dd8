"""What psycopg2 lacks of libpq: cancelling, why connecting failed, how large a result is."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from greenshard import _green
from greenshard._driver import LIBPQ_VERSION, LIBRARY, Attribute, RawConnection, RawCursor

_pgconn_ptr = Attribute(RawConnection, "pgconn_ptr")
_pgresult_ptr = Attribute(RawCursor, "pgresult_ptr")
# PostgresPollingStatusType
_READING, _WRITING = 1, 2
# PGVerbosity
_DEFAULT, _VERBOSE = 1, 2


class _Parameter(ctypes.Structure):
    """PQconninfoOption."""

    _fields_ = (
        ("keyword", ctypes.c_char_p),
        ("envvar", ctypes.c_char_p),
        ("compiled", ctypes.c_char_p),
        ("val", ctypes.c_void_p),
        ("label", ctypes.c_char_p),
        ("dispchar", ctypes.c_char_p),
        ("dispsize", ctypes.c_int),
    )


def _functions() -> Any:
    """The libpq that psycopg2 is linked with, found through it."""
    libpq = ctypes.CDLL(LIBRARY)
    try:
        libpq.PQcancelCreate.argtypes = [ctypes.c_void_p]
        libpq.PQcancelCreate.restype = ctypes.c_void_p
        for function in (
            libpq.PQcancelStart, libpq.PQcancelPoll, libpq.PQcancelSocket, libpq.PQcancelFinish,
        ):  # fmt: skip
            function.argtypes = [ctypes.c_void_p]
        libpq.PQsetErrorVerbosity.argtypes = [ctypes.c_void_p, ctypes.c_int]
        for function in (libpq.PQerrorMessage, libpq.PQhost, libpq.PQhostaddr, libpq.PQport):
            function.argtypes, function.restype = [ctypes.c_void_p], ctypes.c_char_p
        libpq.PQconndefaults.restype = ctypes.POINTER(_Parameter)
        libpq.PQconninfoFree.argtypes = [ctypes.POINTER(_Parameter)]
        libpq.PQresultMemorySize.argtypes = [ctypes.c_void_p]
        libpq.PQresultMemorySize.restype = ctypes.c_size_t
    except AttributeError:
        raise ImportError(
            "greenshard needs a psycopg2 that is built with libpq 17 or newer, which can cancel a "
            f"query without blocking the process; this one has libpq {LIBPQ_VERSION // 10000}. "
            "psycopg2-binary 2.9.11 and newer have 17."
        ) from None
    return libpq


_libpq = _functions()


def parameter_names() -> list[str]:
    """What libpq's parameters are called that a connection string may have."""
    names = []
    if found := _libpq.PQconndefaults():
        for parameter in found:
            if parameter.keyword is None:
                break
            names.append(parameter.keyword.decode("ascii"))
        _libpq.PQconninfoFree(found)
    return names


def request_cancel(raw: RawConnection) -> None:
    """Ask the server to cancel what it runs for a connection, if it can be reached.

    psycopg2's own ``cancel`` blocks the process until the server has answered. This request goes to
    the address connected to, encrypted if the connection is, and takes no session there. A pooler
    like PgBouncer passes it on.

    When this returns the request cannot hit a later statement: the server signals its process
    before it answers, and a process sees a signal before anything that is sent to it later.

    Switches: yes. Cost: a network connection.
    Source: PostgreSQL manual, 32.7 "Canceling Queries in Progress"; ``processCancelRequest`` in
    the server's source.
    """
    if not (address := _pgconn_ptr.read(raw)):
        return
    request = _libpq.PQcancelCreate(address)
    try:
        polled = _WRITING if _libpq.PQcancelStart(request) else None
        while polled in {_READING, _WRITING}:
            wait = _green.wait_read if polled == _READING else _green.wait_write
            wait(_libpq.PQcancelSocket(request))
            polled = _libpq.PQcancelPoll(request)
    finally:
        _libpq.PQcancelFinish(request)


@contextmanager
def whole_errors(raw: RawConnection) -> Iterator[None]:
    """Within this, connecting: a server's refusal comes with its SQLSTATE, for `last_error`.

    libpq gives an error of connecting as text only, and leaves the code out of it unless told
    otherwise; that can be told once it has begun, so by a greenlet that runs in its first wait.
    """

    def tell() -> None:
        if address := _pgconn_ptr.read(raw):
            _libpq.PQsetErrorVerbosity(address, _VERBOSE)

    told = _green.soon(tell)
    try:
        yield
    finally:
        told.stop()
        if address := _pgconn_ptr.read(raw):
            _libpq.PQsetErrorVerbosity(address, _DEFAULT)


def last_error(raw: RawConnection) -> bytes:
    """libpq's message, in whatever encoding it came; psycopg2 cannot read all of them."""
    address = _pgconn_ptr.read(raw)
    return (address and _libpq.PQerrorMessage(address)) or b""


def result_bytes(cursor: RawCursor) -> int:
    """How much memory libpq takes for the result that a cursor has; 0 if it has none.

    Cost: 0.6 us.
    """
    address = _pgresult_ptr.read(cursor)
    return int(_libpq.PQresultMemorySize(address)) if address else 0


def server_tried(raw: RawConnection) -> tuple[str, str, str]:
    """Host, address and port of the server that connecting has come to, as libpq tells them."""
    address = _pgconn_ptr.read(raw)
    told = (_libpq.PQhost, _libpq.PQhostaddr, _libpq.PQport)
    host, ip, port = (((address and ask(address)) or b"").decode("latin-1") for ask in told)
    return host, ip, port
