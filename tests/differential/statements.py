"""Random statements: a seed and a number give one, with its parameters."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from random import Random

from tests.differential import recursion, traps, values
from tests.differential.combining import combined
from tests.differential.draft import Draft, Statement
from tests.differential.expressions import expression
from tests.differential.ordering import Query, ordered
from tests.differential.queries import Wish, select
from tests.differential.schema import KINDS, TABLES, Field, Table
from tests.differential.subqueries import derived

_ANY = (
    "plain",
    "plain",
    "plain",
    "distinct",
    "distinct on",
    "grouped",
    "grouped",
    "grouped",
    "window",
)


def statement(seed: object) -> Statement:
    """The statement of a seed."""
    pick = Random(str(seed))
    style = pick.choice([None, "format", "format", "pyformat"])
    draft = Draft(pick, derived, style, budget=pick.choice([0, 1, 1, 2, 3]))
    query = pick.choice(_SHAPES)(draft)
    draft.by_value |= query.tainted
    text = query.text if draft.risky else _dressed(draft, query.text)
    return draft.finished(text, query.order)


def _dressed(draft: Draft, text: str) -> str:
    """The text as somebody might write it."""
    roll = draft.pick.random()
    if roll < 0.05:
        return f"{text};"
    if roll < 0.08:
        return f"-- 100% 'sure\n{text} /* %s ? */" if draft.style is None else f"/* it's */ {text}"
    if roll < 0.1:
        return f"({text})"
    return text


def _one_select(draft: Draft) -> Query:
    return ordered(draft, select(draft, Wish(_ANY)))


def _simple(draft: Draft) -> Query:
    """As applications mostly ask: one table or two, without subqueries."""
    with draft.without_subqueries():
        return ordered(draft, select(draft, Wish(("plain", "plain", "grouped"), joins=1)))


def _combined(draft: Draft) -> Query:
    return ordered(draft, combined(draft, Wish(())))


def _with(draft: Draft) -> Query:
    """CTEs, of which one may be used several times, or not at all."""
    draft.note("WITH")
    definitions = [_definition(draft) for _ in range(draft.pick.choice([1, 1, 2]))]
    made = draft.pick.choice([_one_select, _one_select, _combined])(draft)
    return replace(made, text=f"WITH {', '.join(definitions)} {made.text}")


def _definition(draft: Draft) -> str:
    wish = Wish(_ANY, named=True, joins=1)
    with draft.own_names():
        make = combined if draft.chance(0.15) else select
        query = ordered(draft, make(draft, wish), limited=0.3, unordered=0.8)
    name = draft.pick.choice(["w", "w", "recent", "account", "region"])
    while name in {table.name for table in draft.ctes}:
        name += "2"
    fields = tuple(
        Field(str(text), output.kind, output.kind, output.family, tainted=output.tainted)
        for text, output in zip(query.names, query.outputs, strict=True)
    )
    key = tuple(fields[place].name for place in query.positions or ())
    draft.ctes.append(Table(name, fields, key, rows=query.rows))
    how = draft.pick.choice(["", "", "MATERIALIZED ", "NOT MATERIALIZED "])
    return f"{name} AS {how}({query.text})"


def _kept(draft: Draft) -> Query:
    """A query around one that is sorted, of which it keeps the order."""
    inner = ordered(draft, select(draft, Wish(_ANY, named=True, joins=1)), unordered=0)
    if inner.order != "total":
        return inner
    draft.note("the order of a subquery")
    some = draft.pick.sample(inner.names, draft.pick.randint(1, len(inner.names)))
    shown = draft.pick.choice(["*", ", ".join(f"kept.{name}" for name in some)])
    if draft.chance(0.2):
        shown = f"array_agg(kept.{some[0]}), count(*)"
    cut = draft.pick.choice(["", "", " LIMIT 4", " OFFSET 2", " LIMIT 5 OFFSET 1"])
    if draft.chance(0.3):
        return replace(inner, text=f"WITH kept AS ({inner.text}) SELECT {shown} FROM kept{cut}")
    return replace(inner, text=f"SELECT {shown} FROM ({inner.text}) kept{cut}")


def _recursive(draft: Draft) -> Query:
    draft.note("WITH RECURSIVE")
    return ordered(draft, recursion.query(draft))


def _without_from(draft: Draft) -> Query:
    """No table at all, or all of one."""
    roll = draft.pick.random()
    if roll < 0.3:
        draft.note("TABLE")
        table = draft.pick.choice(TABLES)
        return Query(f"TABLE {table.name}", (), ())
    if roll < 0.6:
        draft.note("VALUES statement")
        kinds = [draft.pick.choice(KINDS) for _ in range(2)]
        rows = [", ".join(draft.constant(kind) for kind in kinds) for _ in range(3)]
        return Query("VALUES " + ", ".join(f"({row})" for row in rows), (), ())
    draft.note("no FROM")
    kinds = [draft.pick.choice(KINDS) for _ in range(draft.pick.randint(1, 3))]
    return Query(f"SELECT {', '.join(expression(draft, (), kind) for kind in kinds)}", (), ())


def _lookup(draft: Draft) -> Query:
    """Everything of one account, by its key."""
    draft.note("lookup")
    table = draft.pick.choice(TABLES[:4])
    assert table.shard_key
    kind = next(field.kind for field in table.fields if field.name == table.shard_key)
    pool = values.DEVICES if kind == "text" else values.ACCOUNTS
    value = draft.value(draft.pick.choice(pool), kind)
    columns = ", ".join(field.name for field in draft.pick.sample(table.fields, 3))
    form = draft.pick.choice([f"SELECT * FROM {table.name}", f"SELECT {columns} FROM {table.name}"])
    return Query(f"{form} WHERE {table.shard_key} = {value}", (), ())


def _failing(draft: Draft) -> Query:
    """What PostgreSQL refuses, before or while it runs."""
    draft.note("an error")
    draft.risky = True
    return Query(draft.pick.choice(_ERRORS), (), ())


_ERRORS = [
    "SELECT id / (level - level) FROM account WHERE level IS NOT NULL",
    "SELECT sum(qty / 0) FROM entry",
    "SELECT name::int FROM account",
    "SELECT id FROM account WHERE name::date < '2020-01-01'",
    "SELECT (SELECT id FROM account) FROM region",
    "SELECT id FROM account WHERE region = (SELECT id FROM region)",
    "SELECT 'furious'::mood FROM account",
    "SELECT id FROM account ORDER BY id LIMIT -1",
    "SELECT nothing FROM account",
    "SELECT * FROM nowhere",
    "SELECT id FROM account, visit",
    "SELECT sum(name) FROM account",
    "SELECT count(*), name FROM account",
    "SELECT name FROM account ORDER BY 5",
    "SELECT DISTINCT name FROM account ORDER BY id",
    "SELECT id FROM account UNION SELECT name FROM account",
    "SELECT id, id FROM account UNION SELECT id FROM entry",
    "SELECT max(count(*)) FROM account",
    "SELECT a.id FROM account a JOIN entry ON account_id = a.id WHERE account.id = 1",
    "SELECT id FROM account WHERE count(*) > 1",
    "SELEC id FROM account",
    "SELECT id FROM account WHERE name = 'open",
]

_SHAPES: list[Callable[[Draft], Query]] = (
    ([_simple] * 35 + [_one_select] * 35 + [_combined] * 10 + [_with] * 12)
    + [_kept] * 6
    + ([traps.query] * 25 + [_recursive] * 3 + [_without_from] * 2 + [_lookup] * 5 + [_failing])
)
