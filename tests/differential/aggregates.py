"""Random calls of aggregates and window functions, each with one answer only."""

from __future__ import annotations

from collections.abc import Sequence

from tests.differential.draft import Column, Draft
from tests.differential.expressions import expression, filled, loose, some_kind
from tests.differential.schema import MEASURED

#: What an aggregate is made of and the kind of its answer. An ``approx`` is a float that is not
#: exact: it is the same in any order of the rows, but sums of several are not.
_CALLS = [
    ("count(*)", "big"),
    ("count(*)", "big"),
    ("count({x})", "big"),
    ("count({x})", "big"),
    ("count(DISTINCT {x})", "big"),
    ("CASE WHEN count(*) > 0 THEN 60 / count(*) END", "big"),
    ("CASE WHEN count(*) > 2 THEN sum({int}) / (count(*) - 2) ELSE -1 END", "big"),
    ("count(DISTINCT ({int}, {text}))", "big"),
    ("count(DISTINCT now())", "big"),
    ("sum({int})", "big"),
    ("sum({int})", "big"),
    ("count(DISTINCT ({c:int}, {mood}, ({date}, 7)))", "big"),
    ("sum(DISTINCT {int})", "big"),
    ("array_agg(DISTINCT {int})", "numbers"),
    ("sum({big})", "num"),
    ("sum({fix})", "fix"),
    ("sum({fix})", "fix"),
    ("sum({num})", "num"),
    ("sum({float})", "float"),
    ("sum({iv})", "iv"),
    ("avg({int})", "num"),
    ("avg({big})", "num"),
    ("avg({fix})", "num"),
    ("avg({num})", "num"),
    ("avg({float})", "approx"),
    ("avg({iv})", "iv"),
    ("avg(DISTINCT {fix})", "num"),
    ("bool_and({bool})", "bool"),
    ("bool_or({bool})", "bool"),
    ("every({bool})", "bool"),
    ("bit_or({int})", "int"),
    ("bit_and({int})", "int"),
    ("stddev({int})", "num"),
    ("variance({fix})", "num"),
    ("stddev_pop({num})", "num"),
    ("var_samp({big})", "num"),
    ("max({date} + 1)", "date"),
    ('min({text} COLLATE "C")', "text"),
    ("string_agg(DISTINCT {text}, '|')", "text"),
    ("percentile_cont(0.5) WITHIN GROUP (ORDER BY {float})", "approx"),
    ("percentile_disc(ARRAY[0.25, 0.75]) WITHIN GROUP (ORDER BY {int})", "numbers"),
    ("rank({c:int}) WITHIN GROUP (ORDER BY {int})", "big"),
]
_PLAIN = [
    call for call in _CALLS if all(word not in call[0] for word in ("DISTINCT", "WITHIN", "CASE"))
]
#: Of a value of any kind that has an order, with an answer of that kind.
_MEASURES = [
    *["min({})", "max({})"] * 2,
    "mode() WITHIN GROUP (ORDER BY {})",
    "percentile_disc(0.5) WITHIN GROUP (ORDER BY {} DESC)",
]
#: Of values in an order.
_COLLECTIONS = [
    ("string_agg({}, ',' ORDER BY {})", "text", "text"),
    ("string_agg({}, '' ORDER BY {})", "text", "text"),
    ("array_agg({} ORDER BY {})", "int", "numbers"),
    ("array_agg({} ORDER BY {})", "ts", "moments"),
    ("array_agg({} ORDER BY {})", "mood", "moods"),
    ("array_agg({} ORDER BY {})", "fix", "fixes"),
    ("jsonb_agg({} ORDER BY {})", "jsonb", "jsonb"),
    ("json_agg({} ORDER BY {})", "text", "json"),
]
_RANKS = [
    ("rank()", "big"),
    ("dense_rank()", "big"),
    ("percent_rank()", "approx"),
    ("cume_dist()", "approx"),
]
_PLACES = [("row_number()", "big"), ("ntile(3)", "int")]
_FRAMES = [
    "ROWS BETWEEN 1 PRECEDING AND CURRENT ROW",
    "ROWS UNBOUNDED PRECEDING",
    "ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING",
    "GROUPS BETWEEN 1 PRECEDING AND 1 FOLLOWING EXCLUDE CURRENT ROW",
    "RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW",
]
_DIRECTIONS = ["", "", " DESC", " NULLS FIRST", " DESC NULLS LAST"]


