"""The only door to gevent: greenlets, waiting, name resolution, a thread pool.

Works with and without ``gevent.monkey.patch_all()``; in plain threads each thread has its own hub.
"""

from __future__ import annotations

import os
import select
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import gevent
import gevent.exceptions
import greenlet
from gevent import monkey
from gevent._hub_local import get_hub_if_exists
from gevent.event import Event
from gevent.socket import AF_UNSPEC, SOCK_STREAM, getaddrinfo, wait_read, wait_readwrite, wait_write
from gevent.threadpool import ThreadPool

_Result = TypeVar("_Result")

GreenletExit = gevent.GreenletExit
#: Raised by what would wait in the hub, which cannot.
BlockingSwitchOutError = gevent.exceptions.BlockingSwitchOutError
#: Start a function in a greenlet of the current hub. It must not raise.
spawn = gevent.spawn
sleep = gevent.sleep
current = gevent.getcurrent
#: How often, in seconds, to look for what gives no signal.
LOOK_S = 0.005

#: The thread's id, also where gevent has patched ``threading``.
thread_id: Callable[[], int] = monkey.get_original("_thread", "get_ident")

__all__ = [
    "Event", "GreenletExit", "NativeLocal", "NativeLock", "ThreadPool", "wait_read",
    "wait_readwrite", "wait_write",
]  # fmt: skip

#: A lock of the operating system's threads, also where gevent has patched ``threading``. It is only
#: waited for where whoever holds it lets no other greenlet run; else it is only tried.
NativeLock: Callable[[], Any] = monkey.get_original("_thread", "allocate_lock")

#: What each of the operating system's threads has of its own, also where gevent has patched that.
if TYPE_CHECKING:
    NativeLocal = threading.local
else:
    NativeLocal = monkey.get_original("_thread", "_local")

_of_thread: Any = NativeLocal()
# gevent's patch gives the main thread another ident, by which its hub would be ended: the process
# would then hang in its exit.
_MAIN_THREAD = (
    thread_id()
    if threading.current_thread() is threading.main_thread()
    else threading.main_thread().ident
)


class _Hub:
    """A thread's hub, which ends with the thread; gevent would leave its descriptors open."""

    def __init__(self) -> None:
        self._hub = gevent.get_hub()

    def __del__(self) -> None:
        if self._hub.loop is not None:  # else the program has destroyed it
            self._hub.destroy(destroy_loop=True)


def enter_thread() -> None:
    """Let a plain thread's hub end with the thread, unless the program made the hub itself."""
    if get_hub_if_exists() is None and thread_id() != _MAIN_THREAD:
        _of_thread.hub = _Hub()


class Worker(greenlet.greenlet):
    """A greenlet that runs one function after the other, and is parked in between.

    A new greenlet costs 10 us, most of it in the kernel: Python (3.11 and later) maps memory for
    its frames when it begins and unmaps it when it ends. A parked one costs 1 us. It ends when its
    last reference goes.
    """

    parked = False
    stopped = False

    @property
    def is_here(self) -> bool:
        """Whether it runs in this thread."""
        return self.parent is gevent.get_hub()

    def stop(self) -> None:
        """Let the function that it runs raise ``GreenletExit``; does not wait for it.

        It is not used again: the exception may arrive when that function has just ended, and must
        not reach another one.
        """
        self.stopped = True
        hub: Any = self.parent
        if self.is_here:
            hub.loop.run_callback(self.throw, GreenletExit)
        elif hub.loop is not None:  # else its thread has ended, and nothing of it runs any more
            hub.loop.run_callback_threadsafe(self.throw, GreenletExit)


def from_any_thread() -> Callable[[Callable[[], object]], object]:
    """What lets the hub of this thread call a function soon; itself called from any thread."""
    return gevent.get_hub().loop.run_callback_threadsafe


def after(seconds: float, function: Callable[[], object]) -> Any:
    """Let the hub call a function in some time, unless what is returned is closed before."""
    timer = gevent.get_hub().loop.timer(seconds)
    # The loop's clock stood still since this greenlet began to run: it would end too soon.
    timer.start(function, update=True)
    return timer


def every(seconds: float, function: Callable[[], object]) -> Any:
    """Let the hub call a function again and again, until what is returned is closed.

    It must not raise. No program goes on only for it.
    """
    timer = gevent.get_hub().loop.timer(seconds, seconds, ref=False)
    timer.start(function, update=True)
    return timer


def work(worker: Worker | None, function: Callable[[Any], object], argument: Any) -> Worker:
    """Run ``function(argument)``, which must not raise, in `worker` or else in a new one."""
    hub = gevent.get_hub()
    if worker is None or not worker.parked or worker.parent is not hub:
        worker = Worker(_serve, hub)
    worker.parked = False
    hub.loop.run_callback(worker.switch, [(function, argument)])
    return worker


def _serve(todo: list[tuple[Callable[[Any], object], Any]]) -> None:
    # A parked worker must keep nothing alive, least of all itself: it would never be freed. Hence
    # the list, which is emptied: greenlet holds the first arguments as long as this runs.
    hub: Any = gevent.get_hub()
    while True:
        function, argument = todo.pop()
        function(argument)
        del function, argument, todo
        if not _park(gevent.getcurrent()):
            return
        todo = hub.switch()


def _park(worker: Any) -> bool:
    worker.parked = not worker.stopped
    return bool(worker.parked)


def soon(function: Callable[[], object]) -> Any:
    """Run a function as soon as this greenlet waits, unless what is returned is stopped before."""
    return gevent.get_hub().loop.run_callback(function)


