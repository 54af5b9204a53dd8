"""A world in which transactions over several shards end, and a search through all that can happen.

Coordinator and recoverers are the real ones (`transaction.protocol` and `transaction.verdict`),
which know no connection. What is modelled is what they are played against: the servers, what is on
its way, and who dies when. A `World` is one moment. `successors` are all that can come next::

    a message arrives       and does what it does, or fails
    a connection is lost    the server has the message, or will, or never
    a server dies           and is back: what was prepared and committed is there
    the coordinator dies    its sessions end later, its messages may arrive before
    it hears all answers    in time or late; or it is killed from outside, as a greenlet is
    a recoverer does one of the things it is to do

The search visits every world that can be reached (`search`), and in each it looks whether a shard
has the transaction that another one has not, and whether that is what was reported. Where nothing
is on its way any more, recovery must end it.

Generators cannot be copied: a coordinator is what it was answered (`Play`), and is played again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from greenshard import errors
from greenshard.transaction import actions, protocol
from greenshard.transaction.actions import (
    Answers,
    Check,
    Checked,
    Close,
    Commit,
    Leave,
    Note,
    Prepare,
    RollBack,
    Settle,
    Steps,
    TwoPhase,
)
from greenshard.transaction.gids import Gid
from greenshard.transaction.state import State
from greenshard.transaction.verdict import (
    Ask,
    Decide,
    Ending,
    Failure,
    Finish,
    Forget,
    Found,
    Prepared,
    Recovery,
    Verdict,
)

CLUSTER = "c" * 32
TRANSACTION = f"{1_000_000:012x}" + "0" * 20
MADE_MS = 1_000_000

#: How the coordinator's part on a shard ends.
APPLIED, UNDONE = "applied", "undone"
#: Who said what.
COMMITTED, ROLLED_BACK, IN_DOUBT, KILLED = "committed", "rolled back", "in doubt", "killed"


def names(count: int) -> tuple[str, ...]:
    return tuple(f"s{number}" for number in range(count))


def id_of(shard: str) -> str:
    return f"{int(shard[1:]):032x}"


_CHECKED = {"wrote": Checked(True), "read": Checked(False)}


class Killed(BaseException):
    """Stands for what arrives from outside."""


class Shard(NamedTuple):
    """A server, and the coordinator's connection to it.

    Attributes:
        txn: How the transaction of the coordinator's session stands: "open", "failed" or None.
        wrote: Whether it has written.
        noted: Whether the decision is in it.
        session: "up"; "cut" when the server is to see that nobody is there any more; or None.
        coming: What is on its way in the session: the step that it belongs to.
        prepared: Whether a part is prepared.
        fate: `APPLIED` or `UNDONE` once the writes are; None before.
        decision: What the row says that is committed; None if there is none.
        forgotten: Whether the note says that decisions of its time are gone.
        seen: How the transaction stands for the coordinator, the value of a `State`.
        answer: What it was answered to its last action: None if it waits, "lost", "failed", "done",
            or whether it "wrote" or "read".
    """

    wrote: bool = True
    txn: str | None = "open"
    noted: bool = False
    session: str | None = "up"
    coming: str | None = None
    prepared: bool = False
    fate: str | None = None
    decision: bool | None = None
    forgotten: bool = False
    seen: str = "open"
    answer: str | None = None


class Left(NamedTuple):
    """How much may still go wrong.

    Attributes:
        deaths: Of the coordinator.
        kills: From outside, and times that are up.
        losses: Of connections.
        crashes: Of servers.
        failures: Of statements.
        deaf: Questions over new connections, and of recoverers, that come to nothing.
    """

    deaths: int = 1
    kills: int = 1
    losses: int = 1
    crashes: int = 1
    failures: int = 1
    deaf: int = 1
    #: Of all these together.
    all: int = 2


NOTHING = Left(*[0] * len(Left()))


class World(NamedTuple):
    """One moment.

    Attributes:
        shards: The servers.
        play: What the coordinator was answered; None if it is dead.
        said: What it has reported.
        recoverers: For each how many rounds it has left; in a round, also whether decisions were
            old when it began, what it was answered, and what it has still to do.
        left: See there.
    """

    shards: tuple[Shard, ...]
    play: int | None
    said: str | None
    recoverers: tuple[tuple[Any, ...], ...]
    left: Left


@dataclass(frozen=True)
class Faults:
    """What is wrong on purpose; a search must find each.

    Attributes:
        recovery: "rolls back" always, or "only looks".
        removes_early: Decisions are removed while parts are prepared, and nothing is noted.
        tag: PREPARE of a failed transaction is taken for done.
        commit: The coordinator's steps.
    """

    recovery: str = ""
    removes_early: bool = False
    tag: bool = False
    commit: Callable[..., Steps] = protocol.commit


class Plays:
    """Coordinators, by what they were answered.

    Args:
        start: Begins one.
    """

    def __init__(self, start: Callable[[], Steps]) -> None:
        self._start = start
        self._histories: list[tuple[Any, ...]] = [()]
        self._numbers: dict[tuple[int, Any], int] = {}
        self._now: dict[int, Any] = {}

    def now(self, number: int) -> Any:
        """What it does now: an action; or what it returns, in a tuple."""
        if number not in self._now:
            steps = self._start()
            try:
                action: Any = next(steps)
                for answers in self._histories[number]:
                    action = steps.send(_answers(*answers))
            except StopIteration as end:
                action = (end.value,)
            self._now[number] = action
        return self._now[number]

    def then(self, number: int, answers: tuple[Any, ...]) -> int:
        """The one that is answered so."""
        key = number, answers
        if key not in self._numbers:
            self._numbers[key] = len(self._histories)
            self._histories.append((*self._histories[number], answers))
        return self._numbers[key]


def _answers(
    states: tuple[tuple[str, str], ...],
    done: tuple[tuple[str, Any], ...],
    failed: tuple[str, ...],
    error: str | None,
    late: bool,
) -> Answers:
    raised: BaseException | None = None
    if error == "killed":
        raised = Killed()
    elif error is not None:
        raised = errors.OperationalError(error)
    failures = {shard: errors.OperationalError("failed") for shard in failed}
    told = {shard: _CHECKED.get(answer, answer) for shard, answer in done}
    return Answers({s: State(seen) for s, seen in states}, told, failures, raised, late=late)


class Rounds:
    """Recoverers' rounds, by what they were answered; see `Plays`."""

    def __init__(self, shards: tuple[str, ...]) -> None:
        self._shards = shards
        self._histories: list[tuple[Any, ...]] = [()]
        self._todo: list[tuple[Any, ...]] = [tuple(Recovery(shards).begin())]
        self._numbers: dict[tuple[int, Any, Any, bool], int] = {}

    def todo(self, number: int) -> tuple[Any, ...]:
        """What it has still to do."""
        return self._todo[number]

    def then(self, number: int, action: Any, answer: Any, *, forgets: bool) -> int:
        """The one that is answered so; one that `forgets` does so at once."""
        key = number, action, answer, forgets
        if key not in self._numbers:
            recovery = Recovery(self._shards)
            recovery.begin()
            for each in self._histories[number]:
                recovery.answer(*each)
            new = recovery.answer(action, answer)
            if forgets:
                new = [*new, Forget(action.shard, "", MADE_MS + 1)]
            left = list(self._todo[number])
            left.remove(action)
            self._numbers[key] = len(self._histories)
            self._histories.append((*self._histories[number], (action, answer)))
            self._todo.append((*left, *new))
        return self._numbers[key]


