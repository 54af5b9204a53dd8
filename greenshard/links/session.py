"""The physical connections of one logical connection, used by one greenlet at a time."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from os import getpid
from typing import Any, Protocol, TypeVar

from greenshard import _green, errors
from greenshard._driver import DriverError, DriverOperationalError
from greenshard.links.deadline import Deadline, within
from greenshard.links.fanout import End, FanOut, Job
from greenshard.links.hedge import APART_S, Hedge
from greenshard.links.members import Members
from greenshard.links.physical import Physical
from greenshard.planner.place import Place

_Found = TypeVar("_Found")

#: How often, in seconds, a thread looks whether it is its turn.
_TURN_S = 0.001


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the shards answered.

    Attributes:
        jobs: The finished call of each shard that answered, in shard order.
        beside: Likewise of each place beside those.
        failures: The error of each other shard; empty unless failures are tolerated.
    """

    jobs: Mapping[str, Job]
    failures: Mapping[str, BaseException]
    beside: Mapping[Place, Job] = field(default_factory=dict)


class Loan(Protocol):
    """A connection that is lent; given back, too, when it is dropped."""

    @property
    def physical(self) -> Physical:
        """The connection."""

    def give_back(self) -> None:
        """End the loan. Switches: if the connection is closed."""


class Waits(Protocol):
    """Who is told of statements that run, to see whether one waits for ever."""

    def began(self, session: Session, fanout: FanOut) -> None:
        """Calls are about to be sent, which can be cancelled."""

    def ended(self, session: Session) -> None:
        """They have ended."""


class Source(Protocol):
    """Where a session gets its connections from, if it does not have them from the beginning."""

    def reach(self, session: Session, shards: Iterable[str], timeout: Deadline) -> None:
        """Let the session have connections to some shards, or `Session.missing` say why not.

        Switches: if one must be opened, or looked after.
        """

    def lend(self, shard: str, timeout: Deadline, *, has_one: bool) -> Loan:
        """A second connection to a shard's database, for a statement that gathers there.

        Args:
            shard: The shard.
            timeout: How long to wait for it.
            has_one: Whether the session has such a connection already: then it does not wait, for
                sessions that wait for one another would wait for ever.

        Raises:
            errors.Error: There is none.

        Switches: if it must be waited for, opened or looked after.
        """

    def began(self, jobs: Sequence[Job]) -> None:
        """Calls are about to be sent."""

    def ended(self, jobs: Sequence[Job]) -> None:
        """Calls have ended."""


