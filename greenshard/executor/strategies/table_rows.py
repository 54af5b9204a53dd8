"""Read tables' rows on the shards, to bring them to one server.

On each shard, for each table::

    SELECT count(*), array_agg(c0)::text, array_agg(c1)::text FROM (the read) AS g (c0, c1)

No value of a cell is made in Python: a column of many rows is one text, an array's. Where the
client encoding may not be able to write it, it comes as bytes (`travelling`).

Few rows come so at once, in one round trip. If a shard has more, they are read anew, from a cursor
there that gives some chunks at a time (`Batches`), and so is the same text the next time. For a
named cursor, rows that may be wide are read so from the beginning: only few shall be held here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from greenshard import errors
from greenshard._driver import RawCursor, ours, own_cursor
from greenshard.executor.answers.answer import Stages
from greenshard.executor.planned import Planned
from greenshard.executor.strategies.drift import check_alike
from greenshard.executor.strategies.exactness import as_written, is_spoilt, spoilt, written
from greenshard.executor.strategies.held import check_held
from greenshard.executor.strategies.travelling import letters, sending, travelling
from greenshard.links.fanout import Job
from greenshard.links.outlets import Outlet, close_outlets
from greenshard.links.session import Outcome
from greenshard.merge.arrays import joined_arrays
from greenshard.planner.place import Place
from greenshard.planner.plan import GatheredColumn, GatheredTable
from greenshard.planner.tasks import Stage
from greenshard.sql.types import NOTHING, Trait, has, read

AS_TEXT = "::pg_catalog.text"

#: So many rows are read as one value. The server's limit for that is 1 GB; values of some types
#: are small, and so are a million of them.
CHUNK_ROWS = 1_000
#: In a cursor, so many rows of small values are a chunk.
SMALL_CHUNK_ROWS = 5_000
#: There, other rows are a chunk, too, if they have so many bytes.
CHUNK_BYTES = 250_000
#: So many values of a table are read at once on a shard, if they are small; else so many rows.
ONCE_VALUES = 400_000
ONCE_ROWS = 16_000
#: About so many characters are fetched from a shard at a time; never more chunks than this.
BATCH_CHARACTERS = 1_000_000
_MOST_CHUNKS = 64
#: Chunks are joined up to so many characters.
_PIECE_CHARACTERS = 16 * 1024 * 1024

#: The values of some rows of a table: for each column the text of an array.
Arrays = tuple[str, ...]
#: A text, and its parameters but for the number of rows.
_Sent = tuple[str, Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of a table that were read.

    Attributes:
        table: The table.
        count: How many.
        pieces: Their values, those of some rows in each.
        encoding: As `travelling` says.
    """

    table: GatheredTable
    count: int
    pieces: tuple[Arrays, ...]
    encoding: str | None

    @property
    def characters(self) -> int:
        """How large they are as text."""
        return sum(map(_size, self.pieces))


@dataclass(slots=True)
class _Budget:
    """How many more rows may be read.

    Attributes:
        left: So many; -1 or less if there were more.
        once: Whether tables are read at once only if they have few rows.
        exceeded: Whether one has more.
    """

    left: int
    once: bool = False
    exceeded: bool = False