class Model:
    """All that can happen to one transaction.

    Args:
        writers: Which of the shards have written.
        anchor: The one that the coordinator thinks has written; None if it does not know.
        recoverers: How many rounds of recovery there are at the same time.
        in_order: Whether each does one thing after the other, and not in any order.
        left: What may go wrong.
        faults: What is wrong on purpose.
    """

    def __init__(
        self,
        writers: tuple[bool, ...] = (True, True),
        *,
        recoverers: int = 1,
        in_order: bool = False,
        left: Left | None = None,
        faults: Faults | None = None,
    ) -> None:
        self.names = names(len(writers))
        self.writers, self.in_order = writers, in_order
        self.rounds = Rounds(self.names)
        self.faults = faults or Faults()
        ids = {shard: id_of(shard) for shard in self.names}
        two_phase = TwoPhase(CLUSTER, ids, TRANSACTION, (self.names[0],))
        opened = dict.fromkeys(self.names, State.OPEN)
        self.plays = Plays(
            lambda: self.faults.commit(
                opened, wrote=True, several=True, timeout_s=1.0, two_phase=two_phase
            )
        )
        shards = tuple(Shard(wrote=wrote) for wrote in writers)
        self.first = World(shards, 0, None, ((1,),) * recoverers, left or Left())

    def search(self, look: Callable[[World], object] = bool) -> int:
        """Visit every world.

        Args:
            look: Called with each.

        Returns:
            How many there are.

        Raises:
            AssertionError: One of them is wrong; it tells how it came about.
        """
        first = self._begin(self.first)
        came_from: dict[World, tuple[World | None, Any]] = {first: (None, "")}
        todo = [first]
        while todo:
            world = todo.pop()
            look(world)
            if wrong := self.wrong(world):
                raise AssertionError(_story(world, came_from, wrong))
            quiet = True
            for what, after in self.successors(world):
                quiet = False
                if after not in came_from:
                    came_from[after] = world, what
                    todo.append(after)
            if quiet or self._is_over(world):
                ended = self.recovered(world)
                if wrong := self.wrong(ended) or self.unfinished(ended):
                    raise AssertionError(_story(world, came_from, f"recovered: {wrong}"))
        return len(came_from)

    # What must hold ---------------------------------------------------------------------------

    def wrong(self, world: World) -> str:
        """What no world may be."""
        fates = {shard.fate for shard in world.shards if shard.wrote}
        if fates >= {APPLIED, UNDONE}:
            return "half applied"
        if world.said and any(s.session == "up" and s.seen == "prepared" for s in world.shards):
            return "the connection would go on with what is prepared"
        if world.said and world.said.startswith(IN_DOUBT):
            told = world.said.removeprefix(IN_DOUBT).split()
            if any(world.shards[self.names.index(name)].fate != APPLIED for name in told):
                return "reported committed on some, and is not"
        if world.said == COMMITTED and UNDONE in fates:
            return "reported committed, and undone"
        if world.said == ROLLED_BACK and APPLIED in fates:
            return "reported rolled back, and applied"
        return ""

    def unfinished(self, world: World) -> str:
        """What is left when recovery has ended."""
        if any(shard.prepared for shard in world.shards):
            return "a part is prepared"
        if any(shard.txn for shard in world.shards):
            return "a transaction is open"
        if None in {shard.fate for shard in world.shards if shard.wrote}:
            return "a part has no end"
        return ""

    def recovered(self, world: World) -> World:
        """The world when whoever is dead is gone, and recovery was there, undisturbed."""
        shards = tuple(_ended(s) if s.session == "cut" else s for s in world.shards)
        world = world._replace(shards=shards, recoverers=((2,),), left=NOTHING)
        while True:
            nexts = list(self._recovering(world, 0, old=False))
            if not nexts:
                return world
            world = nexts[0][1]

    def _is_over(self, world: World) -> bool:
        """Whether the coordinator does nothing more, and nothing of it is on its way."""
        gone = world.play is None or world.said is not None
        return gone and all(s.session != "cut" and s.coming is None for s in world.shards)

    # What can happen --------------------------------------------------------------------------

    def successors(self, world: World) -> Iterator[tuple[Any, World]]:
        """What can come next, in words, and what it makes of the world."""
        for number, shard in enumerate(world.shards):
            yield from self._of_shard(world, number, shard)
        if world.play is not None and world.said is None:
            yield from self._of_coordinator(world)
        for number in range(len(world.recoverers)):
            yield from self._recovering(world, number, old=True)

    def _of_shard(self, world: World, number: int, shard: Shard) -> Iterator[tuple[Any, World]]:
        name = self.names[number]
        if shard.coming is not None:
            for what, after, left in self._arriving(shard, world.left):
                told = f"{name}: {shard.coming} arrives{what}"
                yield told, _with(world, number, after)._replace(left=left)
        if shard.session == "cut":
            yield f"{name}: the session ends", _with(world, number, _ended(shard))
        elif shard.session == "up" and world.said is None and (left := _less(world.left, "losses")):
            # Where nothing is awaited, its loss is seen with the next message.
            cut = shard._replace(session="cut", seen="lost", answer=shard.answer or "lost")
            yield f"{name}: the connection is lost", _with(world, number, cut)._replace(left=left)
        if shard.session is not None and (left := _less(world.left, "crashes")):
            seen = "lost" if shard.session == "up" else shard.seen
            died = _ended(shard)._replace(seen=seen, answer=shard.answer or "lost")
            yield f"{name}: the server crashes", _with(world, number, died)._replace(left=left)

    def _arriving(self, shard: Shard, left: Left) -> Iterator[tuple[str, Shard, Left]]:
        """What a message can do to a shard."""
        what, after, answer = _done(shard)
        yield what, _hidden(shard, after, answer, tag=self.faults.tag), left
        if shard.coming in {"commit prepared", "rollback prepared"} and shard.prepared:
            if less := _less(left, "failures"):  # another one is at it just now
                yield " in vain", shard._replace(coming=None, answer="failed"), less
        elif shard.coming != "rollback" and shard.txn == "open":
            less = _less(left, "failures")
            if less is not None:
                whole = shard.coming in {"prepare", "commit"}
                after = shard._replace(
                    txn=None if whole else "failed",
                    noted=False,
                    fate=UNDONE if whole else shard.fate,
                )
                # Of a transaction that has failed before, the tag alone says so.
                yield " and fails", _hidden(shard, after, "failed", tag=self.faults.tag), less

    def _of_coordinator(self, world: World) -> Iterator[tuple[Any, World]]:
        if left := _less(world.left, "deaths"):
            shards = tuple(
                s._replace(session="cut") if s.session == "up" else s for s in world.shards
            )
            dead = world._replace(play=None, shards=_forget(shards), left=left)
            yield "the coordinator dies", dead
        action = self.plays.now(world.play)
        if isinstance(action, (Settle, actions.Finish)):
            yield from self._apart(world, action)
            return
        asked = [self.names.index(shard) for shard in _shards(action)]
        if any(world.shards[number].answer is None for number in asked):
            return
        yield "all have answered", self._heard(world, action, error=None, late=False)
        if left := _less(world.left, "kills"):
            world = world._replace(left=left)
            yield "all have answered; killed", self._heard(world, action, "killed", late=False)
            if not isinstance(action, (Commit, RollBack)):
                yield "all have answered late", self._heard(world, action, error=None, late=True)

    def _heard(self, world: World, action: Any, error: str | None, *, late: bool) -> World:
        """The coordinator has the answers to an action."""
        told = {s: world.shards[self.names.index(s)].answer for s in _shards(action)}
        failed = tuple(s for s, answer in told.items() if answer in {"failed", "lost"})
        done = tuple((s, answer) for s, answer in told.items() if s not in failed)
        tolerant = isinstance(action, (Commit, RollBack))
        if error is None and failed and (not tolerant or not done):
            error = "failed"
        if error is not None:
            failed = ()
        return self._answered(world, (self._states(world), done, failed, error, late))

    def _states(self, world: World) -> tuple[tuple[str, str], ...]:
        return tuple(zip(self.names, (s.seen for s in world.shards), strict=True))

    def _answered(self, world: World, answers: tuple[Any, ...]) -> World:
        return self._begin(world._replace(play=self.plays.then(world.play, answers)))

    def _begin(self, world: World) -> World:
        """Send what the coordinator does now."""
        action = self.plays.now(world.play)
        world = world._replace(shards=_forget(world.shards))
        if isinstance(action, tuple):
            return world._replace(said=_said(action[0]))
        if isinstance(action, (Settle, actions.Finish)):
            return world
        for name in _shards(action):
            number = self.names.index(name)
            shard = world.shards[number]
            if isinstance(action, Leave):
                left = "untouched" if shard.seen == "prepared" else shard.seen
                after = shard._replace(seen=left, answer="done")
            elif isinstance(action, Close):
                gone = "cut" if shard.session == "up" else shard.session
                after = shard._replace(seen="lost", session=gone, answer="done")
            elif shard.seen == "lost":
                after = shard._replace(answer="lost")
            else:
                after = shard._replace(coming=_message(action, name, shard.seen), answer=None)
            world = _with(world, number, after)
        return world

    def _apart(self, world: World, action: Any) -> Iterator[tuple[Any, World]]:
        """Questions over new connections: each is done, or not; and is answered, or not."""
        settles = isinstance(action, Settle)
        branches: list[tuple[World, tuple[tuple[str, Any], ...]]] = [(world, ())]
        for name in (action.anchor,) if settles else action.shards:
            number = self.names.index(name)
            nexts = []
            for now, done in branches:
                shard = now.shards[number]
                if settles:
                    verdict, after = self._decided(shard)
                    answered = verdict is not Verdict.HELD
                    answer: Any = verdict is Verdict.COMMITTED
                else:
                    after, answered, answer = _finished(shard, action.committed), True, "done"
                if answered:
                    nexts.append((_with(now, number, after), (*done, (name, answer))))
                if left := _less(now.left, "deaf"):
                    nexts.append((now._replace(left=left), done))
                    nexts.append((_with(now, number, after)._replace(left=left), done))
                elif not answered:
                    nexts.append((now, done))
            branches = nexts
        for now, done in branches:
            yield (
                (action, "told", done),
                self._answered(now, (self._states(now), done, (), None, False)),
            )

    # Recoverers -------------------------------------------------------------------------------

    def _recovering(self, world: World, number: int, *, old: bool) -> Iterator[tuple[Any, World]]:
        """What a recoverer may do next.

        A recoverer is (), not begun; or whether decisions were old when it began, the actions that
        it was answered with the answers, and those that it has to do.
        """
        told = world.recoverers[number]
        if len(told) == 1:
            (rounds,) = told
            if rounds and any(s.prepared or s.decision is not None for s in world.shards):
                is_old = old and self._is_over(world)
                begun = (rounds - 1, is_old or self.faults.removes_early, 0)
                yield from self._recovering(_telling(world, number, begun), number, old=old)
            return
        rounds, is_old, at = told
        todo = self.rounds.todo(at)
        for action in todo[:1] if self.in_order else todo:
            for answer, after in self._asked(world, action, is_old):
                old_there = isinstance(answer, Found) and answer.has_old
                forgets = self.faults.removes_early and old_there
                then = self.rounds.then(at, action, answer, forgets=forgets)
                now = (rounds, is_old, then) if self.rounds.todo(then) else (rounds,)
                yield ("recoverer", number, action, answer), _telling(after, number, now)

    def _asked(self, world: World, action: Any, is_old: bool) -> Iterator[tuple[Any, World]]:
        number = self.names.index(action.shard)
        shard = world.shards[number]
        if isinstance(action, Ask):
            gid = Gid(CLUSTER, id_of(self._anchor(world)), TRANSACTION)
            part = Prepared(gid.prepared(id_of(action.shard)), "me", MADE_MS / 1000, 0.0)
            has_old = is_old and shard.decision is not None
            cutoff = MADE_MS + 1 if is_old else 0
            parts = (part,) if shard.prepared else ()
            yield Found(CLUSTER, id_of(action.shard), parts, cutoff, has_old), world
        elif isinstance(action, Decide):
            verdict, after = self._decided(shard)
            yield verdict, _with(world, number, after)
        elif isinstance(action, Finish):
            ending = Ending.DONE if shard.prepared else Ending.GONE
            yield ending, _with(world, number, _finished(shard, action.committed))
        elif isinstance(action, Forget):
            after = shard
            if action.until_ms > MADE_MS:  # else the transaction is not older
                after = shard._replace(decision=None, forgotten=not self.faults.removes_early)
            yield True, _with(world, number, after)
        if left := _less(world.left, "deaf"):
            yield Failure("deaf"), world._replace(left=left)

    def _anchor(self, world: World) -> str:
        """The shard that decides: the first that wrote, as the protocol chooses it."""
        return next(n for n, wrote in zip(self.names, self.writers, strict=True) if wrote)

    def _decided(self, shard: Shard) -> tuple[Verdict, Shard]:
        """What the verdict is, inserted on the anchor, and what that makes of it."""
        if self.faults.recovery == "rolls back":
            return Verdict.ROLLED_BACK, shard
        if self.faults.recovery == "only looks":
            return Verdict.COMMITTED if shard.decision else Verdict.ROLLED_BACK, shard
        if shard.noted:  # in a transaction that is open: until the time to wait for it is up
            return Verdict.HELD, shard
        if shard.decision is None and shard.forgotten:
            return Verdict.FORGOTTEN, shard
        after = shard if shard.decision is not None else shard._replace(decision=False)
        return Verdict.COMMITTED if after.decision else Verdict.ROLLED_BACK, after


