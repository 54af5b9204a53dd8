"""What the connections to a cluster know of it together: its catalog, and the plans made with it.

Connections to one `Cluster` may go to other databases, or as other roles, than it declares
(``connect(cluster, dbname=...)``): those know nothing of each other's tables.

The catalog is loaded when it is first needed, and again when it is a minute old or a connection of
this process has changed it. While one loads, the others go on with the old one if it was just old.
After a function of the user's own, which may have changed it unseen, the server is asked whether it
has: see `changes`.
"""

from __future__ import annotations

import time
import weakref
from collections import deque
from collections.abc import Hashable, Iterable, Mapping
from typing import NamedTuple

from greenshard import _green
from greenshard.cluster import Cluster
from greenshard.planner.catalog import Catalog
from greenshard.planner.planner import Planner

#: How old a catalog may be, in seconds: another process may have changed the tables. And what
#: sessions have told of what they see of it.
OLDEST_S = 60.0

#: How long, in seconds, others wait for one that loads the catalog, or go on with an old one.
_PATIENCE_S = 5.0

_LOOK_S = 0.002

#: How much is kept of what no connection uses now, for each cluster. A program may connect one
#: cluster to thousands of databases.
_MOST_UNUSED = 8


class Known(NamedTuple):
    """A catalog, and the planner that plans with it.

    Attributes:
        catalog: Of one shard.
        planner: What plans with it.
        alike: Relations, each with the shards that are known to have the same columns of it.
    """

    catalog: Catalog
    planner: Planner
    alike: set[tuple[str, tuple[str, ...]]]

    @classmethod
    def of(cls, cluster: Cluster, catalog: Catalog) -> Known:
        return cls(catalog, Planner(cluster, catalog), set())


class Knowledge:
    """What is known of one cluster's tables; used by greenlets and threads at once.

    Args:
        cluster: As declared.
        kin: What is known of the same cluster in other databases, or as another role.

    Attributes:
        known: None before the first catalog was loaded, and after a change.
        doubted: Shards on which code has run that may have changed the catalog.
    """

    def __init__(self, cluster: Cluster, kin: Kin | None = None) -> None:
        self._cluster = weakref.ref(cluster)
        self._kin = kin
        self.known: Known | None = None
        self.doubted: set[str] = set()
        self._versions: dict[str, bytes] = {}
        self._loaded_at = 0.0
        self._doubted_at = 0.0
        self._suspected_at = 0.0
        self._expires = 0.0
        self._loading_until = 0.0
        self._changes = 0

    def current(self) -> Known | None:
        """What is known, unless it is too old."""
        # Once: another thread may forget it between two looks.
        known = self.known
        return known if time.monotonic() < self._expires else None

    def wait_for_others(self) -> Known | None:
        """What another greenlet or thread is loading now; None if the caller must.

        Switches: while another one loads the catalog.
        """
        # A hundred greenlets that begin together would load a hundred catalogs.
        while time.monotonic() < self._loading_until:
            if (known := self.current()) is not None:
                return known
            _green.sleep(_LOOK_S)
        return self.current()

    def begin(self) -> int:
        """Say that the caller loads the catalog now; returns what to give to `keep`."""
        now = time.monotonic()
        # Others go on with the old one meanwhile; if loading hangs, the next one tries after that
        # time.
        self._loading_until = self._expires = now + _PATIENCE_S
        if self.known is None:
            self._expires = 0.0
        return self._changes

    def keep(self, catalog: Catalog, changes: int) -> Known:
        """Take a catalog that was loaded; not for others if it changed meanwhile."""
        cluster = self._cluster()
        assert cluster is not None  # noqa: S101  # the connection that loads holds it
        known = self.known
        # Most often nothing has changed, and the planner with its cached plans stays.
        if known is None or known.catalog != catalog:
            if known is not None:
                self._doubted_at = time.monotonic()  # new schemas may be on the sessions' paths
            known = Known.of(cluster, catalog)
        known.alike.clear()  # other shards may have changed
        # DDL that ran while it was loaded may not be in it.
        if changes == self._changes:
            self.known = known
            self._loaded_at = time.monotonic()
            self._expires = self._loaded_at + OLDEST_S
        self._loading_until = 0.0
        return known

    def give_up(self) -> None:
        """Say that loading has failed."""
        self._loading_until = 0.0

    def is_older_than(self, seconds: float) -> bool:
        """Whether the catalog was loaded more than some seconds ago."""
        return time.monotonic() > self._loaded_at + seconds

    def oldest(self) -> float:
        """When sessions must have told what they see of the catalog, at least, to count."""
        return max(self._doubted_at, time.monotonic() - OLDEST_S)

    def doubt(self, shards: Iterable[str]) -> None:
        """Let the next one who needs some shards ask whether their catalogs have changed."""
        for each in [self] if self._kin is None else self._kin.all():
            each.doubted.update(shards)
            each._suspected_at = time.monotonic()

    @property
    def is_suspect(self) -> bool:
        """Whether the catalog was loaded before code ran that may have changed it."""
        # A catalog that was loaded after the code ran has what it made.
        return bool(self.doubted) and self._suspected_at >= self._loaded_at

    def has_changed(self, versions: Mapping[str, bytes]) -> bool:
        """Whether the catalog of a shard may have changed since that was last asked.

        Args:
            versions: What shards have told now, see `changes.ask_news`.
        """
        known = self._versions
        return any(version != known.get(shard) for shard, version in versions.items())

    def take_doubts(self, shards: Iterable[str]) -> set[str]:
        """The doubted ones among some shards, which the caller asks now; doubts may come again."""
        taken = self.doubted.intersection(shards)
        # In place: another thread may be adding some.
        self.doubted -= taken
        return taken

    def believe(self, versions: Mapping[str, bytes]) -> None:
        """Take note of what was asked: what is known holds, or is forgotten."""
        self._versions.update(versions)

    def expire(self) -> None:
        """Let the next one who needs it load the catalog anew."""
        self._expires = 0.0

    def drop(self) -> None:
        """Forget the catalog: it has changed, maybe for other roles in the same database too."""
        for each in [self] if self._kin is None else self._kin.all():
            each._forget()

    def _forget(self) -> None:
        self._changes += 1
        self.known = None
        self._expires = self._loading_until = 0.0
        self._doubted_at = time.monotonic()


class Kin:
    """What is known of one cluster, by the databases that were connected to."""

    def __init__(self) -> None:
        self._found: weakref.WeakValueDictionary[Hashable, Knowledge] = (
            weakref.WeakValueDictionary()
        )
        self._latest: deque[Knowledge] = deque(maxlen=_MOST_UNUSED)

    def of(self, cluster: Cluster, databases: Hashable) -> Knowledge:
        """What is known of the tables there."""
        found = self._found.get(databases)
        if found is None:
            # setdefault: of two threads that come at once, both get the same one.
            found = self._found.setdefault(databases, Knowledge(cluster, self))
            self._latest.append(found)
        return found

    def all(self) -> list[Knowledge]:
        return list(self._found.values())


_kin: weakref.WeakKeyDictionary[Cluster, Kin] = weakref.WeakKeyDictionary()


def knowledge_of(cluster: Cluster, databases: Hashable) -> Knowledge:
    """What is known of a cluster, the same for all connections that go to the same databases.

    Args:
        cluster: As declared.
        databases: Which they are, and who connects: equal where they are the same.
    """
    kin = _kin.get(cluster)
    if kin is None:
        # Likewise.
        kin = _kin.setdefault(cluster, Kin())
    return kin.of(cluster, databases)
