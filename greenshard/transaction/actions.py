"""What the steps that end a transaction want done, and what they are told of it."""

from __future__ import annotations

from collections.abc import Collection, Generator, Mapping
from dataclasses import dataclass, field

from greenshard import errors
from greenshard.transaction.gids import Gid
from greenshard.transaction.state import State

Shards = tuple[str, ...]
States = Mapping[str, State]


@dataclass(frozen=True, slots=True)
class TwoPhase:
    """What the second phase of a commit needs to know.

    Attributes:
        cluster: The cluster's id.
        ids: That of each shard, by its name.
        transaction: The transaction's part of its name (`gids`).
        writers: Shards that are likely to have written; their servers tell.
        lacks: Why a shard cannot take part; then several writers are rolled back with it.
    """

    cluster: str
    ids: Mapping[str, str]
    transaction: str
    writers: Collection[str] = ()
    lacks: errors.Error | None = None

    def gid(self, anchor: str) -> Gid:
        """The transaction's name, if a shard decides."""
        return Gid(self.cluster, self.ids[anchor], self.transaction)

    def anchor(self, shards: Shards) -> str | None:
        """The shard that is to decide, of some; None if none can."""
        if self.lacks is not None:
            return None
        return next((shard for shard in shards if shard in self.writers), shards[0])


@dataclass(frozen=True, slots=True)
class Checked:
    """What a shard answers to `Check`.

    Attributes:
        wrote: Whether it has written anything.
        holds: What it cannot be prepared with, in words; None if it can, as far as can be asked.
        serializable: Whether its COMMIT may still fail, even if it has only read.
    """

    wrote: bool
    holds: str | None = None
    serializable: bool = False


@dataclass(frozen=True, slots=True)
class Check:
    """Let fail now what COMMIT would let fail, and ask who wrote. All shards must answer.

    Attributes:
        shards: Where.
        anchor: The one that also takes down the decision, if it has written; None without the
            second phase.
    """

    shards: Shards
    anchor: str | None = None


@dataclass(frozen=True, slots=True)
class Note:
    """Let a shard take down the decision that has not done so with its check."""

    anchor: str


@dataclass(frozen=True, slots=True)
class Prepare:
    """PREPARE TRANSACTION on some shards, and COMMIT on those that may yet fail, all at once.

    Attributes:
        shards: Those that have written.
        readers: Those that have only read, and are serializable.
        anchor: The shard that will decide.
    """

    shards: Shards
    readers: Shards
    anchor: str


@dataclass(frozen=True, slots=True)
class Settle:
    """Ask a shard over a new connection what has become of the transaction, as recovery does.

    Answered with whether it has committed; if it had not, it never will. It may not be answered.
    """

    anchor: str


@dataclass(frozen=True, slots=True)
class Finish:
    """End what is, or may be, prepared, over new connections. Those that did are in `done`."""

    shards: Shards
    anchor: str
    committed: bool


@dataclass(frozen=True, slots=True)
class Leave:
    """Leave what is prepared to recovery: the connections have no more to do with it."""

    shards: Shards


@dataclass(frozen=True, slots=True)
class Commit:
    """COMMIT, on all shards at once; of what is prepared, COMMIT PREPARED.

    What was sent is not cancelled: it would be in doubt.

    Attributes:
        shards: Where.
        decides: Whether others follow this one: if the server rolls back instead, that is an error.
        unchecked: Whether something was written there, and no `Check` went before.
        unless_written: Whether those go on that have written; they answer true.
    """

    shards: Shards
    decides: bool = False
    unchecked: bool = False
    unless_written: bool = False


@dataclass(frozen=True, slots=True)
class RollBack:
    """ROLLBACK, on all shards at once; of what is prepared, ROLLBACK PREPARED."""

    shards: Shards


@dataclass(frozen=True, slots=True)
class Close:
    """Close the connections: their servers then roll back, if they have not."""

    shards: Shards


@dataclass(frozen=True, slots=True)
class Warn:
    """Tell the log that the transaction is committed elsewhere, and not known to be on these."""

    shards: Shards


Action = Check | Note | Prepare | Settle | Finish | Leave | Commit | RollBack | Close | Warn


@dataclass(frozen=True, slots=True)
class Answers:
    """What came of an action.

    Attributes:
        states: How the transaction stands now, on each shard that it was open on.
        done: What each shard answered that did what it should; to `Check`, whether it has written.
        failures: Why the others did not, where that is no error of the whole action.
        error: Why the action failed as a whole; also what arrived from outside meanwhile: then
            `done` has those that did it nevertheless.
        late: Whether the time for all actions together is up.
    """

    states: States
    done: Mapping[str, object] = field(default_factory=dict)
    failures: Mapping[str, BaseException] = field(default_factory=dict)
    error: BaseException | None = None
    late: bool = False


#: What carries the steps out: yields actions, is sent their answers; returns what is to be raised.
Steps = Generator[Action, Answers, BaseException | None]