def _telling(world: World, number: int, told: tuple[Any, ...]) -> World:
    recoverers = (*world.recoverers[:number], told, *world.recoverers[number + 1 :])
    return world._replace(recoverers=recoverers)


# Shards ---------------------------------------------------------------------------------------


def _done(shard: Shard) -> tuple[str, Shard, str]:
    """What a message does where nothing fails: in words, the shard after it, and the answer."""
    step = shard.coming
    if step == "rollback":
        return "", _over(shard, UNDONE) if shard.txn else shard, "done"
    if step in {"commit prepared", "rollback prepared"}:
        return "", _finished(shard, step == "commit prepared"), "done"
    if shard.txn != "failed":
        return _done_in_open(shard)
    if step in {"prepare", "commit"}:
        return " with tag ROLLBACK", _over(shard, UNDONE), "failed"
    return " in vain", shard, "failed"


def _done_in_open(shard: Shard) -> tuple[str, Shard, str]:
    """What a message does to a transaction that goes on, or is committed or prepared."""
    step = shard.coming
    if step == "prepare":
        return "", shard._replace(txn=None, prepared=True), "done"
    if step == "commit":
        decision = True if shard.noted else shard.decision
        return "", _over(shard, APPLIED)._replace(decision=decision), "done"
    notes = step in {"note", "check and note"} and shard.wrote
    if notes and shard.decision is not None:
        return ": the key is there", shard._replace(txn="failed"), "failed"
    told = "done" if step == "note" else "wrote" if shard.wrote else "read"
    return "", shard._replace(noted=notes), told


