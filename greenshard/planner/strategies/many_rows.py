"""Goal: let the plan of an INSERT of a few rows serve for thousands that are like them.

    INSERT INTO ticket (title) VALUES ('a'), ('b'), ('c'), ('d')
    planned is      INSERT INTO ticket (title) VALUES (''), ('')
    as rows         ('', %(c0)s)    ('', %(c1)s)    with a column more, computed for each row
    becomes         ('a', %(c0)s)   ('b', %(c1)s)   ('c', %(c2)s)   ('d', %(c3)s)

The first two rows of that plan show what is put behind the values of each row, and how the numbers
of computed values go on. The shard keys are read from the rows themselves.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from greenshard.planner.analysis.restriction import Restrictions
from greenshard.planner.binding.scope import BoundColumn
from greenshard.planner.calls import Functions
from greenshard.planner.plan import Broadcast, Constant, Insert, Keys, Routed, Step
from greenshard.planner.strategies.completing import repeated
from greenshard.sql.nodes import select
from greenshard.sql.parser import TokenKind, scan
from greenshard.sql.placeholders import Translation
from greenshard.sql.plain_rows import PlainRows
from greenshard.sql.text import Computed, Source, Sql

_INTEGER = re.compile(r"[+-]?[0-9]+", re.ASCII)
_PLAIN = re.compile(r"'((?:[^'\\]|'')*)'")
_OPENING = frozenset({TokenKind.OPENING_PARENTHESIS, TokenKind.OPENING_BRACKET})
_CLOSING = frozenset({TokenKind.CLOSING_PARENTHESIS, TokenKind.CLOSING_BRACKET})
_COMPUTED = re.compile(r"\(%\(c([0-9]+)\)s\)")


class _Unlike(Exception):
    """The plan of the few rows does not tell that of the many."""


def fill(step: Step, found: PlainRows, text: str, functions: Functions) -> Step | None:
    """The step for all rows; None if it is not known from that for a few.

    Args:
        step: The step of the skeleton.
        found: The rows.
        text: The whole statement.
        functions: To know which types are PostgreSQL's.

    Cost: 3 us for a row.
    """
    try:
        if isinstance(step, Broadcast) and step.sql.binds is None:
            return replace(step, sql=Sql(text))
        if isinstance(step, Insert):
            return _filled(step, found, functions)
        if isinstance(step, Routed) and isinstance(step.otherwise, Insert):
            several = _filled(step.otherwise, found, functions)
            if several.keys is not None:
                return Routed(Sql(text), (several.keys.pin,), several)
    except _Unlike:
        pass
    return None


def _filled(step: Insert, found: PlainRows, functions: Functions) -> Insert:
    few, count = step.parts.rows, len(found.rows)
    first, second = (list(_values(row.text)) for row in few[:2])
    # A value that is not as it was: a key that a server must compute.
    if any("%(" in value for value in (*first[: found.width], *second[: found.width])):
        raise _Unlike
    binds = dict(few[0].binds or ())
    added = [
        _Added.of(one, other, binds)
        for one, other in zip(first[found.width :], second[found.width :], strict=True)
    ]
    if added:
        rows = tuple(_row(number, row, added) for number, row in enumerate(found.rows))
    else:
        rows = tuple(Sql(f"({row.replace('%', '%%')})", ()) for row in found.rows)
    computing = tuple(repeated(sql, len(few), count) for sql in step.computing)
    if None in computing:
        raise _Unlike
    keys = None if step.keys is None else _keys(step.keys, found, added, functions)
    parts = replace(step.parts, rows=rows)
    return replace(step, parts=parts, computing=tuple(filter(None, computing)), keys=keys)


@dataclass(frozen=True, slots=True)
class _Added:
    """What is put behind the values of each row.

    Attributes:
        text: The same text for all; None if it is a computed value.
        binds: Those of the text.
        first: The number of the first row's computed value.
        step: What is added for each row.
    """

    text: str | None
    binds: tuple[tuple[str, Source], ...] = ()
    first: int = 0
    step: int = 0

    @classmethod
    def of(cls, one: str, other: str, binds: Mapping[str, Source]) -> _Added:
        """Of what the first row has, and the second."""
        if one == other:
            return cls(one, tuple((k, v) for k, v in binds.items() if f"%({k})s" in one))
        numbers = [_COMPUTED.fullmatch(each) for each in (one, other)]
        if None in numbers:
            raise _Unlike
        first, second = (int(number[1]) for number in numbers if number)
        return cls(None, (), first, second - first)

    def of_row(self, number: int) -> Computed:
        """The computed value of a row."""
        return Computed(self.first + number * self.step)


def _values(row: str) -> Iterator[str]:
    """The values of a row, with psycopg2's placeholders."""
    text = row[1:-1]
    # A placeholder has brackets, and no comma: to the scanner it is one more expression.
    source, depth, start = text.encode(), 0, 0
    for token in scan(text):
        if token.kind in _OPENING:
            depth += 1
        elif token.kind in _CLOSING:
            depth -= 1
        elif token.kind == TokenKind.COMMA and not depth:
            yield source[start : token.start].decode().strip()
            start = token.end
    yield source[start:].decode().strip()


def _row(number: int, row: str, added: Sequence[_Added]) -> Sql:
    values, binds = [row.replace("%", "%%")], list[tuple[str, Source]]()
    for each in added:
        if each.text is not None:
            values.append(each.text)
            binds += each.binds
        else:
            computed = each.of_row(number)
            values.append(f"(%(c{computed.number})s)")
            binds.append((f"c{computed.number}", computed))
    return Sql(f"({', '.join(values)})", tuple(binds))


def _keys(keys: Keys, found: PlainRows, added: Sequence[_Added], functions: Functions) -> Keys:
    if keys.at >= found.width:
        one, every = added[keys.at - found.width], range(len(found.rows))
        if one.text is None:
            return replace(keys, values=tuple(map(one.of_row, every)))
        null = keys.pin.values[:1] * len(every)
        return replace(keys, pin=replace(keys.pin, values=null), values=null)
    cells = found.column(keys.at)
    values = list(map(_constant, cells))
    if any(value is None for value in values):  # `in` would compare each with it
        column = BoundColumn(keys.column.name, (0, 0), keys.column)
        read = Restrictions(functions, Translation("")).value
        targets = select(f"SELECT {', '.join(cells)}").target_list
        known = [read(target.res_target.val, column) for target in targets]
        values = [value if isinstance(value, Constant) else None for value in known]
    placed = tuple(value for value in values if value is not None)
    if len(placed) != len(found.rows):
        raise _Unlike
    return replace(keys, pin=replace(keys.pin, values=placed), values=placed)


def _constant(cell: str) -> Constant | None:
    """What an integer or a text says; None of another value, which the parser reads."""
    if _INTEGER.fullmatch(cell):
        return Constant(int(cell))
    plain = _PLAIN.fullmatch(cell)
    return None if plain is None else Constant(plain[1].replace("''", "'"))
