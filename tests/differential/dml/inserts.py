"""INSERT with VALUES: rows of all kinds, conflicts, RETURNING; many ways to call it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from tests.differential.dml.steps import POOLS, Step, draft, hole_value
from tests.differential.draft import Draft

#: One statement in so many has hundreds of rows.
_MANY = 40
#: How many have a row of another length than the others.
_UNEVEN = 0.02
_HOLE = re.compile(r"\{([a-z ]+)\}")


@dataclass(frozen=True)
class Field:
    """A column of a table.

    Attributes:
        name: Its name.
        pool: Of its values.
        needed: Whether a row without it is an error, or it is the shard key.
        computed: Expressions for it, with holes.
    """

    name: str
    pool: str
    needed: bool = False
    computed: tuple[str, ...] = ()


@dataclass(frozen=True)
class Target:
    """A table as INSERT sees it.

    Attributes:
        fields: Its columns; without those that are always computed.
        overriding: Whether it has an identity column.
        conflicts: What may follow ON CONFLICT.
        returning: What may follow RETURNING, but *.
    """

    table: str
    fields: tuple[Field, ...]
    overriding: bool = False
    conflicts: tuple[str, ...] = ()
    returning: tuple[str, ...] = ()


_WORD = ("upper({word})", "{word} || 'x'", "(SELECT name FROM kind WHERE id = 2)", "'a' || {n}")
_INT = ("{n} + 1", "length({word})", "(SELECT count(*) FROM tag)", "abs(-{n})")
_KEY = ("{new id} + 0", "13 + {n}", "(SELECT max(id) FROM kind) + 30", "nextval('free')")

TARGETS = (
    Target(
        "account",
        (
            Field("id", "new id", True, (*_KEY, "{new id}::bigint", "'{n}7'::int", "14.0", "NULL")),
            Field("name", "word", computed=_WORD),
            Field("kind", "kind", computed=("(SELECT min(id) FROM kind)",)),
            Field("balance", "amount", computed=("{n} * 2.5", "(random() * 0)::int", "-500")),
            Field("at", "null", computed=("now()", "CURRENT_TIMESTAMP", "'now'", "'2020-03-03'")),
        ),
        conflicts=(
            "DO NOTHING",
            "(id) DO NOTHING",
            "(id) DO UPDATE SET name = excluded.name",
            "(id) DO UPDATE SET name = excluded.name || {word}, balance = account.balance + 1",
            "(id) DO UPDATE SET balance = {n} WHERE account.balance > 10",
            "(id) DO UPDATE SET id = excluded.id, kind = {kind}",
            "(id) DO UPDATE SET (name, balance) = (excluded.name, DEFAULT)",
            "ON CONSTRAINT account_pkey DO UPDATE SET at = now()",
        ),
        returning=(
            "id",
            "id, name, twice",
            "id + 1, name || '%'",
            'balance AS "B", kind',
            "at",
            "id, xmax = 0",
        ),
    ),
    Target(
        "entry",
        (
            Field("account_id", "id", True, ("{id} + 0",)),
            Field("no", "no", True, (*_INT, "(SELECT max(rank) FROM kind) + 60")),
            Field("note", "short", computed=("lower('N')", "'far too long a note'")),
            Field("qty", "n", computed=_INT),
            Field("open", "bool"),
        ),
        conflicts=(
            "DO NOTHING",
            "(account_id, no) DO UPDATE SET qty = entry.qty + excluded.qty",
            "(account_id, note) WHERE open DO UPDATE SET qty = excluded.qty + 100",
            "(account_id, no) DO UPDATE SET note = excluded.note, open = false RETURNING no, note",
        ),
        returning=("no", "account_id, qty * 2", "open, note"),
    ),
    Target(
        "ticket",
        (
            Field("id", "new id", computed=_KEY),
            Field("title", "word", computed=_WORD),
            Field("kind", "kind"),
            Field("state", "mood"),
            Field("made", "null", computed=("now()", "clock_timestamp()")),
        ),
        conflicts=("DO NOTHING", "(id) DO UPDATE SET title = excluded.title"),
        returning=("id", "id, title", "state, id * 2"),
    ),
    Target(
        "event",
        (
            Field("id", "new id", computed=("{n} + 50",)),
            Field("what", "word", computed=_WORD),
            Field("n", "n", computed=_INT),
        ),
        True,
        ("DO NOTHING", "(id) DO UPDATE SET n = excluded.n + 1"),
        ("id", "id, what, n"),
    ),
    Target(
        "part",
        (
            Field("code", "code", True, ("lower('C1')", "'c' || {n}", "'c1'::char(4)")),
            Field("no", "no", computed=("{n} + 500",)),
            Field("owner", "null"),
        ),
        True,
        ("DO NOTHING", "(code, no) DO UPDATE SET owner = NULL"),
        ("no", "code, no", "u"),
    ),
    Target(
        "device",
        (
            Field("serial", "new serial", True, ("'n' || {n}", "upper({new serial})", "5")),
            Field("label", "word", computed=_WORD),
            Field("tags", "tags", computed=("ARRAY['a', {word}]", "'{{a,b}}'")),
            Field("doc", "doc"),
        ),
        conflicts=("DO NOTHING", "(serial) DO UPDATE SET label = excluded.label, tags = '{{}}'"),
        returning=("serial", "label, tags", "doc"),
    ),
    Target(
        "shift",
        (
            Field("day", "day", True, ("date '2020-01-01' + {n}", "'2020-01-0' || {n}")),
            Field("no", "no", True),
            Field("worker", "n"),
            Field("hours", "amount"),
            Field("made", "day"),
        ),
        conflicts=("DO NOTHING", "(day, no) DO UPDATE SET hours = shift.hours + excluded.hours"),
        returning=("day, no", "made", "hours * 2"),
    ),
    Target(
        "log",
        (
            Field("k", "n", computed=("NULL", "{n}::bigint", "{n} - 10")),
            Field("line", "word", computed=_WORD),
            Field("at", "moment"),
            Field("seq", "no"),
        ),
        returning=("seq", "k, line", "at, seq"),
    ),
    Target(
        "parted",
        (
            Field("k", "id", True, ("{n} + 1",)),
            Field("v", "n", True, ("{n} * 3", "NULL")),
            Field("t", "word", computed=_WORD),
            Field("n", "no"),
        ),
        conflicts=("DO NOTHING", "(k, v) DO UPDATE SET t = excluded.t"),
        returning=("k, v", "n", "t"),
    ),
    Target(
        "kind",
        (
            Field("id", "new kind", True, ("(SELECT max(id) FROM kind) + 1", "{n} + 20")),
            Field("name", "word", computed=("'k' || {n}", "upper('k'::text)", "'kind 3'")),
            Field("rank", "n", computed=(*_INT, "500", "(random() * 0)::int")),
            Field("at", "null", computed=("now()", "clock_timestamp()")),
        ),
        conflicts=(
            "DO NOTHING",
            "(id) DO UPDATE SET rank = excluded.rank + 1",
            "(name) DO UPDATE SET rank = kind.rank + excluded.rank",
            "(id) DO UPDATE SET at = now(), u = gen_random_uuid()",
        ),
        returning=("id, name", "rank", "u, at", "rank, xmax <> 0 AS old"),
    ),
    Target(
        "tag",
        (
            Field("id", "no", computed=("{n} + 90",)),
            Field("word", "word", computed=_WORD),
            Field("kind", "kind"),
        ),
        conflicts=("DO NOTHING", "(id) DO UPDATE SET word = excluded.word || 'y'"),
        returning=("id", "id, word, size", "f"),
    ),
)


def insert(pick: Random, tables: Sequence[str]) -> Step:
    """A random one, into one of some tables."""
    target = pick.choice([each for each in TARGETS if each.table in tables])
    roll = pick.random()
    if roll < 0.12:
        return _many(pick, target)
    made = draft(pick)
    head = f"INSERT INTO {target.table}"
    tail, returns = _tail(made, target)
    if roll < 0.15:
        text = f"{head} DEFAULT VALUES {tail}"
        count = 1
    else:
        chosen = _columns(pick, target)
        count = pick.choice([1, 1, 1, 2, 2, 3, 4, 6])
        if pick.random() < 1 / _MANY:
            count, made.style = 300, None
        every = [_row(made, chosen) for _ in range(count)]
        if pick.random() < _UNEVEN:
            every.append(_row(made, chosen[:-1] or [*chosen, *chosen]))
        rows = ", ".join(every)
        overriding = ""
        if target.overriding and pick.random() < 0.4:
            overriding = f" OVERRIDING {pick.choice(['SYSTEM', 'USER'])} VALUE"
        names = f" ({', '.join(field.name for field in chosen)})"
        text = f"{head}{names}{overriding} VALUES {rows} {tail}"
    statement = made.finished(text.strip(), "bag")
    what = f"INSERT VALUES, {'one row' if count == 1 else 'several'}"
    ordered = returns and "ON CONFLICT" not in text
    return Step(what, statement.text, statement.args, ordered=ordered)


def _columns(pick: Random, target: Target) -> list[Field]:
    chosen = [field for field in target.fields if pick.random() < (0.97 if field.needed else 0.45)]
    if pick.random() < 0.3:
        pick.shuffle(chosen)
    return chosen or list(target.fields[:1])


def _row(made: Draft, chosen: Sequence[Field]) -> str:
    return f"({', '.join(_cell(made, field) for field in chosen)})"


def _cell(made: Draft, field: Field) -> str:
    roll = made.pick.random()
    if roll < 0.08:
        return "DEFAULT"
    if roll < 0.2 and field.computed:
        return _filled(made, made.pick.choice(field.computed))
    if roll < 0.21:
        return "NULL"
    return hole_value(made, field.pool)


def _filled(made: Draft, text: str) -> str:
    """A text with values in its holes; within a literal only their text. ``{{`` is a brace."""

    def value(hole: re.Match[str]) -> str:
        if text[: hole.start()].count("'") % 2:
            return str(made.pick.choice(POOLS[hole[1]]))
        return hole_value(made, hole[1])

    return _HOLE.sub(value, text).replace("{{", "{").replace("}}", "}")


def _tail(made: Draft, target: Target) -> tuple[str, bool]:
    """ON CONFLICT and RETURNING, and whether there are rows."""
    tail = ""
    if target.conflicts and made.chance(0.3):
        tail = f"ON CONFLICT {_filled(made, made.pick.choice(target.conflicts))}"
    if "RETURNING" not in tail and made.chance(0.5):
        tail = f"{tail} RETURNING {made.pick.choice(['*', *target.returning])}"
    return tail.strip(), "RETURNING" in tail


def _many(pick: Random, target: Target) -> Step:
    """executemany, execute_batch or execute_values of rows that are alike."""
    chosen = _columns(pick, target)
    names = ", ".join(field.name for field in chosen)
    rows = [
        tuple(pick.choice(POOLS[field.pool]) for field in chosen)
        for _ in range(pick.choice([1, 2, 3, 5, 5, 40]))
    ]
    tail, returns = _tail(Draft(pick, lambda *_: None), target)
    tail = tail.replace("%", "%%")
    call = pick.choice(["executemany", "execute_batch", "execute_values", "execute_values"])
    if call == "execute_values":
        template = None
        if pick.random() < 0.3:
            template = f"({', '.join(pick.choice(['%s', '%s', 'DEFAULT']) for _ in chosen)})"
            rows = [row[: template.count("%s")] for row in rows]
            if "%s" not in template:
                template = None
                rows = [tuple(None for _ in chosen)]
        text = f"INSERT INTO {target.table} ({names}) VALUES %s {tail}".strip()
        ordered = "ON CONFLICT" not in tail
        return Step(call, text, rows, call, ordered=ordered, template=template, fetch=returns)
    if pick.random() < 0.4:
        fields = [field.name for field in chosen]
        text = f"({', '.join(f'%({name})s' for name in fields)})"
        sets = [dict(zip(fields, row, strict=True)) for row in rows]
        return Step(call, f"INSERT INTO {target.table} ({names}) VALUES {text} {tail}", sets, call)
    text = f"({', '.join('%s' for _ in chosen)})"
    return Step(call, f"INSERT INTO {target.table} ({names}) VALUES {text} {tail}", rows, call)
