"""What one connection to a declared cluster knows of its sessions' bearings (see `bearings`).

A statement is planned by the bearings of one session, the home's if possible, and the shards that
it needs must have the same: that is seen when their connections are there, before anything is sent
to them. A new connection tells its bearings with what it is (`identity`), so that costs nothing.

A session is asked (again)

- after a statement that may have moved its bearings, by what the catalog says that it runs
  (`analysis.traces`), and once more when the transaction has ended, which may undo that or run
  triggers;
- when its bearings are a minute old, or older than the last time that the catalog was found to
  have changed: the schemas that there are decide what a search path means.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet

from greenshard import errors
from greenshard.links.asking_bearings import ask_bearings
from greenshard.links.bearings import Bearings, told
from greenshard.links.deadline import Timeout, seconds_left
from greenshard.links.outside import calls_outside
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
        home: The shard by whose bearings statements are planned, if possible.
    """

    def __init__(self, session: Session, home: str) -> None:
        self._session = session
        self._home = home
        self._plans: Bearings | None = None  # those that statements are planned by
        self._planned_on = home
        self._oldest = 0.0  # when bearings must have been asked for to count
        self._moved: set[str] = set()  # shards whose bearings the transaction's end may change
        self._exposed: set[str] = set()  # shards whose sessions others can use unseen
        self._before: dict[Physical, tuple[Bearings | None, float]] = {}

    # What is known --------------------------------------------------------------------------

    @property
    def path(self) -> tuple[str, ...]:
        """Where statements look for names, by their plans."""
        return _USUAL_PATH if self._plans is None else self._plans.path

    @property
    def float_digits(self) -> int:
        """The sessions' ``extra_float_digits``: the same, or their statements are refused."""
        # Of a failed transaction it is not known; its statement fails, whatever it would give.
        return 1 if self._plans is None else self._plans.float_digits

    @property
    def isolated(self) -> bool:
        """Whether the transaction may see other rows than one that begins now."""
        return any(
            (p.bearings is not None and p.bearings.isolated)
            or isolation_level.read(p.raw) in _ISOLATED
            for p in self._session.alive
        )

    @property
    def may_be_isolated(self) -> bool:
        """The same, or a session may have been set so that was not asked since it moved."""
        return self.isolated or any(p.bearings is None for p in self._session.alive)

    def hold(self, oldest: float) -> bool:
        """Whether the next statement can be planned by what is known; if not, `ask`.

        Args:
            oldest: When bearings must have been asked for, at least, to count.

        Cost: 0.3 us.
        """
        self._oldest = oldest
        physicals = self._session.physicals
        for shard in self._exposed:
            if shard in physicals:
                physicals[shard].bearings = None
        home = physicals.get(self._home)
        return (
            home is not None
            and home.bearings is self._plans is not None
            and home.bearings_at >= oldest
        )

    def ask(self, informant: Physical | None, timeout: Timeout) -> None:
        """Learn by what to plan, of one shard. Others are asked if the statement needs them.

        Args:
            informant: That one; None if all transactions have failed.

        Raises:
            errors.Error: It failed, or time is up.

        Switches: if it must be asked.
        """
        if informant is None:
            return
        session, shard = self._session, informant.shard
        if self._is_old(informant):
            session.reach((shard,), timeout)
            self._ask((shard,), timeout, tolerant=False)
        self._planned_on = shard
        self._plans = session.physical(shard).bearings or self._plans

    def check(
        self, shards: Sequence[str], names: AbstractSet[str], timeout: Timeout, *, tolerant: bool
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
        Cost: 0.1 us for each shard, if their sessions have the same bearings.
        """
        plans, oldest, physicals = self._plans, self._oldest, self._session.physicals
        if plans is None:
            return False  # all transactions have failed
        if not plans.temporary:
            for shard in shards:
                physical = physicals.get(shard)
                if physical is not None and (
                    physical.bearings is not plans or physical.bearings_at < oldest
                ):
                    break
            else:
                return False
        old = {s for s in shards if s in physicals and self._is_old(physicals[s])}
        failed = self._ask(old, timeout, tolerant=tolerant)
        found = {s: one for s in shards if s in physicals and (one := physicals[s].bearings)}
        found.setdefault(self._planned_on, plans)
        _compare(found, plans, names)
        return failed

    def _is_old(self, physical: Physical) -> bool:
        return physical.bearings is None or physical.bearings_at < self._oldest

    def _ask(self, shards: Iterable[str], timeout: Timeout, *, tolerant: bool) -> bool:
        """Ask some shards, but for those whose transaction has failed; whether one is gone now."""
        session = self._session
        calls = calls_outside((p for p in session.alive if p.shard in shards), ask_bearings)
        if not calls:
            return False
        failures: Mapping[str, BaseException]
        try:
            failures = session.run(calls, seconds_left(timeout), tolerant=tolerant).failures
        except errors.Error as error:  # of all of them
            if not tolerant:
                raise
            failures = dict.fromkeys(calls, error)
        alive = {physical.shard for physical in session.alive}
        for shard, failure in failures.items():
            if shard in alive:  # it is not gone, and nobody knows where it would look
                raise errors.from_shards({shard: failure}, len(session.shards))
        return bool(failures)

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
        if self._moved:
            self._forget()
            self._moved.clear()

    def _forget(self) -> None:
        physicals = self._session.physicals
        for physical in (physicals[shard] for shard in self._moved if shard in physicals):
            self._before.setdefault(physical, (physical.bearings, physical.bearings_at))
            physical.bearings = None

    def restore(self, *, as_before: bool) -> None:
        """Take note that the sessions that were moved are made as good as new.

        Args:
            as_before: Whether they then have the bearings that they had before.
        """
        for physical, before in self._before.items():
            physical.bearings, physical.bearings_at = before if as_before else (None, 0.0)


def _compare(found: dict[str, Bearings], plans: Bearings, names: AbstractSet[str]) -> None:
    """Refuse bearings that are not the plan's."""
    hidden = {name for one in found.values() for name in one.temporary}
    if named := hidden & names:
        raise errors.refused(
            f"a temporary relation of this session hides {min(named)} on a shard",
            code="GS410",
            hint="Drop it, or give it another name.",
        )
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
