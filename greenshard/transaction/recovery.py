"""Carries out on the shards what finishes transactions in doubt; see `verdict`.

Each shard has a connection of recovery's own and a greenlet, which takes one action after the other
and waits for nothing but its own server: a shard that is dead, frozen or slow holds up no other
one. A connection whose server does not answer is closed, and each wait has a limit at the server,
too. Nothing that is done here twice, or by two at once, does harm.

Whatever a role has for defaults (isolation, read-only transactions, timeouts, search path, role),
the transactions here set what they need, for themselves only: behind PgBouncer the session is
somebody else's next.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

from greenshard import _green, errors
from greenshard._driver import DriverError, Dsn, make_cooperative, ours, own_cursor
from greenshard.links.deadline import Deadline, within
from greenshard.links.fanout import FanOut, Job
from greenshard.links.outside import understood, value
from greenshard.links.physical import Physical, autocommit
from greenshard.transaction.gids import Gid
from greenshard.transaction.verdict import (
    Action,
    Answer,
    Ask,
    Decide,
    Ending,
    Failure,
    Finish,
    Forget,
    Found,
    Prepared,
    Recovery,
    RecoveryReport,
    Verdict,
    bound,
)

#: For how long decisions are kept at least, in seconds: a week.
KEPT_S = 7 * 86400.0
#: How long connecting to one shard may take, in seconds, and each answer of a server.
CONNECT_S, _CALL_S = 5.0, 5.0
#: Seconds that what still runs gets to end when time is up.
_GRACE_S = 0.1
#: How many decisions are removed at once.
BATCH = 10_000
#: At which character a transaction's own part begins in the key of its decision, counted from 1.
_TRANSACTION_AT = len(Gid("", "", "").decision) + 2 * 32 + 1

#: Of a transaction that leaves nothing in the session. It is a message of its own: the timeout of a
#: message is the one that was set when it began.
_BEGIN = """
BEGIN ISOLATION LEVEL READ COMMITTED {mode};
SET LOCAL ROLE NONE;
SET LOCAL search_path = pg_catalog, pg_temp;
SET LOCAL row_security = off;
SET LOCAL lock_timeout = '200ms';
SET LOCAL statement_timeout = '4s'
"""
_ASK = """
SELECT pg_catalog.convert_to(pg_catalog.json_build_array(
    (SELECT pg_catalog.json_build_array(s.cluster, s.id, s.shards)
     FROM greenshard.shard AS s LIMIT 1),
    (SELECT pg_catalog.json_agg(pg_catalog.json_build_array(p.gid, p.owner,
        EXTRACT(epoch FROM p.prepared),
        EXTRACT(epoch FROM pg_catalog.clock_timestamp() OPERATOR(pg_catalog.-) p.prepared),
        EXISTS (SELECT FROM pg_catalog.pg_roles AS r WHERE r.rolname OPERATOR(pg_catalog.=) p.owner
            AND pg_catalog.has_table_privilege(r.oid, 'greenshard.decision', 'INSERT'))))
     FROM pg_catalog.pg_prepared_xacts AS p
     WHERE p.database OPERATOR(pg_catalog.=) pg_catalog.current_database()),
    EXTRACT(epoch FROM pg_catalog.clock_timestamp()) OPERATOR(pg_catalog.-) %(kept)s,
    pg_catalog.pg_is_in_recovery()
)::pg_catalog.text, 'UTF8')
"""
#: By the key's order an index finds them; the order of what is its own is that of time.
_OLD = f"""
d.gid OPERATOR(pg_catalog.<) %(bound)s
AND pg_catalog.substr(d.gid, {_TRANSACTION_AT}) COLLATE pg_catalog."C"
    OPERATOR(pg_catalog.<) %(time)s
AND d.decided OPERATOR(pg_catalog.<) pg_catalog.to_timestamp(%(until)s)
"""
_HAS_OLD = f"""
SELECT pg_catalog.convert_to(
    (EXISTS (SELECT FROM greenshard.decision AS d WHERE {_OLD}))::pg_catalog.text, 'UTF8')
