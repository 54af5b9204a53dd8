"""How one moment over all shards is found: which steps follow which answers.

Each commit of an initialised cluster locks the *barrier*, a table on each shard, in ROW EXCLUSIVE
mode until it is done there: one over several shards on all of them, before any of it is prepared.
A reader locks it in SHARE mode, which lets the commits under way end and no other begin::

    all shards   BEGIN; SAVEPOINT; LOCK TABLE barrier IN SHARE MODE      each waits a little
    all have it  no commit is under way on any shard: this is the moment
    each shard   SELECT; ROLLBACK TO SAVEPOINT        freezes its snapshot, lets commits go on

A shard may let commits go on before another has frozen its snapshot: on that one they wait still,
so its snapshot is of the same moment. But none may before all shards have the lock: a commit could
get through on it that is then seen on the others only.

A reader and a commit that each have the lock on one shard wait for each other, which no server
sees; and what is in doubt may not end at all. So a reader does not wait long: it lets go
everywhere, and begins again after a pause. Commits may be slow: from time to time it waits longer.
But its pauses grow faster, so that commits have half of the time in the long run.

The steps are generators that know no connection: each yields an action, is sent the `Answers` to
it, and returns what is to be raised in the end. `snapshot` carries them out.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass

from greenshard import errors
from greenshard.transaction import gids

#: How long, in seconds, a shard may wait for the barrier: at first, which is enough where commits
#: are fast, and where a commit and the reader have met it ends that soon; then; and at most. While
#: it does, commits wait behind it, there and where the lock is there already.
FIRST_WAIT_S, NEXT_WAIT_S, LONGEST_WAIT_S = 0.01, 0.05, 0.8
#: How long to pause before the next attempt, on average.
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.005, 0.8
#: What all attempts may take if nobody has said so.
LIMIT_S = 5.0
#: For how long, in seconds, a transaction has been prepared that nobody may be about to end.
DOUBT_S = 0.5

Shards = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Holder:
    """Who keeps the barrier of a shard from being locked.

    Attributes:
        shard: The shard.
        pid: Its server process; None if the transaction is prepared.
        name: Its ``application_name``, or the name of the prepared transaction.
        seconds: For how long it has been in that transaction, or that has been prepared; None if
            the server does not say.
    """

    shard: str
    pid: int | None
    name: str
    seconds: float | None

    @property
    def is_in_doubt(self) -> bool:
        """Whether it is prepared, and for so long that nobody but recovery may ever end it."""
        if self.pid is not None or self.seconds is None or self.seconds < DOUBT_S:
            return False
        return not self.is_foreign

    @property
    def described(self) -> str:
        """Who it is, for people."""
        since = "" if self.seconds is None else f" {self.seconds:.1f} s ago"
        if self.pid is None:
            return f"transaction {self.name} has the barrier, prepared{since}"
        name = f" ({self.name})" if self.name else ""
        begun = since and f" begun{since}"
        return f"process {self.pid}{name} has the barrier, in a transaction{begun}"

    @property
    def is_foreign(self) -> bool:
        """Whether a coordinator of the program's own has prepared it, and is to end it."""
        named = gids.read(self.name)
        return self.pid is None and (named is None or named[1] is None)


@dataclass(frozen=True, slots=True)
class Lock:
    """Begin on all shards at once, and lock the barrier; each waits for it so long at most."""

    wait_s: float


@dataclass(frozen=True, slots=True)
class Freeze:
    """Take the snapshot on all shards, and let commits go on."""


@dataclass(frozen=True, slots=True)
class LetGo:
    """Roll back everywhere, then ask some shards who holds the barrier."""

    asked: Shards


@dataclass(frozen=True, slots=True)
class Recover:
    """Finish what is in doubt, if that can be done."""


@dataclass(frozen=True, slots=True)
class Pause:
    """Let others go on."""

    seconds: float


Action = Lock | Freeze | LetGo | Recover | Pause


@dataclass(frozen=True, slots=True)
class Answers:
    """What came of an action.

    Attributes:
        left_s: Seconds that are left for all of them.
        missed: After `Lock`: the shards that did not get it in time.
        holders: After `LetGo`: who holds it there.
        told: After `Recover`: what came of it, for people.
    """

    left_s: float
    missed: Shards = ()
    holders: tuple[Holder, ...] = ()
    told: str = ""


#: What carries the steps out: yields actions, is sent their answers; returns what is to be raised.
Steps = Generator[Action, Answers, errors.Error | None]


def take(limit_s: float, uneven: Callable[[], float]) -> Steps:
    """Find the moment, or tell who is in the way.

    Args:
        limit_s: What all actions may take.
        uneven: Random numbers about 1: readers that have met must not go on in step.
    """
    left_s, wait_s, pause_s = limit_s, FIRST_WAIT_S, FIRST_PAUSE_S
    tried, told, waited = frozenset[str](), "", False
    while True:
        # The servers give up before the time is up here: they tell who is in the way.
        answers = yield Lock(min(wait_s, left_s / 2))
        if not answers.missed:
            yield Freeze()
            return None
        answers = yield LetGo(answers.missed)
        holders = answers.holders
        in_doubt = frozenset(holder.name for holder in holders if holder.is_in_doubt)
        # Once for each: a shard that cannot be asked now will not be asked sooner by trying again.
        if in_doubt - tried:
            answers = yield Recover()
            told = answers.told
            tried |= in_doubt
        if answers.left_s <= pause_s:
            return _not_in_time(limit_s, holders, told)
        answers = yield Pause(pause_s * uneven())
        left_s = answers.left_s
        if wait_s < NEXT_WAIT_S:
            wait_s = NEXT_WAIT_S
            continue
        pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
        # To wait longer helps against commits that are slow, and not against what nobody ends.
        if waited and not in_doubt:
            wait_s = min(2 * wait_s, LONGEST_WAIT_S)
        waited = not waited


def _not_in_time(limit_s: float, holders: Sequence[Holder], told: str) -> errors.Error:
    there = "".join(f"\n  {holder.shard}: {holder.described}" for holder in holders)
    what = f"; in the way, as the servers last told:{there}" if there else ""
    if told:
        what += f"\n{told}"
    if what:
        what += "\n"
    hint = "Raise the timeout, or look at what commits there (pg_stat_activity)."
    if any(holder.is_foreign for holder in holders):
        hint = (
            "What the program has prepared with tpc_prepare(), the program ends: tpc_recover() "
            "lists it, tpc_commit(xid) and tpc_rollback(xid) end it."
        )
    elif any(holder.is_in_doubt for holder in holders):
        hint = "What is in doubt is finished by greenshard recover, as soon as its shards answer."
    return errors.OperationalError(
        f"no snapshot over all shards within {limit_s:g} s{what}", code="GS506", hint=hint
    )
