"""COPY FROM STDIN over a declared cluster: each row goes to the shard of its key, or to all shards.

The COPY is planned as the INSERT that does the same beside its rows (`as_insert`): so all that
would happen elsewhere than on the row's shard is refused, or done, alike. What that INSERT computes
for columns that are not named is put behind each row, and the columns are named to the servers::

    COPY orders (id, note) FROM STDIN                7 | red

    COPY orders (id, note, created) FROM STDIN       7 | red | 2024-05-01 12:00:00+00

The shards' COPYs run at the same time, in one transaction; an error tells the line of the file.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import repeat
from typing import Any

from greenshard import errors
from greenshard._driver import RawConnection, RawCursor, codecs
from greenshard.executor.answers.answer import Answer
from greenshard.executor.atomic import atomically
from greenshard.executor.client_copy import CopyFile, copy_call
from greenshard.executor.execution import Calls
from greenshard.executor.planned import Planned
from greenshard.executor.strategies.concatenate import check_copy
from greenshard.executor.strategies.copy_routing import Routing, binary_value, text_value
from greenshard.executor.strategies.copy_rows import Behind, LinesIn, Split, TuplesIn
from greenshard.executor.strategies.insert import computed_rows
from greenshard.links.copy_feed import Feed
from greenshard.links.copy_stream import Reads
from greenshard.links.quoting import is_plain, letters_of
from greenshard.merge.copied_lines import EMBEDDING, Lines, UnreadableRow, Values, Writing
from greenshard.merge.copied_tuples import Tuples
from greenshard.merge.line_numbers import LineNumbers
from greenshard.planner.catalog import Relation
from greenshard.planner.plan import Anywhere, Broadcast, Insert, Keys, Refused, Routed
from greenshard.planner.refusals import refusal_error
from greenshard.planner.strategies.completing import repeated
from greenshard.planner.strategies.copy_from import not_copied
from greenshard.planner.tasks import ANYWHERE, Task, own_place, settle
from greenshard.sql.copy_statement import CopyStatement, with_columns
from greenshard.sql.nodes import select
from greenshard.sql.text import Computed, Sql

#: Of a file whose rows are counted before they are loaded, in bytes.
LARGEST_COUNTED_BYTES = 1 << 25

_EXACT = {"utf-8": {"UTF8"}, "iso8859-1": {"UTF8", "LATIN1"}, "iso8859_1": {"UTF8", "LATIN1"}}
_ROWS = " OVERRIDING SYSTEM VALUE VALUES "
_PLACEHOLDER = re.compile(r"%\((\w+)\)s")


@dataclass(frozen=True, slots=True)
class Load:
    """What a COPY FROM loads.

    Attributes:
        copy: The statement.
        relation: Its table.
        columns: Those that the file fills.
        encoding: The databases'.
        file: The program's.
    """

    copy: CopyStatement
    relation: Relation
    columns: tuple[str, ...]
    encoding: str
    file: CopyFile


def copy_in(e: Planned, load: Load) -> Answer:
    """Load the rows; the execution is that of the INSERT which stands for it.

    Raises:
        PlanOutdated: Nothing was sent: it must be planned again.
        errors.Error: A row's shard is not known, a shard failed, or time is up.

    Switches: yes.
    """
    step, names = e.plan.step, e.database.cluster.names
    if (failed := e.failed) is not None:
        return _on_shards(e, load, (failed,), load.columns, None)  # which says so
    if isinstance(step, Refused):
        raise refusal_error(step, e.plan.refusals)
    shards = names
    if isinstance(step, Routed) and isinstance(step.otherwise, Insert):
        step = step.otherwise
    elif isinstance(step, (Routed, Anywhere)):
        _, ((task,),) = settle(step, names, e.given)
        shards = (e.any_shard() if task.place is ANYWHERE else task.place.shard,)
    if e.database.is_unsure:
        e.confirm(shards)
    e.effect = replace(e.effect, in_turn=False)
    e.plain = is_plain(with_columns(load.copy, load.columns))
    if isinstance(step, Anywhere):
        # Whichever server gets it refuses it before it reads.
        nothing = replace(load, file=CopyFile(_Empty(), 0))
        _on_shards(e, nothing, shards, load.columns, None)
        raise not_copied(f"{load.relation.name} is no declared table")
    if isinstance(step, Routed) and not e.plan.clock:
        return _on_shards(e, load, shards, load.columns, None)
    if not isinstance(step, (Routed, Insert, Broadcast)):
        raise not_copied(f"its rows would be written by {step.strategy}")
    e.session.reach(shards, e.timeout)
    return _Loading(e, load, step, shards).run()


class _Empty:
    def read(self, size: int) -> str:
        return ""


def _on_shards(
    e: Planned,
    load: Load,
    shards: Sequence[str],
    columns: Sequence[str],
    feed: Feed | None,
) -> Answer:
    """Run the COPY on some shards; one may read the file itself."""
    text = with_columns(load.copy, columns)

    def calls(cursors: Mapping[str, RawCursor]) -> Calls:
        return {
            shard: copy_call(
                e.session,
                shard,
                cursor,
                text,
                load.file.reading(cursor.connection) if feed is None else feed.of(shard),
                _nowhere,
            )
            for shard, cursor in cursors.items()
        }

    return e.fan_out(shards, calls)


def _nowhere(rows: list[bytes]) -> None:
    """Takes what COPY FROM does not give."""


class _Loading:
    """A COPY FROM whose rows are looked at."""

    def __init__(
        self, e: Planned, load: Load, step: Routed | Insert | Broadcast, shards: Sequence[str]
    ) -> None:
        self._e, self._load, self._step, self._shards = e, load, step, tuple(shards)
        self._keys: Keys | None = step.keys if isinstance(step, Insert) else None
        self._problem: UnreadableRow | None = None
        self._raw: RawConnection = e.session.physical(self._shards[0]).raw
        options = load.copy.options
        reported = self._raw.get_parameter_status("client_encoding")
        self._encoding = letters_of(str(options.get("encoding", reported)))
        if "encoding" not in options:
            self._check_encodings(reported)
        header = 1 if load.copy.header and load.copy.form != "binary" else 0
        self._numbers = LineNumbers(len(self._shards), header)
        self._routing: Routing | None = None

    def _check_encodings(self, reported: str | None) -> None:
        for shard in self._shards:
            physical = self._e.session.physical(shard)
            if physical.raw.get_parameter_status("client_encoding") != reported:
                raise not_copied(
                    "the shards' sessions have different client encodings",
                    "Name the file's: COPY ... WITH (ENCODING 'UTF8').",
                )

    def run(self) -> Answer:
        e = self._e
        answer = atomically(e, self._shards, self._copied)
        return answer if self._keys is not None or len(self._shards) == 1 else answer.of_first()

    def _copied(self) -> Answer:
        e, load = self._e, self._load
        read = load.file.reading(self._raw)
        split, read = self._splitting(read)
        columns = (*load.columns, *e.plan.completed)
        feed = Feed(read, partial(self._split, split), self._shards)
        try:
            answer = _on_shards(e, load, self._shards, columns, feed)
        except errors.Error as error:
            if self._problem is not None:
                raise self._told(self._problem) from None
            errors.retell(error, self._in_file)
            raise
        if self._routing is not None and self._routing.doomed:
            raise AssertionError("a row was sent anywhere, to be refused, and was not refused")
        if self._keys is None:
            made, first = e.parts.made(), self._shards[0]
            counts = {shard: made[shard].rowcount for shard in self._shards}
            for shard, count in counts.items():
                check_copy(load.relation.name, first, counts[first], shard, count)
        return answer

    def _split(self, split: Split, piece: bytes) -> Mapping[str, bytes]:
        try:
            return split(piece)
        except UnreadableRow as problem:
            self._problem = problem
            raise

    def _told(self, problem: UnreadableRow) -> errors.Error:
        name = self._load.copy.node.relation.relname
        where = f"\nCONTEXT:  COPY {name}, line {problem.line}"
        if problem.refused:
            return errors.refused(problem.message + where, pgcode="22P04")
        hint = (
            "Write keys as their type is usually written (numbers in digits, dates as YYYY-MM-DD), "
            "and times as themselves; or insert the row."
        )
        return errors.refused(
            f"{problem.message}, line {problem.line} of the rows for {name}",
            code="GS402",
            hint=hint,
        )

    def _in_file(self, told: str, shard: str | None) -> str:
        """A server's words with the line of the file in the place of its own."""
        if self._keys is None or shard not in self._shards:
            return told
        number = self._shards.index(shard)
        name = re.escape(self._load.copy.node.relation.relname)

        def put(found: re.Match[str]) -> str:
            line = self._numbers.line_of(number, int(found[2]))
            return found[1] if line is None else f"{found[1]}, line {line}"

        return re.sub(rf"(COPY {name}), line ([0-9]+)", put, told, count=1)

    # How the rows are read --------------------------------------------------------------------

    def _splitting(self, read: Reads) -> tuple[Split, Reads]:
        """What splits the file, and what reads it."""
        e, load, step = self._e, self._load, self._step
        watched = self._watched()
        if load.copy.form == "binary":
            return self._splitting_binary(), read
        if self._keys is None and not watched and not e.plan.completed:
            return self._to_all, read
        writing = self._writing()
        at = self._at()
        values = self._values(writing, at)
        computing = step.computing if isinstance(step, Insert) else ()
        behind = Behind()
        if computing:
            whole = _whole(read, load.relation.name)
            lines = Lines(writing)
            count = len(lines.cut(whole).rows) if whole else 0
            count += len(lines.cut(b"", last=True).rows)
            behind = self._behind(writing, count)
            pieces = iter((whole, b""))
            read = partial(next, pieces, b"")
        elif e.plan.completed:
            behind = self._behind(writing, None)
        made = LinesIn(
            self._shards, writing, at, self._routed(values), values, watched, behind, self._numbers
        )
        return made.split, read

    def _to_all(self, piece: bytes) -> Mapping[str, bytes]:
        return dict.fromkeys(self._shards, piece)

    def _at(self) -> int:
        """The place of the key in a row; 0 if it is not there."""
        if self._keys is None or self._keys.column.name not in self._load.columns:
            return 0
        return self._load.columns.index(self._keys.column.name)

    def _watched(self) -> list[int]:
        width = len(self._load.columns)
        return sorted({int(each.source) % width for each in self._e.plan.clock})

    def _values(self, writing: Writing, at: int) -> Values:
        name = self._load.columns[at]
        options = self._load.copy.options
        forced = [options.get(each, ()) for each in ("force_null", "force_not_null")]
        null, not_null = (each == "*" or name in each for each in forced)
        return Values(writing, force_null=null, force_not_null=not_null)

    def _routed(self, values: Values) -> Routing | None:
        if self._keys is None:
            return None
        codec, exact = self._codec()
        self._routing = Routing(
            self._keys, self._shards, text_value(codec, exact=exact), values.read
        )
        return self._routing

    def _codec(self) -> tuple[str, bool]:
        """Python's name of the file's encoding, and whether the letters are PostgreSQL's."""
        found = {letters_of(name): codec for name, codec in codecs.items()}
        codec = found.get(self._encoding)
        if codec is None:
            raise not_copied(f"the encoding {self._encoding} is not known here")
        codec = codec.replace("_", "-").lower()
        return codec, codec in {"utf-8", "utf8"} and self._load.encoding == "UTF8"

    def _splitting_binary(self) -> Split:
        if self._e.plan.completed:
            raise not_copied(
                f"{', '.join(self._e.plan.completed)} cannot be put behind rows in binary format",
                "Name all columns, or use the text format or CSV.",
            )
        if self._keys is None:
            return self._to_all
        codec, exact = self._codec()
        column = self._keys.column
        value_of = binary_value(column.type_name, codec, exact=exact)
        if value_of is None:
            raise not_copied(
                f"a key of type {column.type_sql} in binary format", "Use the text format or CSV."
            )
        self._routing = Routing(self._keys, self._shards, value_of, lambda raw: (raw, False))
        tuples = Tuples(self._at())
        return TuplesIn(self._shards, tuples, self._routing, self._numbers).split

    def _writing(self) -> Writing:
        copy = self._load.copy
        csv = copy.form == "csv"
        version = min(self._e.session.physical(s).raw.server_version for s in self._shards)
        newest = max(self._e.session.physical(s).raw.server_version for s in self._shards)
        if csv and (version >= 180000) != (newest >= 180000):
            raise not_copied("the shards' versions read CSV differently", "Use the text format.")

        def option(name: str, default: str) -> bytes:
            text = copy.text_option(name, default)
            if not text.isascii():
                raise not_copied(f"{name.upper()} beyond ASCII", "Use a letter of ASCII.")
            return text.encode()

        quote = copy.text_option("quote", '"')
        return Writing(
            csv=csv,
            delimiter=option("delimiter", "," if csv else "\t"),
            null=option("null", "" if csv else "\\N"),
            quote=option("quote", '"'),
            escape=option("escape", quote),
            header=bool(copy.header),
            ends_csv=version < 180000,
            embedding=EMBEDDING.get(self._encoding),
        )

    # What is put behind rows ------------------------------------------------------------------

    def _behind(self, writing: Writing, count: int | None) -> Behind:
        """What is put behind each row: what the INSERT would compute for it.

        Args:
            writing: How it is to be written.
            count: How many rows there are; None if each gets the same.

        Switches: yes.
        """
        e, names = self._e, self._e.plan.completed
        row, computed = _cells(self._step, len(names))
        constants = self._constants(row, len(names), computed)
        if count is None:
            cell = b"".join(
                writing.delimiter + self._written(value, writing) for value in constants
            )
            return Behind(names, repeat(cell), self._keys_of(names, repeat(constants)))
        assert isinstance(self._step, Insert)  # noqa: S101  # what else computes nothing
        every = repeated(self._step.computing[0], 2, count) if count else None
        if len(self._step.computing) > 1 or (every is None and count):
            raise not_copied("a default is computed in a way that COPY cannot follow")
        found: Sequence[Sequence[str | None]] = ()
        if every is not None:
            first = own_place(e.database.cluster.names[0])
            found = computed_rows(e, Task(first, every))[1]
        rows = [_filled(constants, computed, each) for each in found]
        cells = (
            b"".join(writing.delimiter + self._written(v, writing) for v in each) for each in rows
        )
        return Behind(names, cells, self._keys_of(names, rows))

    def _keys_of(
        self, names: Sequence[str], rows: Iterable[Sequence[str | None]]
    ) -> Iterator[bytes | None] | None:
        """The keys of rows, if they are among what is put behind them."""
        if self._keys is None or self._keys.column.name not in names:
            return None
        at = names.index(self._keys.column.name)
        return (None if (value := each[at]) is None else value.encode() for each in rows)

    def _written(self, value: str | None, writing: Writing) -> bytes:
        """A value as the rows are written."""
        if value is None:
            return writing.null
        if not value.isascii() and writing.embedding is not None:
            raise not_copied("a default has letters beyond ASCII", "Name all columns.")
        data = value.encode(self._codec()[0])
        if data == writing.null:
            raise not_copied("a default is written as NULL is", "Choose another text for NULL.")
        if writing.csv:
            for mark in dict.fromkeys((writing.escape, writing.quote)):
                data = data.replace(mark, writing.escape + mark)
            return writing.quote + data + writing.quote
        special = b"[" + rb"\\\n\r\t" + re.escape(writing.delimiter) + b"]"
        return re.sub(special, _escaped, data)

    def _constants(self, row: Sql, width: int, computed: Mapping[int, int]) -> list[str | None]:
        """The values that each row gets alike. Switches: if there are some."""
        wanted = [number for number in range(width) if number not in computed]
        values: list[str | None] = [None] * width
        if not wanted:
            return values
        e, names = self._e, self._e.plan.completed
        first = len(self._load.columns) + 1
        types = {column.name: column.type_sql for column in self._load.relation.columns}
        casts = ", ".join(
            f"(v.column{first + number})::{types[names[number]].replace('%', '%%')}"
            for number in wanted
        )
        text = Sql(f"SELECT {casts} FROM (VALUES {row.text}) AS v LIMIT 1", row.binds)
        shard = e.database.clock.shard(self._shards[0])
        e.computed = [None] * len(e.given)
        found = computed_rows(e, Task(own_place(shard), text, [None] * len(e.given)))[1]
        for number, value in zip(wanted, found[0], strict=True):
            values[number] = value
        return values