def read_tables(e: Planned, tasks: Stage) -> list[Rows] | Batches:
    """The rows of the tables that some tasks read, or where to get them in batches.

    Raises:
        errors.NotSupportedError: They are too many. The transaction is as it was.

    Switches: yes.
    """
    # A shard whose rows were passed on must not fail any more, where that would be tolerated.
    budget = _Budget(e.limits.gather_limit, once=not e.tolerant)
    tables = tables_of(tasks)
    there = {task.place.shard: tables_of(tasks, task.place) for task in tasks}
    wanted = {shard: there[shard] for shard in e.session.shards if shard in there}
    shards = tuple(wanted)
    e.session.reach(shards, e.timeout)
    # Before any row is read: a text may be read as a value of another type without an error.
    check_alike(e, tables, shards)
    # There were many the last time.
    if budget.once and e.text in e.database.read_in_batches:
        return Batches(e, wanted)
    if budget.once and e.streaming is not None and not all(map(_has_small_values, tables)):
        batches = Batches(e, wanted)
        return batches.few() or batches
    encoding = travelling(e.session.alive)
    found = _read_at_once(e, wanted, _reads(e, tables, encoding), budget)
    rows = [_rows(table, found[table.name], encoding) for table in tables]
    if budget.left < 0:
        raise too_many(e.limits.gather_limit, {each.table: each.count for each in rows})
    if budget.exceeded:
        e.database.remember_read_in_batches(e.text)
        e.stages = None
        return Batches(e, wanted)
    check_held(e, sum(each.characters for each in rows))
    return rows


def tables_of(tasks: Stage, place: Place | None = None) -> list[GatheredTable]:
    """The tables that tasks read, or those at one place, each once."""
    there = (task.table for task in tasks if place in (None, task.place))
    return list(dict.fromkeys(table for table in there if table is not None))


def _reads(
    e: Planned, tables: Iterable[GatheredTable], encoding: str | None, *, in_chunks: bool = False
) -> Mapping[str, _Sent]:
    """What reads each table on any shard, by the table's name; see `reading`."""
    spoils = spoilt(e)
    return {
        each.name: (
            reading(each, encoding, spoils, in_chunks=in_chunks),
            e.parameters(each.read, e.given) or {},
        )
        for each in tables
    }


def _read_at_once(
    e: Planned,
    wanted: Mapping[str, Sequence[GatheredTable]],
    reads: Mapping[str, _Sent],
    budget: _Budget,
) -> Mapping[str, list[tuple[str, ...]]]:
    """The chunks of each table, by its name, as far as the budget goes. Switches: yes."""
    calls = {
        physical.shard: partial(
            _read,
            own_cursor(physical.raw),
            {table: reads[table.name] for table in wanted[physical.shard]},
            budget,
        )
        for physical in e.session.alive
        if physical.shard in wanted
    }
    outcome = e.first_stage(tuple(wanted), calls)
    _check_references(outcome, wanted)
    found: dict[str, list[tuple[str, ...]]] = {name: [] for name in reads}
    for shard, job in outcome.jobs.items():
        read: Any = job.result
        for name, chunks in read.items():
            found[name] += chunks
            e.count(shard, _count(chunks))
    return found


def _check_references(outcome: Outcome, wanted: Mapping[str, Sequence[GatheredTable]]) -> None:
    """Refuse to do without a reference table: all of its rows were to come from one shard."""
    for shard, failure in outcome.failures.items():
        # on_error="partial" does without a shard's part of the rows, never without a whole table.
        if any(table.reference for table in wanted[shard]):
            raise failure


def _read(
    cursor: RawCursor,
    reads: Mapping[GatheredTable, _Sent],
    budget: _Budget,
) -> dict[str, list[tuple[str, ...]]]:
    """Read tables on one shard, one after the other; in a greenlet of the session's."""
    found = {}
    for table, (text, parameters) in reads.items():
        if budget.left < 0 or budget.exceeded:
            break
        # One row more than may be is asked for: if it comes, there are too many.
        most = min(budget.left, _at_once(table)) if budget.once else budget.left
        cursor.execute(text, {**parameters, "gs$limit": ours(most + 1)})
        found[table.name] = _fetched(cursor.fetchall())
        count = _count(found[table.name])
        # Shared by the shards' greenlets, which switch only where they wait: no lock is needed.
        budget.left -= count
        if count > most and budget.left >= 0:
            budget.exceeded = True  # and stays so: another shard may end later, with few rows
    return found


def _fetched(chunks: Iterable[tuple[Any, ...]]) -> list[tuple[str, ...]]:
    """Chunks as text. Of no rows there may be one, whose arrays are NULL."""
    return [tuple(map(letters, chunk)) for chunk in chunks if chunk[0] != "0"]


