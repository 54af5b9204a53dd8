"""Connections of any PEP 249 driver as one, with a thread for each of their calls.

gevent cannot let other drivers wait cooperatively. Each call starts a thread for each connection
and leaves none behind, so that there is nothing to end, and any thread of the program may call.
Starting them costs 0.1 ms for each connection.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from greenshard import _green, errors
from greenshard.parallel.cursor import ThreadsCursor

#: How long, in seconds, a timed out or killed caller waits for its threads.
_GRACE_S = 5.0
#: Between two requests to interrupt, in seconds: one before the statement begins has no effect.
_INTERRUPT_S = 0.05


@dataclass(slots=True, eq=False)
class _Task:
    """A call in a thread. It does not raise: gevent would print the traceback."""

    call: Callable[[], Any]
    result: Any = None
    error: BaseException | None = None
    ended: bool = False

    def __call__(self) -> None:
        try:
            self.result = self.call()
        except BaseException as exc:
            self.error = exc
        self.ended = True


class Threads:
    """The connections, used by one greenlet at a time."""

    def __init__(self, connections: Sequence[Any]) -> None:
        self.connections = connections
        self.closed = False
        self._tasks: Sequence[_Task] = ()
        self._taken = _green.NativeLock()

    @property
    def running(self) -> bool:
        """Whether a call waits, or has left a thread behind."""
        return not all(task.ended for task in self._tasks)

    def cursor(self, *args: Any, **kwargs: Any) -> ThreadsCursor:
        calls = [partial(connection.cursor, *args, **kwargs) for connection in self.connections]
        return ThreadsCursor(self, self.run(calls))

    def commit(self) -> None:
        self.run([connection.commit for connection in self.connections])

    def rollback(self) -> None:
        self.run([connection.rollback for connection in self.connections])

    def close(self) -> None:
        try:
            self.run([connection.close for connection in self.connections])
        finally:
            self.closed = not self.running

    def release(self) -> None:
        """End the use of the connections, leaving them open."""
        with self.taken():
            self.closed = True

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Hold the connections for a call; see `Session.taken`."""
        if not self._taken.acquire(False):
            raise busy("the connections are busy in another greenlet or thread")
        try:
            late = [f"s{n}" for n, task in enumerate(self._tasks) if not task.ended]
            if late:
                raise busy(f"a call that was timed out or killed still runs on {', '.join(late)}")
            yield
        finally:
            self._taken.release()

    def run(self, calls: Sequence[Callable[[], Any]]) -> list[Any]:
        """Run each connection's call in a thread, and wait for all; returns their results.

        Raises:
            Exception: What the first of them raised that failed.
            BaseException: A ``gevent.Timeout`` or kill from outside.

        Switches: yes.
        """
        with self.taken():
            if self.closed:
                raise errors.InterfaceError("connection already closed")
            self._tasks = tasks = [_Task(call) for call in calls]
            self._run(tasks)
        failures = {f"s{n}": task.error for n, task in enumerate(tasks) if task.error is not None}
        if failures:
            raise _named(failures, len(tasks))
        return [task.result for task in tasks]

    def _run(self, tasks: Sequence[_Task]) -> None:
        done = _green.Event()

        def look(_: object) -> None:
            if all(task.ended for task in tasks):
                done.set()

        pool = _green.ThreadPool(len(tasks))
        try:
            for task in tasks:
                pool.spawn(task).rawlink(look)
            done.wait()
        except BaseException as exc:
            raise self._stopped(done, exc) from None
        finally:
            pool.maxsize = 0  # its threads end

    def _stopped(self, done: _green.Event, arrived: BaseException) -> BaseException:
        """Wait a while for the threads; returns the gravest of what arrived from outside."""
        end = time.monotonic() + _GRACE_S
        while self.running and time.monotonic() < end:
            for task, connection in zip(self._tasks, self.connections, strict=True):
                if not task.ended:
                    with suppress(Exception):
                        connection.interrupt()
            another = _green.wait_through(done, _INTERRUPT_S)
            arrived = _green.graver(arrived, another) or arrived
        return arrived


def busy(message: str) -> errors.ProgrammingError:
    """The error of a call that would disturb another."""
    return errors.ProgrammingError(
        message, code="GS302", hint="Give each greenlet connections of its own, or wait."
    )


def _named(failures: Mapping[str, BaseException], total: int) -> BaseException:
    """The first of `failures`, which tells where it happened."""
    shard, error = next(iter(failures.items()))
    told: Any = error
    with suppress(AttributeError):  # an exception without a __dict__
        told.shard = shard
        told.failures = failures if len(failures) > 1 else {}
        # What add_note does, which Python 3.10 has not.
        note = f"greenshard: {len(failures)} of {total} connections failed: {', '.join(failures)}"
        told.__notes__ = [*getattr(told, "__notes__", ()), note]
    return error
