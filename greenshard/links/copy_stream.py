"""COPY from and to the client, in green waits: what psycopg2 cannot do with a wait callback.

psycopg2 sends ``COPY t FROM STDIN`` as any statement, and waits. In that wait (`_driver.copiers`),
when the server has answered that it is ready for the rows, they are sent here, by libpq's own
functions; then psycopg2 goes on waiting, and reads how the COPY has ended. So BEGIN before it, the
row count, notices and errors are psycopg2's own affair, as of any statement.

What must never happen is that a COPY ends well of which only a part was sent, or that something is
left in the connection which a later statement would read:

- a COPY FROM that cannot go on tells the server so, and fails there;
- a COPY TO that cannot go on is cancelled, and what still comes is read past.

The program's file may let other greenlets run, too. What arrives meanwhile ends the COPY likewise.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from io import TextIOBase
from typing import Any

from greenshard import _green
from greenshard._driver import DriverError, copiers, keepers, python_encoding, wait_as_ours
from greenshard._libpq import (
    CopyMode,
    consume_input,
    copy_mode,
    flush,
    get_copy_data,
    put_copy_data,
    put_copy_end,
)
from greenshard.links.physical import Physical

#: So much is sent, or given to the file, before other greenlets have their turn, in bytes.
_TURN_BYTES = 1 << 18
#: Rows are given to the file together as far as they are there, up to so many bytes.
_PIECE_BYTES = 1 << 16
#: Not 0: then gevent looks at timers and sockets only once in 50 times.
_PAUSE_S = 0.0001


#: Where a COPY FROM STDIN has its rows from: gives the next piece, empty at the end. It may wait.
Reads = Callable[[], bytes]
#: Where a COPY TO STDOUT puts its rows: takes some, and none at the end. It may wait.
Writes = Callable[[list[bytes]], None]


class _Stopped(_green.GreenletExit):
    """The COPY has failed elsewhere: what the program's file is waiting for is of no use."""


