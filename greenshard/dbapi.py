"""The module interface of PEP 249, over psycopg2's types.

For programs that take a module in psycopg2's place, and look which version that is::

    create_engine("postgresql+psycopg2://...", module=greenshard.dbapi)
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from difflib import get_close_matches
from inspect import Parameter, signature
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

from greenshard import arguments, errors
from greenshard._driver import (
    BINARY,
    DATETIME,
    DRIVER_VERSION,
    NUMBER,
    ROWID,
    STRING,
    Attribute,
    Binary,
    Date,
    DateFromTicks,
    Dsn,
    RawConnection,
    Time,
    TimeFromTicks,
    Timestamp,
    TimestampFromTicks,
    by_environment,
    connect_async,
)
from greenshard._libpq import parameter_names
from greenshard.arguments import a_number, unusable
from greenshard.cluster import Cluster
from greenshard.connect_arguments import ConnectArguments
from greenshard.connection import Connection, connection_class
from greenshard.deadlocks.waits import Waits
from greenshard.errors import (
    DatabaseError,
    DataError,
    Error,
    IntegrityError,
    InterfaceError,
    InternalError,
    NotSupportedError,
    OperationalError,
    ProgrammingError,
    Warning,
)
from greenshard.events import Listener
from greenshard.limits import refuse_async
from greenshard.links.look import look_of
from greenshard.links.opening import GATHER_LIMIT, MAX_HELD_BYTES, HomeUnreachable, Limits, Opening
from greenshard.links.physical import HomeSilent, closed
from greenshard.secret import hidden_parameters, hidden_shards, reveal

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = [
    "BINARY",
    "DATETIME",
    "NUMBER",
    "ROWID",
    "STRING",
    "Binary",
    "DataError",
    "DatabaseError",
    "Date",
    "DateFromTicks",
    "Error",
    "IntegrityError",
    "InterfaceError",
    "InternalError",
    "NotSupportedError",
    "OperationalError",
    "ProgrammingError",
    "Time",
    "TimeFromTicks",
    "Timestamp",
    "TimestampFromTicks",
    "Warning",
    "apilevel",
    "connect",
    "paramstyle",
    "threadsafety",
]

_ConnectionT = TypeVar("_ConnectionT", bound=RawConnection)
_async = Attribute(RawConnection, "async_")
#: The name of a file, and no connection string.
_FILE = re.compile(r"[^\s=:]*\.(?:ya?ml|json|ini|conf|cfg|txt)")

#: psycopg2's; greenshard's own is `greenshard.__version__`.
__version__ = DRIVER_VERSION
apilevel = "2.0"
#: Threads may share the module and connections: a thread waits until it is its turn.
threadsafety = 2
paramstyle = "pyformat"


@overload
def connect(
    shards: Any = None,
    connection_factory: None = None,
    cursor_factory: Any = None,
    *,
    async_: Literal[False, 0] = 0,
    **kwargs: Unpack[ConnectArguments],
) -> Connection: ...


@overload
def connect(
    shards: Any = None,
    *,
    connection_factory: type[_ConnectionT],
    cursor_factory: Any = None,
    **kwargs: Unpack[ConnectArguments],
) -> _ConnectionT: ...


@overload
def connect(shards: Any = None, *, async_: Literal[True, 1], **kwargs: Any) -> RawConnection: ...


def connect(
    shards: Any = None,
    connection_factory: Any = None,
    cursor_factory: Any = None,
    *,
    dsn: Any = None,
    timeout: float | None = None,
    connect_timeout: float | None = None,
    on_error: str = "raise",
    cancel_grace: float = 5.0,
    allow_scatter: bool = True,
    allow_gather: bool = True,
    gather_limit: int = GATHER_LIMIT,
    allow_same_database: bool = False,
    max_held_bytes: int = MAX_HELD_BYTES,
    check: bool = True,
    two_phase: bool | None = None,
    deadlock_timeout_s: float | None = 1.0,
    on_event: Listener | None = None,
    **kwargs: Any,
) -> Any:
    """Connect to all shards, in parallel.

    psycopg2 is patched with psycogreen on first use, unless a wait callback is installed.

    Args:
        shards: A connection string (one shard: a drop-in for ``psycopg2.connect``), a list of
            them or of psycopg2's open connections, or a mapping of names to these. Shards without
            names are called s0, s1, ... Or a `Cluster`, or the path of its TOML file (a
            ``pathlib.Path``, or text that ends in ".toml"): then the shards are one database,
            and connections to the same `Cluster` object share what they know of it, if `kwargs`
            do not make their databases others. With ``None``, `kwargs` and libpq's defaults tell
            of the one shard.
        connection_factory: A class derived from psycopg2's connection, to be mixed in.
        cursor_factory: The class of `Connection.cursor`'s cursors.
        dsn: psycopg2's name for `shards`.
        timeout: Seconds that each call may take, more than 0; None for no limit.
        connect_timeout: Seconds in which all shards must be connected; 0 for no limit. By default
            what the connection strings say, and 10 if they say nothing.
        on_error: "raise", or "partial": a statement that only reads gives the rows of the shards
            that answer, with a `PartialResultWarning`; one shard must be reachable.
        cancel_grace: Seconds that a server may take to answer a cancel request before its
            connection is closed.
        allow_scatter: Over a cluster: whether a statement may run on several shards, if it is
            not one for all of them (settings, DDL).
        allow_gather: Over a cluster: whether rows may be brought to one server, for statements
            that nothing else can answer.
        gather_limit: How many rows a statement may bring there.
        allow_same_database: Whether two shards may be the same database. Over a union, two of its
            schemas (by their search paths) are two shards anyway.
        max_held_bytes: Over a cluster: how much a statement may hold in this process of rows that
            are on their way to its answer.
        check: Over a cluster: whether to look, when this process first connects to a shard, at what
            would make answers wrong: encodings, collations or types of shard keys that differ, and
            shards that were exchanged.
        two_phase: Whether a transaction that writes on several shards is committed on all of them
            or on none, whatever fails (two-phase commit), for which ``greenshard init`` prepares
            the shards. False: the shards commit one after the other, and a crash in between is a
            `PartialCommitError`. None: what the cluster says, and it says yes unless it was told
            otherwise; over a union, no.
        deadlock_timeout_s: Seconds that a statement may take before it is looked whether it waits
            in a deadlock over several shards; None for never. The process that looks has a
            connection more to each shard meanwhile.
        on_event: Called with a `greenshard.events.StatementEnded` after each statement.
        kwargs: libpq's parameters, for all shards. ``async_=True`` works over one shard only, and
            gives psycopg2's own asynchronous connection.

    Returns:
        A `Connection`, of `connection_factory`'s class too.

    Raises:
        greenshard.OperationalError: A shard cannot be reached, or not in time.
        greenshard.FanoutError: Several cannot; the message names each.
        greenshard.ProgrammingError: An argument or connection string cannot be used, or two shards
            are the same database.

    Switches: yes.
    """
    shards, dsn = hidden_shards(shards), hidden_shards(dsn)
    kwargs = hidden_parameters(kwargs)
    if shards is not None and dsn is not None:
        raise TypeError("connect() got both shards and dsn")
    shards = dsn if shards is None else shards
    if any([kwargs.pop("async", 0), kwargs.pop("async_", 0)]):
        return _open_async(_read_sources(shards, kwargs)[0], connection_factory, cursor_factory)
    check_names(kwargs, connect)
    opening = read_opening(
        shards,
        timeout=timeout,
        connect_timeout=connect_timeout,
        on_error=on_error,
        cancel_grace=cancel_grace,
        allow_scatter=allow_scatter,
        allow_gather=allow_gather,
        gather_limit=gather_limit,
        allow_same_database=allow_same_database,
        max_held_bytes=max_held_bytes,
        check=check,
        two_phase=two_phase,
        deadlock_timeout_s=deadlock_timeout_s,
        on_event=on_event,
        **kwargs,
    )
    connection = _open(connection_class(connection_factory), opening)
    if cursor_factory is not None:
        connection.cursor_factory = cursor_factory
    return connection


def check_names(given: Collection[str], *takers: Callable[..., Any]) -> None:
    """Refuse arguments that nobody takes; libpq would say that the connection string is wrong.

    Args:
        given: What they are called.
        takers: Who takes them; what none of these takes must be libpq's.

    Raises:
        greenshard.ProgrammingError: There is one.
    """
    if not given:  # as most often: not even the signatures are looked at
        return
    names = argument_names(*takers)
    for name in unknown_names(given, names):
        raise unusable(f"there is no argument {name!r}, of libpq neither{_meant(name, names)}")


#: What psycopg2's connections have as attributes, and takes no ``connect``.
_ATTRIBUTES = ("autocommit", "deferrable", "isolation_level", "readonly")


def _meant(name: str, names: Collection[str]) -> str:
    """What a name may be written for."""
    if near := get_close_matches(name, _ATTRIBUTES, 1, 0.8):
        return f"; {near[0]} is set on the connection: conn.{near[0]} = ..."
    near = get_close_matches(name, [*names, *parameter_names()], 1)
    return f"; is {near[0]} meant?" if near else ""


def argument_names(*takers: Callable[..., Any]) -> list[str]:
    """What the arguments are called that some functions or classes name."""
    parameters = [each for taker in takers for each in signature(taker).parameters.values()]
    return [each.name for each in parameters if each.kind is not Parameter.VAR_KEYWORD]


def unknown_names(given: Iterable[Any], names: Collection[str]) -> list[str]:
    """Those names of arguments that are neither among `names` nor libpq's."""
    return [str(name) for name in given if name not in names and not _is_of_libpq(name)]


