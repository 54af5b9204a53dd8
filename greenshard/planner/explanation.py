"""Plans as text: ``conn.explain`` and ``greenshard explain``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from greenshard.planner.pins import named_shards
from greenshard.planner.plan import (
    PARTIAL,
    Anywhere,
    Broadcast,
    Combine,
    Gather,
    Pin,
    Plan,
    Reading,
    Refused,
    Routed,
    Scatter,
    SortKey,
    Step,
)
from greenshard.planner.refusals import reasons
from greenshard.sql.text import Sql


def explain(
    plan: Plan, shards: tuple[str, ...], given: Any = None, *, verbose: bool = False
) -> str:
    """A plan in words, the same for the same plan every time.

    Args:
        plan: The plan.
        shards: All shards, in order.
        given: The parameters; with None, the shards that they name are not known.
        verbose: Whether to say why cheaper strategies could not be taken.
    """
    lines = _step(plan.step, shards, given)
    lines += [
        f"policy {each.policy} on {'.'.join(each.reading.relation)} must not apply: {each.reason}"
        for each in plan.policies
    ]
    if verbose and plan.refusals:
        lines += ["why not a cheaper strategy:", *_indented(reasons(plan.refusals))]
    return "\n".join(lines)


def _step(step: Step, shards: tuple[str, ...], given: Any) -> list[str]:
    if isinstance(step, Routed):
        return _routed(step, shards, given)
    lines = [f"strategy: {step.strategy}"]
    if isinstance(step, Scatter):
        return lines + _scatter(step, shards, given)
    if isinstance(step, Combine):
        return lines + _combine(step, shards, given)
    if isinstance(step, Gather):
        return lines + _gather(step, shards, given)
    return lines + _simple(step, shards)


def _simple(step: Anywhere | Broadcast | Refused, shards: tuple[str, ...]) -> list[str]:
    if isinstance(step, Refused):
        return [*_indented(step.message), *_indented(step.hint or "")]
    if isinstance(step, Anywhere):
        which = shards[0] if step.first else f"any one of {', '.join(shards)}"
        return [f"shards: {which}", "it runs:", *_text(step.sql)]
    return [f"shards: {', '.join(shards)}", "each runs:", *_text(step.sql)]


def _routed(step: Routed, shards: tuple[str, ...], given: Any) -> list[str]:
    named = _named(step.pins, shards, given)
    if named is None:
        several = _step(step.otherwise, shards, given)
        head = ["strategy: route", "shards: the one that the parameters name", "it runs:"]
        return [
            *head,
            *_text(step.sql),
            "or, if they name several:",
            *_indented("\n".join(several)),
        ]
    if len(named) > 1:
        return _step(step.otherwise, shards, given)
    target = ", ".join(named) or f"any one of {', '.join(shards)}: no row can match"
    return ["strategy: route", f"shards: {target}", "it runs:", *_text(step.sql)]


def _scatter(step: Scatter, shards: tuple[str, ...], given: Any) -> list[str]:
    lines = [_targets(step.pins, shards, given), *_rights(step.rights)]
    lines += ["each runs:", *_text(step.sql)]
    if step.sort:
        lines.append(f"their rows are merged by {_keys(step.sort)}")
    if step.slice.offset is not None or step.slice.count is not None:
        lines.append("of the rows OFFSET and LIMIT take theirs")
    if step.hidden:
        lines.append(f"columns cut off at the end: {step.hidden}")
    return lines


def _combine(step: Combine, shards: tuple[str, ...], given: Any) -> list[str]:
    lines = [_targets(step.pins, shards, given), *_rights(step.rights)]
    lines += ["each runs:", *_text(step.partial)]
    where = "PostgreSQL then runs, over their rows:"
    if step.reduction is not None:
        where = "their rows are reduced here or, if a type asks for it, by PostgreSQL:"
    shown = step.combine.text.replace(f'"{PARTIAL}"', "(the shards' rows)")
    return [*lines, where, *_indented(shown)]


def _gather(step: Gather, shards: tuple[str, ...], given: Any) -> list[str]:
    lines = []
    for table in step.tables:
        if not table.reference:
            lines += [
                _targets(table.pins, shards, given),
                f"each gives its part of {table.relation}:",
                *_text(table.read),
            ]
    references = [table.relation for table in step.tables if table.reference]
    if references:
        lines.append(f"beside them are {', '.join(references)}")
    return [*lines, *_rights(step.rights), "one PostgreSQL then runs:", *_text(step.sql)]


def _rights(rights: Sequence[Reading]) -> list[str]:
    """What must make no difference."""
    return [
        f"the user must see all of {'.'.join(each.relation)} that the owner of "
        f"{'.'.join(each.view)} sees"
        for each in rights
        if each.view is not None
    ]


def _targets(pins: tuple[Pin, ...] | None, shards: tuple[str, ...], given: Any) -> str:
    if pins is None:
        return f"shards: {', '.join(shards)}"
    named = _named(pins, shards, given)
    if named is None:
        return f"shards: of {', '.join(shards)} those that the parameters name"
    return f"shards: {', '.join(named)}"


def _named(pins: Sequence[Pin], shards: tuple[str, ...], given: Any) -> list[str] | None:
    """The shards that pins name, in order; None if that needs parameters."""
    try:
        named = named_shards(pins, shards, given)
    except (TypeError, LookupError):
        return None
    return [shard for shard in shards if named is None or shard in named]


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