def _at_once(table: GatheredTable) -> int:
    """How many rows of a table are read at once, at most."""
    return ONCE_VALUES // len(table.columns) if _has_small_values(table) else ONCE_ROWS


def _has_small_values(table: GatheredTable) -> bool:
    return all(map(is_small, table.columns))


def reading(
    table: GatheredTable, encoding: str | None, spoils: Trait = NOTHING, *, in_chunks: bool = False
) -> str:
    """The text that reads a table's rows on a shard, in chunks if values may be large.

    Args:
        table: The table.
        encoding: As `travelling` says.
        spoils: As `spoilt` says.
        in_chunks: Whether also values that are small come in chunks.
    """
    names = [f"c{n}" for n in range(len(table.columns))]
    exact = [is_spoilt(column.type_sql, spoils) for column in table.columns]
    rows = _rows_text(table, names, exact)
    chunk = _chunk(table, names, in_chunks)
    if chunk is not None:
        rows = f"(SELECT *, {chunk} AS chunk FROM {rows}) AS g GROUP BY chunk"
    arrays = [
        f"pg_catalog.array_agg({name}{AS_TEXT if column.is_array else ''})"
        for name, column in zip(names, table.columns, strict=True)
    ]
    if any(exact):
        computed = f"SELECT pg_catalog.count(*), {', '.join(arrays)} FROM {rows}"
        texts = [sending(f"{name}{AS_TEXT}", encoding) for name in names]
        return written(computed, ["n", *names], [f"n{AS_TEXT}", *texts])
    texts = [sending(f"{array}{AS_TEXT}", encoding) for array in arrays]
    return f"SELECT pg_catalog.count(*){AS_TEXT}, {', '.join(texts)} FROM {rows}"


def _rows_text(table: GatheredTable, names: Sequence[str], exact: Sequence[bool]) -> str:
    """The rows that are read, as an item of FROM.

    Args:
        table: The table.
        names: For its columns.
        exact: Which of them must be `written`.
    """
    read = table.read.text if table.read.binds else table.read.text.replace("%", "%%")
    rows = f"SELECT * FROM ({read}) AS g LIMIT %(gs$limit)s"
    # Arrays become text row by row, before they are put into one.
    one_by_one = [e and column.is_array for e, column in zip(exact, table.columns, strict=True)]
    if any(one_by_one):
        each = zip(names, one_by_one, strict=True)
        rows = written(rows, names, [as_written(name) if one else name for name, one in each])
    return f"({rows}) AS g ({', '.join(names)})"


def _chunk(table: GatheredTable, names: Sequence[str], in_chunks: bool) -> str | None:
    """The number of a row's chunk; None if there is one chunk."""
    small = _has_small_values(table)
    if small and not in_chunks:
        return None
    number = "(pg_catalog.row_number() OVER () OPERATOR(pg_catalog.-) 1)"
    chunk = f"{number} OPERATOR(pg_catalog./) {SMALL_CHUNK_ROWS if small else CHUNK_ROWS}"
    if not in_chunks or small:
        return chunk
    # Not pg_column_size: a value may be a hundred times larger when it is uncompressed.
    size = " OPERATOR(pg_catalog.+) ".join(
        f"pg_catalog.octet_length(pg_catalog.concat({name}))"
        for name, column in zip(names, table.columns, strict=True)
        if not is_small(column)
    )
    so_far = f"pg_catalog.sum({size}) OVER (ROWS UNBOUNDED PRECEDING)"
    return f"({chunk}) OPERATOR(pg_catalog.+) ({so_far} OPERATOR(pg_catalog./) {CHUNK_BYTES})"


def is_small(column: GatheredColumn) -> bool:
    """Whether no value takes more than some bytes."""
    return not column.is_array and has(column.type_sql, Trait.SMALL)


def _count(chunks: Iterable[tuple[str, ...]]) -> int:
    return sum(int(chunk[0]) for chunk in chunks)


