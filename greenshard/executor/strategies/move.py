"""Rows that got other shard keys go to the shards of these.

The UPDATE has told where each row lies and what its key is. Those that belong elsewhere are
deleted, and come as arrays, as gathered rows do; so they are inserted where they belong::

    WITH "gs gone" AS (DELETE FROM orders AS gs USING unnest(...) ... RETURNING gs.id, gs.note)
    SELECT count(*), array_agg(c0)::text, ... FROM (SELECT id, note FROM "gs gone") AS g (c0, c1)

    INSERT INTO orders (id, note) OVERRIDING SYSTEM VALUE SELECT unnest(...), unnest(...)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from greenshard._driver import RawCursor, ours, own_cursor
from greenshard.executor.answers.answer import Answer, CountedAnswer
from greenshard.executor.answers.buffered import Row
from greenshard.executor.atomic import atomically
from greenshard.executor.execution import in_turns
from greenshard.executor.planned import Planned
from greenshard.executor.strategies.carry import carried
from greenshard.executor.strategies.drift import check_alike
from greenshard.executor.strategies.exactness import spoilt
from greenshard.executor.strategies.filling import inserting
from greenshard.executor.strategies.held import check_held, check_page, check_rows
from greenshard.executor.strategies.merge import asked, buffered
from greenshard.executor.strategies.table_rows import Rows, fetched_rows, reading
from greenshard.executor.strategies.travelling import parameter, travelling
from greenshard.executor.types.casting import AsText
from greenshard.merge.arrays import array_text
from greenshard.planner.plan import Carry, Move, Refused
from greenshard.planner.refusals import refusal_error
from greenshard.planner.strategies.move import GONE, HIDDEN
from greenshard.planner.tasks import Stage, home_of_value, uncertain_key
from greenshard.sql.nodes import quoted

#: "feature_not_supported": with an SQLSTATE, an error fails the transaction: a part of the
#: statement is done.
_NOT_SUPPORTED = "0A000"

_Places = tuple[list[str], list[str]]
"""The OIDs of rows' tables, and their ctids."""


def move(
    e: Planned, step: Move, stages: Sequence[Stage], run: Callable[[Planned], Answer]
) -> Answer:
    """Change the rows, and let those that belong elsewhere move; arguments as of `carry`.

    Raises:
        errors.Error: A shard failed, time is up, or a row cannot be moved.

    Switches: yes.
    """
    e.check_parameters()
    return atomically(e, e.database.cluster.names, partial(_move, e, step, stages, run))


def _move(
    e: Planned, step: Move, stages: Sequence[Stage], run: Callable[[Planned], Answer]
) -> Answer:
    if isinstance(step.write, Carry):
        stages = carried(e, step.write, stages, run)
    (tasks,) = stages
    cursors, castings = asked(e, tasks, AsText.ALL)
    check_page(e, cursors.values())
    rows: list[Row] = []
    leaving: dict[tuple[str, str], _Places] = {}
    for shard, cursor in cursors.items():
        for row in in_turns(cursor.fetchall()):
            oid, ctid, key = row[-HIDDEN:]
            belongs = _home(e, step, key)
            if belongs != shard:
                oids, ctids = leaving.setdefault((shard, belongs), ([], []))
                oids.append(oid)
                ctids.append(ctid)
            rows.append(row[:-HIDDEN])
    first, cursor = next(iter(cursors.items()))
    visible = (cursor.description or ())[:-HIDDEN]
    if leaving:
        _send(e, step, leaving)
    tag = f"UPDATE {len(rows)}"
    if not step.returns:
        return CountedAnswer(len(rows), tag, e.stages)
    cast = castings[first].casting(column.type_code for column in visible)
    return buffered(e, rows, visible, first, cast, tag)


def _home(e: Planned, step: Move, key: str | None) -> str:
    """The shard of a row's key.

    Raises:
        errors.Error: The placement does not tell.
    """
    keys = step.keys
    value: Any = key == "true" if keys.pin.type_name == "bool" and key is not None else key
    found = home_of_value(keys, e.database.cluster.names, value)
    if found is None:
        refused = uncertain_key(step.table.relation, keys)
        raise refusal_error(replace(refused, pgcode=_NOT_SUPPORTED), ())
    return found


