"""The ways to commit what was written on several shards, and who reads them.

Each is a process of its own.

By hand means: psycopg2 patched by psycogreen, and a greenlet for each shard in each step. See
README.rst for what each way does, and which of them leave nothing half done when somebody dies.
"""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack, closing
from functools import partial
from itertools import count
from typing import Any, Protocol

from contestants import open_all, serve

CHECK = "SET CONSTRAINTS ALL IMMEDIATE"
LOCK = "LOCK TABLE greenshard.barrier IN ROW EXCLUSIVE MODE"
DECIDE = (
    "INSERT INTO greenshard.decision (gid, committed, participants) VALUES ('{}', true, '{{}}')"
)
WROTE = "SELECT pg_current_xact_id_if_assigned() IS NOT NULL"
_WRITE = "UPDATE account SET balance = balance + 1 WHERE owner = '{}'"


class Way(Protocol):
    """A way to commit over the first so many of the shards."""

    def write(self, shards: int) -> None: ...

    def commit(self, shards: int) -> None: ...


class Greenshard:
    """conn.commit()."""

    def __init__(
        self, dsns: list[str], stack: ExitStack, owner: str = "greenshard", **options: Any
    ) -> None:
        import greenshard  # noqa: PLC0415

        self._owner = owner
        self._connection = stack.enter_context(closing(greenshard.connect(dsns, **options)))

    def write(self, shards: int) -> None:
        names = self._connection.shards[:shards]
        self._connection.on(names).cursor().execute(_WRITE.format(self._owner))

    def commit(self, shards: int) -> None:
        self._connection.commit()


class Reader:
    """No commit: all balances are read, in a snapshot of all shards or in a transaction."""

    def __init__(self, dsns: list[str], stack: ExitStack, *, consistent: bool) -> None:
        import greenshard  # noqa: PLC0415

        self._connection = stack.enter_context(closing(greenshard.connect(dsns)))
        self._consistent = consistent

    def write(self, shards: int) -> None:
        """Nothing is to be written."""

    def commit(self, shards: int) -> None:
        connection = self._connection
        with connection.snapshot() if self._consistent else connection:
            cursor = connection.cursor()
            cursor.execute("SELECT balance FROM account")
            cursor.fetchall()


class ByHand:
    """PREPARE TRANSACTION on all shards, then COMMIT PREPARED on all of them.

    Who dies between leaves prepared transactions, and nobody knows what is to become of them.
    """

    name = "by hand"

    def __init__(self, dsns: list[str], stack: ExitStack) -> None:
        from psycogreen.gevent import patch_psycopg  # noqa: PLC0415

        patch_psycopg()
        self._connections = stack.enter_context(open_all(dsns))
        self._numbers = (f"{self.name} {time.time_ns()} {number}" for number in count())

    def write(self, shards: int) -> None:
        self.on(range(shards), lambda _: f"BEGIN; {_WRITE.format(self.name)}")

    def commit(self, shards: int) -> None:
        if shards == 1:
            self.on([0], lambda _: "COMMIT")
        else:
            self.commit_together(range(shards), next(self._numbers))

    def commit_together(self, shards: range, gid: str) -> None:
        self.on(shards, lambda shard: f"PREPARE TRANSACTION '{gid} {shard}'")
        self.on(shards, lambda shard: f"COMMIT PREPARED '{gid} {shard}'")

    def on(self, shards: Iterable[int], statement: Callable[[int], str]) -> None:
        """Execute on several shards at once."""
        import gevent  # noqa: PLC0415

        greenlets = [gevent.spawn(self._execute, shard, statement(shard)) for shard in shards]
        gevent.joinall(greenlets)
        for greenlet in greenlets:
            greenlet.get()

    def _execute(self, shard: int, statement: str) -> None:
        self._connections[shard].cursor().execute(statement)


class Decided(ByHand):
    """As greenshard does it: a decision on one shard, which recovery can look for."""

    name = "with a decision"

    def commit(self, shards: int) -> None:
        if shards == 1:
            self.on([0], lambda _: f"{LOCK}; COMMIT")
        else:
            self.commit_together(range(shards), next(self._numbers))

    def commit_together(self, shards: range, gid: str) -> None:
        others = shards[1:]
        self.check(shards, gid)
        self.on(others, lambda shard: f"PREPARE TRANSACTION '{gid} {shard}'")
        self.on([0], lambda _: "COMMIT")
        self.on(others, lambda shard: f"COMMIT PREPARED '{gid} {shard}'")

    def check(self, shards: range, gid: str) -> None:
        first = f"{CHECK}; {LOCK}; {{}}{WROTE}"
        decide = DECIDE.format(gid) + "; "
        self.on(shards, lambda shard: first.format("" if shard else decide))


class Naive(Decided):
    """The same, each statement for itself."""

    name = "statement by statement"

    def check(self, shards: range, gid: str) -> None:
        for statement in (CHECK, WROTE, LOCK):
            self.on(shards, lambda _, statement=statement: statement)  # type: ignore[misc]
        self.on([0], lambda _: DECIDE.format(gid))


class Plain(ByHand):
    """COMMIT on all shards at once: who dies meanwhile leaves it committed on some of them."""

    name = "plain COMMITs"

    def commit_together(self, shards: range, gid: str) -> None:
        self.on(shards, lambda _: "COMMIT")


WAYS: dict[str, Callable[[list[str], ExitStack], Way]] = {
    "greenshard": partial(Greenshard, two_phase=True),
    ByHand.name: ByHand,
    Decided.name: Decided,
    Naive.name: Naive,
    "greenshard, two_phase=False": partial(Greenshard, two_phase=False),
    Plain.name: Plain,
}
READERS: dict[str, Callable[[list[str], ExitStack], Way]] = {
    "in a snapshot": partial(Reader, consistent=True),
    "without": partial(Reader, consistent=False),
}
WRITERS: dict[str, Callable[[list[str], ExitStack], Way]] = {
    name: partial(Greenshard, owner=name, two_phase=True) for name in ("writer 1", "writer 2")
}
_ALL = {**WAYS, **READERS, **WRITERS}


class Server:
    """Answers the requests of a `workers.Worker`."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._opened = ExitStack()
        self._way: Way

    def open(self, dsns: list[str]) -> None:
        """Connect to the shards; to others than before."""
        self._opened.close()
        self._way = _ALL[self._name](dsns, self._opened)

    def measure(self, question: str, seconds: float) -> list[float]:
        """Write on so many shards and commit for `seconds`; how many each commit took.

        The first one of at least two is dropped: it finds the processor's caches cold.
        """
        shards = int(question)
        gc.collect()
        times: list[float] = []
        end = time.perf_counter() + seconds
        while time.perf_counter() < end or len(times) < 2:
            self._way.write(shards)
            started = time.perf_counter()
            self._way.commit(shards)
            times.append(time.perf_counter() - started)
        return times[1:]


if __name__ == "__main__":
    serve(Server(sys.argv[1]))