"""
_INSERT = """
INSERT INTO greenshard.decision (gid, committed, participants) VALUES (%(gid)s, false, '{}')
ON CONFLICT (gid) DO NOTHING
"""
#: A statement of its own, which sees what was committed while the insert waited.
_VERDICT = """
SELECT pg_catalog.convert_to(pg_catalog.json_build_array(
    (SELECT d.committed FROM greenshard.decision AS d WHERE d.gid OPERATOR(pg_catalog.=) %(gid)s),
    (SELECT EXTRACT(epoch FROM pg_catalog.max(f.until)) FROM greenshard.forgotten AS f)
)::pg_catalog.text, 'UTF8')
"""
_MOVE = """
UPDATE greenshard.forgotten SET until = GREATEST(until, pg_catalog.to_timestamp(%(until)s))
"""
_NOTE = """
INSERT INTO greenshard.forgotten (until) SELECT pg_catalog.to_timestamp(%(until)s)
WHERE NOT EXISTS (SELECT FROM greenshard.forgotten)
"""
_REMOVE = f"""
DELETE FROM greenshard.decision AS r WHERE r.gid OPERATOR(pg_catalog.=) ANY (
    SELECT d.gid FROM greenshard.decision AS d WHERE {_OLD} ORDER BY d.gid LIMIT {BATCH})
"""
#: Of recovery in the background, one process at a time. Not an advisory lock: anybody who may
#: connect could have that, and nothing would be recovered any more. Whoever hangs with it is ended:
#: a round takes less.
_LEAD = """
SET LOCAL idle_in_transaction_session_timeout = '60s';
LOCK TABLE greenshard.forgotten IN SHARE UPDATE EXCLUSIVE MODE NOWAIT
"""

#: SQLSTATEs: no such table, schema or column; a lock was not got in time.
_NOT_MADE = ("42P01", "3F000", "42703")
_LOCKED = "55P03"
_DENIED = "42501"
#: No such prepared transaction; another session is at it; the role may not.
_ENDINGS = {"42704": Ending.GONE, "55000": Ending.BUSY, _DENIED: Ending.DENIED}
_UNMADE = "it is not initialised: `greenshard init` has not been run on it"
_UNALLOWED = (
    "{user} may not read its decisions: recover as a role that commits over several shards, or "
    "give this one the rights with `greenshard init --role`"
)


def recover_shards(
    dsns: Mapping[str, Dsn],
    *,
    timeout_s: float,
    connect_timeout_s: float = CONNECT_S,
    young_s: float = 0.0,
    kept_s: float = KEPT_S,
) -> RecoveryReport:
    """Finish what is in doubt on some shards, which are one cluster's.

    Args:
        dsns: How to connect, by the shards' names.
        timeout_s: Seconds for all of it; what is not done by then is reported.
        connect_timeout_s: Seconds to connect to each shard.
        young_s: See `Recovery`.
        kept_s: For how many seconds decisions are kept at least.

    Switches: yes. Cost: a connection to each shard, and two round trips; for each transaction in
    doubt four more to its anchor, and one to each shard that has a part of it.
    """
    make_cooperative()
    steps = Recovery(dsns, young_s)
    _Round(dsns, steps, within(timeout_s), connect_timeout_s, kept_s).run()
    return steps.report()


class _Round:
    """The shards' greenlets, and what each has to do."""

    def __init__(
        self,
        dsns: Mapping[str, Dsn],
        steps: Recovery,
        deadline: Deadline,
        connect_timeout_s: float,
        kept_s: float,
    ) -> None:
        self._steps, self._deadline = steps, deadline
        self._connect_timeout_s, self._kept_s = connect_timeout_s, kept_s
        self._physicals = {name: Physical.new(name, own_dsn(dsn)) for name, dsn in dsns.items()}
        self._todo: dict[str, deque[Action]] = {name: deque() for name in dsns}
        self._news = {name: _green.Event() for name in dsns}
        self._lost: dict[str, str] = {}
        self._owed = 0  # actions that were given, and not answered yet

    def run(self) -> None:
        """Do all that the steps say, in the time that there is.

        Raises:
            BaseException: What arrived from outside; then nothing of it runs here any more.

        Switches: yes.
        """
        _green.enter_thread()
        self._give(self._steps.begin())
        jobs = [Job(n, partial(self._serve, n), each) for n, each in self._physicals.items()]
        # COMMIT PREPARED is not cancelled, nor can connecting be.
        fanout = FanOut(jobs, _GRACE_S, tolerant=True, cancellable=False)
        try:
            left_s = self._deadline.left_s
            fanout.run(None if left_s is None else left_s + _GRACE_S)
        finally:
            for physical in self._physicals.values():
                physical.discard()
        for todo in self._todo.values():
            for action in todo:
                self._steps.answer(action, Failure("no time was left"))

    def _give(self, actions: list[Action]) -> None:
        for action in actions:
            self._owed += 1
            self._todo[action.shard].append(action)
            self._news[action.shard].set()

    def _serve(self, shard: str) -> None:
        """Do what comes up for one shard, until nothing can come any more."""
        while (action := self._next(shard)) is not None:
            answer = self._do(shard, action)
            self._give(self._steps.answer(action, answer))
            self._owed -= 1
        for news in self._news.values():
            news.set()  # they look whether it is over for them, too

    def _next(self, shard: str) -> Action | None:
        todo, news = self._todo[shard], self._news[shard]
        while not todo:
            left_s = self._deadline.left_s
            if not self._owed or left_s == 0:
                return None
            news.clear()
            news.wait(left_s)
        return todo.popleft() if self._deadline.left_s != 0 else None

    def _do(self, shard: str, action: Action) -> Answer:
        """Do one action; whatever fails, the answer is a value."""
        if shard in self._lost:
            return Failure(self._lost[shard])
        physical = self._physicals[shard]
        limit_s = _CALL_S + (self._connect_timeout_s if isinstance(action, Ask) else 0.0)
        limit_s = self._deadline.at_most(limit_s).left_s or 0.0
        why = f"no answer within {limit_s:.1f} s"
        try:
            with _green.at_most(limit_s):
                return self._done(physical, action)
        except DriverError as error:
            why = reason(error)
            if physical.alive and physical.idle:
                return Failure(why)
        self._lost[shard] = why
        physical.discard()
        return Failure(why)

    def _done(self, physical: Physical, action: Action) -> Answer:
        match action:
            case Ask():
                open_own(physical, self._connect_timeout_s)
                return ask(physical, self._kept_s)
            case Decide(_, gid, since_ms):
                return decide(physical, gid, since_ms)
            case Finish(_, name, committed):
                return finish(physical, name, committed=committed)
            case Forget(_, before, until_ms):
                return forget(physical, before, until_ms)


