"""What recovery does about the transactions over several shards that nobody has finished.

A part that is prepared on a shard keeps its locks until somebody ends it. What its coordinator has
left, recovery finishes, by the word of the transaction's *anchor*::

    each shard      what is prepared here, of this cluster, in this database?
    the anchor      INSERT the verdict "rolled back"; what does the row say?
    the shard       COMMIT PREPARED or ROLLBACK PREPARED

The verdict is *inserted*, under the key of the coordinator's own row, and never only looked for: a
coordinator that lives has its row in an open transaction, which the insert waits for; one that is
dead can never commit after it; where it has committed, its row stays. So recoverers, coordinators
and those who ask for an outcome all get the same word, whoever comes first.

Nothing is decided over a shard that cannot be asked. What another program has prepared, what is of
another cluster, and what is in another database of the server is not looked at.

*Forgetting.* A decision is removed when it is old, and all shards were asked in this round and none
has anything prepared of that transaction or of an older one of its anchor. Which decisions are gone
is noted with that (`forgotten`), in the same transaction: whoever inserts a verdict looks at the
note afterwards, and takes the insert back if a decision may have been there once. So a part that
comes back with an old backup of its shard is not rolled back for that: it stays, and is told of.

`Recovery` knows no connection and no clock: it gives actions, and is given what came of each, in
whatever order the shards answer. No shard waits for one that it needs no answer of.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum

from greenshard.transaction import gids
from greenshard.transaction.gids import Gid

#: By how much, in seconds, the clocks of two servers may differ.
CLOCKS_S = 3600.0


# Actions ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Ask:
    """Ask what is prepared on a shard; answered by `Found`."""

    shard: str


@dataclass(frozen=True, slots=True)
class Decide:
    """Insert the verdict on a shard, the transaction's anchor; answered by `Verdict`.

    Attributes:
        gid: The transaction.
        since_ms: When, at the earliest, it can have been decided; in milliseconds since 1970.
    """

    shard: str
    gid: Gid
    since_ms: int


@dataclass(frozen=True, slots=True)
class Finish:
    """COMMIT PREPARED, or ROLLBACK PREPARED; answered by `Ending`."""

    shard: str
    name: str
    committed: bool


@dataclass(frozen=True, slots=True)
class Forget:
    """Note that decisions of transactions made before `until_ms` are gone, and remove them.

    Answered by whether that was all of them: at most so many are removed at once.

    Attributes:
        before: The keys of theirs sort before it.
        until_ms: In milliseconds since 1970.
    """

    shard: str
    before: str
    until_ms: int


Action = Ask | Decide | Finish | Forget


# Answers ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Failure:
    """The shard did not do it, or its answer did not come: then nobody knows."""

    why: str


@dataclass(frozen=True, slots=True)
class Prepared:
    """What is prepared in the database of a shard, by whatever program.

    Attributes:
        name: Under which it is.
        owner: The role that has prepared it: it alone may finish it, and superusers.
        at_s: When it was, in seconds since 1970, by the server's clock.
        age_s: How long ago that was.
        may_decide: Whether that role has the rights, now, that whoever commits over several shards
            needs.
    """

    name: str
    owner: str
    at_s: float
    age_s: float
    may_decide: bool = True


@dataclass(frozen=True, slots=True)
class Found:
    """What a shard tells of itself.

    Attributes:
        cluster, id: What `greenshard init` has stamped it with.
        prepared: What is prepared there.
        cutoff_ms: Decisions of transactions made before may be removed, by their age.
        has_old: Whether there is one.
        shards: How many shards the cluster had when it was initialised.
    """

    cluster: str
    id: str
    prepared: tuple[Prepared, ...] = ()
    cutoff_ms: int = 0
    has_old: bool = False
    shards: int = 0


class Verdict(Enum):
    """What a transaction's anchor says of it."""

    COMMITTED = "committed"
    ROLLED_BACK = "rolled back"
    #: Its coordinator has the decision in an open transaction.
    HELD = "held"
    #: No decision is there, but one of its time may have been removed.
    FORGOTTEN = "forgotten"


