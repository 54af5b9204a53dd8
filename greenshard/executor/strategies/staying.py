"""The answer of a named cursor that stays in the server that made it; see `portals`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from greenshard import errors
from greenshard._driver import RawCursor, ours, own_cursor
from greenshard.executor.answers.answer import Answer, Stages
from greenshard.executor.answers.buffered import Row
from greenshard.executor.answers.portals import Marker, Portal, duplicate
from greenshard.executor.planned import Planned
from greenshard.executor.strategies.held import check_page
from greenshard.executor.strategies.streamed_merge import StreamedRows
from greenshard.links.beginning import no_transaction
from greenshard.links.gatherer import Gatherer
from greenshard.links.outlets import declaring, fetching, new_name
from greenshard.links.outside import calls_outside
from greenshard.links.physical import Physical
from greenshard.links.session import Outcome
from greenshard.transaction.state import State, state_of


def check_named(e: Planned) -> None:
    """Refuse a named cursor outside of a transaction, unless it is WITH HOLD; or one that is open.

    Raises:
        errors.ProgrammingError: As psycopg2 does, or PostgreSQL.

    Switches: if there may be one of the name.
    """
    alive, name = e.session.alive, e.parts.name
    # Nothing would be left of it after the statement.
    if alive and alive[0].autocommit and not e.parts.holds:
        raise errors.ProgrammingError("can't use a named cursor outside of transactions")
    if alive and state_of(alive[0]) is State.OVER and not e.parts.holds:
        raise no_transaction()
    portals = e.parts.portals
    # Nobody has used that name: no server need be asked.
    if name not in portals.declared and name not in portals.outlived:
        return
    # What has outlived its transaction may be on a shard that this one has not touched.
    asked = alive if name in portals.outlived else [p for p in alive if state_of(p) is State.OPEN]
    calls = calls_outside(asked, partial(_has_cursor, name))
    if calls:
        found = e.session.run(calls, e.timeout).jobs
        if any(job.result for job in found.values()):
            raise duplicate(name)
    portals.forget(name)


def _has_cursor(name: str, physical: Physical) -> bool:
    """Whether a session has a cursor of a name. Switches: yes."""
    cursor = own_cursor(physical.raw)
    ask = "SELECT FROM pg_catalog.pg_cursors WHERE name OPERATOR(pg_catalog.=) %s"
    cursor.execute(ask, (ours(name),))
    return cursor.rowcount > 0


def _begin(e: Planned) -> Portal:
    """The portal of the named cursor that executes.

    Switches: if there may be a savepoint.
    """
    portal = Portal(e.parts.name, e.parts.holds, kept=e.parts.holds and not e.transaction.is_open)
    if e.transaction.savepoints and not portal.kept:
        portal.marker = Marker.declared(e.session, e.any_shard(), e.timeout)
    e.parts.portals.open.append(portal)
    e.parts.portal = portal
    return portal


class PortalAnswer(Answer):
    """The answer of a named cursor that one server made.

    Args:
        portal: How long it holds.
        rows: What iterates over the rows.
        columns: Its columns.
        stages: What the statement took.
    """

    def __init__(
        self, portal: Portal, rows: Iterator[Any], columns: Any, stages: Stages | None
    ) -> None:
        super().__init__({}, (), None, stages or Stages())
        self.rows = self._rows = StreamedRows(rows, portal.check)
        self._columns = columns

    @property
    def rowcount(self) -> int:
        return -1

    @property
    def description(self) -> Any:
        """The columns, from the first fetch on."""
        return self._columns if self._rows.begun else None


def portal_answer(e: Planned, answer: Answer) -> Answer:
    """The answer of a named cursor, made of one whose rows are all here."""
    rows = iter(answer.rows.fetchone, None)
    return PortalAnswer(_begin(e), rows, answer.description, e.stages)


Reading = Callable[[Sequence[Any]], tuple[Sequence[Any], Callable[[Row], Row] | None]]
"""What makes of a cursor's columns those of the answer, and what is done with a row's values."""


def declare_answer(
    e: Planned,
    held: Gatherer,
    home: str,
    text: str | bytes,
    parameters: Any,
    read: tuple[RawCursor, Reading] | None = None,
) -> Answer:
    """Run the statement whose rows are the answer, and fetch the first page of them.

    Args:
        e: The execution.
        held: The connection that runs it; kept, if there are more rows.
        home: Its shard.
        text: The statement, with psycopg2's placeholders.
        parameters: Their values; None if the text has no placeholders.
        read: A cursor of that connection, and how its rows are read; None: as a shard's.

    Switches: yes.
    """
    name, size = new_name(), e.parts.itersize
    cursor = e.parts.beside(held.physical, e.timeout) if read is None else read[0]
    given = () if parameters is None else (parameters,)

    def declare() -> None:
        cursor.execute(declaring(name, text), *given)
        cursor.execute(fetching(name, size))

    outcome = e.session.run({}, e.timeout, noted=e.noted, beside={held.place: declare})
    e.stages = e.stages or Stages()
    e.stages.add(Outcome({home: outcome.beside[held.place]}, {}), {})
    check_page(e, [cursor])
    columns: Sequence[Any] | None = cursor.description
    cast = None
    if read is not None:
        columns, cast = read[1](columns or ())
    portal = _begin(e)
    # A full page: there may be more. Less is all there is, and the connection goes back at once.
    if cursor.rowcount == size:
        portal.hold(e.session, held)
    pages = _Pages(replace(e, streaming=None, noted=None), portal, cursor, name, home, cast)
    first, failure = _page(cursor)
    return PortalAnswer(portal, pages.rows(first, failure), columns, e.stages)


@dataclass(slots=True, eq=False)
class _Pages:
    """The rows of a cursor on the server that made the answer.

    Attributes:
        cursor: What fetches.
        name: The name of the cursor on the server, quoted.
        home: The server's shard.
        cast: What is done with a row's values.
    """

    e: Planned
    portal: Portal
    cursor: RawCursor
    name: str
    home: str
    cast: Callable[[Row], Row] | None = None

    def rows(self, page: Sequence[Row], failure: Exception | None) -> Iterator[Any]:
        """All rows, as the user wants them; the first page is here."""
        while True:
            for row in page:
                shape = self.e.parts.shaping(self.cast)
                yield row if shape is None else shape(row)
            if failure is not None:
                # After the rows before it: the user gets those, as from PostgreSQL.
                raise failure
            if self.portal.gatherer is None:
                return
            page, failure = self._fetch(self.portal.gatherer)

    def _fetch(self, held: Gatherer) -> tuple[list[Row], Exception | None]:
        """The next page; see `_page`. The connection goes when it is the last one."""
        e, session, size = self.e, self.e.session, self.e.parts.itersize
        with session.taken():
            if not self.portal.kept and (failed := e.transaction.failed) is not None:
                # That server says what one PostgreSQL would say.
                call = partial(own_cursor(session.physical(failed).raw).execute, "SELECT 1")
                session.run({failed: call}, e.parts.fetch_timeout)
            call = partial(self.cursor.execute, fetching(self.name, size))
            try:
                outcome = session.run({}, e.parts.fetch_timeout, beside={held.place: call})
                check_page(e, [self.cursor])
            except BaseException as error:
                # The cursor's place is not known any more. What arrives from outside must not wait
                # for servers.
                self.portal.free(session, at_once=not isinstance(error, errors.Error))
                raise
            if e.stages is not None and self.home in e.stages.timings:
                e.stages.timings[self.home].total_s += outcome.beside[held.place].seconds
            # Before the connection goes: it may be closed then, and the cursor with it.
            page = _page(self.cursor)
            if self.cursor.rowcount < size:
                self.portal.free(session)
            return page


def _page(cursor: RawCursor) -> tuple[list[Row], Exception | None]:
    """The rows that were fetched, and what is wrong with the one after them."""
    try:
        return cursor.fetchall(), None
    except (ValueError, OverflowError) as error:  # a date beyond Python's
        failure = error
    rows: list[Row] = []
    cursor.scroll(0, "absolute")
    with suppress(ValueError, OverflowError):
        for row in cursor:
            rows.append(row)  # noqa: PERF402  # those before it count
    return rows, failure
