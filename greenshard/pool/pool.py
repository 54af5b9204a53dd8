"""The pool that applications use."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from greenshard import arguments, errors
from greenshard._driver import DriverError, RawConnection, make_cooperative
from greenshard.cluster import Cluster
from greenshard.connect_arguments import OpeningArguments
from greenshard.dbapi import check_names, read_opening
from greenshard.events import ConnectionTaken, Listener, tell
from greenshard.pool.policy import Policy
from greenshard.pool.pooled import PooledConnection
from greenshard.pool.process import Process
from greenshard.pool.stats import PoolStats
from greenshard.pool.supply import Supply, open_chore
from greenshard.retrying import may_repeat, repeated
from greenshard.secret import hidden_parameters, hidden_shards

if TYPE_CHECKING:
    from typing_extensions import Self, Unpack

_Result = TypeVar("_Result")

#: Seconds that a request may spend on connecting, if it has waited all its time for a place.
_LEAST_CONNECT_S = 1.0


class Pool:
    """A pool of logical connections, shared by the greenlets and threads of a process.

    ::

        pool = Pool(cluster, max_size=20, timeout=5.0)

        with pool.connection() as conn:          # commits, or rolls back on any exception
            cur = conn.cursor()
            cur.execute("SELECT ...")

    A logical connection holds at most one connection to each shard, which is opened when a
    statement first needs it; so no shard ever sees more than `max_size` of them. Who holds one
    never waits for another's, so that requests cannot block each other for ever. A statement that
    gathers rows on one server uses a second connection there while it runs; there are at most
    `max_gathers` of these. A connection that was given up because its server did not answer may
    live on there until the server notices.

    Nothing is opened and no thread started before the first use, and a process that was forked
    begins anew: a pool may be made before gunicorn forks its workers (``--preload``).

    Args:
        shards: What `greenshard.connect` takes: connection strings, a `Cluster`, a TOML path. Not
            open connections.
        max_size: How many logical connections there may be.
        max_gathers: How many statements may gather rows at the same time; by default a quarter of
            `max_size`, and at least 1. Others wait, for `timeout` at most.
        min_idle: How many shall be connected to every shard and wait, once the pool is in use.
        timeout: Seconds that a request waits for a connection, unless it says otherwise.
        max_waiting: How many may wait; None for no limit.
        max_idle: Seconds without use after which a connection is closed; None for never.
        max_lifetime: Seconds after which a connection is closed, less up to a tenth, so that not
            all end together; None for never.
        check_after: Seconds without use after which a connection must show that it works.
        leak_after: Seconds after which a warning tells where a connection was taken that is still
            held; None for never.
        recover_every: Seconds after which transactions over several shards that a process has left
            in doubt are looked for and finished, again and again, by one process at a time; None
            for never. It has no effect where ``two_phase`` is off, as over a union of shards.
        call_timeout: Seconds that each call on a connection may take (`greenshard.connect`'s
            ``timeout``); None for no limit.
        cursor_factory: The class of the connections' cursors.
        on_event: Called with a `greenshard.events.StatementEnded` after each statement, and with a
            `greenshard.events.ConnectionTaken` when a connection was taken, or could not be.
        connect_arguments: Further arguments of `greenshard.connect`.

    Raises:
        greenshard.ProgrammingError: An argument cannot be used.
    """

    def __init__(
        self,
        shards: Any,
        max_size: int = 10,
        *,
        max_gathers: int | None = None,
        min_idle: int = 0,
        timeout: float = 5.0,
        max_waiting: int | None = None,
        max_idle: float | None = 600.0,
        max_lifetime: float | None = 3600.0,
        check_after: float = 30.0,
        leak_after: float | None = 300.0,
        recover_every: float | None = 60.0,
        call_timeout: float | None = None,
        cursor_factory: Any = None,
        on_event: Listener | None = None,
        **connect_arguments: Unpack[OpeningArguments],
    ) -> None:
        shards, given_more = hidden_shards(shards), hidden_parameters(connect_arguments)
        del connect_arguments  # they may hold a password, which tracebacks show
        self._policy = Policy(
            max_size=max_size,
            max_gathers=max_gathers,
            min_idle=min_idle,
            max_waiting=max_waiting,
            timeout_s=timeout,
            max_idle_s=max_idle,
            max_lifetime_s=max_lifetime,
            check_after_s=check_after,
            leak_after_s=leak_after,
            recover_every_s=recover_every,
        )
        check_names(given_more, Pool, read_opening)
        opening = read_opening(shards, timeout=call_timeout, on_event=on_event, **given_more)
        given = [n for n, shard in opening.shards.items() if isinstance(shard, RawConnection)]
        if given:
            raise arguments.unusable(
                f"shard {given[0]} is an open connection; a pool opens its own"
            )
        if not opening.two_phase:
            self._policy = replace(self._policy, recover_every_s=None)
        self._cursor_factory = cursor_factory
        gatherers = Process(self._policy.for_gatherers(), opening, open_chore)
        self._process = Process(self._policy, opening, open_chore, gatherers=gatherers)

    def __repr__(self) -> str:
        if "_process" not in vars(self):  # its arguments were refused
            return "<greenshard.Pool: not made>"
        stats = self.stats()
        return (
            f"<greenshard.Pool over {', '.join(stats.shards)}: {stats.taken} of {stats.max_size}"
            f" taken, {stats.idle} idle, {stats.waiting} waiting>"
        )

    @property
    def cluster(self) -> Cluster | None:
        """The declared cluster; None over shards that are just named."""
        return self._process.opening.cluster

    # Connections ----------------------------------------------------------------------------

    def connection(self, timeout: float | None = None) -> Block:
        """A connection for a ``with`` block; it goes back to the pool whatever happens.

        When the block ends its transaction is committed; on any exception, also on a
        ``gevent.Timeout`` or when the greenlet is killed, it is rolled back.

        Args:
            timeout: Seconds to wait for it; by default the pool's.

        Raises:
            greenshard.PoolTimeout: None became free in time.
            greenshard.PoolFull: ``max_waiting`` others wait already.
            greenshard.PoolClosed: The pool is closed.
            greenshard.ShardUnavailable: No shard can be connected to (`FanoutError` if there are
                several).

        Switches: yes.
        """
        return Block(self, timeout)

    def getconn(self, key: object = None, timeout: float | None = None) -> PooledConnection:
        """Take a connection, to be given back with `putconn` or its own ``close()``.

        Args:
            key: Of psycopg2's pools; has no effect.
            timeout: Seconds to wait for it; by default the pool's.

        Raises:
            greenshard.PoolTimeout: As `connection` does, and the others.

        Switches: yes.
        """
        limit_s = arguments.seconds("timeout", timeout, zero=True)
        if limit_s is None:
            limit_s = self._policy.timeout_s
        make_cooperative()
        where = _caller(sys._getframe().f_back)
        listener, started = self._process.opening.on_event, time.perf_counter()
        if listener is None:
            return self._take(limit_s, where)
        try:
            connection = self._take(limit_s, where)
        except BaseException as exc:
            tell(listener, ConnectionTaken(time.perf_counter() - started, exc))
            raise
        try:
            tell(listener, ConnectionTaken(time.perf_counter() - started, None))
        except BaseException:
            connection.close()  # who waited for it was interrupted, and never gets it
            raise
        return connection

    def _take(self, limit_s: float, where: str) -> PooledConnection:
        """Take a connection; `where` tells who does."""
        process = self._here()
        deadline = process.now() + limit_s
        lease = process.take(limit_s, where)
        try:
            supply = Supply(process, lease)
            limit_s = max(_LEAST_CONNECT_S, deadline - process.now())
            home = supply.home(min(limit_s, process.connect_timeout_s or limit_s))
            if lease.ended:
                raise errors.PoolClosed("the pool was closed meanwhile", code="GS603")
            connection = PooledConnection.of(process, lease, home, supply)
        except BaseException:
            process.give_back(lease)
            raise
        if self._cursor_factory is not None:
            connection.cursor_factory = self._cursor_factory
        process.portals[lease] = connection._statements.portals
        return connection

    def connect(self, timeout: float | None = None) -> PooledConnection:
        """Take a connection, for code that opens one for each request and closes it.

        Switches: yes.
        """
        return self.getconn(timeout=timeout)

    def putconn(self, conn: Any, key: object = None, close: bool = False) -> None:
        """Give a connection back; what was not committed is rolled back.

        Args:
            conn: What `getconn` gave. It may have been given back already.
            key: Of psycopg2's pools; has no effect.
            close: Close its connections to the shards, instead of keeping them.

        Raises:
            greenshard.ProgrammingError: It is not a connection of this pool.

        Switches: yes.
        """
        if not isinstance(conn, PooledConnection) or conn._process is not self._here():
            raise arguments.unusable("this is not a connection of this pool")
        if close:
            conn.discard()
        else:
            conn.close()

    def run(
        self,
        fn: Callable[[PooledConnection], _Result],
        *,
        timeout: float | None = None,
        attempts: int = 10,
        pause: float = 0.01,
        longest_pause: float = 1.0,
    ) -> _Result:
        """Call a function with a connection, and commit; see `connection` and `greenshard.retry`.

        ::

            pool.run(lambda conn: transfer(conn, "a", "b", 10))

        It is called again, with another connection, if a serialization failure or a deadlock
        (40001, 40P01) ends it or its commit. Not if it has committed something itself.

        Args:
            fn: One transaction, which it leaves to be committed.
            timeout: Seconds to wait for a connection, each time; by default the pool's.
            attempts, pause, longest_pause: See `greenshard.retry`.

        Returns:
            What it returns.

        Raises:
            BaseException: What it, or its commit, raises the last time.
            greenshard.PoolTimeout: As `connection` does, and the others.

        Switches: yes.
        """
        last: PooledConnection | None = None

        def attempt() -> _Result:
            nonlocal last
            with self.connection(timeout) as connection:
                last = connection
                return fn(connection)

        def may(error: DriverError) -> bool:
            done = last is not None and last._statements.endings.has_committed
            return may_repeat(error) and not done

        return repeated(attempt, may, attempts, pause, longest_pause)

    # Life -----------------------------------------------------------------------------------

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._process.state.is_closed

    def close(self, timeout: float = 10.0) -> None:
        """Give out nothing any more, and close all connections as they are given back.

        Who waits for one gets a `PoolClosed`. What is not given back in time is cancelled, rolled
        back and closed.

        Args:
            timeout: Seconds for those that are taken.

        Switches: yes.
        """
        self._here().close(arguments.seconds("timeout", timeout, zero=True) or 0.0)

    def __enter__(self) -> Self:
        """Use the pool in a ``with`` block, at whose end it is closed."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def stats(self) -> PoolStats:
        """The pool's numbers: sizes, waits, and each shard's connections, calls and failures."""
        return self._here().stats()

    def _here(self) -> Process:
        process = self._process.here()
        if process is not self._process:
            self._process = process
        return process