def own_dsn(dsn: Dsn) -> Dsn:
    """How recovery connects: under its own name, for its sessions are none of the program's."""
    return Dsn(dsn.text, application_name="greenshard recovery")


@contextmanager
def leading(dsns: Mapping[str, Dsn], connect_timeout_s: float = CONNECT_S) -> Iterator[bool]:
    """Whether this process may recover now, in the background: no other one does as long as it may.

    The lock is on the first shard that can be reached, and on one only: on two, two processes could
    each have one. Where they reach different shards two may recover, which costs twice the work,
    and does no harm. It is a transaction's and not a session's: PgBouncer would give that session
    to others, and the lock would stay there for good.

    Switches: yes.
    """
    make_cooperative()
    _green.enter_thread()
    for name, dsn in dsns.items():
        physical, leads = Physical.new(name, own_dsn(dsn)), None
        try:
            with suppress(DriverError), _green.at_most(connect_timeout_s + _CALL_S):
                open_own(physical, connect_timeout_s)
                _execute(physical, _BEGIN.format(mode="READ WRITE"))
                leads = _leads(physical)
            if leads is not None:
                yield leads
                return
        finally:
            physical.discard()
    yield False


def _leads(physical: Physical) -> bool:
    """Whether a shard gives the lock to this transaction. Switches: yes."""
    try:
        _execute(physical, _LEAD)
    except DriverError as error:
        if error.pgcode != _LOCKED:
            raise
        return False
    return True


# What is said to one server, on a connection in autocommit mode and in no transaction. ------------


def open_own(physical: Physical, timeout_s: float) -> None:
    """Connect.

    Raises:
        DriverError: That cannot be done, or not in time.

    Switches: yes.
    """
    with _green.at_most(timeout_s):
        physical.open(timeout_s)
        autocommit.write(physical.raw, True)
        return
    raise errors.OperationalError(
        f"no connection to shard {physical.shard} within {timeout_s:g} s",
        code="GS101",
        shard=physical.shard,
        hint="Is the server up and reachable? connect_timeout sets the time allowed.",
    )


def ask(physical: Physical, kept_s: float = KEPT_S) -> Found | Failure:
    """What a shard tells of itself. Switches: yes. Cost: four round trips."""
    try:
        with _transaction(physical, "READ ONLY"):
            said = value(physical, _ASK, {"kept": kept_s})
            with understood(physical.shard):
                stamp, prepared, cutoff_s, standby = json.loads(bytes(said))
                cluster, shard_id, shards = stamp or (None, None, 0)
                parts = tuple(Prepared(*each) for each in prepared or ())
                cutoff_ms = int(cutoff_s * 1000)
            if standby:
                return Failure("it is a standby, which does not tell what is prepared")
            if cluster is None or shard_id is None:
                return Failure(_UNMADE)
            old = _before(bound(cluster, shard_id, cutoff_ms), cutoff_ms)
            has_old = bytes(value(physical, _HAS_OLD, old)) == b"true"
            _execute(physical, "COMMIT")
    except DriverError as error:
        if error.pgcode in _NOT_MADE:
            return Failure(_UNMADE)
        if error.pgcode == _DENIED:
            return Failure(_UNALLOWED.format(user=physical.user))
        raise
    return Found(cluster, shard_id, parts, cutoff_ms, has_old, shards)


