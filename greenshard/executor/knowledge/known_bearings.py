"""What one connection to a declared cluster knows of its sessions' bearings (see `bearings`).

A statement is planned by the bearings of one session, whichever it is, and the shards that it needs
must have the same: that is seen when their connections are there, before anything is sent to them.
A new connection tells its bearings with what it is (`identity`), so that costs nothing.

A session is asked (again)

- after a statement that may have moved its bearings, by what the catalog says that it runs
  (`analysis.traces`), and once more when the transaction has ended, which may undo that or run
  triggers;
- when its bearings are a minute old, or older than the last time that the catalog was found to
  have changed: the schemas that there are decide what a search path means.

If every session must be asked again, the statement is first planned by a guess: what they had last.
Then it is known which of them it needs, and these are waited for. The others are asked at the same
time, but only waited for as long as they answer soon: so what has moved on one shard is seen.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet

from greenshard import errors
from greenshard.links.bearings import Bearings, told
from greenshard.links.physical import Physical, isolation_level
from greenshard.links.session import Session

#: psycopg2's isolation levels above READ COMMITTED.
_ISOLATED = (2, 3)
#: Where PostgreSQL looks by default.
_USUAL_PATH = ("pg_catalog", "public")


class KnownBearings:
    """The bearings of the sessions of one connection.

    Args:
        session: The connection's; held by whoever calls.

    Attributes:
        guessed: Whether the bearings that the next statement is planned by are a guess.
        oldest: When bearings must have been asked for to count.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self.guessed = True
        self._plans: Bearings | None = None  # those that statements are planned by
        self._planned_on = ""  # whose they are
        self.oldest = 0.0
        self._moved: set[str] = set()  # shards whose bearings the transaction's end may change
        self._exposed: set[str] = set()  # shards whose sessions others can use unseen
        self._before: dict[Physical, tuple[Bearings | None, float]] = {}

    # What is known --------------------------------------------------------------------------

    @property
    def path(self) -> tuple[str, ...]:
        """Where statements look for names, by their plans."""
        return _USUAL_PATH if self._plans is None else self._plans.path

    @property
    def temporary(self) -> AbstractSet[str]:
        """The names of temporary relations, by the plans of statements."""
        return frozenset() if self._plans is None else self._plans.temporary

    @property
    def names_meant(self) -> tuple[object, ...]:
        """What the names in a statement mean by, by its plan."""
        return self.path, self.temporary

    @property
    def planned_on(self) -> str:
        """The shard whose session's bearings these are; empty if they are no session's."""
        return self._planned_on

    @property
    def float_digits(self) -> int:
        """The sessions' ``extra_float_digits``: the same, or their statements are refused."""
        # Of a failed transaction it is not known; its statement fails, whatever it would give.
        return 1 if self._plans is None else self._plans.float_digits

    @property
    def isolated(self) -> bool:
        """Whether the transaction may see other rows than one that begins now."""
        return self._session.exported is not None or any(
            (p.bearings is not None and p.bearings.isolated)
            or isolation_level.read(p.raw) in _ISOLATED
            for p in self._session.alive
        )

    @property
    def may_be_isolated(self) -> bool:
        """The same, or nothing is known of any session since it may have been set so.

        One is enough: what sets it sets it on all shards, or `check` refuses what they run.
        """
        return self.isolated or all(p.bearings is None for p in self._session.alive)

    def hold(self, oldest: float) -> None:
        """Choose the bearings that the next statement is planned by.

        Those of one session, as long as they are known: then the statements of a session that has
        moved are refused, and not now these and now those.

        Args:
            oldest: When bearings must have been asked for, at least, to count.

        Cost: 0.3 us.
        """
        self.oldest = oldest
        physicals = self._session.physicals
        for shard in self._exposed:
            if shard in physicals:
                physicals[shard].bearings = None
        one = physicals.get(self._planned_on)
        if (
            one is not None
            and one.bearings is self._plans is not None
            and one.bearings_at >= oldest
        ):
            self.guessed = False
            return
        self.adopt()

    def adopt(self) -> bool:
        """Plan by the first session whose bearings are known; whether there is one.

        If there is none, those that statements were planned by go on as a guess.
        """
        for physical in self._session.alive:
            # The first in shard order: as long as nothing moves, each statement plans by the same
            # one.
            if not self._is_old(physical):
                self._planned_on, self._plans = physical.shard, physical.bearings
                self.guessed = False
                return True
        self.guessed = True
        return False

    def old(self, shards: Iterable[str]) -> set[str]:
        """The ones among some shards that must be asked for their bearings."""
        physicals = self._session.physicals
        return {s for s in shards if s in physicals and self._is_old(physicals[s])}

    def are_plans(self, shards: Iterable[str]) -> bool:
        """Whether some sessions certainly have the bearings that the statement is planned by.

        Args:
            shards: Where it is to run; their connections are there.

        Cost: 0.1 us for each shard.
        """
        plans, oldest, physicals = self._plans, self.oldest, self._session.physicals
        if plans is None:
            return True  # all transactions have failed
        # Which names they hide depends on the statement, and `check` looks at that.
        if plans.temporary:
            return False
        for shard in shards:
            physical = physicals.get(shard)
            if physical is not None and (
                physical.bearings is not plans or physical.bearings_at < oldest
            ):
                return False
        return True

    def check(
        self, shards: Sequence[str], names: AbstractSet[str], temporary: AbstractSet[str]
    ) -> None:
        """Refuse a statement that would mean something else on one shard than on another.

        Args:
            shards: Where it is to run; what had to be asked for has been.
            names: See `Plan.names`.
            temporary: The temporary tables that it was planned with.

        Raises:
            errors.NotSupportedError: It would.
        """
        plans, physicals = self._plans, self._session.physicals
        if plans is None:
            return
        found = {s: one for s in shards if s in physicals and (one := physicals[s].bearings)}
        # The session whose bearings the plan has need not be one of those that run it.
        found.setdefault(self._planned_on, plans)
        _compare(found, plans, names, temporary)

    def refuse_hidden(self, names: AbstractSet[str], temporary: AbstractSet[str]) -> None:
        """Refuse names of temporary relations that statements are not planned with.

        Args:
            names, temporary: As for `check`.

        Raises:
            errors.NotSupportedError: There is one.
        """
        told = (physical.bearings for physical in self._session.alive)
        _refuse_hidden(filter(None, told), names, temporary)

    def _is_old(self, physical: Physical) -> bool:
        return physical.bearings is None or physical.bearings_at < self.oldest

    # What statements change -----------------------------------------------------------------

    def move(self, shards: Iterable[str]) -> None:
        """Take note that the bearings of some shards' sessions may be others now."""
        self._moved.update(shards)
        self._forget()

    def expose(self, shard: str) -> None:
        """Take note that somebody has the shard's connection itself, and may use it unseen."""
        self._exposed.add(shard)

    def end_transaction(self) -> None:
        """Take note that the transaction has ended."""
        # ROLLBACK undoes SET, and COMMIT ends SET LOCAL: after either, they may be others again.
        if self._moved:
            self._forget()
            self._moved.clear()

    def _forget(self) -> None:
        physicals = self._session.physicals
        for physical in (physicals[shard] for shard in self._moved if shard in physicals):
            # The first time counts: what it was before the pool's user moved it.
            self._before.setdefault(physical, (physical.bearings, physical.bearings_at))
            physical.bearings = None

    def restore(self, *, as_before: bool) -> None:
        """Take note that the sessions that were moved are made as good as new.

        Args:
            as_before: Whether they then have the bearings that they had before.
        """
        for physical, before in self._before.items():
            physical.bearings, physical.bearings_at = before if as_before else (None, 0.0)


