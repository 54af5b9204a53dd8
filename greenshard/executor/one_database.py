"""What one connection to a declared cluster knows: plans, its search path, what its session set.

Three things are remembered from one statement to the next, until they may have changed:

- the planner, shared with the other connections to the cluster (`knowledge`). From a statement
  that changes tables until the transaction ends, the connection has a planner of its own: others
  do not see the change yet. When it has ended, the shared one is made anew;
- the search path, and how floats are written. A SET may change them, a rollback may undo it;
- the time at which the transaction began, which is the same for all its statements.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, Any

from greenshard._driver import (
    TRANSACTION_FAILED,
    TRANSACTION_IDLE,
    Attribute,
    RawConnection,
    RawCursor,
    own_cursor,
)
from greenshard.executor.catalog import current_path, load_catalog, temporary_names
from greenshard.executor.deadline import Timeout, seconds_left
from greenshard.executor.knowledge import Known, knowledge_of
from greenshard.planner.catalog import Catalog
from greenshard.planner.explanation import explain
from greenshard.planner.keys import shard_of_key
from greenshard.planner.plan import Plan, Refused
from greenshard.planner.statement import MAX_CACHED_CHARACTERS

if TYPE_CHECKING:
    from greenshard.cluster import Cluster
    from greenshard.executor.physical import Physical
    from greenshard.executor.session import Session

_isolation_level = Attribute(RawConnection, "isolation_level")

#: Statements without any of these words leave the search path and the digits of floats alone.
_MOVES = re.compile(
    r"search_path|schema|role|authorization|discard|reset|set_config|rollback|temp|drop"
    r"|float_digits",
    re.IGNORECASE | re.ASCII,
)
_SETS = re.compile(r"\b(?:set|reset|discard)", re.IGNORECASE | re.ASCII)
#: Names of settings that an application has made up.
_MADE_UP = re.compile(r"\b([a-z_][a-z0-9_$]*\.[a-z_][a-z0-9_$.]*)", re.IGNORECASE | re.ASCII)
_ISOLATES = re.compile(r"isolation|serializable|repeatable", re.IGNORECASE | re.ASCII)
#: psycopg2's isolation levels above READ COMMITTED.
_ISOLATED = (2, 3)
#: How the command tags begin of statements that leave settings and tables as they are.
_HARMLESS = frozenset({"INSERT", "UPDATE", "DELETE", "MERGE"})
_MOST_TEXTS = 1_000
#: Where PostgreSQL looks by default.
_USUAL_PATH = ("pg_catalog", "public")

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
        home: The shard to ask first.
        connect_timeout_s: Seconds that a further connection may take to open.
        databases: See `knowledge_of`.

    Attributes:
        may_have_set: Whether the session may have settings that a new one would not have.
        made_up_settings: Names of settings that PostgreSQL does not know, if they were set.
        compared_as_text: Statements whose rows Python can order only by the text of their values.
        read_in_batches: Statements that gather so many rows that they come in batches.
    """

    def __init__(
        self,
        cluster: Cluster,
        session: Session,
        home: Physical,
        connect_timeout_s: float | None,
        databases: Hashable,
    ) -> None:
        self.cluster = cluster
        self.home = home.shard
        self.connect_timeout_s = connect_timeout_s
        self.may_have_set = False
        self.made_up_settings: set[str] = set()
        self.compared_as_text: set[str] = set()
        self.read_in_batches: set[str] = set()
        self._may_isolate = False
        self._session = session
        self._knowledge = knowledge_of(cluster, databases)
        self._changed = False
        self._own: Known | None = None
        self._path: tuple[str, ...] | None = None
        self._may_hide = False  # whether there may be temporary tables
        self._temporary: frozenset[str] = frozenset()
        self._path_known = False
        self._moves = False  # whether the end of the transaction may change the path or the digits
        self._digits: int | None = None
        self._now: str | None = None

    # Planning -------------------------------------------------------------------------------

    def plan(self, text: str, has_parameters: bool, timeout: Timeout) -> Plan:
        """The plan of a statement.

        Switches: when something must be asked for first.
        Cost: a few us for a text seen before.
        """
        make: Callable[..., Plan] = self._known(timeout).planner.plan
        if len(text) > MAX_CACHED_CHARACTERS:
            make = make.__wrapped__  # type: ignore[attr-defined]  # the same, without the cache
        plan = make(text, has_parameters, self._path or _USUAL_PATH)
        if self._temporary and (hidden := self._temporary.intersection(map(_bare, plan.tables))):
            return Plan(_hiding(min(hidden)), tables=plan.tables)
        return plan

    def _known(self, timeout: Timeout) -> Known:
        """Make sure of the catalog and the search path."""
        known = self._own if self._changed else self._knowledge.current()
        if known is None:
            known = self._load(timeout)
        if not self._path_known:
            self._ask_path(timeout)
        return known

    def plan_anew(self, text: str, has_parameters: bool, timeout: Timeout) -> Plan:
        """The plan, with a catalog that is at most a second old: its tables may be new."""
        if not self._changed and self._knowledge.is_older_than(1.0):
            self._knowledge.expire()
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

    def _ask_path(self, timeout: Timeout) -> None:
        informant = self._informant()
        if informant is None:
            return
        self._path = current_path(self._session, informant.shard, seconds_left(timeout))
        if self._may_hide:
            self._session.reach([physical.shard for physical in self._session.alive], timeout)
            self._temporary = temporary_names(self._session, seconds_left(timeout))
        self._path_known = True

    def _informant(self) -> Physical | None:
        """A shard that can be asked, the home if possible; None if all transactions failed."""
        able = [p for p in self._session.alive if p.transaction_status != TRANSACTION_FAILED]
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
    def c_collation(self) -> bool:
        """Whether the database's default collation sorts by code point."""
        known = self._own if self._changed else self._knowledge.known
        return known is not None and known.catalog.c_collation

    @property
    def isolated(self) -> bool:
        """Whether the transaction may see other rows than one that begins now."""
        return self._may_isolate or any(
            _isolation_level.read(physical.raw) in _ISOLATED for physical in self._session.alive
        )

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
        path = self._path or _USUAL_PATH
        return shard_of_key(key, table, self.cluster, known.catalog, path)

    def explain(self, plan: Plan, given: Any, *, verbose: bool) -> str:
        """A plan as text."""
        if len(self.cluster.names) == 1:
            return f"strategy: none needed\nshards: {self.home}\nit runs the statement as it is"
        return explain(plan, self.cluster.names, given, verbose=verbose)

    # What statements change -----------------------------------------------------------------

    @property
    def path(self) -> tuple[str, ...] | None:
        """The search path, once it is known. Set it where it is known already."""
        return self._path if self._path_known else None

    @path.setter
    def path(self, path: tuple[str, ...]) -> None:
        self._path, self._path_known = path, True

    def note(self, text: str, *, sets: bool, changes: bool) -> None:
        """Take note of a statement that ran on all shards, or failed.

        Args:
            text: The statement.
            sets: Whether it may have changed settings.
            changes: Whether it may have changed tables.
        """
        self._now = None
        if sets and _SETS.search(text):
            self.may_have_set = True
            self.made_up_settings.update(_MADE_UP.findall(text))
        if _ISOLATES.search(text):
            self._may_isolate = True
        if _MOVES.search(text):
            self._forget_settings()
            self._moves = True
            self._may_hide = self._may_hide or "temp" in text.lower()
        if changes:
            self._changed, self._own = True, None
        if not self.in_transaction:
            self.ended()

    def note_unplanned(self, text: str, cursor: RawCursor | None) -> None:
        """Take note of a statement that went to chosen shards, and that may not only read.

        Args:
            text: The statement.
            cursor: One that ran it.
        """
        tag = ((cursor and cursor.statusmessage) or "").partition(" ")[0]
        if tag in _HARMLESS and ";" not in text:
            return
        self.note(text, sets=True, changes=tag != "SELECT" or ";" in text)

    @property
    def changed(self) -> bool:
        """Whether the transaction may have changed tables, types or functions."""
        return self._changed

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open on a shard."""
        return any(p.transaction_status != TRANSACTION_IDLE for p in self._session.alive)

    def ended(self) -> None:
        """Take note that the transaction has ended."""
        self._now = None
        if self._moves:
            self._forget_settings()
            self._moves = False
        if self._changed:
            self._changed, self._own = False, None
            self._knowledge.drop()

    def _forget_settings(self) -> None:
        self._path_known, self._digits = False, None

    def mistrust(self) -> None:
        """Take note that a server does not know a name: the catalog may be too old."""
        if not self._changed:
            self._knowledge.expire()

    # Asked for when needed ------------------------------------------------------------------

    def float_digits(self, run: Callable[[str, Callable[[], object]], object]) -> int:
        """The session's ``extra_float_digits``.

        Args:
            run: Runs a call on a shard.

        Switches: if it is not known.
        """
        if self._digits is None:
            home = self._informant()
            if home is None:
                return 1  # a failed transaction: the statement fails, whatever it would give
            cursor = own_cursor(home.raw)
            run(home.shard, lambda: cursor.execute("SHOW extra_float_digits"))
            row: Any = cursor.fetchone()
            self._digits = int(row[0])
        return self._digits

    def now(self, run: Callable[[str, Callable[[], object]], object]) -> str:
        """The time at which the transaction began, at the home; of the statement in autocommit.

        Args:
            run: Runs a call on a shard.

        Switches: the first time in a transaction.
        """
        home = self._informant()
        if home is None:
            return "now"  # a failed transaction: the statement fails, whatever it says
        if self._now is None or home.transaction_status == TRANSACTION_IDLE:
            cursor = own_cursor(home.raw)
            run(home.shard, lambda: cursor.execute(_NOW))
            row: Any = cursor.fetchone()
            self._now = row[0]
        return str(self._now)


def _remember(texts: set[str], text: str) -> None:
    if len(texts) >= _MOST_TEXTS:
        texts.clear()
    texts.add(text)


def _bare(table: str) -> str:
    """A qualified name without the schema."""
    return table.partition(".")[2]


def _hiding(name: str) -> Refused:
    return Refused(
        f"a temporary table of this session hides {name} on a shard",
        "GS410",
        "Drop it, or give it another name.",
    )
