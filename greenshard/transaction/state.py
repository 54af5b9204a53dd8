"""How a transaction stands on each shard, and what is true of it as a whole.

There is one truth for each shard, and it is not kept here: it is what the connection to the shard
says of itself whenever it is asked (`state_of`). A copy would be wrong as soon as SQL ends a
transaction (``COMMIT`` as a statement), a server does, or a connection breaks.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import Enum
from typing import Protocol


class Link(Protocol):
    """What a connection to one shard tells of its transaction, without asking the server."""

    @property
    def alive(self) -> bool:
        """Whether the connection is open."""

    @property
    def in_transaction(self) -> bool:
        """Whether one was begun here that neither commit() nor rollback() has ended."""

    @property
    def idle(self) -> bool:
        """Whether the server has no transaction, as far as is known; not of what is closed."""

    @property
    def failed(self) -> bool:
        """Whether the server takes nothing but the transaction's end."""

    @property
    def prepared(self) -> str | None:
        """What its transaction is prepared as, which it is to end; None if it is not."""

    @property
    def begun_at(self) -> float:
        """When it was begun, of the monotonic clock, as far as that is known."""


class Links(Protocol):
    """The connections of one logical connection."""

    @property
    def physicals(self) -> Mapping[str, Link]:
        """By shard, those that were opened."""


class State(Enum):
    """How the transaction stands on one shard."""

    UNTOUCHED = "untouched"
    OPEN = "open"
    FAILED = "failed"
    #: SQL has ended it, and the driver does not know: until commit() or rollback(), it begins no
    #: other, and each statement commits by itself, as with psycopg2.
    OVER = "over"
    LOST = "lost"  # with the connection; its server rolls back, unless it was prepared
    PREPARED = "prepared"  # by PREPARE TRANSACTION; the connection is to end it


#: The states in which commit() and rollback() have something to do.
TO_BE_ENDED = frozenset({State.OPEN, State.FAILED, State.OVER, State.PREPARED})


def state_of(link: Link) -> State:
    """How the transaction stands on a shard, as the connection to it says.

    Cost: 0.5 us.
    """
    if link.prepared is not None:
        return State.PREPARED if link.alive else State.LOST
    # First: a server without a transaction has nothing to lose. (A closed connection is not idle to
    # libpq.)
    if link.idle:
        return State.OVER if link.in_transaction else State.UNTOUCHED
    if not link.alive:
        return State.LOST
    return State.FAILED if link.failed else State.OPEN


def state_at_server(link: Link) -> State:
    """How the transaction stands on a shard for its server, whatever the driver takes it for."""
    state = state_of(link)
    return State.UNTOUCHED if state is State.OVER else state