class Session:
    """Physical connections by shard name, in shard order.

    Every entry point takes the session for its caller: a second greenlet that called psycopg2 on a
    connection that waits in another greenlet would block the whole process on a mutex.

    Args:
        physicals: One for each shard that could be opened.
        missing: Why the others could not be opened.
        grace_s: How long a server may take to answer a cancel before its connection is closed.

    Attributes:
        source: Where connections come from when they are first needed; None if they are all there.
        waits: Who is told of statements; None if nobody is.
        apart: Whether no two shards can be one database.
        exported: While all connections see one moment (`transaction.snapshot`): what a further
            connection joins that by, by shard; else None.
        members: What is known of the shards as parts of one commit; None if they commit one by one.
    """

    def __init__(
        self,
        physicals: Sequence[Physical],
        missing: Mapping[str, BaseException],
        shards: Sequence[str],
        grace_s: float,
    ) -> None:
        self.shards = tuple(shards)
        self.physicals = {physical.shard: physical for physical in physicals}
        self.missing = dict(missing)
        #: Further connections to the shards' databases, that gather there.
        self.beside: dict[Place, Physical] = {}
        #: Those that are held longer than for one statement.
        self.kept: set[Place] = set()
        self.grace_s = grace_s
        self.closed = False
        self.source: Source | None = None
        self.waits: Waits | None = None
        self.apart = True
        self.exported: Mapping[str, str] | None = None
        self.members: Members | None = None
        #: What the transaction that ends by ``tpc_commit()`` or ``tpc_rollback()`` only is called
        #: on each shard; empty if it is not such a one.
        self.tpc_names: Mapping[str, str] = {}
        # OIDs are each database's own; a pool keeps both of these from one lease to the next.
        self.type_names: dict[tuple[str, int], str] = {}
        self.oids_there: dict[tuple[str, str], tuple[frozenset[int], Mapping[int, int]]] = {}
        self._pid = getpid()
        self._busy = _green.NativeLock()
        self._queue: deque[object] = deque()
        self._thread: int | None = None
        self._lent: object = None
        self._held_again = 0
        self._current: FanOut | Hedge | None = None

    @property
    def alive(self) -> list[Physical]:
        return [physical for physical in self.physicals.values() if physical.alive]

    @property
    def every(self) -> list[Physical]:
        """The connections to all shards, and those beside them."""
        return [*self.physicals.values(), *self.beside.values()]

    @property
    def broken(self) -> list[str]:
        """Names of the shards that cannot be used any more."""
        alive = {physical.shard for physical in self.alive}
        # Of a source, a shard that was not needed yet is not missing.
        opened = self.shards if self.source is None else self.physicals
        return [name for name in self.shards if name in opened and name not in alive]

    @property
    def running(self) -> bool:
        """Whether something runs on the servers."""
        return self._current is not None

    @property
    def thread(self) -> int | None:
        """The thread that holds the session; None if it is free."""
        return self._thread

    def inside(self) -> bool:
        """Whether the caller is a greenlet of the session's own: psycopg2, calling back."""
        current = _green.current()
        if self._current is not None and self._current.holds(current):
            return True
        return any(physical.late is current for physical in self.physicals.values())

    def physical(self, shard: str) -> Physical:
        """The connection to a shard.

        Raises:
            errors.Error: It is gone, or could not be opened.
        """
        physical = self.physicals.get(shard)
        if physical is None or not physical.alive:
            raise errors.from_shards({shard: self._gone(shard)}, len(self.shards))
        return physical

    def reach(self, shards: Iterable[str], timeout: Deadline) -> None:
        """Open the connections to some shards that are to be opened when first needed.

        What cannot be opened is missing, as it is when the others are open from the beginning.

        Switches: if one must be opened.
        """
        if self.source is not None:
            self.source.reach(self, shards, timeout)

    @property
    def inherited(self) -> bool:
        """Whether it came here through a fork: it is the parent process's."""
        return getpid() != self._pid

    def check_process(self) -> None:
        """Refuse a connection that came here through a fork.

        Raises:
            errors.InterfaceError: It belongs to the parent process; its sockets are not touched.
        """
        if self.inherited:
            raise errors.InterfaceError(
                f"the connection was opened in process {self._pid} and cannot be used in this one",
                code="GS303",
                hint="Connect after the fork; with gunicorn --preload, in post_fork or on the "
                "first request.",
            )

    def check(self) -> None:
        """Refuse a connection that is closed or belongs to another process."""
        if getpid() != self._pid:
            self.check_process()
        if self.closed:
            raise errors.InterfaceError("connection already closed")

    def check_alive(self) -> None:
        """Refuse if there is no shard left to talk to."""
        if not any(physical.alive for physical in self.physicals.values()):
            gone = {name: self._gone(name) for name in self.broken or self.shards}
            raise errors.from_shards(gone, len(self.shards))

    def taken(self) -> Session:
        """Hold the session for several calls: ``with session.taken(): ...``.

        Another thread waits for its turn, as in psycopg2; another greenlet of this one is refused.

        Raises:
            errors.ProgrammingError: Another greenlet of this thread is using it.

        Switches: while another thread holds it.
        """
        return self  # an object of its own for each time would be in the way of small statements

    @contextmanager
    def lent(self) -> Iterator[None]:
        """Let what is called here hold the session once more, which the caller holds.

        Nobody else comes in: other greenlets are told that it is busy.
        """
        self._lent = _green.current()
        try:
            yield
        finally:
            self._lent = None

    def __enter__(self) -> None:
        if getpid() != self._pid:
            self.check_process()
        if self._lent is not None and self._lent is _green.current():
            self._held_again += 1
            return
        _green.enter_thread()
        # Who waits already goes first: else a busy thread could keep the others out for good.
        if self._queue or not self._busy.acquire(False):
            self._wait_turn()
        self._thread = _green.thread_id()

    def __exit__(self, *exc: object) -> None:
        if self._held_again:
            self._held_again -= 1
            return
        self._thread = None
        self._busy.release()

    def _wait_turn(self) -> None:
        """Wait until the session is free, first come, first served."""
        # Not to wait for: the other greenlet may wait for this one.
        if self._thread == _green.thread_id():
            raise errors.ProgrammingError(
                "the connection is busy in another greenlet",
                code="GS302",
                hint="Give each greenlet a connection of its own, or let the first call end.",
            )
        turn = object()
        self._queue.append(turn)
        try:
            while self._queue[0] is not turn or not self._busy.acquire(False):
                _green.sleep(_TURN_S)
        finally:
            self._queue.remove(turn)

    def run(
        self,
        calls: Mapping[str, Callable[[], object]],
        timeout: Deadline,
        *,
        tolerant: bool = False,
        cancellable: bool = True,
        writes: bool = False,
        noted: list[Job] | None = None,
        beside: Mapping[Place, Callable[[], object]] | None = None,
        before: Sequence[Job] = (),
    ) -> Outcome:
        """Run one call on each shard named, in parallel; the caller has `taken` the session.

        Args:
            calls: For each shard what to run.
            timeout: Seconds for all of them; None for no limit.
            tolerant: Whether it is enough that one shard answers.
            cancellable: See `FanOut`.
            writes: Whether an error shall tell where the call is committed already.
            noted: Where to note the calls, whatever becomes of them.
            beside: What else to run, on further connections; not if one shard is enough.
            before: Calls that were made before, of which such an error tells too.

        Raises:
            errors.Error: A shard failed (of its own class), or several, or time is up.
            BaseException: A ``gevent.Timeout`` or a kill from outside.

        Switches: yes.
        """
        jobs: list[Job] = []
        failures: dict[str, BaseException] = {}
        for name, call in calls.items():
            physical = self.physicals.get(name)
            if physical is not None and physical.alive:
                jobs.append(Job(name, call, physical))
            else:
                failures[name] = self._gone(name)
        if beside:
            jobs += self._jobs_beside(beside, failures)
        # Before anything is sent: what can be known to fail must not run elsewhere.
        if failures and not tolerant:
            raise self._raised(failures, beside or ())
        if noted is not None:
            noted += jobs
        # Not `here` if a call waits for a late one: then it waits for more than its own server.
        fanout = FanOut(jobs, self.grace_s, tolerant, cancellable, here=not self._await_late(jobs))
        if not jobs:
            _green.sleep(0)  # a loop of calls that have nothing to do must not starve the others
        else:
            self._watch(fanout, timeout)
        done = self._ends(jobs, failures, timeout.timeout_s, tolerant, cancellable)
        if (failures and not (tolerant and done)) or fanout.broken is not None:
            error = fanout.broken or self._raised(failures, beside or ())
            if writes and isinstance(error, errors.Error):
                self._tell_fate(error, (*before, *jobs))
            raise error
        if beside:
            return Outcome(done, failures, {job.beside: job for job in jobs if job.beside})
        return Outcome(done, failures)

    def run_one(
        self,
        physical: Physical,
        call: Callable[[], object],
        timeout: Deadline,
        *,
        writes: bool = False,
    ) -> Job:
        """Run one call on one shard, whose connection is there and not late; like `run`.

        For the short way, of whose own cost `run` would be a good part.

        Args:
            physical: The connection.
            call: What to run.
            timeout, writes: See `run`.

        Raises, Switches: see `run`.
        """
        job = Job(physical.shard, call, physical)
        jobs = (job,)
        fanout = FanOut(jobs, self.grace_s, here=True)
        self._watch(fanout, timeout)
        if job.end is End.DONE:
            physical.answered_at = time.monotonic()
            return job
        failures: dict[str, BaseException] = {}
        self._ends(jobs, failures, timeout.timeout_s, tolerant=False)
        error = fanout.broken or self._raised(failures, ())
        if writes and isinstance(error, errors.Error):
            self._tell_fate(error, jobs)
        raise error

    def _jobs_beside(
        self,
        calls: Mapping[Place, Callable[[], object]],
        failures: dict[str, BaseException],
    ) -> Iterator[Job]:
        """The jobs of calls on further connections; why there is none goes to `failures`."""
        for place, call in calls.items():
            physical = self.beside.get(place)
            if physical is not None and physical.alive:
                yield Job(place.shard, call, physical, beside=place)
            else:
                failures[str(place)] = self._gone(str(place))

    def ask_any(
        self, ask: Callable[[Physical], _Found], shards: Iterable[str], timeout: Deadline
    ) -> tuple[str, _Found]:
        """Ask one shard; if it says nothing for a short while, the next one too, and so on.

        The caller has `taken` the session.

        Args:
            ask: What to run with a shard's connection; any shard can tell.
            shards: Their names, the one to be asked first at the beginning. A connection that is
                not there yet is opened when it is its turn.
            timeout: For all of it.

        Returns:
            The shard that answered first, and what `ask` returned there.

        Raises:
            errors.Error: All failed, or time is up.
            BaseException: A ``gevent.Timeout`` or a kill from outside.

        Switches: yes.
        """
        every = list(shards)
        # A shard that has not answered the last question is not asked another one.
        names = [n for n in every if (p := self.physicals.get(n)) is None or p.late is None]
        if len(every) == 1 or not names:  # there is no other
            self.reach(every[:1], timeout)
            physical = self.physical(every[0])
            call = partial(ask, physical)
            found: Any = self.run({every[0]: call}, timeout).jobs[every[0]].result
            return every[0], found
        failures: dict[str, BaseException] = {}
        winner = self._hedge(self._hedged(ask, names, failures, timeout), failures, timeout)
        if winner is None:
            shard, failure = next(iter(failures.items()))
            raise self._raised({shard: failure}, ())
        if winner.physical is not None:
            winner.physical.answered_at = time.monotonic()
        found = winner.result
        return winner.shard, found

    @contextmanager
    def asking_aside(
        self, ask: Callable[[Physical], object], shards: Iterable[str]
    ) -> Iterator[None]:
        """Ask some shards while the block runs, and wait for them then as far as they answer soon.

        The block must not use them.

        Args:
            ask: What to run with a shard's connection; it keeps what it learns, or raises.
            shards: Their names.

        Switches: yes.
        """
        asked = [p for name in shards if (p := self.physicals[name]).late is None]
        # A hedge leaves what has not answered to end by itself; a fan-out would cancel it.
        aside = Hedge((Job(p.shard, partial(ask, p), p) for p in asked), self.grace_s)
        aside.begin_all()
        yield
        aside.wait_soon()

    def _hedge(
        self, jobs: Iterable[Job], failures: dict[str, BaseException], timeout: Deadline
    ) -> Job | None:
        hedge = self._current = Hedge(jobs, self.grace_s)
        try:
            winner = hedge.run(timeout)
        finally:
            self._current = None
            if self.source is not None:
                self.source.began(hedge.jobs)
                self.source.ended(hedge.jobs)
        if winner is None:
            self._ends(hedge.jobs, failures, timeout.timeout_s, tolerant=False)
        return winner

    def _hedged(
        self,
        ask: Callable[[Physical], object],
        shards: Sequence[str],
        failures: dict[str, BaseException],
        timeout: Deadline,
    ) -> Iterator[Job]:
        """The calls of `ask_any`; why there is none for a shard goes to `failures`."""
        for name in shards:
            left_s = timeout.left_s
            # Not all the time that there is: to open a connection may take longer than to ask
            # another shard.
            self.reach((name,), within(APART_S if left_s is None else min(left_s, APART_S)))
            physical = self.physicals.get(name)
            if physical is None or not physical.alive:
                failures[name] = self._gone(name)
            else:
                yield Job(name, partial(ask, physical), physical)
        # Those that could not be opened so soon get all the time that there is.
        for name in tuple(failures) if self.source is not None else ():
            self.reach((name,), timeout)
            physical = self.physicals.get(name)
            if physical is not None and physical.alive:
                del failures[name]
                yield Job(name, partial(ask, physical), physical)

    def _await_late(self, jobs: Iterable[Job]) -> bool:
        """Let calls on connections that are late wait for these; whether there are some."""
        late = [job for job in jobs if job.physical is not None and job.physical.late is not None]
        for job in late:
            if job.physical is not None:
                job.call = partial(self._after_late, job.physical, job.call)
        return bool(late)

    def _after_late(self, physical: Physical, call: Callable[[], object]) -> object:
        """Run a call on a connection when what nobody waited for has ended there."""
        try:
            physical.wait_late(self.grace_s)
        except BaseException:  # who cannot wait longer cannot use it any more
            physical.discard()
            with suppress(errors.Error):
                physical.wait_late(self.grace_s)  # soon: psycopg2 is closing it
            raise
        if not physical.alive:
            raise self._gone(physical.shard)
        return call()

    def _watch(self, fanout: FanOut, timeout: Deadline) -> None:
        # Where `cancel` finds it, from another greenlet or thread.
        self._current = fanout
        # What cannot be cancelled, such as COMMIT, cannot give way.
        waits = self.waits if fanout.cancellable else None
        if waits is not None:
            waits.began(self, fanout)
        if self.source is not None:
            self.source.began(fanout.jobs)
        try:
            fanout.run(timeout.left_s)
        finally:
            self._current = None
            if waits is not None:
                waits.ended(self)
            if self.source is not None:
                self.source.ended(fanout.jobs)

    def _ends(
        self,
        jobs: Sequence[Job],
        failures: dict[str, BaseException],
        timeout_s: float | None,
        tolerant: bool,
        cancellable: bool = True,
    ) -> dict[str, Job]:
        """The jobs that are done; why the others are not goes to `failures`."""
        done: dict[str, Job] = {}
        late = []
        now = time.monotonic()  # one for all: no shard is preferred because it was the slowest
        for job in jobs:
            if job.end is End.DONE:
                if job.beside is None:
                    done[job.shard] = job
                    if job.physical is not None:
                        job.physical.answered_at = now
            elif job.end is End.FAILED and job.error is not None:
                failures[job.name] = _failure(job, job.error)
            else:
                late.append(job)
        if late and (tolerant or not failures):
            error = _timeout(late, timeout_s, cancellable)
            failures.update(dict.fromkeys((job.name for job in late), error))
        return done

    def _tell_fate(self, error: errors.Error, jobs: Sequence[Job]) -> None:
        """Tell with the error of a write in autocommit mode where it is committed nevertheless."""
        committed, doubtful = [], []
        # Then nothing is committed yet, on any shard.
        if any(physical.alive and not physical.idle for physical in self.physicals.values()):
            return  # SQL has begun a transaction
        for job in jobs:
            if job.beside is not None:
                continue
            physical = self.physicals[job.shard]
            if job.end is End.DONE and physical.idle:
                committed.append(job.shard)
            # The connection broke in the midst of a statement that commits by itself: it may have
            # done so.
            elif len(self.shards) > 1 and not physical.alive and physical.autocommit:
                doubtful.append(job.shard)
        if committed or doubtful:
            errors.note_committed(error, committed, doubtful)

    def _raised(
        self, failures: Mapping[str, BaseException], beside: Iterable[Place]
    ) -> BaseException:
        """One error for some, by what messages call where they came from."""
        first = next(iter(failures.values()))
        # All that were late have one error, which names them.
        if isinstance(first, errors.QueryTimeout) and set(failures.values()) == {first}:
            return first
        error = errors.from_shards(failures, len(self.shards))
        if isinstance(error, errors.Error):
            for place in beside:
                if error.shard == str(place):
                    error.shard = place.shard
        return error

    def _gone(self, name: str) -> BaseException:
        """Why a shard cannot be used."""
        if name in self.missing:
            return self.missing[name]
        return errors.InterfaceError(
            f"connection already closed: the connection to shard {name} is gone",
            code="GS203",
            shard=name,
            hint="Connect again; what was not committed on it is rolled back.",
        )

    def cancel(self) -> None:
        """Cancel the statement that runs now, if one does; callable while the session is taken.

        Switches: yes, until the statement has ended.
        """
        self.check()
        fanout = self._current
        if fanout is not None:
            fanout.cancel()


