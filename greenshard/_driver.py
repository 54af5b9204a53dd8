"""The only door to psycopg2 and psycogreen.

psycopg2's connection and cursor are C classes. greenshard's own classes derive from them, so that
everything that asks for the C types (``quote_ident``, ``execute_values``, ``register_*``) takes
ours; what must act on one physical connection calls the C method through its class, as in
``RawConnection.commit(raw)``: it means the same for a plain connection and for one of ours.
"""

from __future__ import annotations

import decimal
import ipaddress
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import date, datetime, time, timedelta
from typing import Any
from uuid import UUID

import psycopg2
import psycopg2.extensions as ext
from psycogreen.gevent import gevent_wait_callback
from psycopg2 import _psycopg
from psycopg2._psycopg import DATETIMETZ, ReplicationConnection, ReplicationCursor
from psycopg2.extras import UUID_adapter
from psycopg2.sql import Composable

from greenshard import _green, errors
from greenshard.secret import SECRETS, Secret, hidden, hidden_parameters, reveal
from greenshard.service import service_parameters
from greenshard.sql.types import oid_of

RawConnection = ext.connection
RawCursor = ext.cursor
Replication: tuple[type, ...] = (ReplicationConnection, ReplicationCursor)
DriverError = psycopg2.Error
DriverOperationalError = psycopg2.OperationalError
DriverProgrammingError = psycopg2.ProgrammingError
#: What psycopg2 raises of a value that Python does not have, as a date beyond its calendar, or that
#: is written as it cannot read it, as a date by another ``DateStyle``.
UNREADABLE = (ValueError, OverflowError, psycopg2.DataError)
Binary, Date, Time, Timestamp = psycopg2.Binary, psycopg2.Date, psycopg2.Time, psycopg2.Timestamp
DateFromTicks, TimeFromTicks = psycopg2.DateFromTicks, psycopg2.TimeFromTicks
TimestampFromTicks = psycopg2.TimestampFromTicks
STRING, BINARY, NUMBER = psycopg2.STRING, psycopg2.BINARY, psycopg2.NUMBER
DATETIME, ROWID = psycopg2.DATETIME, psycopg2.ROWID
#: For programs that ask the module which psycopg2 it is.
DRIVER_VERSION: str = psycopg2.__version__  # type: ignore[attr-defined]  # the stub lacks it
POLL_OK = ext.POLL_OK
InFailedSqlTransaction = psycopg2.errors.InFailedSqlTransaction
UNICODE = ext.UNICODE
new_type, register_type = ext.new_type, ext.register_type
QuotedString = ext.QuotedString
Notify = ext.Notify
Xid = ext.Xid
codecs: Mapping[str, str] = ext.encodings
quote_ident = ext.quote_ident
global_typecasters: dict[int, Any] = ext.string_types
#: psycopg2's own typecasters of some types: if others are in place, they are the program's.
own_typecasters: Mapping[int, tuple[Any, ...]] = {
    oid_of(name): casters
    for name, casters in {
        "bool": (ext.BOOLEAN,),
        "bytea": (psycopg2.BINARY,),
        **dict.fromkeys(("name", "text", "varchar"), (psycopg2.STRING, ext.UNICODE)),
        "int8": (ext.LONGINTEGER,),
        **dict.fromkeys(("int2", "int4"), (ext.INTEGER,)),
        "oid": (psycopg2.ROWID,),
        **dict.fromkeys(("float4", "float8"), (ext.FLOAT,)),
        "date": (ext.DATE, ext.PYDATE),
        "timestamp": (psycopg2.DATETIME, ext.PYDATETIME),
        "timestamptz": (DATETIMETZ, ext.PYDATETIMETZ),
        "numeric": (ext.DECIMAL,),
    }.items()
}
Column = ext.Column
adapters: Mapping[Any, object] = ext.adapters
#: psycopg2's own adapters, likewise.
own_adapters: Mapping[type, object] = {
    bool: ext.Boolean,
    **dict.fromkeys((bytes, bytearray, memoryview), ext.Binary),
    date: ext.DateFromPy,
    datetime: ext.TimestampFromPy,
    decimal.Decimal: _psycopg.Decimal,
    float: ext.Float,
    int: ext.Int,
    list: _psycopg.List,
    str: ext.QuotedString,
    time: ext.TimeFromPy,
    timedelta: ext.IntervalFromPy,
    tuple: ext.SQL_IN,
    UUID: UUID_adapter,
}


