"""Random FROM clauses: tables, views, joins of each kind, functions, VALUES."""

from __future__ import annotations

from dataclasses import dataclass, replace

from tests.differential import schema, values
from tests.differential.draft import Column, Draft
from tests.differential.expressions import COMPARED, expression, usable
from tests.differential.schema import Table

#: No more rows than about this many come out of a join.
ROWS_LIMIT = 3000

#: Aliases that are also names of tables and columns, or need quotes.
_CONFUSING = ("entry", "account", "region", "id", "name", "amount", '"From"', '"a.b"', "device")


@dataclass(frozen=True)
class Relation:
    """What stands in FROM.

    Attributes:
        text: Its SQL.
        columns: What it gives, in the order of ``*``.
        key: Columns that together tell its rows apart; None if there are none.
        rows: About how many rows it has.
        bases: Qualifier and table of each table with a primary key in it.
        merged: Whether it has columns without a qualifier.
        where: Conditions that belong into WHERE: those of comma joins. Where there is a comma, a
            later join's ON cannot see what is before it.
    """

    text: str
    columns: tuple[Column, ...]
    key: tuple[Column, ...] | None
    rows: int
    bases: tuple[tuple[str, Table], ...] = ()
    merged: bool = False
    where: tuple[str, ...] | None = None


_WEIGHTED = (
    [schema.ACCOUNT] * 6 + [schema.ENTRY] * 6 + [schema.VISIT] * 3 + [schema.DEVICE] * 2
) + [schema.REGION, schema.REGION, *schema.TABLES[5:], *schema.VIEWS]


def relation(draft: Draft, joins: int) -> Relation:
    """A random relation with up to so many joins."""
    made = item(draft)
    for _ in range(joins):
        made = joined(draft, made)
    return made


def item(draft: Draft) -> Relation:
    """A table, a view, a CTE, a subquery, VALUES, or a function."""
    if draft.ctes and draft.chance(0.6):
        return named(draft, draft.pick.choice(draft.ctes))
    roll = draft.pick.random()
    if roll < 0.12 and draft.spend():
        draft.note("subquery in FROM")
        return draft.derived(draft, ())
    if roll < 0.15:
        return draft.pick.choice([listed, series])(draft)
    return named(draft, draft.pick.choice(_WEIGHTED))


def named(draft: Draft, table: Table) -> Relation:
    """A table under its own name or an alias."""
    own = table.name.rpartition(".")[2]
    if own not in draft.aliases and draft.chance(0.4):
        draft.aliases.add(own)
        return _of_table(table, own, _qualified(draft, table))
    alias = draft.alias(_CONFUSING if draft.chance(0.15) else ())
    word = draft.pick.choice(["", "AS "])
    if draft.chance(0.07):
        return _renamed(draft, table, alias)
    return _of_table(table, alias, f"{_qualified(draft, table)} {word}{alias}")


def _renamed(draft: Draft, table: Table, alias: str) -> Relation:
    """A table whose columns have each other's names."""
    draft.note("list of aliases")
    names = [field.name for field in table.fields]
    names = [*names[1:], names[0]]
    made = _of_table(table, alias, f"{_qualified(draft, table)} AS {alias} ({', '.join(names)})")
    columns = tuple(
        replace(column, name=name) for column, name in zip(made.columns, names, strict=True)
    )
    renamed = dict(zip(made.columns, columns, strict=True))
    key = made.key and tuple(renamed[column] for column in made.key)
    return replace(made, columns=columns, key=key, bases=())


def _qualified(draft: Draft, table: Table) -> str:
    if "." in table.name or table in draft.ctes:
        return table.name
    hidden = table.name in {cte.name for cte in draft.ctes}
    return f"public.{table.name}" if hidden or draft.chance(0.08) else table.name


def _of_table(table: Table, alias: str, text: str) -> Relation:
    columns = tuple(Column(f.name, f.kind, alias, f.family, f.tainted) for f in table.fields)
    key = tuple(column for column in columns if column.name in table.key)
    bases = ((alias, table),) if table in schema.TABLES and table.key else ()
    return Relation(text, columns, key or None, table.rows or 30, bases)


