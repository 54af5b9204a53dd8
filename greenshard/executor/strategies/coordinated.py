"""The coordinator runs a query whose rows are too many to be gathered.

    cursor.execute("SELECT ... FROM orders JOIN items ON word = note")     gather_limit = 1,000,000
        the shards begin to give rows, and there is one more than a million: GS405
        the coordinator runs ... FROM public.orders JOIN public.items ...  over its foreign tables

It reads the rows from the shards by postgres_fdw, in sessions of its own, and joins and sorts them
on its disk; here come the rows of the answer. So it is not asked where it would see others than
this connection: in a transaction that has written or keeps its snapshot. And not where it might say
something else: it is described each time, like the shards, and everything that an answer depends on
must be the same. The user must have the rights to run the statement on the shards, and be whom no
policy hides rows from.

If it cannot be asked, the refusal of the gather stays, with the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from greenshard import errors
from greenshard._driver import Column, RawCursor, ours, own_cursor
from greenshard.cluster.model import COORDINATOR
from greenshard.executor.answers.answer import Answer, Stages
from greenshard.executor.answers.buffered import Row
from greenshard.executor.planned import Planned
from greenshard.executor.strategies.gather import settings_of
from greenshard.executor.strategies.merge import buffered
from greenshard.executor.strategies.staying import Reading, declare_answer
from greenshard.executor.types.casting import AsText, Casting
from greenshard.executor.types.type_names import NAMES_OF_TYPES, type_oids
from greenshard.links.coordinator import (
    MAKE,
    NOT_MADE,
    coordinator,
    own_stamp,
    server_of,
    stamps_there,
)
from greenshard.links.description import Described, describe, unlike_code, unlike_databases
from greenshard.links.gatherer import Gatherer, execute
from greenshard.links.look import Stamp, wrong_stamps
from greenshard.links.outside import calls_outside, value
from greenshard.links.put_together import unlike_tables
from greenshard.links.session import Outcome
from greenshard.links.session_settings import Settings, applying
from greenshard.merge.arrays import array_text
from greenshard.planner.plan import Elsewhere, Refusal
from greenshard.planner.tasks import Stage
from greenshard.sql.types import FIRST_USER_OID
from greenshard.transaction.state import State, state_of

#: The refusal of a gather that needs too many rows.
TOO_MANY = "GS405"
_BEGIN = "BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY"
#: Who the session acts as is the coordinator's own: what the user may read, the shards were asked.
_NOT_SENT = frozenset({"role", "session_authorization"})
#: Classes of errors that tell of the text, of what is not there, and of foreign servers: such an
#: error is the coordinator's, and no answer. A division by zero is the answer.
_ITS_OWN = ("42", "0A", "08", "HV", "3F", "3D", "28")


_COMMIT = "Commit first."
_READ_FIRST = (
    "Read what the write needs by a statement of its own, which the coordinator runs, and write by "
    "its rows; or restrict the rows, or raise gather_limit."
)
#: Whether a transaction has written, or would keep the coordinator waiting for ever.
_KEEPS = """
SELECT pg_catalog.convert_to((pg_catalog.pg_current_xact_id_if_assigned() IS NOT NULL OR EXISTS (
    SELECT FROM pg_catalog.pg_locks WHERE pid OPERATOR(pg_catalog.=) pg_catalog.pg_backend_pid()
        AND mode OPERATOR(pg_catalog.=) 'AccessExclusiveLock'
        AND locktype OPERATOR(pg_catalog.=) 'relation'))::pg_catalog.text, 'UTF8')