def ours(value: object) -> Any:
    """A parameter of our own: psycopg2's adapter writes it, whatever the program has registered.

    A program may have text normalised, or written as JSON, for its own statements; the rows that
    go from one server to another must not be.
    """
    adapter: Any = own_adapters[type(value)]
    return adapter(value)


ISQLQuote = ext.ISQLQuote
QueryCanceled = psycopg2.errors.QueryCanceled
InvalidParameterValue = psycopg2.errors.InvalidParameterValue
UndefinedTable = psycopg2.errors.UndefinedTable
UndefinedColumn = psycopg2.errors.UndefinedColumn

STATUS_READY, STATUS_BEGIN = ext.STATUS_READY, ext.STATUS_BEGIN
STATUS_PREPARED = ext.STATUS_PREPARED
TRANSACTION_IDLE = ext.TRANSACTION_STATUS_IDLE
TRANSACTION_ACTIVE = ext.TRANSACTION_STATUS_ACTIVE
TRANSACTION_OPEN = ext.TRANSACTION_STATUS_INTRANS
TRANSACTION_FAILED = ext.TRANSACTION_STATUS_INERROR
TRANSACTION_UNKNOWN = ext.TRANSACTION_STATUS_UNKNOWN

#: Where the library is that is linked with libpq, and which libpq that is.
LIBRARY: str = _psycopg.__file__
LIBPQ_VERSION: int = ext.libpq_version()

__all__ = ["Composable"]


class Own:
    """A connection of ours: while it waits, psycopg2's own ``poll`` and ``fileno`` are meant.

    What is over them in `Connection` is for the program, and costs more.
    """

    __slots__ = ()


class Wire(Own, ext.connection):
    """A physical connection; psycopg2's own shows all secrets but the password."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"<connection at {id(self):#x}; closed: {self.closed}>"

    __str__ = __repr__


class Attribute:
    """An attribute of a C class, past what a class derived from it has put over it."""

    __slots__ = ("read", "write")

    def __init__(self, owner: type, name: str) -> None:
        descriptor: Any = getattr(owner, name)
        self.read: Callable[[Any], Any] = descriptor.__get__
        self.write: Callable[[Any, Any], None] = descriptor.__set__


def connect_async(dsn: str, connection_factory: Any, cursor_factory: Any) -> ext.connection:
    """psycopg2's asynchronous connection."""
    # Not psycopg2.connect, which is a Python function: its frame would show the password.
    connect: Any = _psycopg._connect
    connection: ext.connection = connect(dsn, connection_factory, True)
    if cursor_factory is not None:
        connection.cursor_factory = cursor_factory
    return connection


#: libpq reads it, and connects to nothing: there are more ports than hosts.
_NOWHERE = "hostaddr=0,0 port=0,0,0 user=nobody"


def make_shell(connection: ext.connection) -> None:
    """Let a connection object that is never to be opened keep what is registered for it.

    Without, psycopg2 has no place for typecasters in it, and registers them for the whole process.

    Cost: 7 us.
    """
    try:
        ext.connection.__init__(connection, _NOWHERE)
    except psycopg2.Error:
        ext.connection.close(connection)