def _is_of_libpq(name: Any) -> bool:
    try:
        Dsn("", **{name: "1"})
    except (errors.ProgrammingError, TypeError):
        return False
    return True


def read_opening(
    shards: Any,
    *,
    timeout: float | None = None,
    connect_timeout: float | None = None,
    on_error: str = "raise",
    cancel_grace: float = 5.0,
    allow_scatter: bool = True,
    allow_gather: bool = True,
    gather_limit: int = GATHER_LIMIT,
    allow_same_database: bool = False,
    max_held_bytes: int = MAX_HELD_BYTES,
    check: bool = True,
    two_phase: bool | None = None,
    deadlock_timeout_s: float | None = 1.0,
    on_event: Listener | None = None,
    **kwargs: Any,
) -> Opening:
    """What `connect` would open with these arguments; nothing is opened.

    Raises:
        greenshard.ProgrammingError: An argument or connection string cannot be used.
    """
    shards, kwargs = hidden_shards(shards), hidden_parameters(kwargs)
    if {"async", "async_"} & kwargs.keys():
        refuse_async()
    sources, cluster = _read_sources(shards, kwargs)
    databases = (by_environment(), *[s.place for s in sources.values() if isinstance(s, Dsn)])
    wait_s = arguments.seconds("deadlock_timeout_s", deadlock_timeout_s)
    looks = arguments.flag("check", check) and cluster is not None and len(sources) > 1
    return Opening(
        sources,
        _connect_timeout_s(connect_timeout, sources.values()),
        arguments.seconds("timeout", timeout),
        arguments.on_error(on_error),
        arguments.seconds("cancel_grace", cancel_grace, zero=True) or 0.0,
        cluster=cluster,
        limits=Limits(
            arguments.flag("allow_scatter", allow_scatter),
            arguments.flag("allow_gather", allow_gather),
            arguments.number_of("rows", "gather_limit", gather_limit),
            arguments.number_of("bytes", "max_held_bytes", max_held_bytes),
        ),
        on_event=arguments.listener(on_event),
        databases=databases,
        allow_same_database=arguments.flag("allow_same_database", allow_same_database),
        two_phase=len(sources) > 1 and _in_two_phases(two_phase, cluster),
        look=look_of(cluster, databases) if looks and cluster is not None else None,
        waits=Waits(sources, wait_s) if wait_s is not None and len(sources) > 1 else None,
    )


