"""Random SELECTs: what they select, group, and tell apart."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from tests.differential import conditions, grouping, relations
from tests.differential.aggregates import window
from tests.differential.draft import Column, Draft
from tests.differential.expressions import expression, loose, some_kind, usable
from tests.differential.ordering import Query
from tests.differential.relations import Relation
from tests.differential.schema import TYPES

#: Names of outputs; some are those of other columns.
_NAMES = [
    "n",
    "total",
    "v1",
    '"Mixed Case"',
    "name",
    "id",
    "amount",
    "no",
    "x",
    '"quote""d"',
    "result",
]
_PLAIN_NAME = re.compile(r'[a-z_]\w*|"(?:[^"]|"")+"')


@dataclass(frozen=True)
class Wish:
    """What a SELECT is to be.

    Attributes:
        forms: The functions that may make it.
        outer: Columns of queries around it, that it may use and is then correlated with.
        kinds: The kinds of its columns; empty for any.
        named: Whether each column needs a name of its own.
        joins: How many joins, at most.
    """

    forms: tuple[str, ...]
    outer: tuple[Column, ...] = ()
    kinds: tuple[str, ...] = ()
    named: bool = False
    joins: int = 2


def select(draft: Draft, wish: Wish) -> Query:
    """A SELECT without ORDER BY."""
    joins = draft.pick.choice([0, 0, 0, 1, 1, 1, *range(wish.joins + 1)])
    made = relations.relation(draft, min(joins, wish.joins))
    scope = made.columns
    if (
        len(made.bases) == 1
        and len(made.columns) == len(made.bases[0][1].fields)
        and draft.chance(0.4)
    ):
        scope = tuple(replace(column, qualifier=None) for column in scope)
    form = draft.pick.choice(wish.forms)
    draft.note(f"select {form}")
    return _FORMS[form](draft, wish, made, scope)


def _clauses(draft: Draft, wish: Wish, made: Relation, scope: Sequence[Column]) -> str:
    everything = (*scope, *wish.outer)
    return f" FROM {made.text}{conditions.where(draft, made, everything, wish.outer)}"


def _plain(draft: Draft, wish: Wish, made: Relation, scope: Sequence[Column]) -> Query:
    outputs = _outputs(draft, wish, made, scope)
    if not wish.named and not wish.kinds and draft.chance(0.12):
        return _starred(draft, wish, made, scope)
    if not wish.named and not wish.kinds and draft.chance(0.1):
        outputs.append(_odd_output(draft, made))
    return _selected(draft, wish, made, outputs, _clauses(draft, wish, made, scope))


def _starred(draft: Draft, wish: Wish, made: Relation, scope: Sequence[Column]) -> Query:
    draft.note("SELECT *")
    columns, star = made.columns, "*"
    qualifiers = sorted({column.qualifier for column in columns if column.qualifier})
    if qualifiers and not made.merged and draft.chance(0.3):
        qualifier = draft.pick.choice(qualifiers)
        star = f"{qualifier}.*"
        columns = tuple(column for column in columns if column.qualifier == qualifier)
    key = None if made.key is None else tuple(column.ref for column in made.key)
    outputs = tuple(replace(column, name=column.ref) for column in columns)
    names = tuple(column.name for column in columns)
    text = f"SELECT {star}{_clauses(draft, wish, made, scope)}"
    return Query(text, outputs, names, key, rows=made.rows)


def _odd_output(draft: Draft, made: Relation) -> Column:
    """What is not an expression of a kind: a bare constant, a whole row, a set of rows."""
    rows = [c.qualifier for c in made.columns if re.fullmatch(r"[abcdt]\d+", c.qualifier or "")]
    forms = ["NULL", "'literal'", "1", "2.50", "TRUE", "now() IS NULL", "ARRAY[]::text[]"]
    forms += [f"ROW({', '.join(c.ref for c in made.columns[:2])})", *map(str, rows[:1])]
    if draft.style:
        forms.append(draft.parameter(draft.pick.choice([None, "p", 5])))
    form = draft.pick.choice(forms)
    draft.note("an odd output")
    return Column(form, "row")


def _distinct(draft: Draft, wish: Wish, made: Relation, scope: Sequence[Column]) -> Query:
    outputs = [
        replace(output, tainted=output.tainted or loose(output.kind))
        for output in _outputs(draft, wish, made, scope)
    ]
    query = _selected(draft, wish, made, outputs, _clauses(draft, wish, made, scope), "DISTINCT ")
    places = tuple(range(len(outputs)))
    return replace(query, key=None, positions=places, forms="same")


def _distinct_on(draft: Draft, wish: Wish, made: Relation, scope: Sequence[Column]) -> Query:
    columns = usable(scope)
    if not made.key or not columns:
        return _distinct(draft, wish, made, scope)
    draft.note("DISTINCT ON")
    some = draft.pick.sample(columns, min(len(columns), draft.pick.choice([1, 1, 2])))
    # A name alone could mean another column of the output.
    some = [column for column in some if column.qualifier] or list(made.key[:1])
    texts = [column.ref for column in some]
    outputs = _outputs(draft, wish, made, scope)
    start = f"DISTINCT ON ({', '.join(texts)}) "
    query = _selected(draft, wish, made, outputs, _clauses(draft, wish, made, scope), start)
    prefix = tuple(text + draft.pick.choice(["", " DESC", " NULLS FIRST"]) for text in texts)
    return replace(query, prefix=prefix)


def _windowed(draft: Draft, wish: Wish, made: Relation, scope: Sequence[Column]) -> Query:
    outputs = _outputs(draft, wish, made, scope)
    calls = [window(draft, scope, made.key) for _ in range(draft.pick.randint(1, 2))]
    if not wish.kinds:
        outputs += calls
        draft.pick.shuffle(outputs)
    clauses = _clauses(draft, wish, made, scope)
    if draft.chance(0.2) and not wish.kinds:
        draft.note("WINDOW")
        outputs.append(Column("count(*) OVER w", "big"))
        partition = draft.pick.choice(usable(scope) or [Column("1", "int")]).ref
        clauses += f" WINDOW w AS (PARTITION BY {partition})"
    return _selected(draft, wish, made, outputs, clauses)


def _grouped(draft: Draft, wish: Wish, made: Relation, scope: Sequence[Column]) -> Query:
    groups = grouping.groups(draft, made, scope)
    chosen = grouping.outputs(draft, made, scope, groups, wish.kinds)
    if wish.kinds:
        groups = replace(groups, clause=_by_text(groups), selected=())
    forced = [column for column, _ in groups.selected]
    aliases = [alias for _, alias in groups.selected]
    having = grouping.having(draft, made, scope, groups)
    clauses = f"{_clauses(draft, wish, made, scope)}{groups.clause}{having}"
    query = _selected(draft, wish, made, [*forced, *chosen], clauses, aliases=aliases)
    # A name alone could mean another column of the output.
    alone = any(_PLAIN_NAME.fullmatch(text) for text in groups.total or ())
    key = None if alone else groups.total
    return replace(query, key=key, positions=_positions(query, groups.total))


def _by_text(groups: grouping.Groups) -> str:
    """The clause, with no key by its position or alias."""
    if not groups.selected:
        return groups.clause
    return f" GROUP BY {', '.join(key.name for key in groups.keys)}"


def _positions(query: Query, key: Sequence[str] | None) -> tuple[int, ...] | None:
    texts = [output.name for output in query.outputs]
    if not key or any(text not in texts for text in key):
        return None
    return tuple(texts.index(text) for text in key)


def _outputs(draft: Draft, wish: Wish, made: Relation, scope: Sequence[Column]) -> list[Column]:
    """Columns and expressions of them."""
    if wish.kinds:
        return [_output(draft, wish, scope, kind) for kind in wish.kinds]
    outputs = [_output(draft, wish, scope) for _ in range(draft.pick.choice([1, 2, 2, 3, 4]))]
    if made.key and draft.chance(0.5):
        outputs = [*(_of_column(column) for column in made.key), *outputs]
    return outputs


def _output(draft: Draft, wish: Wish, scope: Sequence[Column], kind: str | None = None) -> Column:
    columns = [c for c in scope if c.kind in TYPES]
    if kind:
        columns = usable(columns, kind)
    if columns and draft.chance(0.65):
        return _of_column(draft.pick.choice(columns))
    kind = kind or some_kind(draft, scope)
    return Column(expression(draft, (*scope, *wish.outer), kind), kind)


def _of_column(column: Column) -> Column:
    return replace(column, name=column.ref, qualifier=None)


def _selected(
    draft: Draft,
    wish: Wish,
    made: Relation,
    outputs: Sequence[Column],
    clauses: str,
    start: str = "",
    aliases: Sequence[str | None] = (),
) -> Query:
    """The query that selects these outputs; some have aliases already."""
    names: list[str | None] = []
    items = []
    for number, output in enumerate(outputs):
        alias = aliases[number] if number < len(aliases) else None
        alias = alias or _alias(draft, wish, output, names)
        items.append(f"{output.name}{_as(draft, alias)}")
        names.append(alias or _own_name(output))
    text = f"SELECT {start}{', '.join(items)}{clauses}"
    key = None if made.key is None else tuple(column.ref for column in made.key)
    query = Query(text, tuple(outputs), tuple(names), key, rows=made.rows)
    return replace(query, positions=_positions(query, key))


def _as(draft: Draft, alias: str | None) -> str:
    """AS and the alias; AS may be left out where the alias is no key word."""
    if alias is None:
        return ""
    bare = re.fullmatch(r"\w*\d|id|name|amount", alias) and draft.chance(0.4)
    return f" {alias}" if bare else f" AS {alias}"


def _own_name(output: Column) -> str | None:
    """The name that a column keeps."""
    last = output.name.rpartition(".")[2]
    return last if _PLAIN_NAME.fullmatch(last) and "(" not in output.name else None


def _alias(draft: Draft, wish: Wish, output: Column, taken: Sequence[str | None]) -> str | None:
    own = _own_name(output)
    if not wish.named:
        return draft.pick.choice(_NAMES) if draft.chance(0.25) else None
    if own and own not in taken and draft.chance(0.8):
        return own
    new = f"c{len(taken)}"
    while new in taken:
        new += "x"
    return new


_FORMS = {
    "plain": _plain,
    "distinct": _distinct,
    "distinct on": _distinct_on,
    "grouped": _grouped,
    "window": _windowed,
}