class Ending(Enum):
    """What came of finishing a part."""

    DONE = "done"
    #: Another recoverer, or the coordinator, was faster.
    GONE = "gone"
    #: One of them is at it.
    BUSY = "busy"
    #: The role may not.
    DENIED = "denied"


Answer = Found | Verdict | Ending | bool | Failure


# What it comes to -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class FinishedPart:
    """A part that was finished.

    Attributes:
        gid: The transaction, as `TransactionInDoubt.gid` and `greenshard.outcome` have it.
        shard: Where the part was.
        committed: Whether it was committed; else it was rolled back.
        age_s: For how many seconds it had been prepared.
    """

    gid: str
    shard: str
    committed: bool
    age_s: float


@dataclass(frozen=True, slots=True)
class InDoubtPart:
    """A part that is left as it is.

    Attributes:
        gid, shard, age_s: As of a `FinishedPart`.
        owner: The role that has prepared it.
        anchor: The shard that decides, or None if that is not known.
        committed: What it says: whether the part is to be committed or rolled back; None if that
            is not known.
        lost: Whether it will stay so until somebody decides: no shard of the cluster is its
            anchor, or the decision was removed.
        why: What it waits for, in words.
    """

    gid: str
    shard: str
    age_s: float
    owner: str
    anchor: str | None
    committed: bool | None
    lost: bool
    why: str


