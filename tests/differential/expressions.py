"""Random expressions, from a grammar of templates.

A hole ``{kind}`` of a template is filled with an expression of that kind, ``{c:kind}`` with a
constant, ``{x}`` with an expression of any kind. No template divides by zero, overflows, or fails
on a value that `values` has; sums of floats are exact.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from tests.differential import values
from tests.differential.draft import Column, Draft
from tests.differential.schema import LOOSE, MEASURED, TYPES

Rule = Callable[[Draft, "Sequence[Column]", int], str]

_HOLE = re.compile(r"\{(?:(c):)?(\w+)\}")
_TEMPLATES = {
    "int": """
        ({int} + {c:int})
        ({int} - {int})
        ({int} * 2)
        ({int} % 3)
        ({int} / 3)
        ({int} & 6)
        abs({int})
        sign({float})::int
        length({text})
        octet_length({bytea})
        ascii({text})
        strpos({text}, {text})
        coalesce({int}, {c:int})
        nullif({int}, {c:int})
        greatest({int}, {int})
        least({int}, {c:int}, {int})
        CASE WHEN {bool} THEN {int} ELSE {int} END
        CASE {int} WHEN {c:int} THEN 1 WHEN {c:int} THEN 2 END
        cardinality({iarr})
        coalesce(array_length({tarr}, 1), 0)
        array_ndims({grid})
        ({iarr})[1]
        array_position({tarr}, ({text})::text)
        array_position(enum_range(NULL::mood), {mood})
        extract(month FROM {ts})::int
        ({bool})::int
        ({big} % 10)::int
        num_nulls({x}, {x})
        jsonb_array_length(jsonb_build_array({x}, {x}))
        """,
    "big": """
        ({big} + ({c:int})::int8)
        ({big} - 1)
        abs({big})
        coalesce({big}, {c:big})
        greatest({big}, {big})
        ({int})::bigint
        ({big} / 7)
        """,
    "fix": """
        ({fix} + {fix})
        (- {fix})
        abs({fix})
        round({num}, 2)
        coalesce({fix}, {c:fix})
        greatest({fix}, {fix})
        nullif({fix}, {c:fix})
        ({fix} * {int})
        CASE WHEN {bool} THEN {fix} END
        """,
    "num": """
        ({num} + {num})
        ({num} * {fix})
        ({num} - {int})
        ({num} / 3)
        ({fix} / 7.0)
        coalesce({num}, {fix})
        trunc({num}, 1)
        ({int})::numeric
        ({int} * 1.5)
        ({fix} / nullif({int}, 0))
        ({jsonb} ->> 'n')::numeric
        sqrt(abs({num}))
        """,
    "float": """
        ({float} + {float})
        ({float} * 2)
        ({float} / 2)
        abs({float})
        coalesce({float}, {c:float})
        greatest({float}, {float})
        ({int})::float8
        CASE WHEN {bool} THEN {float} END
        """,
    "text": """
        ({text} || {text})
        ({text} || {int})
        upper({text})
        lower({text})
        initcap({text})
        left({text}, 2)
        substr({text}, 2)
        substring({text} FROM 1 FOR 3)
        trim({text})
        reverse({text})
        md5({text})
        lpad({text}, 4, '.')
        replace({text}, 'a', 'É')
        split_part({text}, 'a', 1)
        coalesce({text}, {c:text})
        nullif({text}, {c:text})
        greatest({text}, {text})
        CASE WHEN {bool} THEN {text} ELSE 'else' END
        concat({text}, {int}, {bool})
        concat_ws('-', {text}, {date})
        format('%s/%s%%', {text}, {int})
        to_char({ts}, 'YYYY-MM')
        ({int})::text
        ({fix})::text
        ({num})::text
        ({float})::text
        ({date})::text
        ({iv})::text
        ({mood})::text
        ({uuid})::text
        ({bool})::text
        ({jsonb})::text
        ({iarr})::text
        ({jsonb} ->> 't')
        ({tarr})[1]
        array_to_string({tarr}, ',', '-')
        encode({bytea}, 'hex')
        trim({char})
        pg_typeof({x})::text
        """,
    "char": "coalesce({char}, {c:char})\ngreatest({char}, {char})",
    "date": """
        ({date} + {c:int})
        ({ts})::date
        coalesce({date}, {c:date})
        greatest({date}, {date})
        least({date}, {c:date})
        date_trunc('year', {ts})::date
        """,
    "ts": """
        ({ts} + {c:iv})
        date_trunc('month', {ts})
        coalesce({ts}, {c:ts})
        greatest({ts}, {ts})
        """,
    "tstz": "({tstz} + {c:iv})\n({ts} AT TIME ZONE 'UTC')\ncoalesce({tstz}, {c:tstz})",
    "iv": "({iv} * 2)\n({iv} + {c:iv})\n({ts} - {ts})\ncoalesce({iv}, {c:iv})",
    "mood": "coalesce({mood}, {c:mood})\nleast({mood}, {mood})\nCASE WHEN {bool} THEN {mood} END",
    "bool": """
        ({bool} AND {bool})
        ({bool} OR {bool})
        (NOT {bool})
        ({x} IS NULL)
        ({x} IS NOT NULL)
        ({bool} IS TRUE)
        ({bool} IS NOT FALSE)
        ({bool} IS NULL)
        (({bool} AND {bool}) IS NULL)
        ((NOT {bool}) IS NOT NULL)
        (({bool} OR {bool}) IS NOT UNKNOWN)
        (({x} IS NULL) = {bool})
        (NOT {bool} OR {bool})
        ({text} LIKE '%a%')
        ({text} ILIKE {c:text})
        ({text} NOT LIKE 'A_%')
        ({text} ~ '^[a-m]')
        ({int} BETWEEN {c:int} AND {int})
        ({date} BETWEEN SYMMETRIC {c:date} AND {c:date})
        ({iarr} && {c:iarr})
        ({iarr} @> ARRAY[1])
        ({c:int} = ANY({iarr}))
        (({text})::text <> ALL({tarr}))
        ({jsonb} @> '{"a": 1}')
        ({jsonb} ? 't')
        isfinite({date})
        ({date} < current_date)
        (({ts})::timestamptz <= now())
        (({int}, {text}) < ({int}, {text}))
        (({int}, {big}) IN (({c:int}, {c:big}), (1, 2)))
        starts_with({text}, 'a')
        ({text} COLLATE "C" < {text})
        (({ts}, {c:iv}) OVERLAPS ({c:ts}, {c:iv}))
        coalesce({bool}, false)
        """,
    "uuid": "coalesce({uuid}, {c:uuid})",
    "bytea": "({bytea} || {c:bytea})\nconvert_to({text}, 'UTF8')\ncoalesce({bytea}, {c:bytea})",
    "jsonb": """
        ({jsonb} -> 'a')
        to_jsonb({x})
        jsonb_build_object('k', {text}, 'v', {int})
        coalesce({jsonb}, {c:jsonb})
        """,
    "iarr": "({iarr} || ({int})::int)\nARRAY[({int})::int, 7]\ncoalesce({iarr}, {c:iarr})",
    "tarr": "({tarr} || ({text})::text)\nARRAY[({text})::text, 'x']\nstring_to_array({text}, ' ')",
    "grid": "ARRAY[ARRAY[({int})::int, 1], ARRAY[2, 3]]",
    "ci": "coalesce({ci}, {c:ci})",
}


def _rules() -> dict[str, list[str | Rule]]:
    return {kind: [*map(str.strip, text.strip().split("\n"))] for kind, text in _TEMPLATES.items()}


RULES = _rules()
#: Kinds that = compares, and those that < does too.
COMPARED = (*MEASURED, "bool", "uuid", "bytea", "jsonb", "iarr", "tarr", "grid", "ci")


def rule(kind: str, weight: int = 1) -> Callable[[Rule], Rule]:
    """Add a function to the rules of a kind."""

    def added(function: Rule) -> Rule:
        RULES[kind] += [function] * weight
        return function

    return added


def usable(scope: Sequence[Column], kind: str | None = None) -> list[Column]:
    """The columns that an expression may use: those that always look the same."""
    return [
        column
        for column in scope
        if not column.tainted and (column.kind == kind if kind else column.kind in TYPES)
    ]


def some_kind(draft: Draft, scope: Sequence[Column], allowed: Sequence[str] = ()) -> str:
    """A kind of which the scope has columns, as far as possible."""
    kinds = [c.kind for c in usable(scope) if not allowed or c.kind in allowed]
    return draft.pick.choice(kinds or list(allowed) or ["int", "text"])


def expression(draft: Draft, scope: Sequence[Column], kind: str, depth: int = 2) -> str:
    """A random expression of a kind."""
    columns = usable(scope, kind)
    if columns and (depth <= 0 or draft.chance(0.45)):
        return draft.pick.choice(columns).ref
    if depth <= 0:
        return draft.constant(kind)
    chosen = draft.pick.choice(RULES[kind])
    if not isinstance(chosen, str):
        return chosen(draft, scope, depth - 1)
    return filled(draft, scope, chosen, depth - 1)


def filled(draft: Draft, scope: Sequence[Column], template: str, depth: int) -> str:
    """A template with its holes filled."""

    def fill(hole: re.Match[str]) -> str:
        constant, kind = hole.groups()
        if constant:
            return draft.constant(kind)
        if kind == "x":
            kind = some_kind(draft, scope)
        return expression(draft, scope, kind, depth)

    return _HOLE.sub(fill, template)


@rule("bool", weight=12)
def comparison(draft: Draft, scope: Sequence[Column], depth: int) -> str:
    kind = some_kind(draft, scope, COMPARED)
    left = expression(draft, scope, kind, depth)
    operator = draft.pick.choice(["=", "<>", "<>", "<", "<=", ">", ">=", ">="])
    if draft.chance(0.2):
        operator = draft.pick.choice(["IS DISTINCT FROM", "IS NOT DISTINCT FROM"])
    if draft.chance(0.6):
        return f"({left} {operator} {draft.constant(kind, bare=True)})"
    return f"({left} {operator} {expression(draft, scope, kind, depth)})"


@rule("bool", weight=1)
def clock_word(draft: Draft, scope: Sequence[Column], depth: int) -> str:
    """A date or a moment, compared with 'now' or the like."""
    columns = usable(scope, "date") + usable(scope, "tstz") + usable(scope, "text")
    if not columns:
        return comparison(draft, scope, depth)
    draft.note("a word of the clock")
    column, word = draft.pick.choice(columns).ref, draft.pick.choice(["now", "today", "tomorrow"])
    forms = [f"{column} < '{word}'", f"'{word}' >= {column}", f"{column} IN ('{word}', 'today')"]
    return f"({draft.pick.choice(forms)})"


@rule("bool", weight=4)
def membership(draft: Draft, scope: Sequence[Column], depth: int) -> str:
    kind = some_kind(draft, scope, ("int", "big", "text", "fix", "date", "uuid", "mood"))
    left = expression(draft, scope, kind, depth)
    negation = draft.pick.choice(["", "", "NOT "])
    return f"({left} {negation}IN {draft.several(kind)})"


def loose(kind: str) -> bool:
    """Whether equal values of the kind may look different."""
    return kind in LOOSE


@rule("bool", weight=2)
def array_membership(draft: Draft, scope: Sequence[Column], depth: int) -> str:
    """``= ANY`` of a list: as a parameter, as psycopg2's users write it, or as an array."""
    kind = draft.pick.choice(["int", "big", "text"])
    left = expression(draft, scope, kind, depth)
    some = draft.pick.sample(values.CONSTANTS[kind], draft.pick.randint(0, 3))
    operator = draft.pick.choice(["= ANY", "= ANY", "<> ALL", "< ANY"])
    return f"({left} {operator}({draft.value(some, 'list')}::{TYPES[kind]}[]))"