def make_cooperative() -> None:
    """Let psycopg2's waits switch greenlets, unless the program has a wait callback of its own.

    The callback is psycopg2's own and one per process (``set_wait_callback``). psycogreen's is
    replaced: ours does the same for connections that are not ours.
    """
    if ext.get_wait_callback() in {None, gevent_wait_callback}:
        ext.set_wait_callback(_wait)


#: By the ``id`` of a connection, who is told of what arrives from outside while it waits; see
#: `can_keep`. An entry is made and removed by the frame that also holds the connection, so that no
#: other connection can have its ``id`` meanwhile.
keepers: dict[int, Callable[[BaseException], bool]] = {}


def can_keep() -> bool:
    """Whether `keepers` has an effect: not if the program has a wait callback of its own.

    psycopg2 closes a connection whose wait callback raises. A keeper gets what was raised in the
    wait, in the greenlet that waits; if it returns true, the wait goes on.
    """
    return ext.get_wait_callback() is _wait


#: By the ``id`` of a connection, who copies rows from or to the client on it (`links.copy_stream`).
#: Called when psycopg2 has the answer to a statement: psycopg2 itself takes a COPY for an error in
#: green mode, but only behind the wait. It does what is to be done, and tells whether there was
#: something: then the wait goes on, and what it ends with is the end of the COPY, to psycopg2, too.
#: It raises only what is to close the connection.
copiers: dict[int, Callable[[], bool]] = {}


def _wait(connection: ext.connection) -> None:
    """Wait for a server as psycogreen does, but that keepers are asked, and copiers called."""
    key = id(connection)
    copy = copiers.get(key)
    keep = keepers.get(key)
    if keep is None and copy is None and not isinstance(connection, Own):
        gevent_wait_callback(connection)
        return
    _poll(connection, keep)
    while copy is not None and copy():
        _poll(connection, keep)


def _poll(connection: ext.connection, keep: Callable[[BaseException], bool] | None) -> None:
    while (state := RawConnection.poll(connection)) != POLL_OK:
        if state not in _WAITS:
            raise DriverOperationalError(f"Bad result from poll: {state!r}")
        try:
            _WAITS[state](RawConnection.fileno(connection))
        except BaseException as arrived:
            # Not of `poll`: what that raises is the server's word, or psycopg2's.
            if keep is None or not keep(arrived):
                raise


def wait_as_ours(connection: ext.connection, wait: Callable[[int], Any]) -> None:
    """Wait on a connection's socket where psycopg2 waits for it; its keeper is asked.

    Switches: yes.
    """
    try:
        wait(RawConnection.fileno(connection))
    except BaseException as arrived:
        keep = keepers.get(id(connection))
        if keep is None or not keep(arrived):
            raise


_WAITS: Mapping[int, Callable[[int], Any]] = {
    ext.POLL_READ: _green.wait_read,
    ext.POLL_WRITE: _green.wait_write,
}


def without_secrets(parameters: Mapping[str, str]) -> dict[str, str]:
    """Connection parameters that may be shown."""
    return {name: value for name, value in parameters.items() if name not in SECRETS}


def obscured(dsn: str) -> str:
    """A connection string that psycopg2 shows: of the secrets, it hides only the password."""
    parameters = ext.parse_dsn(dsn)
    if not SECRETS & parameters.keys():
        return dsn
    hidden = dict.fromkeys(SECRETS & parameters.keys(), "xxx")
    text: str = ext.make_dsn(**{**parameters, **hidden})
    return text


class PasswordlessInfo(ext.ConnectionInfo):
    """psycopg2's ``ConnectionInfo`` without secrets."""

    @property
    def password(self) -> Any:
        """Empty, whatever the password is; None when the connection is closed."""
        return None if super().password is None else ""

    @property
    def dsn_parameters(self) -> Any:
        """The connection parameters but for the secrets."""
        return without_secrets(super().dsn_parameters)


