"""Random subqueries: in FROM, as values, in EXISTS, IN, ANY and ALL; correlated and not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from tests.differential import combining, conditions, relations
from tests.differential.aggregates import aggregate
from tests.differential.draft import Column, Draft
from tests.differential.expressions import Rule, expression, loose, rule, usable
from tests.differential.ordering import Query, ordered
from tests.differential.queries import Wish, select
from tests.differential.relations import Relation
from tests.differential.schema import MEASURED

_FORMS = ("plain", "plain", "distinct", "grouped", "window")


def derived(draft: Draft, outer: Sequence[Column]) -> Relation:
    """A subquery in FROM."""
    qualified = tuple(column for column in outer if column.qualifier)
    wish = Wish(_FORMS, qualified, named=True, joins=1)
    if outer:
        query = ordered(draft, select(draft, wish), limited=0.8)
    else:
        with draft.own_names():
            made = combining.combined if draft.chance(0.15) else select
            query = ordered(draft, made(draft, wish), limited=0.4, unordered=0.7)
    return _in_from(draft, query)


def _in_from(draft: Draft, query: Query) -> Relation:
    alias = draft.alias()
    names = [str(name) for name in query.names]
    listed = ""
    if draft.chance(0.2):
        names = [f"f{number}" for number in range(len(names))]
        listed = f" ({', '.join(names)})"
    columns = tuple(
        Column(name, output.kind, alias, output.family, output.tainted)
        for name, output in zip(names, query.outputs, strict=True)
    )
    key = query.positions and tuple(columns[place] for place in query.positions)
    return Relation(f"({query.text}) AS {alias}{listed}", columns, key or None, query.rows)


@contextmanager
def _inner(
    draft: Draft, scope: Sequence[Column], joins: int = 1
) -> Iterator[tuple[Relation, tuple[Column, ...]]]:
    """FROM of a subquery of an expression, and the columns that it is correlated with."""
    outer = tuple(column for column in scope if column.qualifier and not column.tainted)
    if draft.chance(0.35):
        outer = ()
    if outer:
        yield relations.relation(draft, draft.pick.randint(0, joins)), outer
    else:
        with draft.own_names():
            yield relations.relation(draft, draft.pick.randint(0, joins)), ()


def _clauses(draft: Draft, made: Relation, outer: Sequence[Column]) -> str:
    where = conditions.where(draft, made, (*made.columns, *outer), outer)
    return f" FROM {made.text}{where}"


def _scalar(kind: str) -> Rule:
    """The rule for a value of a kind that a subquery gives."""

    def made(draft: Draft, scope: Sequence[Column], depth: int) -> str:
        if not draft.spend():
            return expression(draft, scope, kind, depth)
        draft.note("scalar subquery")
        with _inner(draft, scope) as (source, outer):
            if source.key and draft.chance(0.3):
                return _first(draft, source, outer, kind)
            return _reduced(draft, source, outer, kind)

    return made


def _reduced(draft: Draft, source: Relation, outer: Sequence[Column], kind: str) -> str:
    """One row by aggregation."""
    for _ in range(20):
        call = aggregate(draft, source.columns, source.key)
        if call.kind == kind and not call.tainted:
            return f"(SELECT {call.name}{_clauses(draft, source, outer)})"
    function = "bool_or" if kind == "bool" else "max"
    value = expression(draft, source.columns, kind, 1)
    return f"(SELECT {function}({value}){_clauses(draft, source, outer)})"


def _first(draft: Draft, source: Relation, outer: Sequence[Column], kind: str) -> str:
    """One row by an order and a limit."""
    value = expression(draft, source.columns, kind, 1)
    key = ", ".join(column.ref for column in source.key or ())
    return f"(SELECT {value}{_clauses(draft, source, outer)} ORDER BY {key} LIMIT 1)"


for _kind in ("int", "big", "fix", "text", "date", "bool"):
    rule(_kind, weight=2)(_scalar(_kind))


@rule("int")
def guarded(draft: Draft, scope: Sequence[Column], depth: int) -> str:
    """What would divide by zero, but for what stands before it."""
    numbers = [column.ref for column in usable(scope) if column.kind == "int"]
    if not numbers or draft.chance(0.5):
        if not draft.spend():
            return expression(draft, scope, "int", depth)
        draft.note("a guard within a subquery")
        with _inner(draft, scope) as (source, outer):
            guard = "CASE WHEN count(*) > 0 THEN 60 / count(*) END"
            return f"(SELECT {guard}{_clauses(draft, source, outer)})::int"
    draft.note("a guard")
    one = draft.pick.choice(numbers)
    forms = ["CASE WHEN {0} <> 0 THEN 60 / {0} END", "CASE {0} WHEN 0 THEN 0 ELSE 60 / {0} END"]
    return f"({draft.pick.choice(forms).format(one)})"


@rule("bool", weight=3)
def exists(draft: Draft, scope: Sequence[Column], depth: int) -> str:
    if not draft.spend():
        return expression(draft, scope, "bool", depth)
    negation = draft.pick.choice(["", "", "NOT "])
    draft.note(f"{negation}EXISTS")
    with _inner(draft, scope) as (source, outer):
        output = draft.pick.choice(["1", "*", "", "NULL"])
        return f"{negation}EXISTS (SELECT {output}{_clauses(draft, source, outer)})"


@rule("bool", weight=4)
def in_subquery(draft: Draft, scope: Sequence[Column], depth: int) -> str:
    """IN, ANY or ALL of a subquery's column, which fits a column of the query around it."""
    if not draft.spend():
        return expression(draft, scope, "bool", depth)
    with _inner(draft, scope, joins=0) as (source, outer):
        pairs = [(a, b) for a in usable(scope) for b in usable(source.columns) if a.kind == b.kind]
        if not pairs:
            return "(1 IN (SELECT 1))"
        related = [(a, b) for a, b in pairs if a.family and a.family == b.family]
        a, b = draft.pick.choice(related if related and draft.chance(0.7) else pairs)
        forms = ["IN", "IN", "NOT IN", "= ANY", "<> ALL"]
        if a.kind in MEASURED:
            forms += [">= ALL", "< ANY", "> SOME"]
        form = draft.pick.choice(forms)
        draft.note(f"{form} subquery")
        start = draft.pick.choice(["", "", "DISTINCT "])
        return f"({a.ref} {form} (SELECT {start}{b.ref}{_clauses(draft, source, outer)}))"


