"""Random statements of the kinds that a planner gets wrong in silence, from texts in `traps.sql`.

The grammar of `queries` and `expressions` meets these kinds too seldom. A text has these holes::

    <<x|y>>      one of these words; <<n:x|y>> notes which, and @n is the same word again
    {a?}         a condition on the table with the alias `a`, see `_ALIASES`; often just TRUE
    {c:int}      a constant of a kind
    {key:a}      a value of the shard key of that table, {array:a} an array of some; of texts
                 {padded:d} an array of some with blanks at their ends
    {choice}     a subquery with one row at most, which each server may choose for itself
    {total}      nothing; at the end it says that the rows come in one order only
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random

from tests.differential import schema, values
from tests.differential.draft import Column, Draft
from tests.differential.expressions import expression
from tests.differential.ordering import Query

_FILE = Path(__file__).parent / "traps.sql"
_CHOICE = "choice"
_TOTAL = "{total}"
_ALIASES = {
    "a": schema.ACCOUNT,
    "b": schema.BADGE,
    "e": schema.ENTRY,
    "m": schema.ALARM,
    "s": schema.SHIFT,
    "v": schema.VISIT,
}
_KEYS: dict[str, Sequence[object]] = {
    "a": values.ACCOUNTS[:8],
    "d": values.DEVICES,
    "m": values.MOMENTS,
    "s": values.DAYS,
}
_WORDS = re.compile(r"<<(?:(\w+):)?(.*?)>>", re.DOTALL)
_AGAIN = re.compile(r"@(\w+)")
_HOLE = re.compile(r"\{(choice|\w\?|\w+:\w+)\}")


@dataclass(frozen=True)
class Trap:
    """Texts of one kind.

    Attributes:
        name: What is done there, that a plan may do wrongly.
        texts: The texts.
        by_value, refused: As of `draft.Statement`.
    """

    name: str
    texts: tuple[str, ...]
    by_value: bool = False
    refused: bool = False

    @property
    def weight(self) -> int:
        """How often it is to be met: by its texts, of which some stand for many."""
        return sum(5 if "{choice}" in text else 1 for text in self.texts)


@cache
def traps() -> dict[str, Trap]:
    """All kinds, by name."""
    blocks = _FILE.read_text(encoding="utf-8").split("\n\n")
    made = [_trap(block) for block in blocks if block.startswith("-- = ")]
    return {trap.name: trap for trap in made}


def _trap(block: str) -> Trap:
    title, *lines = block.strip().splitlines()
    notes = {line for line in lines if line.startswith("-- ")}
    texts = "\n".join(line for line in lines if line not in notes).removesuffix(";").split(";\n")
    name = title.removeprefix("-- = ")
    return Trap(name, tuple(texts), "-- by value" in notes, "-- refused" in notes)


def query(draft: Draft) -> Query:
    """A statement of one of these kinds, whole."""
    kinds = [trap for name, trap in traps().items() if name != _CHOICE]
    (trap,) = draft.pick.choices(kinds, [trap.weight for trap in kinds])
    draft.note(f"trap: {trap.name}")
    draft.by_value |= trap.by_value
    draft.refused = trap.refused
    return filled(draft, draft.pick.choice(trap.texts))


def filled(draft: Draft, text: str) -> Query:
    """A text with its holes filled."""
    order = "total" if text.endswith(_TOTAL) else "bag"
    with draft.without_subqueries():
        return Query(_filled(draft, text.removesuffix(_TOTAL).strip()), (), (), order=order)


def _filled(draft: Draft, text: str) -> str:
    text = with_words(draft.pick, text)
    return _HOLE.sub(lambda hole: _hole(draft, *hole[1].partition(":")[::2]), text)


def with_words(pick: Random, text: str) -> str:
    """A text with one word chosen wherever it gives several."""
    noted: dict[str, str] = {}

    def word(hole: re.Match[str]) -> str:
        name, words = hole.groups()
        chosen = pick.choice(words.split("|"))
        if name:
            noted[name] = chosen
        return chosen

    text = _WORDS.sub(word, text)
    return _AGAIN.sub(lambda again: noted[again[1]], text) if noted else text


def _hole(draft: Draft, name: str, of: str) -> str:
    if name == _CHOICE:
        return _filled(draft, draft.pick.choice(traps()[_CHOICE].texts))
    if name == "c":
        return draft.constant(of)
    if name == "key":
        return draft.value(draft.pick.choice(_KEYS[of]), "")
    if name == "array":
        return draft.value(draft.pick.sample(_KEYS[of], 3), "list")
    if name == "padded":
        return draft.value([f"{each}  " for each in draft.pick.sample(_KEYS[of], 5)], "list")
    return _condition(draft, name[0])


def _condition(draft: Draft, alias: str) -> str:
    if draft.chance(0.4):
        return "TRUE"
    columns = [Column(f.name, f.kind, alias, f.family) for f in _ALIASES[alias].fields]
    return expression(draft, columns, "bool", draft.pick.choice([1, 2, 2]))
