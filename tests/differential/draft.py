"""A statement while it is made: its randomness, its parameters and the names it has used."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from random import Random
from typing import Any

from tests.differential import values
from tests.differential.schema import TYPES, Table

#: Stands for a parameter until the statement's text is complete and their order is known.
_MARKER = re.compile("\x00(\\d+)\x00")

#: Python values of these kinds make literals of the right type by themselves.
_NATURAL = frozenset({"int", "text", "fix", "num", "bool"})


@dataclass(frozen=True)
class Column:
    """A column that an expression may use.

    Attributes:
        name: Its name, or the text of a whole expression if it has no name.
        kind: Which operators fit it; see `schema`.
        qualifier: The alias of its relation; None if its name stands alone.
        family: Columns of one family are joined with each other.
        tainted: Its look is not determined, only its value: one of 1.0 and 1.00.
    """

    name: str
    kind: str
    qualifier: str | None = None
    family: str = ""
    tainted: bool = False

    @property
    def ref(self) -> str:
        return f"{self.qualifier}.{self.name}" if self.qualifier else self.name


@dataclass(frozen=True)
class Statement:
    """A statement with a determined answer.

    Attributes:
        text: SQL, with psycopg2's placeholders.
        args: Its parameters.
        order: "total" if the rows come in one order only; "bag" if in any; else the positions of
            the columns whose values come in one order.
        by_value: Whether values that are equal may look different: 1.0 and 1.00.
        risky: Whether it is meant to fail; then a value may be looked at or not, as plans go.
        refused: Whether it asks what only a single shard can answer.
        features: What it is made of.
    """

    text: str
    args: tuple[object, ...] | dict[str, object] | None = None
    order: str | tuple[int, ...] = "bag"
    by_value: bool = False
    risky: bool = False
    refused: bool = False
    features: frozenset[str] = frozenset()


@dataclass
class Draft:
    """What the parts of one statement share.

    Attributes:
        pick: Where randomness comes from.
        derived: Makes a subquery in FROM, which may use some columns of others (LATERAL).
        style: How parameters are passed: "format", "pyformat", or None for literals only.
        budget: How many more subqueries there may be.
        by_value, risky, refused, features: As of `Statement`.
        aliases: Names of relations that are taken.
        ctes: What WITH has defined.
    """

    pick: Random
    derived: Callable[[Draft, Sequence[Column]], Any]
    style: str | None = None
    budget: int = 2
    by_value: bool = False
    risky: bool = False
    refused: bool = False
    features: set[str] = field(default_factory=set)
    aliases: set[str] = field(default_factory=set)
    ctes: list[Table] = field(default_factory=list)
    parameters: list[object] = field(default_factory=list)

    def chance(self, share: float) -> bool:
        return self.pick.random() < share

    def note(self, feature: str) -> None:
        self.features.add(feature)

    def spend(self) -> bool:
        """Whether another subquery may be made."""
        self.budget -= 1
        return self.budget >= 0

    @contextmanager
    def without_subqueries(self) -> Iterator[None]:
        """Make no subqueries in the block."""
        budget, self.budget = self.budget, 0
        yield
        self.budget = budget

    @contextmanager
    def own_names(self) -> Iterator[None]:
        """Let a query that sees no other take the names of those around it again."""
        aliases, self.aliases = self.aliases, set()
        yield
        self.aliases = aliases

    def alias(self, wanted: tuple[str, ...] = ()) -> str:
        """A name that no relation of the statement has: one of those wanted, or a new one."""
        free = [name for name in wanted if name not in self.aliases]
        name = self.pick.choice(free) if free else f"{self.pick.choice('abcdt')}{len(self.aliases)}"
        while name in self.aliases:
            name += "x"
        self.aliases.add(name)
        return name

    def constant(self, kind: str, bare: bool = False) -> str:
        """A constant of a kind: a literal or a parameter; without a cast only if `bare`."""
        value = values.constant(self.pick, kind)
        if self.chance(0.03):
            value, bare = None, False
        text = self.value(value, kind)
        if bare and kind not in {"jsonb", "grid", "iarr", "tarr"} and self.chance(0.7):
            return text
        if kind in _NATURAL and not _is_nan(value) and value is not None and self.chance(0.3):
            return text if kind != "text" else f"{text}::text"
        if self.chance(0.2):
            return f"CAST({text} AS {TYPES[kind]})"
        return f"{text}::{TYPES[kind]}"

    def value(self, value: object, kind: str) -> str:
        """A value as a literal, or as a parameter if the statement has any."""
        if self.style and self.chance(0.5):
            return self.parameter(_python(value, kind))
        text = values.literal(value)
        return f"({text})" if text.startswith("-") else text

    def parameter(self, value: object) -> str:
        self.note(f"parameter {type(value).__name__}")
        self.parameters.append(value)
        return f"\x00{len(self.parameters) - 1}\x00"

    def several(self, kind: str) -> str:
        """What stands at the right of IN: constants, or a tuple as a parameter."""
        some = [values.constant(self.pick, kind) for _ in range(self.pick.randint(1, 4))]
        if self.style and self.chance(0.5):
            return self.parameter(tuple(_python(value, kind) for value in some))
        return f"({', '.join(self.value(value, kind) for value in some)})"

    def finished(self, text: str, order: str | tuple[int, ...]) -> Statement:
        """The statement; parameters get their places."""
        text, args = self._with_parameters(text)
        features = frozenset(sorted(self.features))
        return Statement(text, args, order, self.by_value, self.risky, self.refused, features)

    def _with_parameters(
        self, text: str
    ) -> tuple[str, tuple[object, ...] | dict[str, object] | None]:
        if not _MARKER.search(text):
            return text, None
        text = text.replace("%", "%%")
        if self.style == "pyformat":
            used = {int(number) for number in _MARKER.findall(text)}
            named = {f"p{number}": self.parameters[number] for number in sorted(used)}
            return _MARKER.sub(r"%(p\1)s", text), named
        order = [int(number) for number in _MARKER.findall(text)]
        return _MARKER.sub("%s", text), tuple(self.parameters[number] for number in order)


def _python(value: object, kind: str) -> object:
    """The value as a program would pass it."""
    if kind == "uuid" and value is not None:
        return uuid.UUID(str(value))
    return float("nan") if _is_nan(value) else value


def _is_nan(value: object) -> bool:
    return isinstance(value, Decimal) and value.is_nan()