@rule("bool")
def in_pairs(draft: Draft, scope: Sequence[Column], depth: int) -> str:
    """A row IN a subquery of two columns."""
    columns = [column for column in usable(scope) if not loose(column.kind)]
    if not columns or not draft.spend():
        return expression(draft, scope, "bool", depth)
    draft.note("row IN subquery")
    a, b = draft.pick.choice(columns), draft.pick.choice(columns)
    with _inner(draft, scope, joins=0) as (source, outer):
        both = [expression(draft, source.columns, column.kind, 1) for column in (a, b)]
        clauses = _clauses(draft, source, outer)
        return f"(({a.ref}, {b.ref}) IN (SELECT {', '.join(both)}{clauses}))"


@rule("iarr")
def array_of(draft: Draft, scope: Sequence[Column], depth: int) -> str:
    if not draft.spend():
        return expression(draft, scope, "iarr", depth)
    draft.note("ARRAY(SELECT)")
    with _inner(draft, scope, joins=0) as (source, outer):
        value = expression(draft, source.columns, "int", 1)
        return f"ARRAY(SELECT ({value})::int{_clauses(draft, source, outer)} ORDER BY 1)"


conditions.SUBQUERIES += [exists, exists, in_subquery, in_subquery, in_subquery, in_pairs]