class Transaction:
    """The transaction of one logical connection; the next one when it has ended.

    Args:
        links: The connections that it is open on, or will be.

    Attributes:
        wrote: Whether a statement may have written. Which shards did, their servers tell (see
            `protocol`): a function that reads by its name may write.
        wrote_own: Whether a statement has written temporary tables.
        savepoints: Whether there may be a savepoint.
        writers: Shards to which something was sent that may write; what goes to several shards in
            autocommit mode is not noted.
        began_at: When it began, as text, once a statement has needed that; the same for all of
            its statements.
    """

    __slots__ = (
        "_clock",
        "_links",
        "_mourned",
        "began_at",
        "savepoints",
        "writers",
        "wrote",
        "wrote_own",
    )

    def __init__(self, links: Links) -> None:
        self._links = links
        #: Those whose loss was told already. Not their shards: a pool may open another to one.
        self._mourned: set[Link] = set()
        self.wrote = self.wrote_own = False
        self.savepoints = False
        self.writers: frozenset[str] = frozenset()
        self.began_at: str | None = None
        self._clock: str | None = None

    def clock(self, shard: str) -> str:
        """The shard whose time is that of the transaction, once it is told: it stays the same one.

        Args:
            shard: Where it is about to begin, if it is open nowhere.

        Returns:
            The shard where it began first, as far as that is known.

        Cost: 0.3 us, the first time for each shard.
        """
        links, kept = self._links.physicals, self._clock
        alive = {name: link for name, link in links.items() if link.alive}
        if kept in alive and not alive[kept].idle:
            return kept
        # One that was told of may not have been sent anything yet, if none was. Else it was not, or
        # SQL has ended the transaction there: it has told nothing that counts.
        begun = [name for name, link in alive.items() if not link.idle]
        default = kept if kept in alive else shard
        self._clock = min(begun, key=lambda name: alive[name].begun_at, default=default)
        return self._clock

    @property
    def is_open(self) -> bool:
        """Whether a server has a transaction, failed or not, whoever has begun it.

        Cost: see `overall`.
        """
        return self.overall is State.OPEN

    @property
    def failed(self) -> str | None:
        """A shard on which it has failed: nothing but its end can be run; None if there is none.

        Cost: 0.2 us for each shard.
        """
        for shard, link in self._links.physicals.items():
            # libpq tells, from the server's last ReadyForQuery message: no copy to go stale.
            if link.failed:
                return shard
        return None

    @property
    def overall(self) -> State:
        """How it stands on all shards together.

        `OPEN` if a server has it, failed or not; else `LOST` if a connection broke in it, which
        commit() is to tell; else `UNTOUCHED`.

        Cost: 0.3 us for each shard.
        """
        found = State.UNTOUCHED
        for link in self._links.physicals.values():
            if link.idle:
                continue
            if link.alive:
                return State.OPEN
            # A broken connection keeps psycopg2's status for good; its loss is told once.
            if link.in_transaction and link not in self._mourned:
                found = State.LOST
        return found

    @property
    def is_noted(self) -> bool:
        """Whether anything is known of it that does not hold for the next one."""
        told = self.began_at is not None or self._clock is not None
        return self.wrote or self.savepoints or told

    def begun(self) -> dict[str, State]:
        """The shards on which commit() and rollback() end it: none if the driver has begun none.

        In autocommit mode SQL may begin one, which only SQL ends, as with psycopg2. But when the
        driver then begins one on some shards (autocommit was switched off, or a ``with`` block was
        entered), it is the same transaction: one server would only warn of a second BEGIN, and end
        all of it. A shard that was lost counts until the transaction has ended; what is lost later
        was in none.
        """
        found: dict[str, State] = {}
        by_sql: dict[str, State] = {}
        for shard, link in self._links.physicals.items():
            state = state_of(link)
            if state is not State.UNTOUCHED and link not in self._mourned:
                (found if link.in_transaction else by_sql)[shard] = state
        # A closed connection does not tell whether SQL had begun one there: as it has elsewhere.
        if found and any(state is not State.LOST for state in by_sql.values()):
            found.update(by_sql)
        return found

    def states(self, shards: Mapping[str, State]) -> dict[str, State]:
        """How it stands on some shards now."""
        physicals = self._links.physicals
        return {shard: state_of(physicals[shard]) for shard in shards}

    def at_servers(self) -> dict[str, State]:
        """The shards whose servers have it, whoever has begun it: those that SQL can end it on.

        One whose loss was told counts no more.
        """
        found: dict[str, State] = {}
        for shard, link in self._links.physicals.items():
            state = state_at_server(link)
            if state is not State.UNTOUCHED and link not in self._mourned:
                found[shard] = state
        return found

    def states_at_servers(self, shards: Iterable[str]) -> dict[str, State]:
        """How it stands on the servers of some shards now."""
        physicals = self._links.physicals
        return {shard: state_at_server(physicals[shard]) for shard in shards}

    def end(self) -> None:
        """Take note that it has ended: what held for it holds no more.

        A kill may have arrived before its end was sent to a shard: it goes on, and what it wrote
        there must not be taken for nothing when it is committed. Likewise what SQL has begun in
        autocommit mode, which the methods do not end.

        Cost: 0.3 us for each shard.
        """
        gone = []
        for link in self._links.physicals.values():
            if link.idle:
                continue
            if not link.alive:
                gone.append(link)
            else:  # it is the same transaction still
                return
        self._mourned.update(gone)
        self.wrote = self.wrote_own = self.savepoints = False
        self.writers = frozenset()
        self.began_at = self._clock = None
