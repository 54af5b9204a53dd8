"""What the shards of a union may run for a statement; each is asked once a minute.

A declared cluster has a catalog, and every plan tells what its statement may leave. A union has
none. So the texts of a lease are kept, and when it ends, the code that each shard has tells what
they may have left in its session.
"""

from __future__ import annotations

import time
from collections.abc import Set as AbstractSet

from greenshard._driver import DriverError
from greenshard.executor.knowledge.changes import catalog_version
from greenshard.executor.knowledge.code_queries import read_code
from greenshard.links.outside import read_outside
from greenshard.links.physical import Physical
from greenshard.planner.analysis.traces import Traces
from greenshard.planner.code import Trace

#: How old it may be, in seconds: another process may have changed it.
_OLDEST_S = 60.0

#: Statements, each with whether it had parameters.
Texts = AbstractSet[tuple[str, bool]]


class Codes:
    """The code of each shard, by name; for all connections of a pool."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[float, Traces, bytes]] = {}
        self._asking: set[str] = set()
        self._changes: dict[str, int] = {}  # by shard, how often its code may have changed

    def forget(self, shard: str) -> None:
        """Take note that a shard's may have changed, also while it is asked."""
        self._known.pop(shard, None)
        self._changes[shard] = self._changes.get(shard, 0) + 1

    def doubt(self, physical: Physical, left: Trace) -> None:
        """Forget a shard's if statements have changed it.

        Args:
            physical: A connection to it, in no transaction.
            left: What they have left.

        Switches: if the server must be asked.
        """
        # Nothing that makes a table or a function can have run.
        if left < Trace.UNSEEN:
            return
        _, _, version = self._known.get(physical.shard, (0.0, None, None))
        sure = left is Trace.CODE or version is None
        if sure or read_outside(physical, catalog_version) != version:
            self.forget(physical.shard)

    def trace(self, shard: str, texts: Texts, least: Trace = Trace.NOTHING) -> Trace | None:
        """What texts may have left in a shard's session; None if the shard must be asked.

        Args:
            shard: Its name.
            texts: Statements that may have run there.
            least: What others have left.
        """
        # Nothing that a text could add: the session is renewed in any case.
        if not texts or least >= Trace.ANYTHING:
            return least
        loaded_at, traces, _ = self._known.get(shard, (0.0, None, b""))
        if traces is not None and time.monotonic() < loaded_at + _OLDEST_S:
            return max(least, *(traces.of_text(*each) for each in texts))
        # While one asks, a new session is sooner to be had for the others.
        return Trace.UNSEEN if shard in self._asking else None

    def ask(self, physical: Physical, texts: Texts) -> Trace:
        """The same, of a connection in no transaction, after asking its server.

        Switches: yes.
        """
        shard = physical.shard
        # A number, not the code: while this one asks, another connection may change what is read.
        before = self._changes.get(shard)
        self._asking.add(shard)
        try:
            version = read_outside(physical, catalog_version)
            code = read_outside(physical, read_code)
        except DriverError:
            return Trace.ANYTHING  # who may not read the catalog can still be given a new session
        finally:
            self._asking.discard(shard)
        if self._changes.get(shard) != before:
            return Trace.UNSEEN  # what was read may be older than that, or newer than the texts
        self._known[shard] = (time.monotonic(), Traces(code), version)
        return self.trace(shard, texts) or Trace.NOTHING
