"""The connections of one lease: opened when first needed, looked after, made as good as new."""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial

from greenshard import _green, errors
from greenshard._driver import DriverError, own_cursor
from greenshard.links.deadline import Deadline, within
from greenshard.links.fanout import End, FanOut, Job
from greenshard.links.hedge import Hedge
from greenshard.links.identity import identify
from greenshard.links.outside import read_outside
from greenshard.links.physical import Physical
from greenshard.links.renewal import forget_sequences
from greenshard.links.session import Session
from greenshard.planner.code import Trace
from greenshard.pool import no_connection
from greenshard.pool.codes import Texts
from greenshard.pool.holding import renew, restore, share_encoding, with_news
from greenshard.pool.process import Process
from greenshard.pool.shard_state import Down, Step
from greenshard.pool.slot import Chore, Lease

logger = logging.getLogger("greenshard")

#: Seconds in which an idle connection must show that it works.
_CHECK_S = 1.0
#: Seconds that connecting may go on when its caller is gone: a session that is just being opened
#: would otherwise still count on its server when its slot is another's.
_OPEN_GRACE_S = 0.5
#: Seconds that a connection whose renewal did not end in time gets to end.
_RENEW_GRACE_S = 0.1
#: Likewise, if its server is first asked what code there is: a session that was closed in the midst
#: of that would still count there when its slot is another's.
_ASK_GRACE_S = 1.0