def listed(draft: Draft) -> Relation:
    """A VALUES list with accounts or regions, and a text."""
    draft.note("VALUES")
    alias = draft.alias()
    family, kind, pool = draft.pick.choice(
        [("account", "big", values.ACCOUNTS), ("region", "int", values.REGIONS)]
    )
    some = draft.pick.sample(pool, draft.pick.randint(1, 4))
    rows = [f"({draft.value(value, kind)}, {draft.constant('text')})" for value in some]
    columns = (Column("k", kind, alias, family), Column("word", "text", alias))
    return Relation(
        f"(VALUES {', '.join(rows)}) AS {alias} (k, word)", columns, columns[:1], len(some)
    )


def series(draft: Draft) -> Relation:
    draft.note("generate_series")
    alias = draft.alias()
    column = Column("n", "int", alias, "region")
    return Relation(
        f"generate_series(1, {draft.pick.randint(1, 6)}) {alias} (n)", (column,), (column,), 5
    )


def joined(draft: Draft, left: Relation) -> Relation:
    """The relation, joined with another one."""
    if draft.chance(0.06):
        return _unnested(draft, left)
    if draft.chance(0.06) and draft.spend():
        return _lateral(draft, left)
    right = item(draft)
    merged = {column.name for column in left.columns if column.qualifier is None}
    if any(column.name in merged for column in right.columns):
        return left
    if left.where is not None or draft.chance(0.12):
        return _comma(draft, left, right)
    if draft.chance(0.12):
        merged = _merging(draft, left, right)
        if merged:
            return merged
    return conditional(draft, left, right)


def conditional(draft: Draft, left: Relation, right: Relation) -> Relation:
    """A join of any kind with a condition, or without where both sides are small."""
    kind = draft.pick.choice(
        [
            *["JOIN", "JOIN", "JOIN", "INNER JOIN", "LEFT JOIN", "LEFT JOIN", "LEFT OUTER JOIN"],
            *["RIGHT JOIN", "FULL JOIN", "CROSS JOIN"],
        ]
    )
    if kind == "CROSS JOIN" and left.rows * right.rows > ROWS_LIMIT // 2:
        kind = "JOIN"
    draft.note(kind)
    if kind == "CROSS JOIN":
        return _combined(f"{left.text} {kind} {right.text}", left, right)
    condition, rows = _condition(draft, left, right, kind.startswith("FULL"))
    text = f"{left.text} {kind} {right.text} ON {condition}"
    return _combined(f"({text})" if draft.chance(0.1) else text, left, right, rows)


def _comma(draft: Draft, left: Relation, right: Relation) -> Relation:
    """A comma; the condition, if the sides are not small, goes into WHERE."""
    draft.note("comma join")
    conditions, rows = list(left.where or ()), left.rows * right.rows
    if rows > ROWS_LIMIT // 3 or draft.chance(0.7):
        conditions.append(_equality(draft, left, right))
        rows = left.rows + right.rows
    made = _combined(f"{left.text}, {right.text}", left, right, rows)
    return replace(made, where=tuple(conditions))


def _combined(text: str, left: Relation, right: Relation, rows: int = 0) -> Relation:
    key = (*left.key, *right.key) if left.key and right.key else None
    return Relation(
        text,
        (*left.columns, *right.columns),
        key,
        rows or left.rows * right.rows,
        (*left.bases, *right.bases),
        left.merged or right.merged,
        left.where,
    )


def _condition(draft: Draft, left: Relation, right: Relation, full: bool) -> tuple[str, int]:
    """The condition of a join, and how many rows there are then."""
    texts, rows = [_equality(draft, left, right)], left.rows + right.rows
    scope = (*left.columns, *right.columns)
    if not full and draft.chance(0.15) and left.rows * right.rows <= ROWS_LIMIT:
        draft.note("join without equality")
        texts, rows = [expression(draft, scope, "bool")], left.rows * right.rows // 2
    elif not full and draft.chance(0.2):
        texts.append(expression(draft, scope, "bool"))
    return " AND ".join(texts), rows


