"""The needed rows come to one PostgreSQL, and the query runs there.

It has a connection of its own, to the home's database. There the user's own text runs, if that is
possible: `filling` puts the rows where it finds them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from greenshard import errors
from greenshard._driver import UNREADABLE, RawCursor, own_cursor
from greenshard.executor.answers.answer import Answer
from greenshard.executor.planned import Planned
from greenshard.executor.strategies.filling import (
    Batch,
    add_end,
    add_read_only,
    add_rows,
    add_tables,
    are_many,
    begin,
    filling,
    inlined,
    keying,
)
from greenshard.executor.strategies.merge import buffered
from greenshard.executor.strategies.staying import check_named, declare_answer
from greenshard.executor.strategies.table_rows import Batches, Rows, read_tables
from greenshard.executor.types.casting import AsText, Casting
from greenshard.links.gatherer import (
    INSUFFICIENT_PRIVILEGE,
    Gatherer,
    end,
    execute,
    gatherer,
)
from greenshard.links.outside import calls_outside, row, value
from greenshard.links.session_settings import (
    Settings,
    read_settings,
    sets_nothing,
)
from greenshard.merge.arrays import array_text
from greenshard.planner.plan import Constant, Gather
from greenshard.planner.tasks import Stage
from greenshard.sql.text import Sql

#: How many of some settings there are.
_HAS = """
SELECT pg_catalog.convert_to(pg_catalog.count(pg_catalog.current_setting(name, true))
    ::pg_catalog.text, 'UTF8') FROM pg_catalog.unnest(%(names)s::pg_catalog.text[]) AS name
"""
_GROUPING_ERROR = "42803"
#: What a server says that makes no temporary tables: the role may not, or it is a standby.
_NO_TABLES = (INSUFFICIENT_PRIVILEGE, "25006")
#: Whether the transaction has written functions, operators or casts: rows of later transactions
#: than itself are its own, or a savepoint's.
_MADE = """
SELECT pg_catalog.convert_to(CASE WHEN EXISTS (
    SELECT FROM (
        SELECT xmin FROM pg_catalog.pg_proc
        UNION ALL SELECT xmin FROM pg_catalog.pg_operator
        UNION ALL SELECT xmin FROM pg_catalog.pg_cast) AS made
    WHERE pg_catalog.age(xmin) OPERATOR(pg_catalog.<=) 0) THEN 'yes' ELSE 'no' END, 'UTF8')
"""
_HINT = (
    "So many rows are gathered in temporary tables: GRANT TEMPORARY on the database to the role, "
    "and USAGE on the schemas of the columns' types."
)


def gather(e: Planned, step: Gather, tasks: Stage) -> Answer:
    """Run a query where the rows that it needs have been brought.

    Raises:
        errors.NotSupportedError: They are more than ``gather_limit``.

    Switches: yes.
    """
    e.check_parameters()
    if e.streaming is not None:
        check_named(e)
    if e.database.changed and e.plan.trace:
        _check_made(e)
    e.check_bearings((e.gathers_on,))  # they tell whether another session sees the same
    every = e.gathers_references
    wanted = {t for t in step.tables if every or t.temporary or not t.reference}
    reads = tuple(task for task in tasks if task.table in wanted)
    rows = read_tables(e, reads) if reads else []
    if not isinstance(rows, Batches):
        rows += e.results
    try:
        return _gather(e, step, step.complete if every else step.sql, rows)
    finally:
        if isinstance(rows, Batches):
            rows.close()


def _check_made(e: Planned) -> None:
    """Make sure that the gathering session would call the functions that this one would.

    Raises:
        errors.NotSupportedError: The transaction has made or replaced some.

    Switches: yes.
    """
    home = e.gathers_on
    calls = calls_outside([e.session.physical(home)], partial(value, query=_MADE))
    jobs: Mapping[str, Any] = e.session.run(calls, e.timeout).jobs if calls else {}
    if any(bytes(job.result) == b"yes" for job in jobs.values()):
        raise errors.NotSupportedError(
            "rows are gathered in another session, which does not see the functions that this "
            "transaction has made",
            code="GS410",
            hint="Commit first.",
        )


def _gather(e: Planned, step: Gather, sql: Sql, rows: Sequence[Rows] | Batches) -> Answer:
    home = e.gathers_on
    e.check_bearings((home,))  # those that the gathering session gets
    settings = settings_of(e, home)
    with gatherer(e.session, home, e.database.connect_timeout_s, e.timeout) as held:
        # A function that has run here has its tables' names looked up: the next ones are others.
        held.used_up = bool(e.plan.trace) or step.in_tables
        _check_absent(e, held, settings)
        settings = (*defaults_of(e, home, held), *settings)
        gathering = _Gathering(e, sql, rows, home, held, settings)
        return gathering.beside_tables() if step.in_tables else gathering.answer(step.joins)


def settings_of(e: Planned, home: str) -> Settings:
    """What the home's session has set, and the gathering one has not."""
    database = e.database
    asked = e.plan.settings
    names = [
        each.value if isinstance(each, Constant) else e.given[each.source] for each in asked or ()
    ]
    # What is asked for may have another default since the home's session was opened.
    if not (database.may_have_set or names or (database.may_have_made_up and asked != ())):
        return ()
    if asked is None:
        raise errors.NotSupportedError(
            "the statement computes the name of a setting, and is run in another session",
            code="GS410",
            hint="Give current_setting() the name as a literal or a parameter, or run the "
            "statement on one shard with conn.on('...').",
        )
    physical = e.session.physical(home)
    call = partial(read_settings, own_cursor(physical.raw), [n for n in names if type(n) is str])
    found: Any = e.session.run({home: call}, e.timeout).jobs[home].result
    if not names:
        database.may_have_set = not sets_nothing(found, physical.user)
    return tuple(found)


