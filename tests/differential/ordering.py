"""Random ORDER BY and LIMIT clauses, in every form, with one answer only."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from tests.differential.draft import Column, Draft
from tests.differential.expressions import loose

_DIRECTIONS = [
    *["", "", "", " ASC", " DESC", " DESC"],
    *[" NULLS FIRST", " NULLS LAST", " ASC NULLS FIRST", " DESC NULLS LAST"],
]
#: Without an order; or, of rows, with one that does not tell 1.0 from 1.00.
_UNSORTABLE = {"json", "row"}
#: An expression of a column: ORDER BY takes a bare constant for the position of a column.
_REFERENCE = re.compile(r'[a-z_"]\w*"?\."?[A-Za-z]')


@dataclass(frozen=True)
class Query:
    """A query, or one without its ORDER BY yet.

    Attributes:
        text: Its SQL.
        outputs: Its columns; the name is the text of the expression.
        names: The columns' names, as SQL writes them; None for one that is not known.
        key: Texts that ORDER BY may use and that together tell the rows apart; None if the rows
            may be equal, or ORDER BY may not use anything but the columns.
        positions: Positions of columns that together tell the rows apart.
        rows: About how many rows there are.
        order: As of `draft.Statement`.
        forms: What ORDER BY may use besides names and positions: "any" expression, the "same"
            ones that are selected, or "none".
        prefix: Terms that must come first.
    """

    text: str
    outputs: tuple[Column, ...]
    names: tuple[str | None, ...]
    key: tuple[str, ...] | None = None
    positions: tuple[int, ...] | None = None
    rows: int = 30
    order: str | tuple[int, ...] = "bag"
    forms: str = "any"
    prefix: tuple[str, ...] = ()

    @property
    def tainted(self) -> bool:
        return any(output.tainted for output in self.outputs)


def ordered(draft: Draft, query: Query, limited: float = 0.5, unordered: float = 0.35) -> Query:
    """The query with an ORDER BY and a LIMIT, or without.

    Args:
        draft: The statement.
        query: Without ORDER BY.
        limited: How often there is a LIMIT where there may be one.
        unordered: How often there is no ORDER BY.
    """
    if not query.prefix and (draft.chance(unordered) or not _sortable(query)):
        return query
    draft.note("ORDER BY")
    terms = [_term(draft, query, place) for place in _some_places(draft, query)]
    if not query.prefix and draft.chance(0.25):
        return _partly(draft, query, terms)
    texts = [*query.prefix, *(text for text, _ in terms)]
    query, last = _completing(draft, query)
    if not texts and not last:
        return replace(query, order="total")
    made = f"{query.text} ORDER BY {', '.join([*texts, *last])}"
    if draft.chance(limited):
        draft.note("LIMIT")
        made = f"{made} {_limit(draft)}"
    return replace(query, text=made, order="total", rows=min(query.rows, 10))


def _sortable(query: Query) -> bool:
    """Whether there is a total order."""
    return query.key is not None or query.positions is not None or _comparable(query)


def _comparable(query: Query) -> bool:
    return not any(output.kind in _UNSORTABLE for output in query.outputs)


def _partly(draft: Draft, query: Query, terms: Sequence[tuple[str, int]]) -> Query:
    """Ordered by some columns only: rows that are equal in them come in any order."""
    if not terms:
        return query
    draft.note("ORDER BY, not total")
    text = f"{query.text} ORDER BY {', '.join(text for text, _ in terms)}"
    if draft.chance(0.3):
        draft.note("WITH TIES")
        text += f" FETCH FIRST {draft.pick.randint(1, 6)} ROWS WITH TIES"
    return replace(query, text=text, order=tuple(place for _, place in terms))


def _completing(draft: Draft, query: Query) -> tuple[Query, list[str]]:
    """The last terms, that make the order total."""
    by_outputs = query.positions is not None or _comparable(query)
    if query.key is not None and (query.prefix or not by_outputs or draft.chance(0.75)):
        draft.note("ORDER BY a hidden column")
        return query, [text + draft.pick.choice(["", " DESC"]) for text in query.key]
    if query.positions is not None:
        return query, [f"{place + 1}{draft.pick.choice(_DIRECTIONS)}" for place in query.positions]
    # Rows that are equal in every column may still look different.
    outputs = tuple(replace(c, tainted=c.tainted or loose(c.kind)) for c in query.outputs)
    order = [f"{place + 1}{draft.pick.choice(_DIRECTIONS)}" for place in range(len(outputs))]
    return replace(query, outputs=outputs), order


def _some_places(draft: Draft, query: Query) -> list[int]:
    sortable = [i for i, c in enumerate(query.outputs) if c.kind not in _UNSORTABLE]
    return draft.pick.sample(sortable, min(len(sortable), draft.pick.randint(0, 2)))


def _term(draft: Draft, query: Query, place: int) -> tuple[str, int]:
    """An output column in ORDER BY: its position, its name or its expression."""
    output, name = query.outputs[place], query.names[place]
    forms = [str(place + 1)]
    if name is not None and query.names.count(name) == 1 and None not in query.names:
        forms.append(name)
    if query.forms != "none" and _REFERENCE.search(output.name):
        forms.append(output.name)
        if query.forms == "any" and output.kind == "text" and "COLLATE" not in output.name:
            forms.append(f'({output.name}) COLLATE "C"')
    return draft.pick.choice(forms) + draft.pick.choice(_DIRECTIONS), place


def _limit(draft: Draft) -> str:
    count = draft.value(draft.pick.choice([0, *range(1, 20)]), "int")
    offset = draft.value(draft.pick.choice([0, 1, 1, 2, 3]), "int")
    return draft.pick.choice(
        [
            f"LIMIT {count}",
            f"LIMIT {count}",
            f"LIMIT {count} OFFSET {offset}",
            f"OFFSET {offset} LIMIT {count}",
            f"OFFSET {offset}",
            f"OFFSET {offset} ROWS FETCH NEXT {draft.pick.randint(1, 9)} ROWS ONLY",
            "FETCH FIRST ROW ONLY",
            f"LIMIT ALL OFFSET {offset}",
            "LIMIT 3",
        ]
    )