"""


def able_elsewhere(e: Planned, elsewhere: Elsewhere | Refusal, refusal: errors.Error) -> Elsewhere:
    """What the coordinator is to run, as far as this connection allows it.

    Raises:
        errors.NotSupportedError: It sees what the coordinator would not.

    Switches: if a transaction is open.
    """
    if isinstance(elsewhere, Refusal):
        raise _declined(refusal, elsewhere.reason)
    if e.session.exported is not None:
        raise _declined(refusal, "it does not see the snapshot that this connection reads in")
    if e.tolerant:
        raise _declined(refusal, 'with on_error="partial" some shards may be missing, to it none')
    opened = [p for p in e.session.alive if state_of(p) is State.OPEN]
    calls = calls_outside(opened, partial(value, query=_KEEPS))
    jobs: Mapping[str, Any] = e.session.run(calls, e.timeout).jobs if calls else {}
    if any(bytes(job.result) == b"true" for job in jobs.values()):
        raise _declined(refusal, "it does not see what this transaction has written", _COMMIT)
    return elsewhere


def run_elsewhere(e: Planned, found: Elsewhere, tasks: Stage, refusal: errors.Error) -> Answer:
    """Let the coordinator run what stands in the place of a gather.

    Args:
        e: The execution.
        found: What it runs.
        tasks: What the gather reads.
        refusal: Of the gather.

    Raises:
        errors.NotSupportedError: It cannot, or might answer otherwise.

    Switches: yes.
    """
    read = {task.place.shard for task in tasks} | {e.gathers_on}
    shards = tuple(shard for shard in e.session.shards if shard in read)
    e.session.reach(shards, e.timeout)
    e.check_bearings(shards)
    home = e.gathers_on
    settings = settings_of(e, home)
    dsn, own = e.database.cluster.coordinator or "", e.session.physical(home)
    if own.bearings is not None and not own.bearings.reads_nulls:
        raise _declined(refusal, "with array_nulls off it would read other arrays")
    try:
        with coordinator(e.session, own, dsn, e.database.connect_timeout_s, e.timeout) as held:
            _compare(e, held, found, shards, home, refusal)
            return _run(e, held, found, home, settings)
    except errors.Error as error:
        if error.shard in e.session.shards:  # asked for its tables, to compare
            raise
        pgcode = error.pgcode or ""
        # Without a code: it could not be connected to, or the connection broke.
        unreached = isinstance(error, errors.OperationalError) and not pgcode
        if isinstance(error, errors.QueryTimeout) or not (unreached or pgcode.startswith(_ITS_OWN)):
            raise
        said = _first_line(error)
        if pgcode in NOT_MADE:
            raise _declined(refusal, f"it is not made: {said}", MAKE, error) from error
        raise _declined(refusal, f"it says: {said}", cause=error) from error


def of_a_write(e: Planned, error: errors.Error) -> errors.Error:
    """Of a write that needs too many rows, why a coordinator is no way out; else the error itself.

    Args:
        e: The execution.
        error: Of the write, or of something in it that reads, which has told already.
    """
    if error.code != TOO_MANY or e.reads or e.database.cluster.coordinator is None:
        return error
    told = f"the {COORDINATOR}" in str(error)
    return error if told else _declined(error, "it only reads", _READ_FIRST, error)


def _declined(
    refusal: errors.Error, why: str, hint: str | None = None, cause: errors.Error | None = None
) -> errors.NotSupportedError:
    """The refusal of the gather, with the reason why the coordinator does not run it instead."""
    what = _first_line(refusal).removesuffix(f" [{TOO_MANY}]")
    error = errors.NotSupportedError(
        f"{what}; and the coordinator does not run it instead: {why}",
        code=TOO_MANY,
        hint=hint or refusal.hint,
    )
    error.__cause__ = cause
    return error


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


# Whether it answers as the shards would -------------------------------------------------------


def _compare(
    e: Planned,
    held: Gatherer,
    found: Elsewhere,
    shards: Sequence[str],
    home: str,
    refusal: errors.Error,
) -> None:
    """Make sure that the coordinator has the shards' tables, and answers as they would.

    Raises:
        errors.NotSupportedError: It does not.

    Switches: yes.
    """
    asked = [e.session.physical(shard) for shard in shards]
    look = partial(_look, tables=found.tables, home=home)
    there: Any = partial(_there, held, e.session.shards, found.tables)
    jobs = e.session.run(calls_outside(asked, look), e.timeout, beside={held.place: there})
    described: dict[str, Any] = {s: job.result for s, job in jobs.jobs.items()}
    told: Any = jobs.beside[held.place].result
    its: Described = told[0]
    own: Described = described[home][0]
    path = e.database.bearings.path
    reasons = [
        *unlike_databases(own, its),
        *unlike_code(own, its, path, found.names),
        *_unlike_stamps(e, told[1], described[home][1], home),
    ]
    for name in found.tables:
        of = {s: one[0].relations[name] for s, one in described.items() if name in one[0].relations}
        # A statement that names a table which is gone fails where it is planned.
        reasons += (
            unlike_tables(e.database.cluster, name, of, its.relations.get(name)) if of else ()
        )
    if own.isolation not in {"read committed", "read uncommitted"}:
        reasons.insert(0, f"it does not see the snapshot of a transaction at {own.isolation}")
    if reasons:
        hint = f"{refusal.hint} `greenshard check` compares the coordinator with the shards."
        raise _declined(refusal, reasons[0], hint)


def _look(physical: Any, *, tables: Sequence[tuple[str, str]], home: str) -> Any:
    """What a shard says of itself; the one that tells it, its stamp, too."""
    described = describe(physical, tables)
    return described, own_stamp(physical) if physical.shard == home else None


def _there(
    held: Gatherer, shards: Sequence[str], tables: Sequence[tuple[str, str]]
) -> tuple[Described, Mapping[str, Stamp]]:
    """The same of the coordinator, which asks its foreign servers."""
    return describe(held.physical, tables), stamps_there(held.physical, shards)


def _unlike_stamps(e: Planned, stamps: Mapping[str, Stamp], own: Stamp, home: str) -> Iterator[str]:
    """Whether its servers are the shards."""
    for shard in e.session.shards:
        if shard not in stamps:
            yield f"its {server_of(shard)} is no shard that greenshard init has made"
    yield from (f"to it, {what}" for _, what in wrong_stamps(stamps, e.database.cluster))
    there = stamps.get(home)
    if there is not None and (there.cluster, there.id) != (own.cluster, own.id):
        yield f"its {server_of(home)} is another database than shard {home}"


# Running it -----------------------------------------------------------------------------------


def _run(e: Planned, held: Gatherer, found: Elsewhere, home: str, settings: Settings) -> Answer:
    """The answer, whose rows are read as text: users' types have other OIDs there."""
    own = e.parts.plain_on(home, e.timeout)
    casting = Casting(own, AsText.ALL, e.parts.own_time_zones)
    cursor = RawCursor(held.physical.raw)
    cursor.string_types = own.string_types
    given = e.parameters(found.sql, e.given)
    execute(e.session, held, partial(_begin, settings=_sent(e, held, home, settings)), e.timeout)

    def read(columns: Sequence[Any]) -> tuple[Sequence[Any], Callable[[Row], Row] | None]:
        columns = _columns_at_home(e, held, columns, home)
        return columns, casting.casting(column.type_code for column in columns)

    e.strategy = COORDINATOR
    if e.streaming is not None:
        reading: tuple[RawCursor, Reading] = (cursor, read)
        return declare_answer(e, held, COORDINATOR, found.sql.text, given, reading)
    sent: tuple[Any, ...] = (found.sql.text,) if given is None else (found.sql.text, given)
    calls = {held.place: partial(cursor.execute, *sent)}
    job = e.session.run({}, e.timeout, noted=e.noted, beside=calls).beside[held.place]
    e.stages = e.stages or Stages()
    e.stages.add(Outcome({COORDINATOR: job}, {}), {COORDINATOR: max(0, cursor.rowcount)})
    columns, cast = read(cursor.description or ())
    return buffered(e, cursor.fetchall(), columns, home, cast)