@dataclass(frozen=True)
class RecoveryReport:
    """What one round of recovery has done.

    Attributes:
        shards: The shards, in their order.
        finished: The parts that it has finished.
        in_doubt: Those that it has not, the oldest first.
        foreign: What only looks like a part, or is one of a role that has lost its rights: it is
            prepared under such a name, by a role that may not commit over several shards, and
            nobody has decided to commit it.
        unreached: Of each shard that could not be asked why not.
        young: How many parts were left to their coordinators, which may be just at it.
        gone: How many parts others have finished meanwhile.
    """

    shards: tuple[str, ...]
    finished: tuple[FinishedPart, ...] = ()
    in_doubt: tuple[InDoubtPart, ...] = ()
    unreached: Mapping[str, str] = field(default_factory=dict)
    young: int = 0
    gone: int = 0
    foreign: tuple[InDoubtPart, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether all shards were asked, and nothing is in doubt."""
        return not (self.in_doubt or self.unreached)

    @property
    def oldest_s(self) -> float:
        """For how long the oldest part that is in doubt has been prepared; 0 if there is none."""
        return max((part.age_s for part in self.in_doubt), default=0.0)


# The steps --------------------------------------------------------------------------------------


@dataclass(slots=True, eq=False)
class _Part:
    gid: Gid
    shard: str
    prepared: Prepared
    ending: Ending | None = None
    why: str | None = None


@dataclass(slots=True, eq=False)
class _Transaction:
    """The parts of one transaction that were found, and what its anchor says."""

    parts: list[_Part] = field(default_factory=list)
    anchor: str | None = None
    verdict: Verdict | Failure | None = None


class Recovery:
    """One round over all shards.

    Args:
        shards: Their names, in order.
        young_s: Parts that were prepared so many seconds ago, or less, are left to their
            coordinators. That is politeness, and saves work: the verdict alone decides.
    """

    def __init__(self, shards: Iterable[str], young_s: float = 0.0) -> None:
        self._shards = tuple(shards)
        self._young_s = young_s
        self._found: dict[str, Found] = {}
        self._failed: dict[str, str] = {}
        self._anchors: dict[tuple[str, str], list[str]] = {}
        self._transactions: dict[Gid, _Transaction] = {}
        #: Of each anchor's transactions that are prepared anywhere, when the first was made.
        self._oldest_ms: dict[tuple[str, str], int] = {}
        self._young = 0

    def begin(self) -> list[Action]:
        """The first actions."""
        return [Ask(shard) for shard in self._shards]

    def answer(self, action: Action, answer: Answer) -> list[Action]:
        """What follows from what came of an action."""
        match action, answer:
            case Ask(shard), Found():
                return self._told(shard, answer)
            case Ask(shard), Failure(why):
                self._failed[shard] = why
            case Decide(_, gid), (Verdict() | Failure()):
                return self._decided(self._transactions[gid], answer)
            case Finish(), (Ending() | Failure()):
                self._ended(action, answer)
            case Forget(), False:
                return [action]
        return []

    def _told(self, shard: str, found: Found) -> list[Action]:
        self._found[shard] = found
        self._anchors.setdefault((found.cluster, found.id), []).append(shard)
        for prepared in sorted(found.prepared, key=lambda each: each.at_s):
            self._sort_in(shard, found, prepared)
        return [*self._next_verdicts(), *self._next_ends(shard), *self._forgetting()]

    def _sort_in(self, shard: str, found: Found, prepared: Prepared) -> None:
        named = gids.read(prepared.name)
        # Without a shard's id it is a decision's name: nobody of ours prepares anything so.
        if named is None or named[1] is None or named[0].cluster != found.cluster:
            return
        gid = named[0]
        key = (gid.cluster, gid.anchor)
        made_ms = _made_ms(gid)
        self._oldest_ms[key] = min(made_ms, self._oldest_ms.get(key, made_ms))
        if prepared.age_s < self._young_s:
            self._young += 1
            return
        transaction = self._transactions.setdefault(gid, _Transaction())
        transaction.parts.append(_Part(gid, shard, prepared))

    def _next_verdicts(self) -> Iterator[Action]:
        """Ask the anchors that are known by now."""
        for gid, transaction in self._transactions.items():
            told = self._anchors.get((gid.cluster, gid.anchor), ())
            # Two that say so: one is a copy of the other, and nobody can tell which one decided.
            if transaction.anchor is None and len(told) == 1:
                (transaction.anchor,) = told
                prepared_s = max(part.prepared.at_s for part in transaction.parts)
                since_ms = max(_made_ms(gid), int((prepared_s - CLOCKS_S) * 1000))
                yield Decide(transaction.anchor, gid, since_ms)

    def _next_ends(self, shard: str) -> Iterator[Action]:
        """Finish the parts of a shard whose verdict has come before they were known."""
        for transaction in self._transactions.values():
            yield from _ends(transaction, [p for p in transaction.parts if p.shard == shard])

    def _decided(self, transaction: _Transaction, verdict: Verdict | Failure) -> list[Action]:
        transaction.verdict = verdict
        return list(_ends(transaction, transaction.parts))

    def _ended(self, action: Finish, ending: Ending | Failure) -> None:
        for transaction in self._transactions.values():
            for part in transaction.parts:
                if (part.shard, part.prepared.name) != (action.shard, action.name):
                    continue
                if isinstance(ending, Ending):
                    part.ending = ending
                else:
                    part.why = ending.why

    def _forgetting(self) -> Iterator[Action]:
        """Let old decisions be removed, when all shards have told what is prepared there."""
        # A declaration may lack a shard that has a part of one.
        every = max([len(self._shards), *(each.shards for each in self._found.values())])
        if len(self._found) < every or any(len(told) > 1 for told in self._anchors.values()):
            return
        for shard, found in self._found.items():
            if found.has_old:
                first_ms = self._oldest_ms.get((found.cluster, found.id), found.cutoff_ms)
                until_ms = min(found.cutoff_ms, first_ms)
                yield Forget(shard, bound(found.cluster, found.id, until_ms), until_ms)

    # What it comes to -------------------------------------------------------------------------

    def report(self) -> RecoveryReport:
        """What was done so far, and what was not."""
        parts = [(t, part) for t in self._transactions.values() for part in t.parts]
        finished = [_finished(t, part) for t, part in parts if part.ending is Ending.DONE]
        unfinished = [(t, part) for t, part in parts if part.ending not in _GONE]
        left = [self._left(t, part) for t, part in unfinished if not _is_foreign(t, part)]
        foreign = [self._foreign(t, part) for t, part in unfinished if _is_foreign(t, part)]
        unasked = [shard for shard in self._shards if shard not in self._found]
        return RecoveryReport(
            self._shards,
            tuple(finished),
            tuple(sorted(left, key=lambda part: -part.age_s)),
            {shard: self._failed.get(shard, _NO_ANSWER) for shard in unasked},
            young=self._young,
            gone=sum(part.ending is Ending.GONE for _, part in parts),
            foreign=tuple(sorted(foreign, key=lambda part: -part.age_s)),
        )

    def _foreign(self, transaction: _Transaction, part: _Part) -> InDoubtPart:
        owner = part.prepared.owner
        return replace(
            self._left(transaction, part),
            why=f"{owner} has prepared it, for whom `greenshard init --role` was not run: if it is "
            f"none of greenshard's, {owner} or a superuser ends it: "
            f"ROLLBACK PREPARED '{part.prepared.name}'",
        )

    def _left(self, transaction: _Transaction, part: _Part) -> InDoubtPart:
        verdict = transaction.verdict
        why, lost = self._why(transaction, part)
        return InDoubtPart(
            part.gid.decision,
            part.shard,
            part.prepared.age_s,
            part.prepared.owner,
            transaction.anchor,
            _COMMITTED.get(verdict) if isinstance(verdict, Verdict) else None,
            lost,
            why,
        )

    def _why(self, transaction: _Transaction, part: _Part) -> tuple[str, bool]:
        """Why a part is left, and whether it will stay so."""
        anchor = transaction.anchor
        if anchor is None:
            return self._why_no_anchor(part.gid)
        match transaction.verdict:
            case Failure(why):
                return f"shard {anchor}, which decides, could not be asked: {why}", False
            case Verdict.HELD:
                return f"a transaction that is open on shard {anchor} may still commit it", False
            case Verdict.FORGOTTEN:
                return f"shard {anchor} has no decision, and removed those of its time", True
        return _why_unfinished(part), False

    def _why_no_anchor(self, gid: Gid) -> tuple[str, bool]:
        told = self._anchors.get((gid.cluster, gid.anchor), ())
        if len(told) > 1:
            names = " and ".join(told)
            return f"shards {names} are copies of each other: both would decide", True
        unasked = [shard for shard in self._shards if shard not in self._found]
        if unasked:
            return f"the shard that decides could not be asked: {', '.join(unasked)}", False
        return f"no shard of the cluster decides it: none has the id {gid.anchor}", True


_NO_ANSWER = "no answer in time"
_GONE = (Ending.DONE, Ending.GONE)
_COMMITTED = {Verdict.COMMITTED: True, Verdict.ROLLED_BACK: False}


def _is_foreign(transaction: _Transaction, part: _Part) -> bool:
    """Whether it is nobody's who could have decided it, as far as is known; anybody can name it so.

    A decision to commit is the word of somebody who could: then his rights were taken away since.
    """
    open_still = (Verdict.COMMITTED, Verdict.HELD)
    if part.prepared.may_decide or transaction.verdict in open_still:
        return False
    return not isinstance(transaction.verdict, Failure)


def _why_unfinished(part: _Part) -> str:
    if part.ending is Ending.BUSY:
        return "another session is finishing it"
    if part.ending is Ending.DENIED:
        return f"only {part.prepared.owner} and superusers may finish it: recover as one of them"
    return part.why or _NO_ANSWER


def bound(cluster: str, anchor: str, ms: int) -> str:
    """What the keys of an anchor's transactions that were made before a time sort before."""
    return Gid(cluster, anchor, gids.time_digits(ms)).decision


def _made_ms(gid: Gid) -> int:
    return round(gid.made_at * 1000)


def _ends(transaction: _Transaction, parts: Iterable[_Part]) -> Iterator[Finish]:
    verdict = transaction.verdict
    if isinstance(verdict, Verdict) and (committed := _COMMITTED.get(verdict)) is not None:
        for part in parts:
            yield Finish(part.shard, part.prepared.name, committed)


def _finished(transaction: _Transaction, part: _Part) -> FinishedPart:
    committed = transaction.verdict is Verdict.COMMITTED
    return FinishedPart(part.gid.decision, part.shard, committed, part.prepared.age_s)