class ClientCopy:
    """One COPY from or to the client, on one connection.

    What `read` raises is the reason why a COPY FROM fails at the server, and is told as psycopg2
    does: by the server's error, whose cause it is. What `write` raises is raised.

    Args:
        physical: The connection.
        grace_s: How long a server may take to see a request to cancel.
        read: Gives the rows of a COPY FROM.
        write: Takes those of a COPY TO.
    """

    def __init__(self, physical: Physical, grace_s: float, read: Reads, write: Writes) -> None:
        self._physical = physical
        self._grace_s = grace_s
        self._read = read
        self._write = write
        #: What the program's file has raised.
        self._error: BaseException | None = None
        self._stopping = False
        self._ended = False
        #: The greenlet that is in a method of the program's, while it is there.
        self._outside: Any = None
        self._turn_bytes = 0
        #: Set when our own request to cancel is over; None while there is none.
        self._cancelled: _green.Event | None = None

    def run(self, call: Callable[[], object]) -> None:
        """Run the call that executes the COPY; what is none runs all the same.

        Raises:
            BaseException: What the program's file has raised.
            DriverError: As for any statement.

        Switches: yes.
        """
        raw = self._physical.raw
        copiers[id(raw)] = self._copy
        self._physical.stop_copy = self.stop
        try:
            call()
            # Only now is it known that these were all: an error ends the rows, too.
            if self._ended:
                self._give([], 0)
        except DriverError as error:
            # Of our own request to cancel nobody is told, but why it was made.
            if self._cancelled is None:
                if self._error is not None and error.__cause__ is None:
                    error.__cause__ = self._error
                raise
        finally:
            self._physical.stop_copy = None
            del copiers[id(raw)]
        if self._error is not None:
            raise self._error

    def stop(self) -> None:
        """Let the COPY fail, from another greenlet of this thread: its server was asked to."""
        if not self._stopping:
            self._stopping = True
            _green.soon(self._leave_file)

    def _leave_file(self) -> None:
        if self._outside is not None:
            self._outside.throw(_Stopped)

    def _copy(self) -> bool:
        """Do what is to be done in the wait; false if the statement is no COPY, or over.

        Raises:
            BaseException: The connection is to be closed.
        """
        mode = copy_mode(self._physical.raw)
        if mode is CopyMode.IN:
            self._send()
        elif mode is CopyMode.OUT:
            self._receive()
        return mode is not None

    def _send(self) -> None:
        raw = self._physical.raw
        while not self._stopping:
            data = self._in_file(self._read)
            if data is None:
                break
            if not data:
                put_copy_end(raw, None)
                self._flush()
                return
            if not (put_copy_data(raw, data) and self._flush()):
                return  # psycopg2 says what has become of the connection
            self._let_others(len(data))
        put_copy_end(raw, self._reason())
        self._flush()

    def _reason(self) -> bytes:
        if self._error is None:
            return b"the statement was stopped"
        told = f"error in .read() call: {type(self._error).__name__} {self._error}"
        encoding = python_encoding(self._physical.raw)
        return told.encode(encoding, "replace").replace(b"\0", b"?")

    def _flush(self) -> bool:
        """Wait until the server has taken what is to be sent; false if the connection is lost."""
        raw = self._physical.raw
        while not (sent := flush(raw)):
            if sent is None:
                return False
            # A server that cannot get rid of its notices does not read either.
            self._wait(_green.wait_readwrite)
            if not consume_input(raw):
                return False
        return True

    def _receive(self) -> None:
        raw = self._physical.raw
        rows: list[bytes] = []
        size = 0
        while (row := get_copy_data(raw)) is not None:
            if row:
                rows.append(row)
                size += len(row)
            if size >= _PIECE_BYTES or (rows and not row):
                self._give(rows, size)
                rows, size = [], 0
            if not row:
                self._wait(_green.wait_read)
                if not consume_input(raw):
                    break  # psycopg2 says what has become of the connection
        else:
            if rows:
                self._give(rows, size)
        self._ended = True
        self._await_cancel()

    def _give(self, rows: list[bytes], size: int) -> None:
        if self._stopping:
            return  # what still comes is read past
        self._in_file(partial(self._write, rows))
        if self._error is not None and not self._ended:
            self._cancel()
        self._let_others(size)

    def _cancel(self) -> None:
        """Have the server stop."""
        self._stopping = True
        self._cancelled = _green.Event()
        _green.work(None, self._cancel_aside, self._cancelled)

    def _cancel_aside(self, done: _green.Event) -> None:
        try:
            self._physical.cancel_while(lambda: not self._ended)
        except Exception:  # the server cannot be reached; the wait for its answer tells it
            return
        finally:
            done.set()

    def _await_cancel(self) -> None:
        """Wait until no request to cancel is under way, which could hit a later statement."""
        if self._cancelled is not None:
            arrived = _green.wait_through(self._cancelled, self._grace_s)
            keep = keepers.get(id(self._physical.raw))
            if arrived is not None and (keep is None or not keep(arrived)):
                raise arrived
            if not self._cancelled.is_set():
                raise _Stopped

    def _in_file(self, call: Callable[[], bytes | None]) -> bytes | None:
        """Call a method of the program's; None if it did not end, see `_error`."""
        self._outside = _green.current()
        try:
            return call()
        except _Stopped:
            self._stopping = True
        except Exception as error:
            self._error = error
        except BaseException as arrived:
            # As in a wait for the server: it is kept until that has answered, or the connection
            # must be closed.
            keep = keepers.get(id(self._physical.raw))
            if keep is None or not keep(arrived):
                raise
            self._stopping = True
        finally:
            self._outside = None
        return None

    def _wait(self, wait: Callable[[int], Any]) -> None:
        self._turn_bytes = 0  # others have their turn
        wait_as_ours(self._physical.raw, wait)

    def _let_others(self, count: int) -> None:
        """Let other greenlets run now and then, also if server and file are never waited for."""
        self._turn_bytes += count
        if self._turn_bytes >= _TURN_BYTES:
            self._wait(lambda _: _green.sleep(_PAUSE_S))


def reading(file: Any, size: int, encoding: str) -> Reads:
    """What reads a program's file as psycopg2 does.

    Args:
        file: Its ``read(size)`` gives text or bytes.
        size: What it is asked for.
        encoding: Python's name of the connection's.
    """

    def read() -> bytes:
        data = file.read(size)
        if isinstance(data, str):
            return data.encode(encoding)
        if not isinstance(data, bytes):
            raise TypeError(f"read() gave {type(data).__name__}, neither str nor bytes")
        return data

    return read


def writing(file: Any, encoding: str) -> Callable[[bytes], None]:
    """What writes to a program's file as psycopg2 does.

    Args:
        file: Its ``write`` takes text if it is an `io.TextIOBase`, else bytes.
        encoding: Python's name of the connection's.
    """
    is_text = isinstance(file, TextIOBase)

    def write(data: bytes) -> None:
        file.write(data.decode(encoding) if is_text else data)

    return write
