"""What one connection to a declared cluster knows: plans, its bearings, what its session set.

Two things are remembered from one statement to the next, until they may have changed:

- the planner, shared with the other connections to the cluster (`shared`). From a statement
  that changes tables until the transaction ends, the connection has a planner of its own: others
  do not see the change yet. When it has ended, the shared one is made anew. After a statement that
  may have changed tables the shards that ran it are asked whether it has;
- the bearings of its sessions, such as the search path (`KnownBearings`).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from functools import partial
from typing import Any

from greenshard import _green, errors
from greenshard._driver import own_cursor
from greenshard.cluster import Cluster
from greenshard.executor.knowledge.catalog_queries import load_catalog
from greenshard.executor.knowledge.changes import catalog_versions
from greenshard.executor.knowledge.known_bearings import KnownBearings
from greenshard.executor.knowledge.shared import Known, knowledge_of
from greenshard.links.deadline import Timeout, seconds_left
from greenshard.links.physical import Physical
from greenshard.links.session import Session
from greenshard.planner.catalog import Catalog
from greenshard.planner.code import Trace
from greenshard.planner.explanation import explain
from greenshard.planner.keys import shard_of_key
from greenshard.planner.plan import Plan
from greenshard.sql.statement import MAX_CACHED_CHARACTERS
from greenshard.transaction.state import Transaction

_MOST_TEXTS = 1_000
#: Characters. A longer text is planned in a thread: the hub must not wait for it.
_SOON_PLANNED = 10_000

#: In ISO form, whatever the session has set.
_NOW = (
    "SELECT pg_catalog.to_char("
    "pg_catalog.timezone('UTC', pg_catalog.now()), 'YYYY-MM-DD HH24:MI:SS.US\"+00\"')"
)


class OneDatabase:
    """The knowledge of one connection.

    Args:
        cluster: As declared.
        session: The connection's; held by whoever calls.
        transaction: Its.
        home: The shard to ask first.
        connect_timeout_s: Seconds that a further connection may take to open.
        databases: See `knowledge_of`.

    Attributes:
        bearings: Those of its sessions.
        may_have_set: Whether the session may have settings that a new one would not have.
        may_have_made_up: Likewise, of settings that PostgreSQL does not know.
        compared_as_text: Statements whose rows Python can order only by the text of their values.
        read_in_batches: Statements that gather so many rows that they come in batches.
    """

    def __init__(
        self,
        cluster: Cluster,
        session: Session,
        transaction: Transaction,
        home: Physical,
        connect_timeout_s: float | None,
        databases: Hashable,
    ) -> None:
        self.cluster = cluster
        self.home = home.shard
        self.connect_timeout_s = connect_timeout_s
        self.may_have_set = False
        self.may_have_made_up = False
        self.compared_as_text: set[str] = set()
        self.read_in_batches: set[str] = set()
        self.bearings = KnownBearings(session, self.home)
        self._session = session
        self._transaction = transaction
        self._knowledge = knowledge_of(cluster, databases)
        self._changed = False
        self._own: Known | None = None
        self._doubted: set[str] = set()  # shards whose catalog the transaction may have changed
        self._ran: set[str] = set()  # likewise, but asked meanwhile

    # Planning -------------------------------------------------------------------------------

    def plan(self, text: str, has_parameters: bool, timeout: Timeout) -> Plan:
        """The plan of a statement.

        Switches: when something must be asked for first, and for a long text.
        Cost: a few us for a text seen before.
        """
        make: Callable[..., Plan] = self._known(timeout).planner.plan
        if len(text) > MAX_CACHED_CHARACTERS:
            make = make.__wrapped__  # type: ignore[attr-defined]  # the same, without the cache
        path = self.bearings.path
        if len(text) <= _SOON_PLANNED:
            return make(text, has_parameters, path)
        return _green.in_thread(lambda: make(text, has_parameters, path))

    def _known(self, timeout: Timeout) -> Known:
        """Make sure of the catalog, and of the bearings to plan by."""
        known = self._current(timeout)
        if not self.bearings.hold(self._knowledge.oldest()):
            self.bearings.ask(self._informant(), timeout)
        return known

    def _current(self, timeout: Timeout) -> Known:
        """Make sure of the catalog."""
        if self._doubted or self._knowledge.doubted:
            self._look_for_changes(timeout)
        known = self._own if self._changed else self._knowledge.current()
        return self._load(timeout) if known is None else known

    def _look_for_changes(self, timeout: Timeout) -> None:
        """Ask the shards where code has run that may have changed the catalog."""
        session, knowledge = self._session, self._knowledge
        isolated = self.bearings.isolated
        # What only this transaction sees, or does not see yet, is nothing for the others.
        apart = isolated or self._changed or bool(self._doubted or self._ran)
        shared = knowledge.take_doubts()
        # In one snapshot nothing changes but by the transaction itself.
        shards = self._doubted | (shared - self._ran if isolated else shared)
        if not shards:
            knowledge.doubted |= shared
            return
        believed = False
        try:
            session.reach(shards, timeout)
            asked = {p.shard: p for p in session.alive if p.shard in shards}
            try:
                versions = catalog_versions(session, asked, timeout)
            except errors.Error:
                versions = {}  # the statement may not need that shard
            if knowledge.has_changed(shards, versions):
                if apart:
                    self._changed, self._own = True, None
                else:
                    knowledge.drop()
            if not apart:
                knowledge.believe(versions)
                believed = True
        finally:
            if not believed:
                knowledge.doubted |= shared
        if apart:
            self._ran |= shards
        self._doubted.clear()

    def plan_anew(self, text: str, has_parameters: bool, timeout: Timeout) -> Plan:
        """The plan, with a catalog that is at most a second old: its tables may be new."""
        self.mistrust()
        return self.plan(text, has_parameters, timeout)

    def _load(self, timeout: Timeout) -> Known:
        informant = self._informant()
        if informant is None:
            # In a failed transaction nothing but its end can be run.
            return self._knowledge.known or Known.of(self.cluster, Catalog())
        if self._changed:
            catalog = load_catalog(self._session, informant.shard, seconds_left(timeout))
            self._own = Known.of(self.cluster, catalog)
            return self._own
        knowledge = self._knowledge
        known = knowledge.wait_for_others()
        if known is not None:
            return known
        changes = knowledge.begin()
        try:
            catalog = load_catalog(self._session, informant.shard, seconds_left(timeout))
        except BaseException:
            knowledge.give_up()
            raise
        return knowledge.keep(catalog, changes)

    def _informant(self) -> Physical | None:
        """A shard that can be asked, the home if possible; None if all transactions failed."""
        able = [p for p in self._session.alive if not p.failed]
        if not able:
            self._session.check_alive()
        return next((p for p in able if p.shard == self.home), able[0] if able else None)

    @property
    def plan_stats(self) -> dict[str, int]:
        """How often a plan was in the cache and how often not, for all connections together."""
        known = self._own or self._knowledge.known
        if known is None:
            return {"hits": 0, "misses": 0, "plans": 0}
        info = known.planner.plan.cache_info()
        return {"hits": info.hits, "misses": info.misses, "plans": info.currsize}

    @property
    def alike(self) -> set[tuple[str, tuple[str, ...]]]:
        """What the shards are known to have the same columns of; see `Known`."""
        known = self._own if self._changed else self._knowledge.known
        return set() if known is None else known.alike

    @property
    def c_collation(self) -> bool:
        """Whether the database's default collation sorts by code point."""
        known = self._own if self._changed else self._knowledge.known
        return known is not None and known.catalog.c_collation

    def remember_compared_as_text(self, text: str) -> None:
        """Order the rows of a statement by the text of their values from now on."""
        _remember(self.compared_as_text, text)

    def remember_read_in_batches(self, text: str) -> None:
        """Read the rows that a statement gathers in batches from now on."""
        _remember(self.read_in_batches, text)

    def shard_of(self, key: Any, table: str | None, timeout: Timeout) -> str:
        """The shard of a key, as `shard_of_key` tells.

        Raises:
            errors.ProgrammingError: It cannot be told.

        Switches: when something must be asked for first.
        """
        known = self._known(timeout)
        return shard_of_key(key, table, self.cluster, known.catalog, self.bearings.path)

    def explain(self, plan: Plan, given: Any, *, verbose: bool) -> str:
        """A plan as text."""
        if len(self.cluster.names) == 1:
            return f"strategy: none needed\nshards: {self.home}\nit runs the statement as it is"
        return explain(plan, self.cluster.names, given, verbose=verbose)

    # What statements change -----------------------------------------------------------------

    def trace_of(self, text: str, has_parameters: bool, timeout: Timeout) -> Trace:
        """What a statement may leave that goes to chosen shards as it is.

        Switches: when the catalog must be loaded, and for a long text.
        """
        try:
            traces = self._current(timeout).planner.traces
        except errors.Error:
            return Trace.CODE  # a shard that is not asked for may be out of reach
        if len(text) <= _SOON_PLANNED:
            return traces.of_text(text, has_parameters)
        return _green.in_thread(lambda: traces.of_text(text, has_parameters))

    def note(self, trace: Trace, shards: Iterable[str], *, changes: bool) -> None:
        """Take note of a statement that ran, or failed.

        Args:
            trace: What it may have left.
            shards: Where.
            changes: Whether it may have changed tables.
        """
        self._transaction.began_at = None  # it may be another: COMMIT AND CHAIN, a procedure
        if trace >= Trace.ANYTHING:
            self.may_have_set = self.may_have_made_up = True
            self.bearings.move(shards)
        if changes:
            self._changed, self._own = True, None
        elif trace is Trace.UNSEEN:
            self._doubted.update(shards)
        if not self._transaction.is_open:
            self.ended()

    def expose(self, shard: str) -> None:
        """Take note that somebody has the shard's connection itself, and may use it unseen."""
        self.note(Trace.ANYTHING, (shard,), changes=False)
        self.bearings.expose(shard)

    @property
    def changed(self) -> bool:
        """Whether the transaction may have changed tables, types or functions."""
        return self._changed

    def ended(self) -> None:
        """Take note that the transaction has ended."""
        self.bearings.end_transaction()
        if doubted := self._doubted | self._ran:
            self._knowledge.doubt(doubted)
            self._doubted.clear()
            self._ran.clear()
        if self._changed:
            self._changed, self._own = False, None
            self._knowledge.drop()

    def mistrust(self) -> None:
        """Take note that a name is not known: the catalog may be too old, unless it is new."""
        if not self._changed and self._knowledge.is_older_than(1.0):
            self._knowledge.expire()

    # Asked for when needed ------------------------------------------------------------------

    def clock(self) -> Physical | None:
        """Whom to ask for the time at which the transaction began; None if nobody need be asked."""
        home = self._informant()
        known = self._transaction.began_at is not None and home is not None and not home.idle
        return None if known else home

    def ask_now(self, physical: Physical, timeout: Timeout) -> None:
        """Ask for the time at which the transaction began; of the statement in autocommit mode.

        Switches: yes.
        """
        cursor = own_cursor(physical.raw)
        self._session.run({physical.shard: partial(cursor.execute, _NOW)}, timeout)
        row: Any = cursor.fetchone()
        self._transaction.began_at = str(row[0])

    @property
    def now(self) -> str:
        """That time. In a failed transaction nobody tells it, and the statement fails anyhow."""
        return self._transaction.began_at or "now"


def _remember(texts: set[str], text: str) -> None:
    if len(texts) >= _MOST_TEXTS:
        texts.clear()
    texts.add(text)