def _send(e: Planned, step: Move, leaving: Mapping[tuple[str, str], _Places]) -> None:
    """Let rows leave their shards, and arrive where they belong. Switches: yes."""
    check_rows(e, sum(len(ctids) for _, ctids in leaving.values()), "those that move")
    shards = tuple(dict.fromkeys(shard for pair in leaving for shard in pair))
    e.session.reach(shards, e.timeout)
    check_alike(e, (step.table,), shards)
    encoding = travelling(e.session.alive)
    effect, e.effect = e.effect, replace(e.effect, in_turn=False)
    calls = {
        old: partial(
            _delete,
            own_cursor(e.session.physical(old).raw),
            _deleting(e, step, encoding),
            {new: places for (shard, new), places in leaving.items() if shard == old},
        )
        for old in dict.fromkeys(old for old, _ in leaving)
    }
    # They are this transaction's already: nobody is waited for, whatever the order.
    jobs = e.first_stage(tuple(calls), calls).jobs
    e.effect = effect
    arriving: dict[str, list[Rows]] = {}
    for old, job in jobs.items():
        deleted: Any = job.result
        for new, chunks in deleted.items():
            rows = fetched_rows(step.table, chunks, encoding)
            if rows.count != len(leaving[old, new][1]):
                raise _lost(step)
            arriving.setdefault(new, []).append(rows)
    check_held(e, sum(rows.characters for several in arriving.values() for rows in several))
    inserts = {
        shard: partial(_insert, own_cursor(e.session.physical(shard).raw), arriving[shard])
        for shard in e.session.shards
        if shard in arriving
    }
    e.first_stage(tuple(inserts), inserts)


def _deleting(e: Planned, step: Move, encoding: str | None) -> str:
    """The text that deletes rows, and gives them."""
    columns = ", ".join(f"gs.{quoted(column.name)}" for column in step.table.columns)
    gone = (
        (
            f"DELETE FROM {step.table.relation} AS gs USING (SELECT pg_catalog.unnest(%(gs$oids)s"
            "::pg_catalog.oid[]), pg_catalog.unnest(%(gs$ctids)s::pg_catalog.tid[])) AS v (o, c)"
            " WHERE gs.tableoid OPERATOR(pg_catalog.=) v.o AND gs.ctid OPERATOR(pg_catalog.=) v.c"
            f" RETURNING {columns}"
        )
        .replace("%", "%%")
        .replace("%%(gs$", "%(gs$")
    )
    return f"WITH {quoted(GONE)} AS ({gone}) {reading(step.table, encoding, spoilt(e))}"


def _delete(
    cursor: RawCursor, text: str, leaving: Mapping[str, _Places]
) -> dict[str, list[tuple[Any, ...]]]:
    """Delete rows on one shard, and give them by those that get them; in a greenlet of its own."""
    found = {}
    for new, (oids, ctids) in leaving.items():
        given = {
            "gs$oids": ours(array_text(oids)),
            "gs$ctids": ours(array_text(ctids)),
            "gs$limit": ours(len(ctids) + 1),
        }
        cursor.execute(text, given)
        found[new] = cursor.fetchall()
    return found


def _insert(cursor: RawCursor, arriving: Sequence[Rows]) -> None:
    """Insert rows on one shard; in a greenlet of its own."""
    for rows in arriving:
        for piece in rows.pieces:
            values = [parameter(array, rows.encoding) for array in piece]
            cursor.execute(inserting(rows.table, rows.encoding), values)


def _lost(step: Move) -> Exception:
    return refusal_error(
        Refused(
            f"rows of {step.table.relation} that get another shard's key cannot be deleted",
            "GS412",
            "A policy or a trigger is in the way. Delete the rows and insert them anew.",
            pgcode=_NOT_SUPPORTED,
        ),
        (),
    )
