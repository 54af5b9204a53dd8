"""The answer of a named cursor that one server makes of the shards' partial rows.

Each shard's partial rows stay in a cursor there, and are fetched page by page. If the first pages
are all, the answer is made as for an ordinary cursor. Otherwise they go on to a temporary table of
the connection that gathers, while the shards give the next ones::

    CREATE TEMP TABLE "gs$partial" (c0 int8, c1 text)
    INSERT INTO "gs$partial" SELECT ... FROM unnest(...)          each page, of all shards together
    DECLARE ... CURSOR FOR (the combine query over "gs$partial")

That connection does not see types and functions that the transaction has just made, and not its
temporary ones: then all partial rows come here first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

from greenshard import errors
from greenshard._driver import RawCursor
from greenshard._libpq import result_bytes
from greenshard.executor.answers.answer import Answer
from greenshard.executor.answers.buffered import Row
from greenshard.executor.answers.columns import check_columns
from greenshard.executor.planned import Planned
from greenshard.executor.strategies.combine import (
    PARTIAL_ROWS,
    PartialRows,
    combined,
    combining,
    described,
    exact,
    is_averaged_otherwise,
    partial_arrays,
    partial_rows,
    partial_types,
)
from greenshard.executor.strategies.exactness import any_spoilt, travels_as_text
from greenshard.executor.strategies.filling import (
    ANALYZED_ROWS,
    SAMPLE,
    Batch,
    add_read_only,
    begin,
)
from greenshard.executor.strategies.gather import defaults_of, settings_of
from greenshard.executor.strategies.held import check_held, check_rows
from greenshard.executor.strategies.staying import check_named, declare_answer, portal_answer
from greenshard.executor.strategies.travelling import unwritable
from greenshard.executor.types.casting import AsText, Casting
from greenshard.links.gatherer import INSUFFICIENT_PRIVILEGE, Gatherer, execute, gatherer
from greenshard.links.outlets import Outlet, close_outlets
from greenshard.links.quoting import merged_once
from greenshard.links.session import Outcome
from greenshard.links.session_settings import Settings
from greenshard.planner.place import Place
from greenshard.planner.plan import PARTIAL, Combine
from greenshard.planner.tasks import Stage

#: The rows come in the order of the shards' hash tables. Put so into another one, of the same
#: function, they collide: 200,000 groups took three minutes, and sorted, a second.
_SORTED = "SET LOCAL enable_hashagg = off"
_TABLE = f'pg_temp."{PARTIAL}"'


def stream_combined(e: Planned, step: Combine, tasks: Stage) -> Answer | None:
    """Run the partial query; its rows become a named cursor's answer.

    Returns:
        None if a partial column is of a type that does not allow it.

    Switches: yes.
    """
    e.check_parameters()
    check_named(e)
    shards = [task.place.shard for task in tasks]
    exactly = not travels_as_text(e)
    with _begun(e, step, shards, exactly=exactly) as pages:
        if exactly or not any_spoilt(e, (column.type_code for column in pages.empty.columns)):
            return pages.answer()
    # Only with their first answer the sessions tell what they have set.
    e.stages = None
    with _begun(e, step, shards, exactly=True) as pages:
        return pages.answer()


@contextmanager
def _begun(e: Planned, step: Combine, shards: Sequence[str], *, exactly: bool) -> Iterator[_Pages]:
    """The first page of each shard's partial rows; the cursors there are closed in the end.

    Switches: yes.
    """
    encoding = unwritable(e.session.alive) if exactly else None
    sql = exact(step.partial, step.columns, encoding) if exactly else step.partial
    cursors = e.parts.plain(shards, e.timeout)
    zones = e.parts.own_time_zones
    castings = {shard: Casting(cursor, AsText.ALL, zones) for shard, cursor in cursors.items()}
    outlets = {shard: Outlet(shard, cursor) for shard, cursor in cursors.items()}
    try:
        sent = merged_once(sql.text, e.parameters(sql, e.given), list(cursors.values()))
        # A shard whose rows were used must not fail any more, where that would be tolerated.
        size = None if e.tolerant else e.parts.itersize
        calls = {s: partial(_begin, outlet, sent, size) for s, outlet in outlets.items()}
        outcome = e.first_stage(shards, calls, cursors)
        cursors = {shard: cursors[shard] for shard in outcome.jobs}
        check_columns(cursors, e.session, e.timeout)
        first = next(iter(cursors))
        columns = described(cursors[first], step)
        empty = PartialRows(first, columns, (), castings[first], exactly, encoding)
        pages = _Pages(e, step, {shard: outlets[shard] for shard in cursors}, empty)
        pages.take({shard: job.result for shard, job in outcome.jobs.items()})
        yield pages
    finally:
        close_outlets(e.session, outlets.values())


def _begin(outlet: Outlet, sent: Sequence[Any], size: int | None) -> list[Row]:
    outlet.declare(*sent)
    return outlet.fetch(size)


class _Pages:
    """The partial rows, some of which are still on the shards.

    Args:
        outlets: Where, of the shards that answered.
        empty: What is known of them, without rows.
    """

    def __init__(
        self, e: Planned, step: Combine, outlets: Mapping[str, Outlet], empty: PartialRows
    ) -> None:
        self._e, self._step, self._outlets = e, step, outlets
        self.empty = empty
        self._here: dict[str, list[Row]] = {shard: [] for shard in outlets}
        self._count = 0
        self._bytes = 0
        self._passed_on = False

    def take(self, pages: Mapping[str, Any]) -> None:
        """Add pages to what is here.

        Raises:
            errors.NotSupportedError: That is too much.
        """
        for shard, rows in pages.items():
            self._here[shard] += rows
            self._count += len(rows)
            self._bytes += result_bytes(self._outlets[shard].cursor)
        check_rows(self._e, self._count, PARTIAL_ROWS)
        check_held(self._e, self._bytes)

    @property
    def _all_are_here(self) -> bool:
        return all(outlet.ended for outlet in self._outlets.values())

    def answer(self) -> Answer | None:
        """The answer; None if a column's type does not allow it. Switches: yes."""
        e, step, columns = self._e, self._step, self.empty.columns
        if is_averaged_otherwise(step, columns):
            return None
        if not self._all_are_here:
            names = partial_types(e, self.empty.shard, columns)
            if names is None:
                return None
            # Another session cannot see what this transaction has made.
            apart = e.database.changed or any(map(_is_temporary, names))
            if e.limits.allow_gather and not apart:
                try:
                    return self._gathered(names)
                except errors.Error as error:
                    if error.pgcode != INSUFFICIENT_PRIVILEGE or self._passed_on:
                        raise  # not because temporary tables are forbidden
            while not self._all_are_here:
                self._fetch()
        made = combined(e, step, replace(self.empty, parts=list(self._here.values())))
        return made and portal_answer(e, made)

    def _fetch(self, others: Mapping[Place, Callable[[], object]] | None = None) -> None:
        """Fetch the next page of each shard that has more; make other calls at the same time."""
        e, size = self._e, self._e.parts.itersize
        calls = {s: partial(o.fetch, size) for s, o in self._outlets.items() if not o.ended}
        jobs = e.session.run(calls, e.timeout, noted=e.noted, beside=others).jobs
        pages: dict[str, Any] = {shard: jobs[shard].result for shard in calls}
        if e.stages is not None:
            counts = {shard: len(rows) for shard, rows in pages.items()}
            e.stages.add(Outcome(jobs, {}), counts)
        self.take(pages)

    def _gathered(self, names: Sequence[str]) -> Answer:
        """The answer, made by the server that the partial rows are brought to."""
        e, database = self._e, self._e.database
        home = e.gathers_on if e.gathers_on in self._outlets else self.empty.shard
        settings = settings_of(e, home)
        with gatherer(e.session, home, database.connect_timeout_s, e.timeout) as held:
            held.used_up = bool(e.plan.trace)
            settings = (*defaults_of(e, home, held), *settings)
            batch = begin(settings)
            declared = ", ".join(f"c{at} {name}" for at, name in enumerate(names))
            batch.add(f'CREATE TEMP TABLE "{PARTIAL}" ({declared})'.replace("%", "%%"))
            execute(e.session, held, batch.send, e.timeout, e.noted)
            self._pass_on(held, names, settings)
            text = combining(self._step.combine, names).replace(f'"{PARTIAL}"', _TABLE)
            parameters = e.parameters(self._step.combine, e.given) or {}
            return declare_answer(e, held, home, text, parameters)

    def _pass_on(self, held: Gatherer, names: Sequence[str], settings: Settings) -> None:
        """Put all partial rows into the temporary table."""
        e, cursor = self._e, RawCursor(held.physical.raw)
        self._passed_on = True
        text = (
            f"INSERT INTO {_TABLE} SELECT * FROM {partial_rows(names, self.empty.encoding)} AS gs"
        )
        while any(self._here.values()) or not self._all_are_here:
            arrays = partial_arrays(self._here.values(), len(names))
            # Let go before the next page comes: one page of each shard is held at a time.
            self._here = {shard: [] for shard in self._outlets}
            self._bytes = 0
            # While one page is put there, the shards give the next one.
            self._fetch({held.place: partial(cursor.execute, text, arrays)})
        batch = Batch(_SORTED)
        if self._count >= ANALYZED_ROWS:
            batch.add(SAMPLE)
            batch.add(f"ANALYZE {_TABLE}")
        add_read_only(batch, settings)
        execute(e.session, held, batch.send, e.timeout, e.noted)


def _is_temporary(type_name: str) -> bool:
    return type_name.startswith("pg_temp.")