def _in_two_phases(asked: Any, cluster: Cluster | None) -> bool:
    if asked is not None:
        return arguments.flag("two_phase", asked)
    return cluster is not None and cluster.two_phase


def _read_sources(
    shards: Any, parameters: Mapping[str, Any]
) -> tuple[dict[str, Dsn | RawConnection], Cluster | None]:
    """The shards, and the cluster that declares them, if one does."""
    cluster = _cluster(shards)
    if cluster is not None:
        shards = {name: shard.primary for name, shard in cluster.shards.items()}
    return _sources(shards, parameters), cluster


def _open(cls: type[Connection], opening: Opening) -> Connection:
    connection = cls.__new__(cls)
    connection._opening = opening
    try:
        connection.__init__(opening.home_text)  # type: ignore[misc]
    except HomeUnreachable as unreachable:
        # Then it lives on the first shard that can be reached.
        return _open(cls, replace(opening, missing=unreachable.failures))
    except HomeSilent as silent:
        home = next(name for name in opening.shards if name not in opening.missing)
        shards = {**opening.shards, home: silent.dsn}
        return _open(cls, replace(opening, shards=shards, left_s=silent.left_s))
    return connection


def _cluster(shards: Any) -> Cluster | None:
    """The cluster that was given, or whose file was; None for anything else."""
    if isinstance(shards, Cluster):
        return shards
    if isinstance(shards, os.PathLike) or (isinstance(shards, str) and shards.endswith(".toml")):
        return Cluster.from_toml(shards)
    if isinstance(shards, str) and _FILE.fullmatch(shards):
        raise errors.ProgrammingError(
            f"{reveal(shards)} is neither a connection string nor a cluster's file, whose name "
            "ends in .toml",
            code="GS106",
            hint="Declare the cluster in TOML; of another file name, give a pathlib.Path.",
        )
    return None


