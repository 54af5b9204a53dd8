"""What one connection to a declared cluster knows: plans, its bearings, what its session set.

Two things are remembered from one statement to the next, until they may have changed:

- the planner, shared with the other connections to the cluster (`shared`). From a statement
  that changes tables until the transaction ends, the connection has a planner of its own: others
  do not see the change yet. When it has ended, the shared one is made anew. After a statement that
  may have changed tables the shards that ran it are asked whether it has;
- the bearings of its sessions, such as the search path (`KnownBearings`).

No shard is waited for that a statement does not need. So a statement is first planned by what is
there, and only the shards that it then needs are asked what may have changed (`confirm`). What any
shard can tell is asked of the one that has answered last, and soon of another (`hedge`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace
from functools import partial
from typing import Any

from greenshard import _green, errors
from greenshard._driver import python_encoding
from greenshard.cluster import Cluster
from greenshard.cluster.encodings import INEXACT
from greenshard.executor.knowledge.catalog_queries import load_catalog
from greenshard.executor.knowledge.changes import ask_news
from greenshard.executor.knowledge.clock import Clock
from greenshard.executor.knowledge.known_bearings import KnownBearings
from greenshard.executor.knowledge.shared import Known, knowledge_of
from greenshard.executor.knowledge.temporary import TemporaryTables, read_temporary
from greenshard.links.asking_bearings import ask_bearings
from greenshard.links.deadline import Deadline
from greenshard.links.outside import calls_outside, read_outside
from greenshard.links.physical import Physical
from greenshard.links.session import Session
from greenshard.planner.belonging import NamedWrites
from greenshard.planner.catalog import Catalog, Relation
from greenshard.planner.code import Trace
from greenshard.planner.explanation import explain
from greenshard.planner.keys import shard_of_key, untold
from greenshard.planner.plan import Plan, Refused, Step
from greenshard.planner.planner import Planner
from greenshard.planner.tasks import has_texts, without_texts
from greenshard.sql.first_words import sets_transaction
from greenshard.sql.plain_rows import begins_insert
from greenshard.sql.preparing import Prepared
from greenshard.sql.statement import MAX_CACHED_CHARACTERS
from greenshard.transaction.state import Transaction

_MOST_TEXTS = 1_000
#: How long, in seconds, a shard may take to tell of its own tables, if no statement needs them.
_PATIENCE_S = 5.0
#: Characters. The plan of a longer text is not kept.
_MOST_CHARACTERS_KEPT = 100_000
#: Characters. A longer text is planned in a thread: the hub must not wait for it.
_SOON_PLANNED = 10_000


class PlanOutdated(Exception):
    """Shards that a statement needs tell otherwise than what it was planned by: plan it again."""


class OneDatabase:
    """The knowledge of one connection.

    Args:
        cluster: As declared.
        session: The connection's; held by whoever calls.
        transaction: Its.
        home: The shard whose connection the program's cursors are made of.
        connect_timeout_s: Seconds that a further connection may take to open.
        databases: See `knowledge_of`.

    Attributes:
        bearings: Those of its sessions.
        clock: The time that its statements tell.
        temporary: Its temporary tables.
        may_have_set: Whether the session may have settings that a new one would not have.
        may_have_made_up: Likewise, of settings that PostgreSQL does not know.
        compared_as_text: Statements whose rows Python can order only by the text of their values.
        read_in_batches: Statements that gather so many rows that they come in batches.
        prepared: Prepared statements of the sessions, by name; not all that there are.
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
        self.prepared: dict[str, Prepared] = {}
        self.bearings = KnownBearings(session)
        self.clock = Clock(session, transaction)
        self.temporary = TemporaryTables()
        self._session = session
        self._transaction = transaction
        self._knowledge = knowledge_of(cluster, databases)
        self._changed = False
        self._own: Known | None = None
        self._doubted: set[str] = set()  # shards whose catalog the transaction may have changed
        self._ran: set[str] = set()  # likewise, but asked meanwhile
        self._told: dict[str, bytes] = {}  # versions, as the transaction sees them
        self._seen_on: set[str] = set()  # where the catalog is known to have changed
        self._as_of: float | None = None  # when that was, for a plan that is made again

    # Planning -------------------------------------------------------------------------------

    def plan(self, text: str, has_parameters: bool, timeout: Deadline) -> Plan:
        """The plan of a statement, by what is there; `confirm` it before it is run.

        Switches: when the catalog must be loaded, and for a long text.
        Cost: a few us for a text seen before.
        """
        # Planned again, it goes by what was asked for it: else it might never be run.
        as_of, self._as_of = self._as_of, None
        known = self._current(timeout)
        self.bearings.hold(self._knowledge.oldest() if as_of is None else as_of)
        # SET TRANSACTION must come before any query, and is the same whatever tables there are.
        if not (self.temporary.names and sets_transaction(text)):
            self._find_temporary(timeout)
        planner, path = self._by_temporary(known)
        make: Callable[..., Plan] = planner.plan
        if len(text) > MAX_CACHED_CHARACTERS:
            make = planner.plan_long
            # Plans of megabytes would stay in memory, and rows to insert do not come again.
            if len(text) > _MOST_CHARACTERS_KEPT or begins_insert(text):
                make = make.__wrapped__  # the same, without the cache
        if len(text) <= _SOON_PLANNED:
            plan = make(text, has_parameters, path)
        else:
            plan = _green.in_thread(lambda: make(text, has_parameters, path))
        if isinstance(plan.step, Refused) and plan.step.homes:
            # Only who needs the tables of a shard waits for it.
            known = self._load(timeout, plan.step.homes)
            planner = self.temporary.planner_of(known, self.cluster)
            return planner.plan(text, has_parameters, path)
        return plan

    def _by_temporary(self, known: Known) -> tuple[Planner, tuple[str, ...]]:
        """What plans with the temporary tables that were found, and the path that it goes by."""
        planner = self.temporary.planner_of(known, self.cluster)
        return planner, self.temporary.path(self.bearings.path)

    def _find_temporary(self, timeout: Deadline) -> None:
        """Know the session's temporary tables, if it may have some."""
        temporary = self.temporary
        if not temporary.names and not temporary.planned:
            return
        # By a guess, a statement would be planned with tables that were made or changed since.
        if self.bearings.guessed:
            self._know_bearings(timeout)
        if temporary.must_ask(self.bearings.temporary) and (informants := self._informants()):
            read = partial(read_temporary, names=sorted(temporary.names))
            informants.sort(key=lambda shard: shard != self.bearings.planned_on)
            reads = partial(read_outside, read=read)
            temporary.found(*self._session.ask_any(reads, informants[:1], timeout)[1])
        temporary.forget_gone()

    def sure_plan(self, text: str, has_parameters: bool) -> Plan | None:
        """The plan of a statement, if nothing that it goes by must be asked for; else None.

        Cost: 1 us for a text seen before.
        """
        knowledge, bearings = self._knowledge, self.bearings
        known = knowledge.current()
        if (
            known is None
            or self._changed
            or self._as_of is not None
            or self._doubted
            or self.temporary.names
            or knowledge.doubted
            or len(text) > _SOON_PLANNED
        ):
            return None
        bearings.hold(knowledge.oldest())
        return None if bearings.guessed else known.planner.plan(text, has_parameters, bearings.path)

    def plan_anew(self, text: str, has_parameters: bool, timeout: Deadline) -> Plan:
        """The plan, with a catalog that is at most a second old: its tables may be new."""
        # Not anew if it is younger than a second: a statement that is refused in a loop would load
        # it each time.
        self.mistrust()
        self.make_sure(timeout)
        return self.plan(text, has_parameters, timeout)

    def make_sure(self, timeout: Deadline) -> None:
        """Let the next plan be made by no guess and no catalog in doubt, whatever it needs.

        Any shard may tell, so it is not known to hold where the statement is to run.

        Raises:
            errors.Error: None can, or time is up.

        Switches: if one must be asked.
        """
        if self._doubted:
            self._ran |= self._doubted
            self._change(self._doubted)
            self._doubted = set()
        if self._knowledge.is_suspect:
            self._seen_on |= self._knowledge.doubted
            self._knowledge.expire()
        self._know_bearings(timeout)

    def _know_bearings(self, timeout: Deadline) -> None:
        """Have bearings to plan by that are no guess."""
        self.bearings.hold(self._knowledge.oldest())
        if not self.bearings.guessed:
            return
        # All at once; if one answers soon, nobody need be waited for.
        with self._asking_others(()):
            pass
        if not self.bearings.adopt() and (informants := self._informants()):
            self._session.ask_any(partial(read_outside, read=ask_bearings), informants, timeout)
            self.bearings.adopt()

    @contextmanager
    def _asking_others(self, shards: Sequence[str]) -> Iterator[None]:
        """If bearings are a guess, ask other shards, too, but wait for no answer that is not soon.

        Args:
            shards: Those that the block asks.
        """
        session, bearings = self._session, self.bearings
        if not bearings.guessed:
            yield
            return
        # In a failed transaction the server answers nothing but its end.
        able = [p for p in session.alive if not p.failed]
        others = bearings.old(p.shard for p in able if p.shard not in shards)
        with session.asking_aside(partial(read_outside, read=ask_bearings), others):
            yield
        bearings.adopt()

    def _current(self, timeout: Deadline) -> Known:
        """Make sure of the catalog."""
        # What this transaction has made, the others must not plan by, for it may be rolled back.
        known = self._own if self._changed else self._knowledge.current()
        return self._load(timeout) if known is None else known

    # What the shards that a statement needs must tell -----------------------------------------

    @property
    def is_unsure(self) -> bool:
        """Whether a shard that a statement needs may have to be asked whether its plan holds."""
        return bool(self._doubted or self._knowledge.doubted or self.bearings.guessed)

    def confirm(self, shards: Sequence[str], timeout: Deadline, *, tolerant: bool) -> bool:
        """Ask the shards that a plan needs for what it goes by, as far as that is not known.

        One message to each: their bearings, and whether their catalogs have changed.

        Args:
            shards: Those; their connections are there.
            timeout: What it may take.
            tolerant: Whether the statement can do without some of them.

        Returns:
            Whether a shard had to be asked and failed.

        Raises:
            PlanOutdated: The plan does not hold.
            errors.Error: A shard that must be asked failed, or time is up.

        Switches: if one must be asked.
        """
        began, guess = time.monotonic(), self.bearings.names_meant
        with self._asking_others(shards):
            failed, changed = self._resolve(shards, self.bearings.old(shards), timeout, tolerant)
        if changed or self.bearings.names_meant != guess:
            # Planned again by what was just told, however old that is by then: else it might never
            # be run.
            self._as_of = began if changed else self.bearings.oldest
            raise PlanOutdated
        return failed

    def _resolve(
        self, shards: Sequence[str], old: AbstractSet[str], timeout: Deadline, tolerant: bool
    ) -> tuple[bool, bool]:
        """Ask whether the catalogs of some shards have changed, as far as they are in doubt.

        Args:
            shards: Those.
            old: Those of them to be asked for their bearings, too.
            timeout: What it may take.
            tolerant: Whether the statement can do without some of them.

        Returns:
            Whether a shard is gone now; and whether a catalog has changed.
        """
        knowledge, isolated = self._knowledge, self.bearings.isolated
        # What only this transaction sees, or does not see yet, is nothing for the others.
        apart = isolated or self._changed or bool(self._doubted or self._ran)
        taken = knowledge.take_doubts(shards)
        # In one snapshot nothing changes but by the transaction itself.
        doubted = self._doubted.intersection(shards) | (taken - self._ran if isolated else taken)
        versions: Mapping[str, bytes] = {}
        try:
            # Who has new schemas may look for names elsewhere: that is told by the same message.
            failed, versions = self._ask(old | doubted, doubted, timeout, tolerant)
        finally:
            # What was not told must be asked by the next one; and what only this transaction sees,
            # too.
            knowledge.doubted |= taken if apart else taken - versions.keys()
        self._doubted -= versions.keys()
        # Told in this transaction before, it is what the statement has been planned by since.
        news = {s: version for s, version in versions.items() if version != self._told.get(s)}
        changed = knowledge.has_changed(news)
        if apart:
            self._ran |= versions.keys()
            self._told.update(versions)
        else:
            knowledge.believe(versions)
        if changed and apart:
            self._change(versions)
        elif changed:
            self._seen_on |= versions.keys()
            knowledge.drop()
        return failed, changed

    def check(
        self, shards: Sequence[str], names: AbstractSet[str], timeout: Deadline, *, tolerant: bool
    ) -> bool:
        """Refuse a statement that would mean something else on one shard than on another.

        Args:
            shards: Where it is to run; their connections are there.
            names: See `Plan.names`.
            timeout: What it may take.
            tolerant: Whether it can do without some shards.

        Returns:
            Whether a shard had to be asked and failed.

        Raises:
            errors.NotSupportedError: It would.
            errors.Error: A shard that must be asked failed, or time is up.

        Switches: if a shard must be asked.
        """
        bearings = self.bearings
        if bearings.are_plans(shards):
            return False
        failed, _ = self._ask(bearings.old(shards), frozenset(), timeout, tolerant)
        bearings.check(shards, names, self.temporary.planned)
        return failed

    def refuse_hidden(self, names: AbstractSet[str], timeout: Deadline) -> None:
        """Refuse names that are not known, if they are those of temporary relations.

        Raises:
            errors.NotSupportedError: One is.

        Switches: if a shard must be asked.
        """
        bearings = self.bearings
        alive = [physical.shard for physical in self._session.alive]
        self._ask(bearings.old(alive), frozenset(), timeout, tolerant=True)
        bearings.refuse_hidden(names, self.temporary.planned)

    def _ask(
        self,
        bearings: AbstractSet[str],
        doubted: AbstractSet[str],
        timeout: Deadline,
        tolerant: bool,
    ) -> tuple[bool, dict[str, bytes]]:
        """Ask some shards for their bearings, some for their catalogs' versions, all at once.

        A shard whose transaction has failed is not asked.

        Returns:
            Whether a shard is gone now; and the versions.
        """
        session = self._session

        def ask(physical: Physical) -> bytes | None:
            name = physical.shard
            return ask_news(physical, bearings=name in bearings, version=name in doubted)

        asked = bearings | doubted
        calls = calls_outside((p for p in session.alive if p.shard in asked), ask)
        if not calls:
            return False, {}
        failures: Mapping[str, BaseException]
        jobs: Mapping[str, Any] = {}
        try:
            outcome = session.run(calls, timeout, tolerant=tolerant)
            jobs, failures = outcome.jobs, outcome.failures
        except errors.Error as error:  # of all of them
            if not tolerant:
                raise
            failures = dict.fromkeys(calls, error)
        alive = {physical.shard for physical in session.alive}
        for shard, failure in failures.items():
            if shard in alive:  # it is not gone, and nobody knows where it would look
                raise errors.from_shards({shard: failure}, len(session.shards))
        return bool(failures), {s: jobs[s].result for s in jobs if s in doubted}

    def _change(self, shards: Iterable[str]) -> None:
        """Plan by a catalog of the transaction's own from now on: it has changed on some shards."""
        self._changed, self._own = True, None
        self._seen_on.update(shards)

    def _load(self, timeout: Deadline, homes: Sequence[str] = ()) -> Known:
        """Load the catalog.

        Args:
            timeout: What it may take.
            homes: Shards whose own tables must be in it.
        """
        informants = self._informants()
        if not informants:
            # In a failed transaction nothing but its end can be run.
            return self._knowledge.known or Known.of(self.cluster, Catalog())
        if self._changed:
            # Others do not see what the transaction has changed.
            # Only where it was changed can it be read as it is now.
            able = [shard for shard in informants if shard in self._seen_on]
            catalog = self._read(able or informants, homes, timeout)
            self._own = Known.of(self.cluster, catalog)
            return self._own
        knowledge = self._knowledge
        known = knowledge.wait_for_others()
        if known is not None and known.catalog.whole_of.issuperset(homes):
            return known
        changes = knowledge.begin()
        try:
            catalog = self._read(informants, homes, timeout)
        except BaseException:
            knowledge.give_up()
            raise
        self._seen_on.clear()
        return knowledge.keep(catalog, changes)

    def _read(self, informants: Sequence[str], homes: Sequence[str], timeout: Deadline) -> Catalog:
        """Read the catalog of one shard, and the own tables of others."""
        session, cluster = self._session, self.cluster
        catalog = load_catalog(session, informants, timeout, cluster.functions, cluster.homes)
        there = self._there
        # What was known is to be known again: else the planner, with its plans, would be another
        # one each time.
        again = () if there is None else there.catalog.whole_of
        for home in dict.fromkeys((*homes, *sorted(again))):
            if home in catalog.whole_of:
                continue
            with nullcontext() if home in homes else suppress(errors.Error):
                own_timeout = timeout if home in homes else timeout.at_most(_PATIENCE_S)
                session.reach([home], own_timeout)
                own = load_catalog(session, [home], own_timeout, cluster.functions, cluster.homes)
                catalog = catalog.with_tables_of(own, cluster)
        return catalog

    def _informants(self) -> list[str]:
        """The shards to ask for what any one can tell, the best first.

        Those whose catalog has changed; then those that have answered last; at the end those that
        there is no connection to yet. None if all transactions have failed.
        """
        session = self._session
        able = [p for p in session.alive if not p.failed]
        if not able:
            session.check_alive()
            return []
        # Who has answered last is the most likely to answer now. One that has tables alone has all
        # of those that there are, if it is the only such shard.
        homes = self.cluster.homes

        def rank(physical: Physical) -> tuple[bool, bool, float]:
            apart = physical.shard not in homes or physical.late is not None
            return physical.shard not in self._seen_on, apart, -physical.answered_at

        able.sort(key=rank)
        names = [physical.shard for physical in able]
        if session.source is not None:
            names += [shard for shard in session.shards if shard not in session.physicals]
        return names

    @property
    def plan_stats(self) -> dict[str, int]:
        """How often a plan was in the cache and how often not, for all connections together."""
        known = self._own or self._knowledge.known
        if known is None:
            return {"hits": 0, "misses": 0, "plans": 0}
        info = known.planner.plan.cache_info()
        return {"hits": info.hits, "misses": info.misses, "plans": info.currsize}

    @property
    def _there(self) -> Known | None:
        """What the connection knows at the moment, however old it is."""
        return self._own if self._changed else self._knowledge.known

    @property
    def alike(self) -> set[tuple[str, tuple[str, ...]]]:
        """What the shards are known to have the same columns of; see `Known`."""
        known = self._there
        return set() if known is None else known.alike

    @property
    def c_collation(self) -> bool:
        """Whether the database's default collation sorts by code point."""
        known = self._there
        return known is not None and known.catalog.c_collation

    def remember_compared_as_text(self, text: str) -> None:
        """Order the rows of a statement by the text of their values from now on."""
        _remember(self.compared_as_text, text)

    def remember_read_in_batches(self, text: str) -> None:
        """Read the rows that a statement gathers in batches from now on."""
        _remember(self.read_in_batches, text)

    def shard_of(self, key: Any, table: str | None, timeout: Deadline) -> str:
        """The shard of a key, as `shard_of_key` tells.

        Raises:
            errors.ProgrammingError: It cannot be told.

        Switches: when something must be asked for first.
        """
        known = self._current(timeout)
        self._know_bearings(timeout)
        if self.may_alter(key):
            raise untold(key, table)
        return shard_of_key(key, table, self.cluster, known.catalog, self.bearings.path)

    def relation(
        self, schema: str | None, name: str, timeout: Deadline
    ) -> tuple[Relation | None, str]:
        """What a name means, None if nothing is known of it; and the databases' encoding.

        Args:
            schema: As it is written, None if it is not.
            name: Its name.
            timeout: What it may take to find out.

        Switches: when something must be asked for first.
        """
        known = self._current(timeout)
        self._know_bearings(timeout)
        self._find_temporary(timeout)
        planner, path = self._by_temporary(known)
        return planner.relation(schema, name, path), known.catalog.encoding

    def certain(self, step: Step, text: str, given: Any) -> Step:
        """The step that is taken, if not all letters reach the servers as the ones that they are.

        Then nothing goes by what seems to be the text of a key.

        Cost: 0.3 us.
        """
        if has_texts(step) and self.may_alter((text, given)):
            return without_texts(step)
        return step

    def may_alter(self, values: Any) -> bool:
        """Whether letters may reach a server as others, in the client encoding of a session."""
        inexact = any(python_encoding(p.raw) in INEXACT for p in self._session.alive)
        # ascii() writes any letter beyond ASCII as an escape, whatever the values are nested in.
        return inexact and "\\" in ascii(values)

    def explain(self, text: str, plan: Plan, given: Any, *, verbose: bool) -> str:
        """A plan as text."""
        if len(self.cluster.names) == 1:
            return f"strategy: none needed\nshards: {self.home}\nit runs the statement as it is"
        plan = replace(plan, step=self.certain(plan.step, text, given))
        every = self.sees_apart
        return explain(plan, self.cluster.names, given, verbose=verbose, every=every)

    # What statements change -----------------------------------------------------------------

    def trace_of(
        self, text: str, has_parameters: bool, shards: Sequence[str], timeout: Deadline
    ) -> Trace:
        """What a statement may leave that goes to chosen shards as it is.

        Switches: when the catalog must be loaded or a shard asked for it, and for a long text.
        """
        try:
            if not (self._knowledge.doubted | self._doubted).isdisjoint(shards):
                self._session.reach(shards, timeout)
                self._resolve(shards, frozenset(), timeout, tolerant=False)
            known = self._current(timeout)
            traces = self.temporary.planner_of(known, self.cluster).traces
        except errors.Error:
            return Trace.CODE  # a shard that is not asked for may be out of reach
        if len(text) <= _SOON_PLANNED:
            return traces.of_text(text, has_parameters)
        return _green.in_thread(lambda: traces.of_text(text, has_parameters))

    def named_writes(
        self, text: str, has_parameters: bool, shards: Sequence[str], timeout: Deadline
    ) -> list[NamedWrites | Refused]:
        """What a text writes that goes to chosen shards as it is; see `planner.belonging`.

        Args:
            text: The text.
            has_parameters: Whether it has parameters.
            shards: Those.
            timeout: What it may take to find out.

        Returns:
            One answer for each search path that the shards' sessions have; none if their
            transactions have failed.

        Raises:
            errors.Error: A shard cannot be asked, or time is up.

        Switches: when something must be asked for first, and for a long text.
        """
        known = self._current(timeout)
        planner = self.temporary.planner_of(known, self.cluster)
        make: Callable[..., NamedWrites | Refused] = planner.named_writes
        self.bearings.hold(self._knowledge.oldest())
        self._session.reach(shards, timeout)
        if old := self.bearings.old(shards):
            self._ask(old, frozenset(), timeout, tolerant=False)
        physicals = self._session.physicals
        told = {physicals[shard].bearings for shard in shards if shard in physicals}
        # conn.on("s0", "s1"): `orders` may be another table on each.
        paths = {self.temporary.path(one.path) for one in told if one is not None}
        if len(text) <= _SOON_PLANNED:
            return [make(text, has_parameters, path) for path in paths]
        make = make.__wrapped__  # type: ignore[attr-defined]  # the same, without the cache
        return _green.in_thread(lambda: [make(text, has_parameters, path) for path in paths])

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
            self.prepared.clear()
            self.bearings.move(shards)
            self.temporary.mistrust()
        if changes:
            self._change(shards)
        elif trace is Trace.UNSEEN:
            self._doubted.update(shards)
        if not self._transaction.is_open:
            self.ended()

    def made_temporary(self, names: AbstractSet[str]) -> None:
        """Take note of temporary tables that were made on all shards."""
        there = (p.bearings.temporary for p in self._session.alive if p.bearings is not None)
        # With IF NOT EXISTS, a shard may have had one that is another.
        had = frozenset[str]().union(*there)
        self.temporary.made(names - (had - self.temporary.names))

    def note_undone(self, text: str) -> None:
        """Take note of a statement that ran, or failed, and may have gone back to a savepoint.

        What the transaction had changed may be as it was before: its catalog is loaded anew.

        Args:
            text: The statement. Any that has the word counts.

        Cost: 0.1 us, unless the transaction has changed tables.
        """
        if self._changed and "rollback" in text.lower():
            self._own = None
            # A version that was told before ROLLBACK TO is no longer what is planned by.
            self._told.clear()

    @property
    def sees_apart(self) -> bool:
        """Whether another session may not see what this transaction sees.

        Also if a session was not asked since it may have been set so, or its default has been.
        """
        if self._session.exported is not None:  # then it joins, and nothing has been written
            return False
        wrote = self._transaction.wrote and self._transaction.is_open
        return wrote or self.bearings.may_be_isolated

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
        self._told.clear()
        # Committed or rolled back: in both cases the shared catalog may be another one now.
        if self._changed:
            self._changed, self._own = False, None
            self._knowledge.drop()

    def mistrust(self) -> bool:
        """Take note of what the catalog does not know: it may be too old, unless it is new.

        Returns:
            Whether it is loaded again for the next statement.
        """
        old = not self._changed and self._knowledge.is_older_than(1.0)
        if old:
            self._knowledge.expire()
        return old


def _remember(texts: set[str], text: str) -> None:
    # Rather than to keep an order of use: it is learned again with one statement each.
    if len(texts) >= _MOST_TEXTS:
        texts.clear()
    texts.add(text)
