"""COPY TO STDOUT over a declared cluster: what one PostgreSQL would write, row by row.

Where the answer is the shards' rows, one shard after the other, each shard writes its own, and they
are put one behind the other as they come: nothing is held but what the buffers hold. The rows of
any other query are made first, by whatever strategy its plan has, with their values as text; then a
server writes these, for what PostgreSQL makes of a value in text and CSV is made of its text.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from greenshard._driver import RawCursor
from greenshard.executor.answers.answer import Answer, CountedAnswer
from greenshard.executor.client_copy import CopyFile, copy_call, joined
from greenshard.executor.dispatch import ready, run_plan
from greenshard.executor.planned import Planned
from greenshard.executor.strategies.apart import cursor_of_texts, rows_as_text, run_apart
from greenshard.links.copy_feed import Turns
from greenshard.merge.copied_rows import trims
from greenshard.planner.catalog import Relation
from greenshard.planner.plan import Anywhere, Refused, Routed, Scatter, Slice
from greenshard.planner.refusals import refusal_error
from greenshard.planner.strategies.copy_from import not_copied
from greenshard.planner.tasks import Stage
from greenshard.sql.copy_statement import CopyStatement, around_query
from greenshard.sql.deparsing import Unwritable, faithful
from greenshard.sql.nodes import quoted

#: So many rows are written by one COPY, of those that are made first.
_PAGE = 5_000


def query_of(copy: CopyStatement, relation: Relation | None) -> str:
    """The query that gives the rows.

    Raises:
        errors.NotSupportedError: It cannot be told.
    """
    if copy.query is not None:
        try:
            return faithful(copy.as_statement())
        except Unwritable as error:
            raise not_copied(str(error), "Select the rows with a named cursor.") from None
    named = copy.node.relation
    if relation is not None and relation.kind != "r":
        raise not_copied(f"{relation.name} is no plain table", "Use COPY (SELECT ...) TO STDOUT.")
    columns = copy.columns
    if relation is not None and not columns:
        columns = tuple(column.name for column in relation.columns if not column.generated)
    listed = ", ".join(map(quoted, columns)) if columns else "*"
    names = [named.schemaname, named.relname] if named.schemaname else [named.relname]
    return f"SELECT {listed} FROM ONLY {'.'.join(map(quoted, names))}"


def copy_out(e: Planned, copy: CopyStatement, file: CopyFile) -> Answer:
    """Write the rows; the execution is that of the query.

    Raises:
        PlanOutdated: Nothing was sent: it must be planned again.
        errors.Error: A shard failed, time is up, or the query cannot be run.

    Switches: yes.
    """
    if isinstance(e.plan.step, Refused):
        raise refusal_error(e.plan.step, e.plan.refusals)
    if not e.plan.reads:
        raise not_copied("its query writes", "Execute it with RETURNING, and write its rows.")
    before, behind = around_query(copy)
    if e.failed is None and isinstance(e.plan.step, (Routed, Anywhere, Scatter)):
        step, stages = ready(e)
        if isinstance(step, (Routed, Anywhere)) or _is_plain(step, stages):
            return _streamed(e, copy, file, stages[0], (before, behind))
    return _made_first(e, copy, file, (before, behind))


def _is_plain(step: object, stages: Sequence[Stage]) -> bool:
    """Whether the answer is the shards' rows, one after the other."""
    if not isinstance(step, Scatter) or step.slice != Slice() or step.hidden:
        return False
    return len(stages[0]) == 1 or not step.sort


def _streamed(
    e: Planned, copy: CopyStatement, file: CopyFile, stage: Stage, around: tuple[str, str]
) -> Answer:
    shards = [task.place.shard for task in stage]
    cursors = e.parts.ready(shards, e.timeout)
    for shard in shards:
        e.session.physical(shard)  # without it there would be a gap
    write = file.writing(cursors[shards[0]].connection)
    turns = Turns(write, shards, trims(shards, copy.form, bool(copy.header)))
    calls = {}
    for task in stage:
        shard = task.place.shard
        given = e.parameters(task.sql, task.given, shard)
        text = _put(cursors[shard], around, task.sql.text, given)
        calls[shard] = copy_call(e.session, shard, cursors[shard], text, _nothing, turns.of(shard))
    return e.answer_of(cursors, e.run(shards, calls))


def _made_first(e: Planned, copy: CopyStatement, file: CopyFile, around: tuple[str, str]) -> Answer:
    if copy.form == "binary":
        raise not_copied(
            "rows in binary format, of a query whose rows several shards make together",
            "Use the text format or CSV.",
        )
    plain = cursor_of_texts(e)
    answer = run_apart(e, e.text, None, e.plan, run_plan, e.parts.for_another(plain))
    names = [column.name for column in answer.description or ()]
    if not names:
        raise not_copied("its query has no columns", "Select at least one.")
    rows = rows_as_text(e, answer, "those that it copies").rows
    shard = e.any_shard()
    cursor = e.parts.ready((shard,), e.timeout)[shard]
    write = joined(file.writing(cursor.connection))
    for start in range(0, max(1, len(rows)), _PAGE):
        columns = list(zip(*rows[start : start + _PAGE], strict=True)) or [()] * len(names)
        text = _put(cursor, around, _select(names), [list(column) for column in columns])
        skips = bool(copy.header) and start > 0
        call = copy_call(e.session, shard, cursor, text, _nothing, _without(write, first=skips))
        e.run((shard,), {shard: call})
    return CountedAnswer(len(rows), f"COPY {len(rows)}")


def _select(names: Sequence[str]) -> str:
    """What gives rows that are there as arrays of texts, one for each column, in their order."""
    arrays = ", ".join(["pg_catalog.unnest(%s::pg_catalog.text[])"] * len(names))
    named = ", ".join(f"c{n} AS {quoted(name)}" for n, name in enumerate(names))
    columns = ", ".join(f"c{n}" for n in range(len(names)))
    text = f"SELECT {named} FROM ROWS FROM (<>) WITH ORDINALITY AS t ({columns}, n) ORDER BY t.n"
    return text.replace("%", "%%").replace("<>", arrays, 1)


def _without(write: Callable[[list[bytes]], None], *, first: bool) -> Callable[[list[bytes]], None]:
    """What writes rows but for the first one, which is a header."""
    trim = trims(["", "page"], "csv", first)["page"]

    def take(rows: list[bytes]) -> None:
        if data := trim(rows):
            write([data])

    return take


def _put(cursor: RawCursor, around: tuple[str, str], text: str, given: Any) -> bytes:
    """The COPY of a query."""
    query = cursor.mogrify(text) if given is None else cursor.mogrify(text, given)
    before, behind = (cursor.mogrify(part) for part in around)
    return bytes(before + query + behind)


def _nothing() -> bytes:
    """What a COPY TO reads."""
    return b""