def _begin(cursor: RawCursor, settings: Settings) -> None:
    cursor.execute(_BEGIN)
    if settings:
        statement, words = applying(settings)
        cursor.execute(statement, [ours(word) for word in words])


def _sent(e: Planned, held: Gatherer, home: str, settings: Settings) -> Settings:
    """What the coordinator's session must set to read and write values as the home's does."""
    own, its = e.session.physical(home).bearings, held.physical.bearings
    bearings = () if own is None or its is None else own.bringing(its)
    return tuple(each for each in (*bearings, *settings) if each[0] not in _NOT_SENT)


def _columns_at_home(
    e: Planned, held: Gatherer, columns: Sequence[Any], home: str
) -> Sequence[Any]:
    """Columns with the OIDs that their types have on the home.

    Switches: if there are users' types.
    """
    users = {column.type_code for column in columns if column.type_code >= FIRST_USER_OID}
    if not users:
        return columns
    asked = partial(_names_of, oids=array_text([*map(str, users)]))
    names: Mapping[int, str] = execute(e.session, held, asked, e.timeout)
    there = type_oids(e.session, home, names.values(), e.timeout)
    oids = {oid: there[name] for oid, name in names.items() if name in there}
    return [_with_type(column, oids) for column in columns]


def _names_of(cursor: RawCursor, oids: str) -> Mapping[int, str]:
    own = own_cursor(cursor.connection)
    own.execute(NAMES_OF_TYPES, (ours(oids),))
    return dict(own.fetchall())


def _with_type(column: Any, oids: Mapping[int, int]) -> Any:
    facts = (column.display_size, column.internal_size, column.precision, column.scale)
    return Column(column.name, oids.get(column.type_code, column.type_code), *facts, None)