def _over(shard: Shard, fate: str) -> Shard:
    return shard._replace(txn=None, noted=False, fate=fate)


def _hidden(before: Shard, after: Shard, answer: str, *, tag: bool) -> Shard:
    """A shard after a message, with what the coordinator comes to know of it."""
    after = after._replace(coming=None)
    if before.session != "up":
        return after  # nobody hears of it
    if tag and before.coming == "prepare" and answer == "failed":
        return after._replace(seen="prepared", answer="done")
    seen = after.txn or "untouched"
    if before.coming == "prepare" and after.prepared:
        seen = "prepared"
    return after._replace(seen=seen, answer=answer)


def _ended(shard: Shard) -> Shard:
    """A shard whose session with the coordinator has ended."""
    fate = UNDONE if shard.txn else shard.fate
    return shard._replace(session=None, coming=None, txn=None, noted=False, fate=fate)


def _finished(shard: Shard, committed: bool) -> Shard:
    """A shard after COMMIT PREPARED or ROLLBACK PREPARED, whoever sends it."""
    if not shard.prepared:
        return shard
    return shard._replace(prepared=False, fate=APPLIED if committed else UNDONE)


def _message(action: Any, shard: str, seen: str) -> str:
    """What the coordinator's action is for one shard."""
    if seen == "prepared":
        return {Commit: "commit prepared", RollBack: "rollback prepared"}[type(action)]
    if isinstance(action, Check):
        return "check and note" if shard == action.anchor else "check"
    if isinstance(action, Prepare):
        return "prepare" if shard in action.shards else "commit"
    return {Note: "note", Commit: "commit", RollBack: "rollback"}[type(action)]


