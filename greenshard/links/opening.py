"""Open the connections to all shards in parallel, within one deadline."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from greenshard import _green, errors
from greenshard._driver import DriverError, Dsn, RawConnection
from greenshard.cluster import Cluster
from greenshard.events import Listener
from greenshard.links.fanout import End, FanOut, Job
from greenshard.links.identity import identify, refuse_one_database
from greenshard.links.look import Look
from greenshard.links.physical import Physical
from greenshard.links.session import Waits
from greenshard.secret import hidden

#: How long, in seconds, greenlets may take to start; then they are ended.
_START_S = 0.05


#: How many rows a statement may bring to one server, unless the connection says otherwise.
GATHER_LIMIT = 1_000_000
#: How much it may hold of rows on their way, likewise: 1 GiB.
MAX_HELD_BYTES = 1 << 30


@dataclass(slots=True)
class Limits:
    """What a statement may cost over a declared cluster.

    Attributes:
        allow_scatter: Whether it may run on several shards, if it reads or changes rows.
        allow_gather: Whether rows may be brought to one server for it.
        gather_limit: How many.
        max_held_bytes: How many bytes of rows it may hold in this process, on their way.
    """

    allow_scatter: bool = True
    allow_gather: bool = True
    gather_limit: int = GATHER_LIMIT
    max_held_bytes: int = MAX_HELD_BYTES

    def copy(self) -> Limits:
        """Others that begin as these; `dataclasses.replace` takes ten times as long."""
        return Limits(self.allow_scatter, self.allow_gather, self.gather_limit, self.max_held_bytes)


@dataclass(frozen=True, slots=True)
class Opening:
    """What to open, and how.

    Attributes:
        shards: For each name a connection string, or psycopg2's open connection.
        connect_timeout_s: Seconds for all shards together; None for no limit.
        timeout_s: Seconds for each call afterwards; None for no limit.
        on_error: "raise" or "partial".
        grace_s: Seconds that a server may take to answer a cancel.
        missing: Why shards are left out (with "partial").
        cluster: The declaration that the shards are of, if there is one.
        limits: What a statement may cost, until the connection is told otherwise.
        on_event: Who is told of statements.
        databases: Equal where the same databases are opened as the same roles.
        allow_same_database: Whether two shards may be one database.
        two_phase: Whether a transaction that wrote on several shards is committed in two phases.
        look: What a first look at the declared cluster finds; None if it is left out.
        waits: Who looks for deadlocks; None if nobody does.
        left_s: What is left of `connect_timeout_s`, if this is not the first attempt.
    """

    shards: Mapping[str, Dsn | RawConnection] = field(repr=False)
    connect_timeout_s: float | None = None
    timeout_s: float | None = None
    on_error: str = "raise"
    grace_s: float = 5.0
    missing: Mapping[str, BaseException] = field(default_factory=dict)
    cluster: Cluster | None = None
    limits: Limits = field(default_factory=Limits)
    on_event: Listener | None = None
    databases: Hashable = ()
    allow_same_database: bool = False
    two_phase: bool = False
    look: Look | None = None
    waits: Waits | None = None
    left_s: float | None = None

    @property
    def compares(self) -> bool:
        """Whether to see that no two shards are the same database."""
        return len(self.shards) > 1 and not self.allow_same_database

    @property
    def identifies(self) -> bool:
        """Whether to ask each connection what it is, and for its session's bearings."""
        return self.compares or (self.cluster is not None and len(self.shards) > 1)

    def refuse_unfit(
        self, physicals: Mapping[str, Physical], *, new: Iterable[str] | None = None
    ) -> None:
        """Refuse shards that are the same database, or a cluster that is not what it seems.

        See `identity.refuse_one_database` and `Look.refuse`.
        """
        if self.compares:
            by_path, timeout_s = self.cluster is None, self.connect_timeout_s
            refuse_one_database(physicals, new, by_path=by_path, timeout_s=timeout_s)
        if self.look is not None:
            self.look.refuse()

    @property
    def home_text(self) -> str:
        """What the home's class is called with: its connection string, with the password."""
        home = next(shard for name, shard in self.shards.items() if name not in self.missing)
        return home.text if isinstance(home, Dsn) else hidden(home.dsn)


class HomeUnreachable(Exception):
    """The shard that the logical connection was to live on cannot be opened; others can."""

    def __init__(self, failures: Mapping[str, BaseException]) -> None:
        super().__init__()
        self.failures = failures


def open_all(
    physicals: Sequence[Physical],
    timeout_s: float | None,
    *,
    identified: bool = False,
    look: Look | None = None,
) -> Mapping[str, BaseException]:
    """Connect each of `physicals`; returns why those failed that did.

    With `identified`, each tells what it is then, which is one round trip more; with a `look`, what
    that asks for, the first time. A connection that is not there within `timeout_s` is given up. On
    a ``gevent.Timeout`` or kill from outside all that it opened are closed.

    Switches: yes.
    """
    _green.enter_thread()
    opens = partial(_open, timeout_s=timeout_s, identified=identified, look=look)
    jobs = [Job(physical.shard, partial(opens, physical), physical) for physical in physicals]
    # Not cancellable: there is no session yet that a cancel could be meant for.
    fanout = FanOut(jobs, grace_s=_START_S, tolerant=True, cancellable=False)
    try:
        fanout.run(timeout_s)
    except BaseException:
        close_opened(physicals)
        raise
    failures: dict[str, BaseException] = {}
    for job in jobs:
        if job.end is End.DONE:
            continue
        # It was given up, not refused: nobody knows what the server would have said.
        if job.error is None or job.end is End.LOST:
            failures[job.shard] = errors.OperationalError(
                f"timeout expired: no connection to shard {job.shard} within {timeout_s:g} s",
                code="GS101",
                shard=job.shard,
                hint="Is the server up and reachable? connect_timeout sets the time allowed.",
            )
        else:
            failures[job.shard] = job.error
    # One that came too late is open, and nobody would ever close it.
    close_opened([physical for physical in physicals if physical.shard in failures])
    return failures


def _open(
    physical: Physical, *, timeout_s: float | None, identified: bool, look: Look | None
) -> None:
    physical.open(timeout_s)
    if identified:
        identify(physical)
    if look is not None:
        look.at(physical)


def close_opened(physicals: Sequence[Physical]) -> None:
    """Close `physicals`, but for those that the user opened."""
    for physical in physicals:
        if not physical.given:
            physical.discard()


def failed_opening(failures: Mapping[str, BaseException], total: int) -> BaseException:
    """The error of `greenshard.connect`: it names every shard that failed and says why."""
    error = errors.from_shards(failures, total, doing=" to open", code="GS101")
    if isinstance(error, DriverError) and not isinstance(error, errors.Error):
        return errors.from_driver(error)
    return error