def fetched_rows(
    table: GatheredTable, chunks: Iterable[tuple[Any, ...]], encoding: str | None
) -> Rows:
    """The rows of a table, of what `reading` gives on one shard."""
    return _rows(table, _fetched(chunks), encoding)


def _rows(table: GatheredTable, chunks: Sequence[tuple[str, ...]], encoding: str | None) -> Rows:
    arrays = [chunk[1:] for chunk in chunks]
    return Rows(table, _count(chunks), tuple(_joined(table, arrays)), encoding)


def _joined(table: GatheredTable, arrays: list[Arrays]) -> list[Arrays]:
    """The arrays of some chunks, joined where that is possible."""
    # Arrays that came as arrays of text have commas in any case.
    if all(column.is_array or _has_commas(column.type_sql) for column in table.columns):
        return [joined_arrays(group) for group in _groups(arrays)]
    return arrays


def _has_commas(type_sql: str) -> bool:
    """Whether an array's elements are separated by commas; who makes a type chooses."""
    known = read(type_sql)
    return known is not None and Trait.SEMICOLON not in known.traits


def _groups(pieces: Iterable[Arrays]) -> list[list[Arrays]]:
    """Pieces that can be one piece."""
    groups: list[list[Arrays]] = []
    room = 0
    for piece in pieces:
        size = _size(piece)
        # A text of gigabytes would be copied at each joining.
        if size > room:
            groups.append([])
            room = _PIECE_CHARACTERS
        groups[-1].append(piece)
        room -= size
    return groups


def _size(piece: Arrays) -> int:
    return sum(map(len, piece))


def too_many(limit: int, counts: Mapping[GatheredTable, int]) -> errors.NotSupportedError:
    """The error for more rows than may be gathered, of which there are these already."""
    largest = max(counts, key=lambda table: counts[table]).relation
    return errors.NotSupportedError(
        f"the query needs more than {limit} rows in one place, most of them of {largest}",
        code="GS405",
        hint="Restrict the rows, raise gather_limit, or run it on each shard with conn.on(...).",
    )


# In batches ---------------------------------------------------------------------------------


class _Reader:
    """The rows of some tables on one shard. Its method runs in a greenlet of the session's.

    Attributes:
        outlet: The cursor of the table that is being read.
        done: Whether all were read.
    """

    def __init__(
        self,
        e: Planned,
        shard: str,
        tables: Iterable[GatheredTable],
        reads: Mapping[str, _Sent],
    ) -> None:
        self.outlet = Outlet(shard, own_cursor(e.session.physical(shard).raw))
        self._left = [(each, *reads[each.name]) for each in tables]
        self._chunks = 1

    @property
    def done(self) -> bool:
        return not self._left

    def step(self, most: int) -> tuple[GatheredTable, list[tuple[str, ...]]]:
        """Some chunks of a table; the next time, as many as make a batch.

        Args:
            most: How many rows may be read yet. One more is read, which tells.
        """
        table, text, parameters = self._left[0]
        if not self.outlet.open:
            self.outlet.declare(text, {**parameters, "gs$limit": ours(most + 1)})
        chunks = _fetched(self.outlet.fetch(self._chunks))
        if self.outlet.ended:
            del self._left[0]
            self._chunks = 1
        elif size := sum(map(_size, chunks)):
            wanted = BATCH_CHARACTERS * len(chunks) // size
            # Not more than four times as many at once: rows may become wider as they go.
            self._chunks = min(max(1, wanted), 4 * self._chunks, _MOST_CHUNKS)
        return table, chunks