def _shards(action: Any) -> tuple[str, ...]:
    if isinstance(action, Note):
        return (action.anchor,)
    if isinstance(action, Prepare):
        return (*action.shards, *action.readers)
    if isinstance(action, (Check, Commit, RollBack, Close, Leave)):
        return action.shards
    return ()  # nothing is sent


def _said(error: BaseException | None) -> str:
    if error is None:
        return COMMITTED
    if isinstance(error, errors.PartialCommitError):
        return " ".join((IN_DOUBT, *error.committed))
    if "may be committed" in str(error):
        return IN_DOUBT
    return ROLLED_BACK if isinstance(error, Exception) else KILLED


def _less(left: Left, what: str) -> Left | None:
    """What may still go wrong when something has; None if that may not."""
    if not left.all or not getattr(left, what):
        return None
    return left._replace(**{what: getattr(left, what) - 1, "all": left.all - 1})


def _with(world: World, number: int, shard: Shard) -> World:
    shards = (*world.shards[:number], shard, *world.shards[number + 1 :])
    return world._replace(shards=shards)


def _forget(shards: tuple[Shard, ...]) -> tuple[Shard, ...]:
    return tuple(shard._replace(answer=None) for shard in shards)


def _story(world: World, came_from: Any, wrong: str) -> str:
    told = []
    now: World | None = world
    while now is not None:
        now, what = came_from[now]
        told.append(what if isinstance(what, str) else " ".join(map(str, what)))
    lines = "\n  ".join(reversed(told))
    shards = "\n  ".join(map(str, world.shards))
    return f"{wrong}{lines}\n{shards}\nsaid: {world.said}"
