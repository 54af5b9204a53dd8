"""What one connection to a declared cluster knows: plans, its bearings, what its session set.

Three things are remembered from one statement to the next, until they may have changed:

- the planner, shared with the other connections to the cluster (`knowledge`). From a statement
  that changes tables until the transaction ends, the connection has a planner of its own: others
  do not see the change yet. When it has ended, the shared one is made anew;
- the bearings of its sessions, such as the search path. After a statement that may have moved them
  (`planner.traces`) the shards that ran it are asked; and once more after a rollback, which may
  undo it, or a commit, at which triggers may run;
- the time at which the transaction began, which is the same for all its statements.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from greenshard import _green, errors
from greenshard._driver import (
    TRANSACTION_FAILED,
    TRANSACTION_IDLE,
    own_cursor,
)
from greenshard.executor.bearings import Bearings, ask_bearings
from greenshard.executor.catalog import load_catalog
from greenshard.executor.deadline import Timeout, seconds_left
from greenshard.executor.knowledge import Known, knowledge_of
from greenshard.executor.physical import isolation_level
from greenshard.planner.catalog import Catalog
from greenshard.planner.code import Trace
from greenshard.planner.explanation import explain
from greenshard.planner.keys import shard_of_key
from greenshard.planner.plan import Broadcast, Plan, Refused
from greenshard.planner.statement import MAX_CACHED_CHARACTERS

if TYPE_CHECKING:
    from greenshard.cluster import Cluster
    from greenshard.executor.physical import Physical
    from greenshard.executor.session import Session


#: psycopg2's isolation levels above READ COMMITTED.
_ISOLATED = (2, 3)
_MOST_TEXTS = 1_000
#: Characters. A longer text is planned in a thread: the hub must not wait for it.
_SOON_PLANNED = 10_000
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
        may_have_made_up: Likewise, of settings that PostgreSQL does not know.
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
        self.may_have_made_up = False
        self.compared_as_text: set[str] = set()
        self.read_in_batches: set[str] = set()
        self._session = session
        self._knowledge = knowledge_of(cluster, databases)
        self._changed = False
        self._own: Known | None = None
        self._base: Bearings | None = None  # of sessions that nothing has moved
        self._bearings: dict[str, Bearings] = {}  # of the others
        self._strays = False  # whether they differ, or there are temporary tables
        self._unsure: set[str] = set()  # shards whose bearings may be others now
        self._moved: set[str] = set()  # shards whose bearings the end of the transaction may change
        self._exposed: set[str] = set()  # shards whose sessions others can use unseen
        self._digits: int | None = None
        self._now: str | None = None

    # Planning -------------------------------------------------------------------------------

    def plan(self, text: str, has_parameters: bool, timeout: Timeout) -> Plan:
        """The plan of a statement.

        Switches: when something must be asked for first, and for a long text.
        Cost: a few us for a text seen before.
        """
        make: Callable[..., Plan] = self._known(timeout).planner.plan
        if len(text) > MAX_CACHED_CHARACTERS:
            make = make.__wrapped__  # type: ignore[attr-defined]  # the same, without the cache
        path = self._path
        if len(text) <= _SOON_PLANNED:
            plan = make(text, has_parameters, path)
        else:
            plan = _green.in_thread(lambda: make(text, has_parameters, path))
        if self._strays and (problem := self._problem(plan)) is not None:
            return Plan(problem, tables=plan.tables)
        return plan

    def _known(self, timeout: Timeout) -> Known:
        """Make sure of the catalog and the search path."""
        known = self._own if self._changed else self._knowledge.current()
        if known is None:
            known = self._load(timeout)
        if self._unsure or self._base is None:
            self._ask_bearings(timeout)
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

    def _ask_bearings(self, timeout: Timeout) -> None:
        """Ask the shards that may have moved; and one of the others, for all of those."""
        session, wanted = self._session, set(self._unsure)
        still = None if self._base else self._still()
        if still is not None:
            session.reach((still,), timeout)
            wanted.add(still)
        asked = {p.shard: p for p in session.alive if p.shard in wanted}
        found = ask_bearings(session, asked, timeout)
        if still in found:
            self._base = found[still]
        self._bearings |= found
        alive = {physical.shard for physical in session.alive}
        self._unsure = (self._unsure & alive) - found.keys() | self._exposed
        every = [self._of(shard) for shard in session.shards]
        apart = len({(one.path, one.role) for one in every if one}) > 1
        self._strays = apart or any(one.temporary for one in every if one)

    def _still(self) -> str | None:
        """A shard whose session nothing has moved, the home if possible."""
        able = [p.shard for p in self._session.alive if p.transaction_status != TRANSACTION_FAILED]
        names = [self.home, *able, *self._session.shards]
        alive = [name for name in names if name in able or name not in self._session.physicals]
        return next((name for name in alive if name not in self._unsure), None)

    def _of(self, shard: str) -> Bearings | None:
        return self._bearings.get(shard) or self._base

    @property
    def _path(self) -> tuple[str, ...]:
        own = self._of(self.home) or next(iter(self._bearings.values()), None)
        return _USUAL_PATH if own is None else own.path

    def _problem(self, plan: Plan) -> Refused | None:
        """Why a statement must not run: it would mean another table on each shard."""
        every = {shard: one for shard in self._session.shards if (one := self._of(shard))}
        hidden = {name for one in every.values() for name in one.temporary}
        if found := hidden.intersection(map(_bare, plan.tables)):
            return _hiding(min(found))
        sets = isinstance(plan.step, Broadcast) and not plan.step.resets_catalog
        if len({(one.path, one.role) for one in every.values()}) > 1 and not sets:
            return _differing(every)
        return None

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
    def alike(self) -> set[tuple[str, tuple[str, ...]]]:
        """What the shards are known to have the same columns of; see `Known`."""
        known = self._own if self._changed else self._knowledge.known
        return set() if known is None else known.alike

    @property
    def c_collation(self) -> bool:
        """Whether the database's default collation sorts by code point."""
        known = self._own if self._changed else self._knowledge.known
        return known is not None and known.catalog.c_collation

    @property
    def isolated(self) -> bool:
        """Whether the transaction may see other rows than one that begins now."""
        known = (self._base, *self._bearings.values())
        return any(one.isolated for one in known if one) or any(
            isolation_level.read(physical.raw) in _ISOLATED for physical in self._session.alive
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
        return shard_of_key(key, table, self.cluster, known.catalog, self._path)

    def explain(self, plan: Plan, given: Any, *, verbose: bool) -> str:
        """A plan as text."""
        if len(self.cluster.names) == 1:
            return f"strategy: none needed\nshards: {self.home}\nit runs the statement as it is"
        return explain(plan, self.cluster.names, given, verbose=verbose)

    # What statements change -----------------------------------------------------------------

    @property
    def bearings(self) -> Bearings | None:
        """Those of all sessions, if they are known. Set them where they are known already."""
        known = {self._of(shard) for shard in self._session.shards}
        return known.pop() if len(known) == 1 and not self._unsure else None

    @bearings.setter
    def bearings(self, bearings: Bearings) -> None:
        self._base = bearings

    def trace_of(self, text: str, has_parameters: bool, timeout: Timeout) -> Trace:
        """What a statement may leave that goes to chosen shards as it is.

        Switches: when the catalog must be loaded.
        """
        known = self._own if self._changed else self._knowledge.current()
        try:
            known = known or self._load(timeout)
        except errors.Error:
            return Trace.CODE  # a shard that is not asked for may be out of reach
        return known.planner.traces.of_text(text, has_parameters)

    def note(self, trace: Trace, shards: Iterable[str], *, changes: bool) -> None:
        """Take note of a statement that ran, or failed.

        Args:
            trace: What it may have left.
            shards: Where.
            changes: Whether it may have changed tables.
        """
        self._now = None
        if trace >= Trace.ANYTHING:
            self.may_have_set = self.may_have_made_up = True
            self._moved.update(shards)
            self._unsure |= self._moved
            self._digits = None
        if changes:
            self._changed, self._own = True, None
        if not self.in_transaction:
            self.ended()

    def expose(self, shard: str) -> None:
        """Take note that somebody has the shard's connection itself, and may use it unseen."""
        self.note(Trace.ANYTHING, (shard,), changes=False)
        self._exposed.add(shard)
        self._unsure.add(shard)

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
        if self._moved:
            self._unsure |= self._moved
            self._digits = None
            self._moved.clear()
        if self._changed:
            self._changed, self._own = False, None
            self._knowledge.drop()

    def mistrust(self) -> None:
        """Take note that a server does not know a name: the catalog may be too old."""
        if not self._changed:
            self._knowledge.expire()

    # Asked for when needed ------------------------------------------------------------------

    def float_digits(self, timeout: Timeout) -> int:
        """The least of the sessions' ``extra_float_digits``: a role's may differ by shard.

        Switches: if it is not known.
        """
        if self._digits is None or self._exposed:
            if self._informant() is None:
                return 1  # a failed transaction: the statement fails, whatever it would give
            shards = [p.shard for p in self._session.alive]
            self._session.reach(shards, timeout)
            able = [p for p in self._session.alive if p.transaction_status != TRANSACTION_FAILED]
            cursors = {p.shard: own_cursor(p.raw) for p in able}
            calls = {s: partial(c.execute, "SHOW extra_float_digits") for s, c in cursors.items()}
            self._session.run(calls, timeout)
            rows: list[Any] = [cursor.fetchone() for cursor in cursors.values()]
            self._digits = min(int(row[0]) for row in rows)
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


def _differing(bearings: Mapping[str, Bearings]) -> Refused:
    told = "; ".join(
        f"{shard} in {', '.join(one.path)}, with role {one.role}"
        for shard, one in sorted(bearings.items())
    )
    return Refused(
        f"the shards' sessions look for names in different places: {told}",
        "GS410",
        "SET search_path (or ROLE) for all of them, roll back what set it on one, or run the "
        "statement on one shard with conn.on('...').",
    )