class Batches:
    """Tables' rows that are read and passed on in batches: few are held here at a time.

    Args:
        wanted: The tables to be read on each shard, in the shards' order.

    Attributes:
        counts: How many rows of each table were read.
        encoding: As `travelling` says.
    """

    def __init__(self, e: Planned, wanted: Mapping[str, Sequence[GatheredTable]]) -> None:
        self._e = e
        self.encoding = travelling(e.session.alive)
        self.counts = {table: 0 for tables in wanted.values() for table in tables}
        reads = _reads(e, self.counts, self.encoding, in_chunks=True)
        self._readers = [_Reader(e, shard, tables, reads) for shard, tables in wanted.items()]
        self._pieces: list[tuple[GatheredTable, Arrays]] = []
        self._held = self._taken = 0
        e.check_sessions(tuple(wanted))

    @property
    def tables(self) -> Sequence[GatheredTable]:
        return tuple(self.counts)

    def few(self) -> list[Rows] | None:
        """All rows, if they are few; None if there are more: then they are to be passed on.

        Raises:
            errors.NotSupportedError: They are too many, or too large.

        Switches: yes.
        """
        try:
            while self._held < BATCH_CHARACTERS:
                if all(reader.done for reader in self._readers):
                    return self._all()
                self.read()
        except BaseException:
            self.close()
            raise
        return None

    def all(self) -> list[Rows]:
        """All rows, however many.

        Raises:
            errors.NotSupportedError: They are too many, or too large.

        Switches: yes.
        """
        try:
            while not all(reader.done for reader in self._readers):
                self.read()
        except BaseException:
            self.close()
            raise
        return self._all()

    def _all(self) -> list[Rows]:
        """What was read, as rows of each table."""
        pieces: dict[GatheredTable, list[Arrays]] = {table: [] for table in self.counts}
        for table, arrays in self._pieces:
            pieces[table].append(arrays)
        return [
            Rows(table, self.counts[table], tuple(_joined(table, found)), self.encoding)
            for table, found in pieces.items()
        ]

    @property
    def over(self) -> bool:
        """Whether all rows were read and taken."""
        return not self._pieces and all(reader.done for reader in self._readers)

    def take(self) -> list[tuple[GatheredTable, Arrays]]:
        """What was read and is to be passed on now: while it is, the next rows are `read`."""
        pieces, self._pieces = self._pieces, []
        self._taken, self._held = self._held, 0
        return pieces

    def read(self, beside: Mapping[Place, Callable[[], object]] | None = None) -> None:
        """Read the next rows of each shard that has more.

        Args:
            beside: What is done at the same time, with those that were taken.

        Raises:
            errors.NotSupportedError: They are too many, or too large.

        Switches: yes.
        """
        e, left = self._e, self._e.limits.gather_limit - sum(self.counts.values())
        calls: dict[str, Callable[[], object]] = {
            reader.outlet.shard: partial(reader.step, left)
            for reader in self._readers
            if not reader.done
        }
        self._keep(e.session.run(calls, e.timeout, noted=e.noted, beside=beside).jobs)

    def end(self) -> None:
        """Take note of how many rows there were, for the next time."""
        # By a factor of four, so that a table near the border does not change its way each time.
        if sum(self.counts.values()) * 4 < ONCE_ROWS:
            self._e.database.read_in_batches.discard(self._e.text)

    def _keep(self, jobs: Mapping[str, Job]) -> None:
        """Keep what was read until it is taken."""
        e, counts = self._e, {}
        for shard, job in jobs.items():
            result: Any = job.result
            table, chunks = result
            counts[shard] = _count(chunks)
            self.counts[table] += counts[shard]
            pieces = _joined(table, [chunk[1:] for chunk in chunks])
            self._pieces += [(table, arrays) for arrays in pieces]
            self._held += sum(map(_size, pieces))
        e.stages = e.stages or Stages()
        e.stages.add(Outcome(jobs, {}), counts)
        if sum(self.counts.values()) > e.limits.gather_limit:
            raise too_many(e.limits.gather_limit, self.counts)
        check_held(e, self._taken + self._held)

    def close(self) -> None:
        """Close the cursors that there still are. Switches: if there are any."""
        close_outlets(self._e.session, [reader.outlet for reader in self._readers])
