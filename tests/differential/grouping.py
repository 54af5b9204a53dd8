"""Random GROUP BY clauses: by expression, position, alias, primary key; grouping sets; HAVING."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from tests.differential.aggregates import aggregate, window
from tests.differential.draft import Column, Draft
from tests.differential.expressions import expression, loose, some_kind, usable
from tests.differential.relations import Relation
from tests.differential.schema import TYPES

_COLUMN = re.compile(r'[a-z_"][\w "]*\.[a-z"]|^[a-z_"]\w*"?$')


@dataclass(frozen=True)
class Groups:
    """How the rows are grouped.

    Attributes:
        clause: The GROUP BY clause, or nothing; ``{}`` stands for the position of each key that
            is grouped by its position or alias.
        keys: What is grouped by, as columns of the groups.
        scope: All that expressions over a group may use, besides aggregates.
        total: Texts that tell the groups apart in ORDER BY; None if nothing does.
        selected: The keys that have to be selected, with the aliases that they then need.
    """

    clause: str
    keys: tuple[Column, ...]
    scope: tuple[Column, ...]
    total: tuple[str, ...] | None
    selected: tuple[tuple[Column, str | None], ...] = ()


def groups(draft: Draft, relation: Relation, scope: Sequence[Column]) -> Groups:
    """A random grouping of a relation's rows."""
    roll = draft.pick.random()
    if roll < 0.25 or not usable(scope):
        draft.note("aggregate without GROUP BY")
        return Groups("", (), (), ())
    if roll < 0.35 and relation.bases and not relation.merged:
        return _by_primary_key(draft, relation)
    keys = tuple(_key(draft, scope) for _ in range(draft.pick.choice([1, 1, 1, 2, 2, 3])))
    if len({key.name for key in keys}) < len(keys):
        keys = keys[:1]
    if roll < 0.5:
        return _sets(draft, keys)
    return _by_keys(draft, keys, {column.name for column in relation.columns})


def _key(draft: Draft, scope: Sequence[Column]) -> Column:
    """A column, often, or an expression of columns."""
    if draft.chance(0.3):
        kind = some_kind(draft, scope)
        with draft.without_subqueries():
            text = expression(draft, scope, kind, 2)
        if _COLUMN.search(text):
            draft.note("GROUP BY expression")
            return Column(text, kind, tainted=loose(kind))
    column = draft.pick.choice(usable(scope))
    return Column(column.ref, column.kind, None, column.family, tainted=loose(column.kind))


def _by_primary_key(draft: Draft, relation: Relation) -> Groups:
    """All columns of the table depend on its primary key."""
    draft.note("GROUP BY primary key")
    alias, table = draft.pick.choice(relation.bases)
    columns = tuple(Column(f.name, f.kind, alias, f.family) for f in table.fields)
    keys = tuple(column for column in columns if column.name in table.key)
    texts = tuple(key.ref for key in keys)
    return Groups(f" GROUP BY {', '.join(texts)}", keys, columns, texts)


def _sets(draft: Draft, keys: tuple[Column, ...]) -> Groups:
    """ROLLUP, CUBE or GROUPING SETS."""
    draft.note("grouping sets")
    texts = [key.name for key in keys]
    listed = ", ".join(texts)
    forms = [f"ROLLUP ({listed})", f"CUBE ({listed})", f"GROUPING SETS (({listed}), ())"]
    forms.append(f"GROUPING SETS ({', '.join(f'({text})' for text in texts)}, ())")
    forms.append(f"GROUPING SETS ({listed}, ({listed}))")
    if len(texts) > 1:
        forms.append(f"{texts[0]}, ROLLUP ({', '.join(texts[1:])})")
    marks = Column(f"GROUPING({listed})", "int")
    scope = (*keys, marks) if draft.chance(0.7) else keys
    return Groups(f" GROUP BY {draft.pick.choice(forms)}", keys, scope, None)


def _by_keys(draft: Draft, keys: tuple[Column, ...], taken: set[str]) -> Groups:
    """Each key by its expression, its position or its alias, which is no column's name."""
    terms, selected = [], []
    for number, key in enumerate(keys):
        form, alias = draft.pick.choice(["text", "text", "text", "position", "alias"]), f"g{number}"
        if form == "text" or alias in taken:
            terms.append(key.name)
            continue
        draft.note(f"GROUP BY {form}")
        selected.append((key, alias if form == "alias" else None))
        terms.append(alias if form == "alias" else str(len(selected)))
    clause = f" GROUP BY {draft.pick.choice(['', '', 'DISTINCT '])}{', '.join(terms)}"
    texts = tuple(key.name for key in keys)
    return Groups(clause, keys, keys, texts, tuple(selected))


def outputs(
    draft: Draft, relation: Relation, scope: Sequence[Column], made: Groups, kinds: Sequence[str]
) -> list[Column]:
    """What a grouped query selects, after what it must.

    Args:
        draft: The statement.
        relation: What stands in FROM.
        scope: The columns that arguments of aggregates may use.
        made: How the rows are grouped.
        kinds: Of which kinds the outputs are to be; empty for any.
    """
    calls = [aggregate(draft, scope, relation.key) for _ in range(draft.pick.randint(1, 3))]
    group = (*made.scope, *calls)
    if kinds:
        return [_of_kind(draft, group, kind) for kind in kinds]
    chosen = [*calls, *(_plain(key) for key in made.keys if draft.chance(0.7))]
    if draft.chance(0.35):
        kind = some_kind(draft, group)
        chosen.append(Column(expression(draft, group, kind), kind))
    if draft.chance(0.1):
        draft.note("window over groups")
        chosen.append(_window(draft, group, made))
    draft.pick.shuffle(chosen)
    return chosen


def _plain(column: Column) -> Column:
    """A column as an output, whose name is its expression."""
    return replace(column, name=column.ref, qualifier=None)


def _of_kind(draft: Draft, group: Sequence[Column], kind: str) -> Column:
    fitting = [column for column in group if column.kind == kind]
    if fitting and draft.chance(0.8):
        return _plain(draft.pick.choice(fitting))
    return Column(expression(draft, group, kind), kind)


def _window(draft: Draft, group: Sequence[Column], made: Groups) -> Column:
    exact = [column for column in group if column.kind in TYPES and not column.tainted]
    key = tuple(Column(text, "int") for text in made.total) if made.total else None
    return window(draft, exact or [Column("count(*)", "big")], key)


def having(draft: Draft, relation: Relation, scope: Sequence[Column], made: Groups) -> str:
    """A HAVING clause, or nothing."""
    if not draft.chance(0.25):
        return ""
    draft.note("HAVING")
    calls = [aggregate(draft, scope, relation.key) for _ in range(2)]
    return f" HAVING {expression(draft, (*made.scope, *calls), 'bool')}"
