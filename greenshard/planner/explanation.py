"""Plans as text: ``conn.explain`` and ``greenshard explain``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from greenshard.cluster import OneShard
from greenshard.planner.place import Place
from greenshard.planner.plan import (
    PARTIAL,
    Anywhere,
    Broadcast,
    CarriedQuery,
    Carry,
    Combine,
    Copies,
    Created,
    Declared,
    Elsewhere,
    Executed,
    Explained,
    Gather,
    GatheredTable,
    Insert,
    Mirror,
    Move,
    Other,
    Plan,
    Reading,
    Refusal,
    Refused,
    Routed,
    Scatter,
    SetSequence,
    Several,
    SortKey,
    Staged,
    Step,
    Subqueries,
    Transfer,
    Writing,
)
from greenshard.planner.refusals import reasons
from greenshard.planner.strategies.completing import series
from greenshard.planner.strategies.transfer import ROWS_PLANNED
from greenshard.planner.tasks import ANYWHERE, Stage, settle
from greenshard.sql.nodes import quoted
from greenshard.sql.text import Sql


def explain(
    plan: Plan,
    shards: tuple[str, ...],
    given: Any = None,
    *,
    verbose: bool = False,
    every: bool = False,
) -> str:
    """A plan in words, the same for the same plan every time.

    Args:
        plan: The plan.
        shards: All shards, in order.
        given: The parameters; with None, the shards that they name are not known.
        verbose: Whether to say why cheaper strategies could not be taken.
        every: Whether reference tables are gathered, too, for the transaction sees other rows of
            them than another session.
    """
    lines = _step(plan.step, shards, given, every)
    lines += [
        f"policy {each.policy} on {'.'.join(each.reading.relation)} must not apply: {each.reason}"
        for each in plan.policies
    ]
    if verbose and plan.refusals:
        lines += ["why not a cheaper strategy:", *_indented(reasons(plan.refusals))]
    return "\n".join(lines)


def _step(step: Step, shards: tuple[str, ...], given: Any, every: bool) -> list[str]:
    if isinstance(step, Other):
        return _other(step)
    known = True
    try:
        step, stages = settle(step, shards, given)
    except (LookupError, TypeError):  # a parameter is not there
        if isinstance(step, Routed):
            return _unknown_route(step, shards, given, every)
        known = False
        step, stages = settle(step, shards, given, known=False)
    if isinstance(step, Other):
        return _other(step)
    if isinstance(step, Explained):
        inner = "\n".join(_settled(step.step, stages, shards, known, every))
        told = "each shard tells its own plan of:"
        return [f"strategy: {step.strategy}", told, *_indented(inner)]
    return _settled(step, stages, shards, known, every)


def _other(step: Other) -> list[str]:
    if isinstance(step, Several):
        told = ["one after the other:", *(x for p in step.parts for x in _indented(p.text))]
    elif isinstance(step, Created):
        told = ["first, on every shard:", *_text(step.made)]
        told += ["then, planned when the table is there:", *_text(step.filled)]
    elif isinstance(step, Executed):
        told = ["planned when it is known what is prepared"]
    elif isinstance(step, Declared):
        told = ["a named cursor of the connection stands for it"]
    else:
        told = ["where the cursor is"]
    return [f"strategy: {step.strategy}", *told]


def _settled(
    step: Step, stages: Sequence[Stage], shards: tuple[str, ...], known: bool, every: bool
) -> list[str]:
    lines = [f"strategy: {step.strategy}"]
    if isinstance(step, Refused):
        return [*lines, *_indented(step.message), *_indented(step.hint or "")]
    if isinstance(step, Gather):
        return [*lines, *_gather(step, stages[0], shards, known, every)]
    if isinstance(step, Subqueries):
        return [*lines, *_subqueries(step, shards, every)]
    if isinstance(step, Writing):
        return [*lines, *_writing(step, stages, shards, known, every)]
    if isinstance(step, Broadcast):
        lines += _locking(step.copies, "first")
    lines.append(_where(step, stages, shards, known))
    if isinstance(step, (Scatter, Combine)):
        lines += _rights(step.rights)
    lines += _texts(step, stages)
    if isinstance(step, Scatter):
        lines += _merging(step)
    elif isinstance(step, Combine):
        lines += _combining(step)
        if isinstance(step.otherwise, Gather):
            lines += _elsewhere(step.otherwise.elsewhere)
    return lines


def _locking(copies: Copies | None, when: str) -> list[str]:
    """What keeps other writers away."""
    if copies is None or copies.lock is None:
        return []
    return [f"{when} every shard runs:", *_text(copies.lock)]


def _writing(
    step: Writing,
    stages: Sequence[Stage],
    shards: tuple[str, ...],
    known: bool,
    every: bool,
) -> list[str]:
    if isinstance(step, Insert):
        return _insert(step, stages, shards)
    if isinstance(step, Carry):
        return _carry(step, stages, shards, known)
    if isinstance(step, Move):
        return _move(step, stages, shards, known)
    if isinstance(step, Mirror):
        return _mirror(step, stages, shards, known)
    return _after_others(step, shards, every)


def _after_others(
    step: SetSequence | Staged | Transfer, shards: tuple[str, ...], every: bool
) -> list[str]:
    if isinstance(step, SetSequence):
        return _setting(step, shards, every)
    if isinstance(step, Staged):
        return _staged(step)
    return _transfer(step, shards, every)


def _mirror(
    step: Mirror, stages: Sequence[Stage], shards: tuple[str, ...], known: bool
) -> list[str]:
    others = step.others.text.replace(f'"{PARTIAL}"', "(the rows)")
    where = "then the others run, with the rows that it has changed:"
    lines = [f"first {shards[0]} runs:", *_text(step.first), where, *_indented(others)]
    if step.carry is None:
        return lines
    lines[0] = f"with all of these rows {shards[0]} then runs:"
    return [*_brought(step.carry, stages[0], shards, known), *lines]


def _setting(step: SetSequence, shards: tuple[str, ...], every: bool) -> list[str]:
    lines = ["first this is read:", *_text(step.read)]
    lines += _indented("\n".join(_step(step.plan.step, shards, None, every)))
    setting = step.sql.text.replace(f'"{PARTIAL}"', "(the row)")
    return [*lines, f"then {shards[0]} runs:", *_indented(setting)]


def _staged(step: Staged) -> list[str]:
    lines = ["one after the other, each planned when it is its turn:"]
    for part in step.parts:
        lines += _text(part.sql)
        if part.name is not None:
            lines.append(f"whose rows are {part.name} ({', '.join(part.columns)}) in:")
    return lines


def _unknown_route(step: Routed, shards: tuple[str, ...], given: Any, every: bool) -> list[str]:
    """If the parameters decide whether one shard is enough."""
    several = "\n".join(_step(step.otherwise, shards, given, every))
    return [
        "strategy: route",
        "shards: the one that the parameters name",
        "it runs:",
        *_text(step.sql),
        "or, if they name several:",
        *_indented(several),
    ]


def _where(step: Step, stages: Iterable[Stage], shards: tuple[str, ...], known: bool) -> str:
    """The shards that have tasks."""
    places = [task.place for stage in stages for task in stage]
    if isinstance(step, Routed) and ANYWHERE in places:
        return f"shards: any one of {', '.join(shards)}: no row can match"
    pins = step.pins if isinstance(step, (Scatter, Combine)) else None
    return _shards(places, shards, pins is None or known)


def _shards(places: Sequence[Place], shards: tuple[str, ...], known: bool) -> str:
    if not known:
        return f"shards: of {', '.join(shards)} those that the parameters name"
    if ANYWHERE in places:
        return f"shards: any one of {', '.join(shards)}"
    return f"shards: {_listed(places)}"


def _listed(places: Iterable[Place]) -> str:
    return ", ".join(dict.fromkeys(map(str, places)))


def _texts(step: Step, stages: Sequence[Stage]) -> list[str]:
    """What the tasks run: one text that all have, or each its own."""
    # Almost always one: it is then shown once, and not for each shard.
    texts = {task.sql for stage in stages for task in stage}
    if len(texts) == 1:
        order = ", then ".join(_listed(task.place for task in stage) for stage in stages)
        it = "it runs:" if isinstance(step, (Routed, Anywhere)) else "each runs:"
        return [it if len(stages) == 1 else f"first {order} run:", *_text(texts.pop())]
    lines: list[str] = []
    for stage in stages:
        before = "then " if lines else ""
        for sql in dict.fromkeys(task.sql for task in stage):
            places = _listed(task.place for task in stage if task.sql == sql)
            lines += [f"{before}on {places}:", *_text(sql)]
            before = "and "
    return lines


def _merging(step: Scatter) -> list[str]:
    lines = []
    if step.sort:
        lines.append(f"their rows are merged by {_keys(step.sort)}")
    if step.slice.offset is not None or step.slice.count is not None:
        lines.append("of the rows OFFSET and LIMIT take theirs")
    if step.hidden:
        lines.append(f"columns cut off at the end: {step.hidden}")
    return lines


def _combining(step: Combine) -> list[str]:
    where = "PostgreSQL then runs, over their rows:"
    if step.reduction is not None:
        where = "their rows are reduced here or, if a type asks for it, by PostgreSQL:"
    # The name of the partial rows is made so that no user has it, and says nothing to a reader.
    shown = step.combine.text.replace(f'"{PARTIAL}"', "(the shards' rows)")
    return [where, *_indented(shown)]


def _gather(
    step: Gather, reads: Stage, shards: tuple[str, ...], known: bool, every: bool
) -> list[str]:
    lines = _reads(step.tables, reads, shards, known)
    references = [table.relation for table in step.tables if table.reference]
    if references:
        how = "are brought whole, as the transaction sees them:" if every else "are"
        lines.append(f"beside them {how} {', '.join(references)}")
    lines += [
        f"many rows of {table.relation} are indexed by ({', '.join(columns)})"
        for table in step.tables
        if every or not table.reference
        for columns in table.sought
    ]
    text = _text(step.complete if every else step.sql)
    lines += [*_rights(step.rights), "one PostgreSQL then runs:", *text]
    return [*lines, *_elsewhere(step.elsewhere)]


def _elsewhere(elsewhere: Elsewhere | Refusal | None) -> list[str]:
    """What is done if the rows are too many."""
    if elsewhere is None:
        return []
    if isinstance(elsewhere, Refusal):
        return [f"the coordinator cannot run it instead: {elsewhere.reason}"]
    return [
        "if more than gather_limit rows are needed, the coordinator runs:",
        *_text(elsewhere.sql),
    ]


def _reads(
    tables: Iterable[GatheredTable], reads: Stage, shards: tuple[str, ...], known: bool
) -> list[str]:
    """What is read of sharded tables."""
    lines = []
    for table in tables:
        if not table.reference:
            places = [task.place for task in reads if task.table is table]
            lines += [
                _shards(places, shards, table.pins is None or known),
                f"each gives its part of {table.relation}:",
                *_text(table.read),
            ]
    return lines


def _carry(step: Carry, stages: Sequence[Stage], shards: tuple[str, ...], known: bool) -> list[str]:
    reads, *writes = stages
    lines = _brought(step, reads, shards, known)
    order = ", then ".join(_listed(task.place for task in stage) for stage in writes)
    if step.pins is not None and not known:
        order = "those that the parameters name"
    lines += _locking(step.copies, "then")
    return [*lines, f"with all of these rows then run, on {order}:", *_text(step.sql)]


def _brought(step: Carry, reads: Stage, shards: tuple[str, ...], known: bool) -> list[str]:
    """What is read for a write."""
    lines = _first_read(step.queries, shards, every=False)
    return [*lines, *_reads(step.tables, reads, shards, known)]


def _first_read(queries: Iterable[CarriedQuery], shards: tuple[str, ...], every: bool) -> list[str]:
    lines = []
    for each in queries:
        # Its parameters have other names there, so it is not known which shards they name.
        lines += [f"first {quoted(each.name)} is read:", *_text(each.read)]
        lines += _indented("\n".join(_step(each.plan.step, shards, None, every)))
    return lines


def _subqueries(step: Subqueries, shards: tuple[str, ...], every: bool) -> list[str]:
    lines = _first_read(step.queries, shards, every)
    rests: list[tuple[str, Step]] = []
    if step.spread is not None:
        rests.append(("if these are few, they are sent with:", step.spread))
    if step.gather is not None:
        how = "then, with them:" if step.spread is None else "else:"
        rests.append((how, step.gather))
    for how, rest in rests:
        lines += [how, *_indented("\n".join(_step(rest, shards, None, every)))]
    if isinstance(step.otherwise, Gather):
        lines += _elsewhere(step.otherwise.elsewhere)
    return lines


def _move(step: Move, stages: Sequence[Stage], shards: tuple[str, ...], known: bool) -> list[str]:
    write = step.write
    if isinstance(write, Carry):
        lines = _carry(write, stages, shards, known)
    else:
        lines = [_where(write, stages, shards, known), *_texts(write, stages)]
    return [*lines, f"then each row goes to the shard of its {step.keys.column.name}"]


def _insert(step: Insert, stages: Sequence[Stage], shards: tuple[str, ...]) -> list[str]:
    lines = []
    if step.computing:
        texts = [line for sql in step.computing for line in _text(sql)]
        lines = [f"first {shards[0]} computes:", *texts]
    elif stages:
        return [f"shards: {_listed(t.place for s in stages for t in s)}", *_texts(step, stages)]
    every = step.parts.with_rows(range(len(step.parts.rows)))
    where = "then every shard runs:"
    if step.keys is not None:
        where = f"then each row goes to the shard of its {step.keys.column.name}:"
    return [*lines, where, *_text(every)]


def _transfer(step: Transfer, shards: tuple[str, ...], every: bool) -> list[str]:
    # Its parameters have other names there, so it is not known which shards they name.
    lines = ["first these rows are read:", *_text(step.read)]
    lines += _indented("\n".join(_step(step.plan.step, shards, None, every)))
    for sql in step.computing:
        defaults = sql.text.removesuffix(f" FROM {series(ROWS_PLANNED)}")
        lines += [f"then {shards[0]} computes, for each of them:", *_indented(defaults)]
    where = "then every shard runs, with all of them:"
    if step.keys is not None:
        where = f"then each of them goes to the shard of its {step.keys.column.name}:"
        if isinstance(step.keys.pin.placement, OneShard):
            where = f"then {step.keys.pin.placement.shard} runs, with all of them:"
    shown = step.sql.text.replace(f'"{PARTIAL}"', "(the rows)")
    return [*lines, *_locking(step.copies, "then"), where, *_indented(shown)]


def _rights(rights: Sequence[Reading]) -> list[str]:
    """What must make no difference."""
    return [
        f"the user must see all of {'.'.join(each.relation)} that the owner of "
        f"{'.'.join(each.view)} sees"
        for each in rights
        if each.view is not None
    ]


def _keys(keys: Iterable[SortKey]) -> str:
    return ", ".join(
        f"column {key.column + 1 if key.column >= 0 else f'{-key.column} from the end'}"
        + (" descending" if key.descending else "")
        + (" nulls first" if key.nulls_first else "")
        for key in keys
    )


def _text(sql: Sql) -> list[str]:
    return _indented(sql.text)


def _indented(text: str) -> list[str]:
    return [f"    {line}" for line in text.strip().splitlines()]