def _open_async(
    sources: Mapping[str, Dsn | RawConnection], connection_factory: Any, cursor_factory: Any
) -> RawConnection:
    """psycopg2's asynchronous connection: its user polls it, so it never waits in a callback."""
    source = next(iter(sources.values()))
    if len(sources) > 1 or not isinstance(source, Dsn):
        refuse_async()
    return connect_async(source.text, connection_factory, cursor_factory)


def _sources(shards: Any, parameters: Mapping[str, Any]) -> dict[str, Dsn | RawConnection]:
    """Each shard's name, and its connection string or open connection."""
    if shards is None or isinstance(shards, (str, bytes, RawConnection)):
        shards = [shards]
    try:
        named = dict(shards) if isinstance(shards, Mapping) else _numbered(shards)
    except TypeError:
        raise unusable(
            "shards must be a connection string, a list, or a mapping of names,"
            f" not {type(shards).__name__}"
        ) from None
    if not named:
        raise unusable("there are no shards")
    sources = {name: _source(name, shard, parameters) for name, shard in named.items()}
    given = [id(source) for source in sources.values() if isinstance(source, RawConnection)]
    if len(set(given)) < len(given):
        raise unusable("the same open connection stands for several shards")
    return sources


def _numbered(shards: Iterable[Any]) -> dict[str, Any]:
    return {f"s{number}": shard for number, shard in enumerate(shards)}


def _source(name: Any, shard: Any, parameters: Mapping[str, Any]) -> Dsn | RawConnection:
    if not isinstance(name, str) or not name:
        raise unusable(f"a shard's name must be a string, not {name!r}")
    if isinstance(shard, RawConnection):
        return _open_connection(name, shard, parameters)
    if shard is not None and not isinstance(shard, str):
        raise unusable(
            f"shard {name} must be a connection string or an open connection of psycopg2,"
            f" not {type(shard).__name__}"
        )
    return Dsn(shard or "", **parameters)


def _open_connection(
    name: str, connection: RawConnection, parameters: Mapping[str, Any]
) -> RawConnection:
    if isinstance(connection, Connection):
        raise unusable(f"shard {name} is a connection of greenshard; give its own shards instead")
    if closed.read(connection):
        raise errors.InterfaceError(f"connection already closed: that of shard {name}", shard=name)
    if _async.read(connection):
        refuse_async()
    if parameters:
        raise unusable(f"shard {name} is open already: {', '.join(parameters)} cannot be applied")
    return connection


def _connect_timeout_s(given: Any, sources: Iterable[Dsn | RawConnection]) -> float | None:
    """libpq's meaning: 0 and less is no limit."""
    if given is None:
        told = [s.connect_timeout_s for s in sources if isinstance(s, Dsn)]
        given = max((each for each in told if each is not None), default=10.0)
    seconds = a_number("connect_timeout", given)
    return seconds if 0 < seconds < float("inf") else None