class Dsn:
    """A connection string that does not show its password."""

    __slots__ = ("_parameters",)

    def __init__(self, text: str = "", **parameters: Any) -> None:
        """Read `text` (key=value pairs or a URI); `parameters` win over it.

        Raises:
            errors.ProgrammingError: It cannot be read. libpq's message would quote the text, and
                with it the password, so it is not shown.
        """
        text, parameters = hidden(text or ""), hidden_parameters(parameters)
        self._parameters: Mapping[str, str] = {}
        with suppress(psycopg2.Error, ValueError):  # half of a surrogate pair, say
            self._parameters = hidden_parameters(_parsed(text, parameters))
            return
        # Outside of the handler, so that libpq's message is not this error's context either.
        raise errors.ProgrammingError(
            "invalid dsn: the connection string cannot be read",
            code="GS102",
            hint="Write 'host=... dbname=... user=...' or 'postgresql://user@host/dbname', "
            "with libpq's parameter names.",
        )

    @classmethod
    def of(cls, raw: ext.connection) -> Dsn:
        """The connection string that an open connection was made with."""
        parameters = hidden_parameters(raw.info.dsn_parameters)
        if raw.info.password:
            parameters["password"] = Secret(raw.info.password)
        return cls("", **parameters)

    def __repr__(self) -> str:
        return f"Dsn({ext.make_dsn(**self.public)!r})"

    @property
    def text(self) -> str:
        """The connection string, with its password, which it does not show."""
        return _written(self._parameters)

    @property
    def public(self) -> dict[str, str]:
        """The parameters without secrets."""
        return without_secrets(self._parameters)

    @property
    def place(self) -> tuple[tuple[str, str], ...]:
        """Which database it is, and who connects: equal for equal ones."""
        return tuple(sorted(self.public.items()))

    @property
    def server(self) -> str:
        """Where the server is, in libpq's words."""
        if "service" in self._parameters:
            return f'server of the service "{self._parameters["service"]}"'
        host = self._parameters.get("host") or self._parameters.get("hostaddr") or "the default"
        port = self._parameters.get("port", "5432")
        return f'server at "{host}", port {port}'

    @property
    def connect_timeout_s(self) -> float | None:
        """libpq's ``connect_timeout``, which green mode ignores and `Shard` opening applies."""
        value = self._parameters.get("connect_timeout")
        try:
            return float(value) if value is not None else None
        except ValueError:
            raise errors.ProgrammingError(
                f"connect_timeout is {value!r}, not a number of seconds", code="GS102"
            ) from None

    def route(self) -> Route:
        """The way to the server, with host names resolved to addresses.

        libpq resolves names with a blocking call, which would stop every greenlet; gevent's
        resolver does it here and ``hostaddr`` passes the result on. ``host`` stays, for TLS and
        the password file. A service that only libpq finds is left to it.

        Raises:
            DriverOperationalError: None of the names can be resolved.

        Switches: if there is a name to resolve.
        """
        parameters = dict(self._parameters)
        service = parameters.get("service") or os.environ.get("PGSERVICE")
        found = service_parameters(service) if service else {}
        if found is None:
            return Route(parameters)
        environment = {name: os.environ.get(f"PG{name.upper()}", "") for name in _WHERE}
        # As in libpq: what is written, else what the service says, else what the environment does.
        where = {**environment, **found, **parameters}
        host, port = where["host"], where["port"]
        if not where["hostaddr"] and ("," in host or _is_name(host)):
            parameters.update({"host": host, "port": port} if port else {"host": host})
            parameters.update(_with_addresses(host, port))
        return Route(parameters)


_WHERE = ("host", "hostaddr", "port")