def _check_absent(e: Planned, held: Gatherer, settings: Settings) -> None:
    """Refuse settings that the statement asks for, and that only the gathering session has.

    ALTER DATABASE ... SET app.tenant = '7', when the home's session was there already: nothing
    takes such a setting away.

    Raises:
        errors.NotSupportedError: There is one.

    Switches: if there may be one.
    """
    known = {name.lower() for name, _ in settings}
    names = [
        name
        for each in e.plan.settings or ()
        if type(name := each.value if isinstance(each, Constant) else e.given[each.source]) is str
        if name.lower() not in known
    ]
    if not names:
        return
    call = partial(row, held.physical, _HAS, {"names": array_text(names)})
    found: Any = e.session.run({}, e.timeout, beside={held.place: call}).beside[held.place].result
    end(e.session, held, at_once=False)
    if bytes(found[0]) != b"0":
        raise errors.NotSupportedError(
            f"{', '.join(names)} has a default since this connection was opened, which it does not "
            "see, and another session would",
            code="GS410",
            hint="Open a new connection.",
        )


def defaults_of(e: Planned, home: str, held: Gatherer) -> Settings:
    """What the gathering session must set to have the home's bearings, and to see what it sees.

    It is another session: the defaults of the role or the database may have changed between the
    opening of the two.
    """
    own, its = e.session.physical(home).bearings, held.physical.bearings
    if own is its or own is None or its is None:
        return held.joining
    return (*held.joining, *own.bringing(its))


