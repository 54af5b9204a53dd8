"""What psycopg2 lacks of libpq: cancelling, COPY, why connecting failed, how large a result is."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from typing import Any

from greenshard import _green
from greenshard._driver import LIBPQ_VERSION, LIBRARY, Attribute, RawConnection, RawCursor

_pgconn_ptr = Attribute(RawConnection, "pgconn_ptr")
_pgresult_ptr = Attribute(RawCursor, "pgresult_ptr")
# PostgresPollingStatusType
_READING, _WRITING = 1, 2
# PGVerbosity
_DEFAULT, _VERBOSE = 1, 2
# PGTransactionStatusType: a command is in progress.
_ACTIVE = 1
# ExecStatusType
_COPY_OUT, _COPY_IN = 3, 4


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
        for function in (libpq.PQtransactionStatus, libpq.PQflush, libpq.PQconsumeInput):
            function.argtypes = [ctypes.c_void_p]
        libpq.PQgetResult.argtypes, libpq.PQgetResult.restype = [ctypes.c_void_p], ctypes.c_void_p
        for function in (libpq.PQclear, libpq.PQresultStatus, libpq.PQfreemem):
            function.argtypes = [ctypes.c_void_p]
        libpq.PQputCopyData.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int]
        libpq.PQputCopyEnd.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
        libpq.PQgetCopyData.argtypes = [
            ctypes.c_void_p, ctypes.POINTER(ctypes.c_void_p), ctypes.c_int,
        ]  # fmt: skip
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


class CopyMode(Enum):
    """What a connection is in after the answer to a COPY from or to the client."""

    IN = _COPY_IN
    OUT = _COPY_OUT


def copy_mode(raw: RawConnection) -> CopyMode | None:
    """What a connection is in that has an answer; None if its statement has ended."""
    address = _pgconn_ptr.read(raw)
    if not address or _libpq.PQtransactionStatus(address) != _ACTIVE:
        return None
    # In this mode libpq makes a result for whoever asks, as often as it is asked.
    result = _libpq.PQgetResult(address)
    status = _libpq.PQresultStatus(result)
    _libpq.PQclear(result)
    return CopyMode(status)


def put_copy_data(raw: RawConnection, data: bytes) -> bool:
    """Take a piece of what COPY reads, to be sent by `flush`; false if the connection is lost."""
    return bool(_libpq.PQputCopyData(_pgconn_ptr.read(raw), data, len(data)) == 1)


def put_copy_end(raw: RawConnection, error: bytes | None) -> bool:
    """Take the end of what COPY reads; false if the connection is lost.

    Args:
        raw: The connection.
        error: Why COPY shall fail, in the connection's encoding; None if that was all.
    """
    return bool(_libpq.PQputCopyEnd(_pgconn_ptr.read(raw), error) == 1)


def flush(raw: RawConnection) -> bool | None:
    """Send what was taken; false if the server must take some of it first, None if it is lost."""
    left = _libpq.PQflush(_pgconn_ptr.read(raw))
    return None if left < 0 else left == 0


def consume_input(raw: RawConnection) -> bool:
    """Read what has come from the server; false if the connection is lost."""
    return bool(_libpq.PQconsumeInput(_pgconn_ptr.read(raw)))


def get_copy_data(raw: RawConnection) -> bytes | None:
    """What COPY has written next, a row: `b""` if it must come first, None if that was all."""
    found = ctypes.c_void_p()
    length = _libpq.PQgetCopyData(_pgconn_ptr.read(raw), ctypes.byref(found), 1)
    if length <= 0:
        return None if length < 0 else b""
    try:
        return ctypes.string_at(found, length)
    finally:
        _libpq.PQfreemem(found)