class Route:
    """A connection string in which each host has one address."""

    __slots__ = ("_lists", "_parameters")

    def __init__(self, parameters: Mapping[str, str]) -> None:
        self._parameters = parameters
        lists = {name: parameters[name].split(",") for name in _WHERE if name in parameters}
        self._lists = {name: each for name, each in lists.items() if len(each) > 1}

    @property
    def count(self) -> int:
        """How many servers may be tried."""
        return max(map(len, self._lists.values()), default=1)

    @property
    def text(self) -> str:
        """For libpq; it does not show its password."""
        return _written(self._parameters)

    def where(self, host: str, address: str, port: str) -> int | None:
        """Which one libpq is trying, by what it tells of that; None if it is none of them."""
        for number in range(self.count):
            told = {"host": host, "hostaddr": address, "port": port}
            if all(
                told[name] == each[number] for name, each in self._lists.items() if each[number]
            ):
                return number
        return None

    def without(self, number: int) -> Route:
        """The way but for one server."""
        fewer = {
            name: ",".join(each[:number] + each[number + 1 :]) for name, each in self._lists.items()
        }
        return Route({**self._parameters, **fewer})


def _parsed(text: str, parameters: Mapping[str, Any]) -> dict[str, str]:
    """The parameters of a connection string, of which others win over it."""
    full = hidden(ext.make_dsn(reveal(text) or None, **_revealed(parameters)))
    return ext.parse_dsn(reveal(full)) if full else {}


def _written(parameters: Mapping[str, str]) -> str:
    text: str = ext.make_dsn(**_revealed(parameters))
    return Secret(text) if SECRETS & parameters.keys() else text


def _revealed(parameters: Mapping[str, Any]) -> dict[str, Any]:
    return {k: reveal(v) if isinstance(v, Secret) else v for k, v in parameters.items()}


def by_environment() -> tuple[str | None, ...]:
    """Which database libpq connects to, and as whom, where a connection string does not say."""
    return tuple(map(os.environ.get, _NAMES_A_DATABASE))


_NAMES_A_DATABASE = (
    "PGSERVICE", "PGHOST", "PGHOSTADDR", "PGPORT", "PGDATABASE", "PGUSER", "PGOPTIONS",
)  # fmt: skip


def _with_addresses(host: str, port: str) -> dict[str, str]:
    """``host``, ``hostaddr`` and ``port`` with a host of several addresses once for each."""
    hosts = host.split(",")
    if not any(_is_name(name) for name in hosts):
        return {}
    ports = port.split(",")
    if len(ports) == 1:
        ports *= len(hosts)
    if len(ports) != len(hosts):
        return {}  # libpq explains what is wrong with it
    unknown: list[psycopg2.Error] = []
    entries = [
        (name, address, number)
        for name, number in zip(hosts, ports, strict=True)
        for address in _addresses(name, unknown)
    ]
    if not entries:
        raise unknown[0]
    names, addresses, numbers = (",".join(column) for column in zip(*entries, strict=True))
    found = {"host": names, "hostaddr": addresses}
    return {**found, "port": numbers} if numbers.strip(",") else found


def _is_name(host: str) -> bool:
    """Whether libpq would look the host up: not a socket directory, not an address."""
    if not host or host.startswith(("/", "@")):
        return False
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return True
    return False


def _addresses(host: str, unknown: list[psycopg2.Error]) -> list[str]:
    """The addresses of a host, "" where libpq needs none; why there are none goes to `unknown`."""
    if not _is_name(host):
        return [""]
    try:
        return _green.resolve(host)
    except (OSError, UnicodeError) as exc:
        reason = getattr(exc, "strerror", None) or exc
        unknown.append(
            DriverOperationalError(f"could not translate host name {host!r} to address: {reason}")
        )
        return []


def python_encoding(raw: ext.connection) -> str:
    """Python's name for the connection's client encoding."""
    return ext.encodings[raw.encoding]


_OWN = {oid: casters[0] for oid, casters in own_typecasters.items()}


def own_cursor(raw: ext.connection) -> ext.cursor:
    """A cursor for our own queries: it reads basic types as psycopg2 does by itself.

    The program may have registered other typecasters, globally or for the connection.
    """
    cursor = RawCursor(raw)
    cursor.string_types = _OWN
    return cursor
