"""Random WHERE clauses, often with the shard key in them."""

from __future__ import annotations

from collections.abc import Sequence

from tests.differential import values
from tests.differential.draft import Column, Draft
from tests.differential.expressions import Rule, expression, usable
from tests.differential.relations import Relation

#: Rules for conditions with a subquery.
SUBQUERIES: list[Rule] = []


def where(
    draft: Draft, relation: Relation, scope: Sequence[Column], outer: Sequence[Column]
) -> str:
    """A WHERE clause, or nothing.

    Args:
        draft: The statement.
        relation: What stands in FROM.
        scope: The columns that conditions may use: its own, and those of queries around this one.
        outer: Those of queries around this one, which it is correlated with.
    """
    texts = list(relation.where or ())
    if outer and draft.chance(0.85):
        texts += correlation(draft, relation.columns, outer)
    if draft.chance(0.25):
        texts += _pinned(draft, relation)
    if draft.budget > 0 and draft.chance(0.3):
        texts.append(draft.pick.choice(SUBQUERIES)(draft, scope, 1))
    for _ in range(draft.pick.choice([0, 0, 0, 0, 1, 1, 2])):
        texts.append(expression(draft, scope, "bool", draft.pick.choice([2, 2, 2, 3, 4])))
    # A constant FALSE beside what fails: PostgreSQL looks at no row.
    numbers = [column.ref for column in usable(scope) if column.kind == "int"]
    if numbers and draft.chance(0.02):
        draft.note("FALSE beside what fails")
        one = draft.pick.choice(numbers)
        texts += draft.pick.choice([["false"], ["1 = 2"], ["NULL::bool"]])
        texts.append(f"60 / ({one} - {one}) > 0")
        draft.pick.shuffle(texts)
    return f" WHERE {' AND '.join(texts)}" if texts else ""


def correlation(draft: Draft, inner: Sequence[Column], outer: Sequence[Column]) -> list[str]:
    """An equality of a column with one of a query around it, if there is a pair for one."""
    pairs = [(a, b) for a in usable(inner) for b in usable(outer) if a.kind == b.kind]
    related = [(a, b) for a, b in pairs if a.family and a.family == b.family]
    if not pairs:
        return []
    draft.note("correlated")
    a, b = draft.pick.choice(related if related and draft.chance(0.85) else pairs)
    operator = "=" if draft.chance(0.85) else draft.pick.choice(["<", ">=", "<>"])
    return [f"{a.ref} {operator} {b.ref}"]


def _pinned(draft: Draft, relation: Relation) -> list[str]:
    """Conditions that say which shards have the rows."""
    keys = [c for c in relation.columns if _is_key(c)]
    if not keys:
        return []
    draft.note("pinned")
    return [_key_condition(draft, key) for key in keys if draft.chance(0.7)]


def _is_key(column: Column) -> bool:
    return (column.family, column.name) in {
        ("account", "id"),
        ("account", "account_id"),
        ("device", "serial"),
        ("day", "day"),
        ("day", "moment"),
    }


def _key_condition(draft: Draft, column: Column) -> str:
    kind = column.kind
    pool = _KEYS.get(kind, values.ACCOUNTS[:8])
    some = [draft.pick.choice([*pool[:3], *pool]) for _ in range(draft.pick.randint(1, 4))]
    one = draft.value(some[0], kind)
    listed = ", ".join(draft.value(value, kind) for value in some)
    forms = [f"{column.ref} = {one}", f"{one} = {column.ref}", f"{column.ref} IN ({listed})"]
    forms.append(f"{column.ref} = ANY({draft.value(some, 'list')}::{_ARRAYS[kind]})")
    forms.append(f"({column.ref} = {one} OR {column.ref} IN ({listed}))")
    if draft.style:
        forms.append(f"{column.ref} IN {draft.parameter(tuple(some))}")
    return draft.pick.choice(forms)


#: The keys of each kind; those of any other are accounts.
_KEYS: dict[str, list[object]] = {
    "text": [*values.DEVICES],
    "date": [*values.DAYS],
    "ts": [*values.MOMENTS],
}
_ARRAYS = {
    "big": "int8[]",
    "text": "text[]",
    "int": "int4[]",
    "date": "date[]",
    "ts": "timestamp[]",
}