class _Gathering:
    """The query, where its rows are."""

    def __init__(
        self,
        e: Planned,
        sql: Sql,
        rows: Sequence[Rows] | Batches,
        home: str,
        held: Gatherer,
        settings: Settings,
    ) -> None:
        self._e = e
        self._text, self._parameters = sql.text, e.parameters(sql, e.given)
        self._rows = rows
        self._home = home
        self._held = held
        self._settings = settings
        self._filled = False  # whether the temporary tables are there

    def answer(self, joins: bool) -> Answer:
        """The answer, with the rows where PostgreSQL makes it soonest.

        Args:
            joins: See `Gather`.
        """
        rows = self._rows
        if isinstance(rows, Batches):
            return self.beside_tables()
        if joins and are_many(rows):
            try:
                return self.beside_tables()
            except errors.Error as error:
                # They are also few enough for the query's text.
                if self._filled or error.pgcode not in _NO_TABLES:
                    raise
            end(self._e.session, self._held, at_once=False)
        cursor = RawCursor(self._held.physical.raw)
        given = () if self._parameters is None else (self._parameters,)
        # One round trip, where temporary tables take several, and leave dead rows in the catalog.
        text = inlined(cursor.mogrify(self._text, *given), rows, cursor)
        if text is None:
            return self.beside_tables()
        # What a statement sets is to go with the transaction.
        if self._settings or self._e.streaming is not None or self._e.plan.trace:
            batch = begin(self._settings)
            add_read_only(batch, self._settings)
            self._send(batch)
        try:
            return self._run(text, None)
        except errors.Error as error:
            # What is wrong in this text may be right beside tables. A division by zero is the
            # answer.
            if not _is_of_the_text(error):
                raise
        # Where a table can stand, not always the name of a common table expression can.
        end(self._e.session, self._held, at_once=False)
        return self.beside_tables()

    def beside_tables(self) -> Answer:
        """The answer, with the rows in temporary tables."""
        rows = self._rows
        tables = rows.tables if isinstance(rows, Batches) else [each.table for each in rows]
        try:
            self._fill(rows)
        except errors.Error as error:
            if error.pgcode == INSUFFICIENT_PRIVILEGE and error.hint is None:
                error.hint = _HINT
            raise
        self._filled = True
        try:
            return self._run(self._text, self._parameters)
        except errors.Error as error:
            batch = keying(tables)
            # 42803 is "must appear in the GROUP BY clause": a primary key would allow it. Not from
            # the beginning, for an index costs time, and few queries need it.
            if error.pgcode != _GROUPING_ERROR or batch is None:
                raise
        # A column that is not grouped by, of a table whose primary key is.
        add_read_only(batch, self._settings)
        self._send(batch)
        return self._run(self._text, self._parameters)

    def _fill(self, rows: Sequence[Rows] | Batches) -> None:
        """Put all rows into temporary tables."""
        if not isinstance(rows, Batches):
            self._send(filling(rows, self._settings))
            return
        results: Sequence[Rows] = self._e.results
        first, last = begin(self._settings), Batch()
        add_tables(first, [*rows.tables, *(each.table for each in results)])
        for each in results:
            for piece in each.pieces:
                add_rows(first, each.table, piece, each.encoding)
        self._send(first)
        cursor = RawCursor(self._held.physical.raw)
        while not rows.over:
            batch = Batch()
            for table, arrays in (pieces := rows.take()):
                add_rows(batch, table, arrays, rows.encoding)
            # While these are put there, the shards give the next ones.
            rows.read({self._held.place: partial(batch.send, cursor)} if pieces else None)
        rows.end()
        counts = {each.table: each.count for each in results}
        add_end(last, {**rows.counts, **counts}, self._settings)
        self._send(last)

    def _send(self, batch: Batch) -> None:
        e = self._e
        execute(e.session, self._held, batch.send, e.timeout, e.noted)

    def _run(self, text: str | bytes, parameters: Any) -> Answer:
        """The answer, which must not need the connection any more: it may be lent to others."""
        e, held = self._e, self._held
        if e.streaming is not None:
            return declare_answer(e, held, self._home, text, parameters)
        cursor = e.parts.beside(held.physical, e.timeout)
        e.run_last(held.place, cursor, text, parameters)
        try:
            return buffered(e, cursor.fetchall(), cursor.description or (), self._home)
        except UNREADABLE:
            # A date beyond Python's; as text it fails when it is fetched, as it should.
            return self._run_as_text(text, parameters)

    def _run_as_text(self, text: str | bytes, parameters: Any) -> Answer:
        e, home = self._e, self._home
        own = e.parts.plain_on(home, e.timeout)
        casting = Casting(own, AsText.ALL, e.parts.own_time_zones)
        cursor = e.parts.beside(self._held.physical, e.timeout)
        cursor.string_types = own.string_types
        e.run_last(self._held.place, cursor, text, parameters)
        columns = cursor.description or ()
        cast = casting.casting(column.type_code for column in columns)
        return buffered(e, cursor.fetchall(), columns, home, cast)


def _is_of_the_text(error: errors.Error) -> bool:
    """Whether the text is wrong, or has what is not supported; not what it computes."""
    return (error.pgcode or "")[:2] in ("42", "0A")