def _equality(draft: Draft, left: Relation, right: Relation) -> str:
    """An equality of two columns: of one family if there are such, mostly."""
    ours, theirs = usable(left.columns), usable(right.columns)
    pairs = [(a, b) for a in ours for b in theirs if a.family and a.family == b.family]
    if not pairs or draft.chance(0.1):
        same = [(a, b) for a in ours for b in theirs if a.kind == b.kind and a.kind in COMPARED]
        pairs = same or pairs
    if not pairs:
        return "TRUE"
    a, b = draft.pick.choice(_preferred(draft, pairs))
    if draft.chance(0.3):
        a, b = b, a
    return f"{a.ref} = {b.ref}"


def _preferred(draft: Draft, pairs: list[tuple[Column, Column]]) -> list[tuple[Column, Column]]:
    """Mostly the shard keys, where both sides have one."""
    keys = [pair for pair in pairs if all(c.name in {"id", "account_id"} for c in pair)]
    return keys if keys and draft.chance(0.75) else pairs


def _merging(draft: Draft, left: Relation, right: Relation) -> Relation | None:
    """A join USING, or NATURAL, if the sides have columns for it."""
    common = _common(left, right)
    names = [name for name, (a, b) in common.items() if a.kind == b.kind and not a.tainted]
    names = [name for name in names if not common[name][1].tainted]
    kind = draft.pick.choice(["JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN"])
    if not names or left.merged or right.merged:
        return None
    if len(names) == len(common) and len(names) <= 2 and draft.chance(0.5):
        draft.note("NATURAL")
        text = f"{left.text} NATURAL {kind} {right.text}"
    else:
        names = draft.pick.sample(names, 1)
        draft.note("USING")
        text = f"{left.text} {kind} {right.text} USING ({', '.join(names)})"
    made = _combined(text, left, right, left.rows + right.rows)
    once = tuple(Column(name, common[name][0].kind, None) for name in names)
    rest = tuple(c for c in made.columns if c.name not in names)
    return replace(made, columns=(*once, *rest), merged=True)


def _common(left: Relation, right: Relation) -> dict[str, tuple[Column, Column]]:
    """The names that both sides have once each, and their columns."""
    names = [c.name for c in left.columns], [c.name for c in right.columns]
    ours = {c.name: c for c in left.columns}
    theirs = {c.name: c for c in right.columns}
    if any(names[0].count(name) > 1 for name in theirs):
        return {}
    return {name: (ours[name], theirs[name]) for name in ours if name in theirs}


def _unnested(draft: Draft, left: Relation) -> Relation:
    """The relation, once for each element of an array of it."""
    arrays = usable(left.columns, "iarr") + usable(left.columns, "tarr")
    if not arrays:
        return left
    draft.note("unnest")
    source = draft.pick.choice(arrays)
    alias = draft.alias()
    kind = {"iarr": "int", "tarr": "text"}[source.kind]
    element, place = Column("element", kind, alias), Column("place", "big", alias)
    left, join = _lateral_join(draft, left)
    if draft.chance(0.5):
        text = join.format(f"unnest({source.ref}) WITH ORDINALITY {alias} (element, place)")
        key = (*left.key, place) if left.key else None
        columns: tuple[Column, ...] = (element, place)
    else:
        text, key = join.format(f"LATERAL unnest({source.ref}) AS {alias} (element)"), None
        columns = (element,)
    right = Relation("", columns, None, 2)
    return replace(_combined(left.text + text, left, right), key=key)


def _lateral(draft: Draft, left: Relation) -> Relation:
    draft.note("LATERAL")
    right = draft.derived(draft, left.columns)
    if left.merged:
        return left
    right = replace(right, rows=min(right.rows, max(1, ROWS_LIMIT // max(left.rows, 1))))
    left, join = _lateral_join(draft, left)
    return _combined(left.text + join.format(f"LATERAL {right.text}"), left, right)


def _lateral_join(draft: Draft, left: Relation) -> tuple[Relation, str]:
    """How something that depends on each row of the relation is joined to it."""
    if left.where is not None or draft.chance(0.3):
        return replace(left, where=left.where or ()), ", {}"
    return left, draft.pick.choice([" CROSS JOIN {}", " LEFT JOIN {} ON TRUE"])