def aggregate(draft: Draft, scope: Sequence[Column], key: Sequence[Column] | None) -> Column:
    """A random aggregate over rows that `key` tells apart, as a column of the group."""
    roll = draft.pick.random()
    if roll < 0.2:
        return _measure(draft, scope)
    if roll < 0.32 and key:
        return _collection(draft, scope, key)
    template, kind = draft.pick.choice(_CALLS)
    text = filled(draft, scope, template, 1)
    draft.note(template.partition("(")[0] + (" DISTINCT" if "DISTINCT" in template else ""))
    return Column(_filtered(draft, scope, text), kind)


def _filtered(draft: Draft, scope: Sequence[Column], call: str) -> str:
    if call.startswith("CASE") or not draft.chance(0.15):
        return call
    draft.note("FILTER")
    return f"{call} FILTER (WHERE {expression(draft, scope, 'bool', 1)})"


def _measure(draft: Draft, scope: Sequence[Column]) -> Column:
    kind = some_kind(draft, scope, MEASURED)
    template = draft.pick.choice(_MEASURES)
    draft.note(template.partition("(")[0])
    text = template.format(expression(draft, scope, kind, 1))
    return Column(_filtered(draft, scope, text), kind, tainted=loose(kind))


def _collection(draft: Draft, scope: Sequence[Column], key: Sequence[Column]) -> Column:
    template, kind, made = draft.pick.choice(_COLLECTIONS)
    draft.note(template.partition("(")[0])
    order = _total(draft, scope, key)
    return Column(template.format(expression(draft, scope, kind, 1), order), made)


def _total(draft: Draft, scope: Sequence[Column], key: Sequence[Column]) -> str:
    """An order in which no two rows are equal."""
    first = [expression(draft, scope, some_kind(draft, scope, MEASURED), 1)]
    terms = (first if draft.chance(0.4) else []) + [column.ref for column in key]
    return ", ".join(term + draft.pick.choice(_DIRECTIONS) for term in terms)


def window(draft: Draft, scope: Sequence[Column], key: Sequence[Column] | None) -> Column:
    """A random window function over rows that `key` tells apart."""
    draft.note("window")
    partition = ""
    if draft.chance(0.6):
        partition = f"PARTITION BY {_some_column(draft, scope)}"
    if not key or draft.chance(0.4):
        return _over_peers(draft, scope, partition)
    text, kind, tainted = _placed(draft, scope)
    frame = draft.pick.choice(_FRAMES) if "(" in text and draft.chance(0.3) else ""
    order = f"ORDER BY {_total(draft, scope, key)}"
    return Column(f"{text} OVER ({_words(partition, order, frame)})", kind, tainted=tainted)


def _over_peers(draft: Draft, scope: Sequence[Column], partition: str) -> Column:
    """One whose answer is the same for rows that are equal in the order."""
    if draft.chance(0.4):
        call, kind = draft.pick.choice(_RANKS)
        order = f"ORDER BY {_some_column(draft, scope)}{draft.pick.choice(_DIRECTIONS)}"
        return Column(f"{call} OVER ({_words(partition, order)})", kind)
    call = _plain_aggregate(draft, scope)
    order = f"ORDER BY {_some_column(draft, scope)}" if draft.chance(0.4) else ""
    return Column(f"{call.name} OVER ({_words(partition, order)})", call.kind, tainted=call.tainted)


def _placed(draft: Draft, scope: Sequence[Column]) -> tuple[str, str, bool]:
    """One that needs a total order: its call, its kind, and whether its look is undetermined."""
    roll = draft.pick.random()
    if roll < 0.3:
        return (*draft.pick.choice([*_PLACES, *_RANKS]), False)
    if roll < 0.65:
        call = _plain_aggregate(draft, scope)
        return call.name, call.kind, call.tainted
    kind = some_kind(draft, scope)
    value = expression(draft, scope, kind, 1)
    template = draft.pick.choice(
        ["lag({})", "lead({}, 2)", "first_value({})", "last_value({})", "nth_value({}, 2)"]
    )
    return template.format(value), kind, False


def _plain_aggregate(draft: Draft, scope: Sequence[Column]) -> Column:
    """An aggregate that may be a window function: no DISTINCT, no order of its own."""
    template, kind = draft.pick.choice(_PLAIN)
    if draft.chance(0.2):
        kind = some_kind(draft, scope, MEASURED)
        text = draft.pick.choice(["min({})", "max({})"]).format(expression(draft, scope, kind, 1))
        return Column(text, kind, tainted=loose(kind))
    call = filled(draft, scope, template, 1)
    # Over groups, FILTER must not have aggregates in it.
    over_groups = any("(" in column.name for column in scope)
    return Column(call if over_groups else _filtered(draft, scope, call), kind)


def _some_column(draft: Draft, scope: Sequence[Column]) -> str:
    return expression(draft, scope, some_kind(draft, scope), draft.pick.choice([0, 0, 0, 1]))


def _words(*words: str) -> str:
    return " ".join(filter(None, words))