def _whole(read: Reads, table: str) -> bytes:
    pieces, size = [], 0
    while piece := read():
        pieces.append(piece)
        size += len(piece)
        if size > LARGEST_COUNTED_BYTES:
            raise not_copied(
                f"rows of {table} get numbers that are counted for all shards, and the file is "
                f"larger than {LARGEST_COUNTED_BYTES >> 20} MB",
                "Load it in several parts; or take the numbers first (nextval), name their column, "
                "and write them in the file.",
            )
    return b"".join(pieces)


def _cells(step: Any, width: int) -> tuple[Sql, Mapping[int, int]]:
    """The rows of the INSERT, and which of the last cells are computed, by which number."""
    if not isinstance(step, Insert):
        _, marked, rows = step.sql.text.partition(_ROWS)
        if not marked or _ROWS in rows:
            raise not_copied("a default cannot be put behind the rows", "Name all columns.")
        return Sql(rows, step.sql.binds), {}
    row = step.parts.rows[0]
    binds = dict(row.binds or ())
    named = _PLACEHOLDER.sub(lambda found: f'"{found[1]}"', row.text).replace("%%", "%")
    computed = {}
    for number, cell in enumerate(select(f"VALUES {named}").values_lists[0].list.items[-width:]):
        if cell.HasField("column_ref"):
            source = binds.get(cell.column_ref.fields[0].string.sval)
            if isinstance(source, Computed):
                computed[number] = source.number
    return row, computed


def _filled(
    constants: Sequence[str | None], computed: Mapping[int, int], found: Sequence[str | None]
) -> list[str | None]:
    return [found[computed[n]] if n in computed else value for n, value in enumerate(constants)]


def _escaped(found: re.Match[bytes]) -> bytes:
    return b"\\" + {b"\n": b"n", b"\r": b"r", b"\t": b"t"}.get(found[0], found[0])
