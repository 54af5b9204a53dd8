"""Random set operations, over SELECTs whose columns fit each other."""

from __future__ import annotations

from dataclasses import replace

from tests.differential.draft import Draft
from tests.differential.expressions import loose
from tests.differential.ordering import Query, ordered
from tests.differential.queries import Wish, select
from tests.differential.schema import KINDS

_OPERATORS = [
    *["UNION", "UNION ALL"] * 2,
    *["UNION DISTINCT", "INTERSECT", "INTERSECT ALL", "EXCEPT", "EXCEPT ALL"],
]
_FORMS = ("plain", "plain", "plain", "distinct", "grouped")


def combined(draft: Draft, wish: Wish) -> Query:
    """A set operation without ORDER BY."""
    kinds = tuple(draft.pick.choice(KINDS) for _ in range(draft.pick.choice([1, 1, 2, 3])))
    inner = replace(wish, forms=_FORMS, kinds=wish.kinds or kinds, joins=1)
    first = _branch(draft, inner)
    text, outputs = first.text, first.outputs
    for _ in range(draft.pick.choice([1, 1, 1, 2])):
        operator = draft.pick.choice(_OPERATORS)
        draft.note(operator)
        right = _branch(draft, inner)
        text = f"{text} {operator} {right.text}"
        # Of rows that are equal but look different, any may be left.
        kept = operator == "UNION ALL"
        outputs = tuple(
            replace(a, tainted=a.tainted or b.tainted or (not kept and loose(a.kind)), family="")
            for a, b in zip(outputs, right.outputs, strict=True)
        )
    return Query(text, outputs, first.names, rows=60, forms="none")


def _branch(draft: Draft, wish: Wish) -> Query:
    """A SELECT; with an order and a limit of its own it needs parentheses."""
    with draft.own_names():
        query = select(draft, wish)
        if draft.chance(0.8):
            return query
        made = ordered(draft, query, limited=1.0, unordered=0.0)
        return replace(made, text=f"({made.text})")