def _failure(job: Job, error: BaseException) -> BaseException:
    """Why a call failed. What breaks a connection is the shard's failure, whatever its class.

    psycopg2 cannot read the last words of a server that speaks in another encoding.
    """
    lost = job.physical is not None and not job.physical.alive
    if not lost or isinstance(error, DriverError) or not isinstance(error, Exception):
        return error
    said = error.object if isinstance(error, UnicodeDecodeError) else str(error).encode()
    told = DriverOperationalError(said.decode("utf-8", "backslashreplace"))
    told.__cause__ = error
    return told


def _timeout(
    late: Sequence[Job], timeout_s: float | None, cancellable: bool
) -> errors.QueryTimeout:
    names = ", ".join(job.name for job in late)
    lost = [job.name for job in late if job.end is End.LOST]
    fate = "the queries were cancelled"
    if lost:
        fate = f"the connection to {', '.join(lost)} was closed"
        if cancellable:
            fate += ": no answer to the cancel either"
    return errors.QueryTimeout(
        f"no answer from {names} within {timeout_s:g} s; {fate}"
        if timeout_s is not None
        else f"no answer from {names}; {fate}",
        code="GS301",
        shard=late[0].shard if len(late) == 1 else None,
        hint="Raise the timeout, or look at what the server is doing (pg_stat_activity).",
    )