def in_thread(function: Callable[[], _Result]) -> _Result:
    """Run a function in a thread of gevent's pool, and wait for it.

    Other greenlets run meanwhile, though it computes: Python lets its threads take turns, of 5 ms.

    Switches: yes. What arrives from outside is raised at once; the function then runs to its end,
    and nobody learns how.
    """

    def call() -> tuple[Any, BaseException | None]:
        # What a thread of the pool raises would be printed, too.
        try:
            return function(), None
        except BaseException as error:
            return None, error

    result, error = gevent.get_hub().threadpool.apply(call)
    if error is not None:
        raise error
    return result  # type: ignore[no-any-return]


def raise_in_main(error: BaseException) -> None:
    """Raise in the main greenlet, from a handler of a signal.

    Another greenlet may be the one that the signal has interrupted: the hub, or one that works for
    a shard, to which it would be that shard's failure.
    """
    hub: Any = get_hub_if_exists()
    if hub is None or gevent.getcurrent() is hub.parent:
        raise error
    hub.loop.run_callback(hub.parent.throw, error)


@contextmanager
def interrupted(judge: Callable[[], BaseException | None], every_s: float) -> Iterator[None]:
    """Within this, in one greenlet that waits: what `judge` returns, when it does, is raised.

    Args:
        judge: Called in the hub; it must not raise.
        every_s: How often, in seconds.
    """
    me = gevent.getcurrent()
    timer = gevent.get_hub().loop.timer(every_s, every_s)

    def look() -> None:
        if (error := judge()) is not None:
            timer.stop()
            me.throw(error)

    timer.start(look)
    try:
        yield
    finally:
        timer.stop()
        timer.close()


def resolve(host: str) -> list[str]:
    """The addresses of a host name, in the resolver's order.

    Raises:
        OSError: The name cannot be resolved.
        UnicodeError: It cannot be a name. (In a thread of the resolver this would be printed.)

    Switches: yes; gevent's resolver does the look-up.
    """
    host.encode("idna")
    found = getaddrinfo(host, None, AF_UNSPEC, SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


#: Let the thread sleep, and with it its greenlets.
native_sleep: Callable[[float], None] = monkey.get_original("time", "sleep")


def at_most(seconds: float) -> Any:
    """Within this, in one greenlet, time is limited; the block then just ends."""
    return gevent.Timeout(seconds, False)  # type: ignore[arg-type]  # False: it raises nothing


def start_thread(function: Callable[..., object], *arguments: Any) -> None:
    """Run a function in a thread of the operating system, also where gevent has patched that."""
    _start_new_thread(function, arguments)


_start_new_thread: Callable[..., Any] = monkey.get_original("_thread", "start_new_thread")


def with_news(descriptors: Iterable[int]) -> list[int]:
    """The descriptors on which there is something to read, or the other side has closed."""
    poll = _poll()
    for descriptor in descriptors:
        poll.register(descriptor, select.POLLIN)
    return [descriptor for descriptor, _ in poll.poll(0)]


_poll: Callable[[], Any] = monkey.get_original("select", "poll")


def wait_end(fd: int, timeout_s: float) -> None:
    """Wait until the other side has closed a connection, reading past what it still sends.

    Args:
        fd: Of its socket.
        timeout_s: Seconds; then, or when the connection fails, this returns too.

    Switches: yes.
    """
    os.set_blocking(fd, False)
    end = time.monotonic() + timeout_s
    with suppress(OSError):
        while (left := end - time.monotonic()) > 0:
            wait_read(fd, left)
            if not os.read(fd, 8192):
                return


def wait_through(event: Event, timeout_s: float) -> BaseException | None:
    """Wait for `event` at most `timeout_s` seconds, through timeouts and kills of the caller.

    Clean-up must end even if a second ``gevent.Timeout`` or a kill arrives meanwhile: leaving
    would abandon a connection in the middle of the protocol. What arrived is returned, for the
    caller to raise afterwards; a kill wins over a ``gevent.Timeout``, which is the less final.
    """
    arrived: BaseException | None = None
    end = time.monotonic() + timeout_s
    while True:
        try:
            event.wait(max(0.0, end - time.monotonic()))
            return arrived
        except BaseException as exc:
            arrived = graver(arrived, exc)


def graver(first: BaseException | None, second: BaseException | None) -> BaseException | None:
    """Of two exceptions that arrived from outside, the one to be raised; see `raise_arrived`.

    That is a kill; of two ``gevent.Timeout``, the later one.
    """
    if first is None or second is None or first is second:
        return first or second
    if isinstance(first, gevent.Timeout) or (kills(second) and not kills(first)):
        first, second = second, first
    behind = first.__dict__.setdefault(_BEHIND, [])
    behind += [second, *second.__dict__.pop(_BEHIND, ())]
    return first


def raise_arrived(arrived: BaseException) -> NoReturn:
    """Raise what arrived from outside; what `graver` has put behind it follows at the next wait.

    It would be lost otherwise, and an outer ``gevent.Timeout`` end nothing any more that an inner
    one has let go on. Not what is over by then, and not an exception of the program's own: its
    block may have been left.
    """
    me: Any = gevent.getcurrent()
    for each in arrived.__dict__.pop(_BEHIND, ()):
        if not isinstance(each, Exception):
            soon(partial(_throw, me, each))
    raise arrived


def _throw(receiver: Any, error: BaseException) -> None:
    closed = isinstance(error, gevent.Timeout) and error.timer is _CLOSED
    if not (receiver.dead or closed):
        receiver.throw(error)


def kills(error: BaseException) -> bool:
    """Whether an exception that arrived from outside is to end the greenlet, or the program."""
    return not isinstance(error, (Exception, gevent.Timeout))


_BEHIND = "_greenshard_behind"
#: What stands for the timer of a ``gevent.Timeout`` whose block was left.
_CLOSED: Any = gevent.Timeout(None).timer