class Block:
    """A ``with`` block that has a connection of a pool; see `Pool.connection`.

    A generator (``contextlib.contextmanager``) would take three times as long.
    """

    __slots__ = ("_connection", "_pool", "_timeout")

    def __init__(self, pool: Pool, timeout: float | None) -> None:
        self._pool, self._timeout = pool, timeout
        self._connection: PooledConnection | None = None

    def __enter__(self) -> PooledConnection:
        if self._connection is not None:
            raise errors.ProgrammingError("the block has a connection already; make another one")
        self._connection = connection = self._pool.getconn(timeout=self._timeout)
        return connection

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        connection, self._connection = self._connection, None
        assert connection is not None  # noqa: S101  # else there is no block
        if error is None:
            try:
                if not connection._given_back:
                    connection.commit_opened()
            except BaseException:
                # What the block raised, or its end, is told, and not what follows from it.
                with suppress(DriverError):
                    connection.close()
                raise
            connection.close()
        else:
            with suppress(DriverError):
                connection.close()


def _caller(frame: FrameType | None) -> str:
    """Where in the program a connection is taken."""
    while frame is not None and frame.f_back is not None:
        module = frame.f_globals.get("__name__", "")
        if not module.startswith(("greenshard.", "contextlib")):
            break
        frame = frame.f_back
    if frame is None:
        return "an unknown place"
    code = frame.f_code
    return f"{code.co_filename}:{frame.f_lineno} in {code.co_name}"