def _compare(
    found: dict[str, Bearings],
    plans: Bearings,
    names: AbstractSet[str],
    temporary: AbstractSet[str],
) -> None:
    """Refuse bearings that are not the plan's."""
    for shard, one in found.items():
        if gone := (temporary & names) - one.temporary:
            raise errors.refused(
                f"temporary table {min(gone)} is not there on shard {shard}",
                code="GS410",
                hint="Its session is another one than that which made the table. DISCARD TEMP, and "
                "make it again.",
            )
    _refuse_hidden(found.values(), names, temporary)
    if any(one.place != plans.place for one in found.values()):
        raise errors.refused(
            f"the shards' sessions look for names in different places: {told(found)}",
            code="GS410",
            hint="SET search_path (or ROLE) for all of them, roll back what set it on one, or run "
            "the statement on one shard with conn.on('...'). Where roles, databases or connection "
            "strings set it, let them do so alike on all shards, and connect again.",
        )
    for shard, one in found.items():
        for name, theirs, ours in one.apart(plans):
            raise errors.refused(
                f"the shards' sessions differ in {name}: it is {theirs} on shard {shard} and "
                f"{ours} elsewhere",
                code="GS410",
                hint=f"SET {name} for all of them, roll back what set it on one, or run the "
                "statement on one shard with conn.on('...'). Where servers, roles, databases or "
                "connection strings set it, let them do so alike on all shards.",
            )


def _refuse_hidden(
    found: Iterable[Bearings], names: AbstractSet[str], temporary: AbstractSet[str]
) -> None:
    hidden = {name for one in found for name in one.temporary - temporary}
    if named := hidden & names:
        raise errors.refused(
            f"a temporary relation of this session hides {min(named)} on a shard",
            code="GS410",
            hint="Drop it, or give it another name.",
        )