class Supply:
    """What a lease has.

    Args:
        process: The pool.
        lease: The lease.
    """

    def __init__(self, process: Process, lease: Lease) -> None:
        self._process = process
        self._lease = lease
        self._adopt: Callable[[], Callable[[Physical], None] | None] = lambda: None
        self.holding = process.holding(lease.slot)

    # Opening --------------------------------------------------------------------------------

    def home(self, limit_s: float) -> Physical:
        """A connection that works, to whichever shard has one or can be connected to soonest.

        Raises:
            errors.Error: There is none.

        Switches: if one must be opened or checked.
        """
        have, proven = self.holding.physicals, self._lease.slot.proven
        # Who has answered last is the most likely to answer now.
        there = sorted(have.values(), key=lambda physical: -physical.answered_at)
        for name in [physical.shard for physical in there if physical.shard in proven]:
            if not self._doubted((name,)) and not self._unready((name,)):
                return have[name]
        hedge = Hedge(self._readied(limit_s), _OPEN_GRACE_S)
        winner = hedge.run(within(limit_s))
        if winner is not None:
            return have[winner.shard]
        failures = self._failures(hedge.jobs, limit_s)
        rejected = all(isinstance(e, errors.ConnectionRejected) for e in failures.values())
        code = "GS101" if rejected else "GS604"
        raise errors.from_shards(failures, len(self._process.shards), code=code)

    def _readied(self, limit_s: float) -> Iterator[Job]:
        """The calls of which each makes a connection ready to one shard, the likeliest first."""
        process, have = self._process, self.holding.physicals
        with process.lock:
            states = process.state.shards
            down = {name for name in process.shards if states[name].is_doubtful}
        # Shards that are down come last, for all others may be silent, too.
        names = sorted(process.shards, key=lambda name: (name in down, name not in have))
        for name in names:
            prepare = self._prepare_anew if self._doubted((name,)) else self._prepare
            yield Job(name, partial(prepare, name, limit_s))

    def serve(self, adopt: Callable[[Physical], None]) -> None:
        """Call a method from now on with each connection that was opened, in its own greenlet.

        Its object is held weakly: a connection that nobody has any more is to be noticed at once.
        """
        self._adopt = weakref.WeakMethod(adopt)

    def reach(self, session: Session, shards: Iterable[str], timeout: Deadline) -> None:
        """Let the session have connections to some shards; see `links.session.Source`."""
        used = self._lease.used
        # What this lease has used has been looked at.
        lacking = [name for name in shards if name not in used]
        if not lacking:
            return
        limits = (self._process.connect_timeout_s, timeout.left_s)
        limit_s = min((s for s in limits if s is not None), default=None)
        failures = self.make_ready(lacking, limit_s)
        for name in lacking:
            session.missing.pop(name, None)
        session.missing.update(failures)
        have = self.holding.physicals
        session.physicals = {name: have[name] for name in session.shards if name in have}
        self._compare(session.physicals)

    def _compare(self, physicals: Mapping[str, Physical]) -> None:
        """Refuse shards that are the same database, if connections came to the slot's."""
        compared = self.holding.compared
        new = [name for name, physical in physicals.items() if compared.get(name) is not physical]
        if not new:
            return
        # One that is late cannot be asked; it is compared when it is reached again.
        able = {name: physical for name, physical in physicals.items() if physical.late is None}
        try:
            self._process.opening.refuse_unfit(able, new=new)
        except errors.Error as error:
            self._lease.used.discard(error.shard or "")  # asks again: nothing may go there
            raise
        self.holding.compared = able

    def make_ready(
        self, shards: Sequence[str], limit_s: float | None
    ) -> Mapping[str, BaseException]:
        """Open or check the connections to some shards; returns why those failed that did.

        Switches: if something must be sent.
        """
        # Without asking: a readable socket, or one past check_after_s, is asked; all others are
        # taken.
        doubted = self._doubted(shards)
        jobs = [Job(name, partial(self._prepare_anew, name, limit_s)) for name in doubted]
        sound = [name for name in shards if name not in doubted]
        jobs += [Job(name, partial(self._prepare, name, limit_s)) for name in self._unready(sound)]
        if not jobs:
            return {}
        # Not cancellable: there is no session yet that could be asked to cancel.
        FanOut(jobs, _OPEN_GRACE_S, tolerant=True, cancellable=False).run(limit_s)
        return self._failures(jobs, limit_s)

    def _failures(self, jobs: Iterable[Job], limit_s: float | None) -> dict[str, BaseException]:
        """Why those connections could not be made ready that were not."""
        return {
            job.shard: (job.error if job.end is End.FAILED else None)
            or self._late(job.shard, limit_s)
            for job in jobs
            if job.end is not End.DONE
        }

    def _doubted(self, shards: Iterable[str]) -> set[str]:
        """The shards whose connections were not used yet and look broken."""
        used, proven, have = self._lease.used, self._lease.slot.proven, self.holding.physicals
        return with_news(have[name] for name in shards if name not in used and name in proven)

    def _unready(self, shards: Iterable[str]) -> list[str]:
        """The shards that need more than a look at the pool's state."""
        process, lease = self._process, self._lease
        now = process.now()
        with process.lock:
            return [
                name
                for name in shards
                if name not in lease.slot.proven
                or process.state.shards[name].admit(lease, now) is not Step.USE
            ]

    def _prepare_anew(self, name: str, limit_s: float | None) -> None:
        self._check(name)
        self._prepare(name, limit_s)

    def _prepare(self, name: str, limit_s: float | None) -> None:
        process, lease = self._process, self._lease
        while True:
            now = process.now()
            with process.lock:
                step = process.state.shards[name].admit(lease, now)
            if step is Step.USE:
                return
            if isinstance(step, Down):
                process.news.tell(now)
                raise no_connection.unavailable(step, now)
            if step is Step.CHECK:
                self._check(name)
            else:
                self._open(name, limit_s)

    def _check(self, name: str) -> None:
        physical = self.holding.physicals[name]
        works = False
        try:
            with _green.at_most(_CHECK_S):
                physical.check()
                works = True
        except Exception:  # noqa: S110  # whatever it is, the connection does not work
            pass
        finally:
            if works:
                with self._process.lock:
                    self._process.state.shards[name].checked(self._lease, self._process.now())
            else:
                self.lose(name)

    def _open(self, name: str, limit_s: float | None) -> None:
        try:
            self._open_quietly(name, limit_s)
        finally:
            self._process.news.tell(self._process.now())

    def _open_quietly(self, name: str, limit_s: float | None) -> None:
        process, lease = self._process, self._lease
        shard = process.state.shards[name]
        physical = Physical.new(name, process.dsns[name])
        try:
            physical.open(limit_s)
            if process.opening.identifies and process.gatherers is not None:
                identify(physical)
            if process.opening.look is not None:
                process.opening.look.at(physical)
            process.encoding = share_encoding(physical, process.encoding)
            if process.prepare is not None:
                process.prepare(physical)
            if (adopt := self._adopt()) is not None:
                adopt(physical)
        except errors.ConnectionRejected:
            physical.discard()
            with process.lock:
                shard.rejected(lease)
            raise
        except DriverError as exc:
            physical.discard()
            now = process.now()
            with process.lock:
                shard.failed(lease, now, _reason(exc))
                down = shard.down()
            raise no_connection.unavailable(down, now) from exc
        except BaseException:
            physical.discard()
            with process.lock:
                shard.abandoned(lease, process.now())
            raise
        with process.lock:
            wanted = shard.opened(lease, process.now())
        # The lease was revoked while it connected.
        if not wanted:
            physical.discard()
            raise errors.InterfaceError("connection already closed")
        self.holding.physicals[name] = physical

    def _late(self, name: str, limit_s: float | None) -> errors.ShardUnavailable:
        within = "" if limit_s is None else f" within {limit_s:.1f} s"
        return errors.ShardUnavailable(
            f"no connection to shard {name}{within}",
            code="GS604",
            shard=name,
            hint="Is the server up and reachable? connect_timeout sets the time allowed.",
        )

    def lose(self, name: str) -> None:
        """Take note that a connection broke."""
        physical = self.holding.physicals.pop(name, None)
        if physical is not None:
            physical.discard()
        with self._process.lock:
            self._process.state.shards[name].lost(self._lease, self._process.now())
        logger.info("a connection to shard %s broke; another one is opened when it is needed", name)

    def lend(self, shard: str, timeout: Deadline, *, has_one: bool) -> Loan:
        """Lend one of the pool's connections that gather; see `links.session.Source`.

        A session that has one does not wait, so that this cannot become a deadlock either.
        """
        process = self._process.gatherers
        if process is None:
            raise errors.PoolClosed("the pool was closed meanwhile", code="GS603")
        limits = (process.state.policy.timeout_s, timeout.left_s)
        limit_s = min(seconds for seconds in limits if seconds is not None)
        try:
            # Who holds one and waits for another could wait for itself: no wait, then.
            lease = process.take(0.0 if has_one else limit_s, self._lease.where)
        except errors.PoolTimeout as exc:
            if not has_one:
                raise
            raise errors.PoolTimeout(
                "an open named cursor has one of the pool's connections that gather,"
                " and no other is free",
                code="GS601",
                hint="Read it to its end or close it first, or raise max_gathers.",
            ) from exc
        loan = Loan(process, lease, shard)
        try:
            if failed := loan.supply.make_ready([shard], limit_s):
                raise failed[shard]
        except BaseException:
            loan.give_back()
            raise
        return loan

    # Statements -----------------------------------------------------------------------------

    def began(self, jobs: Sequence[Job]) -> None:
        """Count calls that are about to be sent."""
        shards = self._process.state.shards
        with self._process.lock:
            for job in jobs:
                if job.beside is None and job.shard in shards:
                    shards[job.shard].began()

    def ended(self, jobs: Sequence[Job]) -> None:
        """Count them when they have ended."""
        shards = self._process.state.shards
        with self._process.lock:
            for job in jobs:
                if job.beside is None and job.shard in shards:
                    shards[job.shard].ended(job.seconds, failed=job.end is not End.DONE)

    # Giving back ----------------------------------------------------------------------------

    def renew(self, session: Session, trace: Trace, texts: Texts, *, every: bool) -> None:
        """Make the connections as good as new; those that cannot be made so are closed.

        Args:
            session: The session that ends; the caller has taken it.
            every: Whether something was set on all of them, also on those that nothing has used.
            trace: What statements may have left in the sessions, as far as that is known.
            texts: Others, of which the code on each shard tells.

        Raises:
            BaseException: What arrived from outside meanwhile. All is done nevertheless.

        Switches: if something must be sent or closed.
        """
        session.physicals = {}
        jobs, asks = self._renewing(trace, texts, every=every)
        try:
            if jobs:
                grace_s = _ASK_GRACE_S if asks else _RENEW_GRACE_S
                fanout = FanOut(jobs, grace_s, tolerant=True, cancellable=False)
                fanout.run(session.grace_s)
        finally:
            for job in jobs:
                if job.end is not End.DONE:
                    self._process.codes.forget(job.shard)
                    self.lose(job.shard)

    def _renewing(self, trace: Trace, texts: Texts, *, every: bool) -> tuple[list[Job], bool]:
        """What must be sent, and whether a server must be asked; forgets what broke."""
        jobs, asks = [], False
        encoding = self._process.encoding or ""
        codes = self._process.codes
        for name, physical in tuple(self.holding.physicals.items()):
            used = name in self._lease.used
            if not physical.alive or physical.late is not None:
                codes.forget(name)
                self.lose(name)
                continue
            # No statement has reached it.
            if not used and not every:
                continue
            left = codes.trace(name, texts, trace) if used else Trace.NOTHING
            if not restore(physical, encoding) or left is not Trace.NOTHING:
                jobs.append(Job(name, partial(self._renew, physical, left, texts), physical))
                asks = asks or left is None
        return jobs, asks

    def _renew(self, physical: Physical, left: Trace | None, texts: Texts) -> None:
        encoding = self._process.encoding or ""
        # ROLLBACK first: it undoes SET, and without it nothing of a renewal could be run.
        if physical.in_transaction:
            physical.roll_back()
        if not physical.idle:
            own_cursor(physical.raw).execute("ROLLBACK")  # psycopg2 does not know of it
        codes = self._process.codes
        if left is None:
            left = codes.ask(physical, texts)
        else:
            codes.doubt(physical, left)
        if left >= Trace.ANYTHING or not restore(physical, encoding):
            renew(physical, encoding)
        # lastval() is all that is left: DISCARD SEQUENCES costs less than to renew.
        elif left is Trace.COUNT:
            read_outside(physical, lambda one: forget_sequences(one.raw))


class Loan:
    """A connection that gathers, lent to a session.

    Args:
        process: The pool of these connections.
        lease: The loan's.
        shard: The shard whose connection it is.
    """

    def __init__(self, process: Process, lease: Lease, shard: str) -> None:
        self._process, self._lease, self._shard = process, lease, shard
        self.supply = Supply(process, lease)

    @property
    def physical(self) -> Physical:
        """The connection."""
        return self.supply.holding.physicals[self._shard]

    def give_back(self) -> None:
        """End the loan; a connection that broke is forgotten. Switches: if one must be closed."""
        if not self._lease.ended:
            lent = self.supply.holding.physicals.get(self._shard)
            if lent is not None and not lent.alive:
                self.supply.lose(self._shard)
            self._process.give_back(self._lease)

    def __del__(self) -> None:
        # The garbage collector may be here in the midst of anything.
        if not self._lease.ended:
            self._process.dropped.append(self._lease)


def _reason(error: DriverError) -> str:
    return " ".join(str(error).split())[:300]


def open_chore(process: Process, chore: Chore) -> None:
    """Open what a chore of the housekeeper says. Switches: yes."""
    Supply(process, chore.lease).make_ready(chore.shards, process.connect_timeout_s)