def decide(physical: Physical, gid: Gid, since_ms: int) -> Verdict:
    """Insert the verdict that a transaction is rolled back, on its anchor, and read what holds.

    What is read is told only when the insert is committed: before, it is nobody's word.

    Args:
        physical: The anchor's.
        gid: The transaction.
        since_ms: See `Decide`.

    Raises:
        DriverError: That cannot be done, or nobody knows.

    Switches: yes, for as long as the lock timeout at most if a coordinator has it open. Cost: four
    round trips.
    """
    key = {"gid": gid.decision}
    try:
        with _transaction(physical, "READ WRITE"):
            inserted = _execute(physical, _INSERT, key)
            with understood(physical.shard):
                committed, until_s = json.loads(bytes(value(physical, _VERDICT, key)))
                until_ms = 0 if until_s is None else round(until_s * 1000)
            # A decision may have been there: that this is none is nobody's to say.
            if committed is None or (inserted and since_ms < until_ms):
                _execute(physical, "ROLLBACK")
                return Verdict.FORGOTTEN
            _execute(physical, "COMMIT")
    except DriverError as error:
        if error.pgcode == _LOCKED:
            return Verdict.HELD
        raise
    return Verdict.COMMITTED if committed else Verdict.ROLLED_BACK


def finish(physical: Physical, name: str, *, committed: bool) -> Ending:
    """Commit or roll back what is prepared.

    Args:
        physical: The connection to its shard.
        name: What it is prepared as.
        committed: Which of both.

    Raises:
        DriverError: That cannot be done, or nobody knows.

    Switches: yes. Cost: one round trip.
    """
    text = f"{'COMMIT' if committed else 'ROLLBACK'} PREPARED %(name)s"
    ending = _finished(physical, text, name)
    if ending is Ending.DENIED:
        # The role that a session begins with need not be the one that has connected, which is who
        # has prepared it.
        _execute(physical, "SET ROLE NONE")
        try:
            ending = _finished(physical, text, name)
        finally:
            if physical.alive:
                _execute(physical, "RESET ROLE")
    return ending


def _finished(physical: Physical, text: str, name: str) -> Ending:
    try:
        _execute(physical, text, {"name": name})
    except DriverError as error:
        if error.pgcode in _ENDINGS:
            return _ENDINGS[error.pgcode]
        raise
    return Ending.DONE


def forget(physical: Physical, before: str, until_ms: int) -> bool:
    """Remove old decisions; see `Forget`. Switches: yes. Cost: six round trips."""
    old = _before(before, until_ms)
    with _transaction(physical, "READ WRITE"):
        # In one transaction with what it tells of: see `verdict`.
        _execute(physical, _MOVE, old)
        _execute(physical, _NOTE, old)
        removed = _execute(physical, _REMOVE, old)
        _execute(physical, "COMMIT")
    return removed < BATCH


def reason(error: DriverError) -> str:
    """Why something could not be done, in one line."""
    return " ".join(str(error).split())[:300]


@contextmanager
def _transaction(physical: Physical, mode: str) -> Iterator[None]:
    """A transaction that the block ends itself; if it raises an error it is rolled back."""
    _execute(physical, _BEGIN.format(mode=mode))
    try:
        yield
    except DriverError:
        if physical.alive:
            with suppress(DriverError):  # what has failed is told
                _execute(physical, "ROLLBACK")
        raise


def _before(key: str, until_ms: int) -> Mapping[str, Any]:
    """The parameters of `_OLD`."""
    return {"bound": key, "time": key[_TRANSACTION_AT - 1 :], "until": until_ms / 1000}


def _execute(physical: Physical, text: str, parameters: Mapping[str, Any] | None = None) -> int:
    """Execute something; returns how many rows it has written. Switches: yes."""
    cursor = own_cursor(physical.raw)
    cursor.execute(text, parameters and {name: ours(each) for name, each in parameters.items()})
    return cursor.rowcount
