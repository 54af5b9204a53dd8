"""The logical connection that a pool gives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from greenshard._driver import Attribute, RawConnection, make_shell
from greenshard.connection import Connection
from greenshard.executor.answers.parts import Parts
from greenshard.links.beginning import begin_no_more
from greenshard.links.deadline import Deadline, within
from greenshard.links.opening import Opening
from greenshard.links.physical import Physical, client_encoding
from greenshard.links.session import Session
from greenshard.planner.code import Trace
from greenshard.pool.process import Process, end_session
from greenshard.pool.slot import Lease
from greenshard.pool.supply import Supply
from greenshard.statements import Statements
from greenshard.transaction.state import State, state_of

#: Of a union: longer texts, and more of them, are taken to leave anything.
_LONGEST, _MOST_TEXTS = 10_000, 1_000

_notices = Attribute(RawConnection, "notices")
_notifies = Attribute(RawConnection, "notifies")
#: What psycopg2 keeps for a connection, and `Settings` sets on all of them.
_CHOSEN = {
    name: Attribute(RawConnection, name)
    for name in ("isolation_level", "readonly", "deferrable", "autocommit")
}


class PooledStatements(Statements):
    """The statements of a connection whose sessions outlive it: what they leave must be undone.

    Attributes:
        trace: What they may have left, at most.
        texts: Of a union, those of which that is found out when the connection is given back; with
            each whether it had parameters.
    """

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.trace = Trace.NOTHING
        self.texts: set[tuple[str, bool]] = set()

    def trace_of(
        self, text: str | None, bound: bool, shards: Sequence[str], timeout: Deadline
    ) -> Trace:
        if self.database is not None:
            return super().trace_of(text, bound, shards, timeout)
        if text is None or len(text) > _LONGEST or len(self.texts) >= _MOST_TEXTS:
            return Trace.UNSEEN
        self.texts.add((text, bound))
        return Trace.NOTHING

    def note(self, trace: Trace, parts: Parts | None = None) -> None:
        if parts is not None and parts.named and parts.holds:  # it outlives its transaction
            trace = max(trace, Trace.ANYTHING)
        self.trace = max(self.trace, trace)


class PooledConnection(Connection):
    """A connection to all shards, of a pool.

    Each time it is taken it is a new object, so that one kept too long reaches nothing.
    `close` gives it back. The connection to a shard is opened when a statement first needs it.

    Typecasters can be registered for it; they are forgotten when it is given back. psycopg2's other
    C functions that take a connection (``quote_ident``) take its cursors instead.
    """

    _supply: Supply
    _process: Process
    _lease: Lease
    _statements: PooledStatements
    _statements_class: ClassVar[type[Statements]] = PooledStatements
    _given_back = True
    _touched = False  # whether something was set on all connections
    _chosen: dict[str, Any]

    @classmethod
    def of(cls, process: Process, lease: Lease, home: Physical, supply: Supply) -> PooledConnection:
        """The connection of a lease that has a connection to one shard."""
        connection = cls.__new__(cls)
        connection._process, connection._lease = process, lease
        connection._home, connection._supply = home, supply
        connection._chosen = {}
        connection._opening = process.opening
        connection.__init__()  # type: ignore[misc]
        connection._given_back = False
        return connection

    def _open(self, opening: Opening) -> None:
        holding = self._supply.holding
        have = [p for name in opening.shards if (p := holding.physicals.get(name)) is not None]
        make_shell(self)
        self._session = Session(have, {}, list(opening.shards), opening.grace_s)
        self._session.type_names = holding.type_names
        self._session.oids_there = holding.oids_there
        self._session.source = self._supply
        self.notices, self.notifies = [], []
        self._supply.serve(self._adopt)

    def _adopt(self, physical: Physical) -> None:
        """Give a connection that was opened just now what the others have."""
        raw, home = physical.raw, self._home.raw
        _notices.write(raw, _notices.read(home))
        _notifies.write(raw, _notifies.read(home))
        encoding = self._chosen.get("encoding")
        if encoding is not None and encoding != client_encoding.read(raw):
            RawConnection.set_client_encoding(raw, encoding)
        for name, attribute in _CHOSEN.items():
            if name in self._chosen and attribute.read(raw) != self._chosen[name]:
                attribute.write(raw, self._chosen[name])
        if self._in_block:
            physical.enter_block()
        # COMMIT was executed as a statement: until commit() or rollback(), none begins another.
        if any(state_of(other) is State.OVER for other in self._session.alive):
            begin_no_more(physical)

    def commit_opened(self) -> None:
        """Commit, if there is anything to commit. Switches: if there is."""
        session = self._session
        physicals = session.physicals.values()
        # A connection that broke, too: commit() tells what became of the transaction.
        if session.closed or any(p.in_transaction or not p.alive for p in physicals):
            self.commit()

    def _over_one(self, name: str, *args: Any, switches: bool = False) -> Any:
        self._statements.note(Trace.ANYTHING)
        return super()._over_one(name, *args, switches=switches)

    def _each(
        self,
        call: Callable[[Any], object],
        *,
        sends: bool = True,
        ends: bool = False,
        timeout: Deadline | None = None,
    ) -> None:
        session = self._session
        session.check()
        self._touched = True
        timeout = timeout or within(self.timeout)
        if sends:
            with session.taken():
                session.reach(tuple(session.physicals), timeout)
        super()._each(call, sends=sends, ends=ends, timeout=timeout)
        first = session.alive[0]
        raw = first.raw
        self._chosen = {name: attribute.read(raw) for name, attribute in _CHOSEN.items()}
        self._chosen["autocommit"] = first.autocommit
        self._chosen["encoding"] = client_encoding.read(raw)

    # Life -----------------------------------------------------------------------------------

    def close(self) -> None:
        """Give the connection back to its pool; what was not committed is rolled back.

        What another greenlet still runs on it is cancelled.

        Raises:
            greenshard.InterfaceError: It is the parent process's.
            greenshard.ProgrammingError: Another greenlet is using it, and cannot be stopped.

        Switches: if something must be sent to the shards.
        """
        self._end(keep=True)

    def discard(self) -> None:
        """Give the connection back, and close its connections to the shards.

        Switches: yes.
        """
        self._end(keep=False)

    def _end(self, *, keep: bool) -> None:
        if self._given_back:
            return
        session = self._session
        session.check_process()
        ours = end_session(session)
        if not session.closed:
            with session.taken():  # tells who has it
                ours = session.closed = True
        self._given_back = True
        if not ours:
            return  # the pool was closed meanwhile, and closes this connection
        try:
            self._renew(session)
        finally:
            self._process.give_back(self._lease, keep=keep)

    def release(self) -> None:
        """Give the connection back, like `close`."""
        self.close()

    def _renew(self, session: Session) -> None:
        statements = self._statements
        if statements.database is not None:
            # As good as new, they have what new ones have, if the schemas are the same.
            # Below UNSEEN no schema can have been made, so the same search path means the same.
            statements.database.bearings.restore(as_before=statements.trace < Trace.UNSEEN)
        try:
            statements.portals.end_all()
        finally:  # whatever arrives: nobody else may have the sessions as they are
            self._supply.renew(session, statements.trace, statements.texts, every=self._touched)

    def __del__(self) -> None:
        if not self._given_back:
            self._process.dropped.append(self._lease)
