"""Steps of a block: a random write, or whatever else belongs between writes.

The texts of `statements.sql` have the words to choose that `traps` has, and these holes::

    {id} {kind} {n} {code} ...   a value of `POOLS`, as a literal or a parameter
    {ids} {words}                an array of some
    {total}                      nothing; at the end it says that the rows come in one order only
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

from psycopg2 import extras

from tests.differential import traps
from tests.differential.draft import Draft

_FILE = Path(__file__).parent / "statements.sql"
_HOLE = re.compile(r"\{(\w+)\}")
_TOTAL = "{total}"

_IDS = (*range(1, 13), *range(1, 13), 40, 41)
_WORDS = ("a", "é'", "50%", "Ünï", "", "x y", "name 1", 'q"t', "%s", "a\\b")
POOLS: dict[str, Sequence[object]] = {
    "id": _IDS,
    "new id": (*range(13, 40), *range(40, 60), 3, 7),
    "kind": (1, 2, 3, 4, 5, 6, 1, 2, 3, 4, 5, 6, None, 9),
    "new kind": (7, 8, 9, 10, 11, 12, 13, 2),
    "n": range(5),
    "amount": (Decimal(0), Decimal("10.5"), Decimal(20), Decimal("-1.25"), Decimal("7.005")),
    "word": (*_WORDS, None),
    "short": ("a", "bé", "n3", "n12", "", None),
    "code": ("c0", "c1", "c2", "c3", "c4", "neu"),
    "serial": (*(f"d{number}" for number in range(1, 9)), "none"),
    "new serial": ("e1", "e 2", "é3", "E4", "e'5", "d2", "", "e%6", "f7", "f8"),
    "day": (*(dt.date(2020, 1, day) for day in range(1, 7)), dt.date(2024, 2, 29)),
    "bool": (True, False),
    "null": (None,),
    "mood": ("sad", "ok", "grim"),
    "tags": (["a"], [], ["é", 'q"t'], None),
    "doc": ('{"a": [1, 2]}', "null", '"x"', None),
    "moment": (dt.datetime(2020, 5, 1, 12, 30), None),  # noqa: DTZ001
    "no": (*range(30, 60), 1, 2),
}
SEVERAL = "several in one string"
_ARRAYS = {"ids": "id", "words": "word"}


@dataclass(frozen=True)
class Step:
    """What is done at once.

    Attributes:
        what: The kind, for the report.
        text: A statement.
        given: Its parameters; of a call for many, a list of them.
        call: Which of `CALLS` is made with both.
        ordered: Whether the rows of the answer come in one order only.
        numbers: Whether rows get serial numbers in an order that a server chooses.
        counts: Whether it tells what sequences have counted.
        template: Of `execute_values`.
        fetch: Whether `execute_values` is to give rows.
    """

    what: str
    text: str
    given: Any = None
    call: str = "execute"
    ordered: bool = False
    numbers: bool = False
    counts: bool = False
    template: str | None = None
    fetch: bool = False

    def shown(self) -> str:
        """The call as code."""
        rest = f", template={self.template!r}" if self.template else ""
        return f"{self.call}({self.text!r}, {self.given!r}{rest})"


def _values(cur: Any, step: Step) -> Any:
    return extras.execute_values(
        cur, step.text, step.given, step.template, page_size=len(step.given), fetch=step.fetch
    )


CALLS: dict[str, Callable[[Any, Step], Any]] = {
    "execute": lambda cur, step: cur.execute(step.text, step.given),
    "executemany": lambda cur, step: cur.executemany(step.text, step.given),
    "execute_values": _values,
    "execute_batch": lambda cur, step: extras.execute_batch(cur, step.text, step.given),
}


@dataclass(frozen=True)
class Template:
    """A text with holes, and what is true of the steps that it makes; see `Step`."""

    what: str
    text: str
    since: int
    numbers: bool
    counts: bool

    def step(self, draft: Draft) -> Step:
        text = _with_words(draft, self.text)
        filled = _HOLE.sub(lambda hole: hole_value(draft, hole[1]), text.removesuffix(_TOTAL))
        made = draft.finished(filled.strip(), "bag")
        ordered = text.endswith(_TOTAL)
        return Step(
            self.what,
            made.text,
            made.args,
            ordered=ordered,
            numbers=self.numbers,
            counts=self.counts,
        )

    def several(self, draft: Draft) -> Step | None:
        """The same with several sets of parameters; None if the text has no hole."""
        text = _with_words(draft, self.text).removesuffix(_TOTAL)
        names = [name for name in _HOLE.findall(text) if name not in _ARRAYS]
        if not names or len(names) != len(_HOLE.findall(text)):
            return None
        sets = [
            tuple(draft.pick.choice(POOLS[name]) for name in names)
            for _ in range(draft.pick.randint(1, 4))
        ]
        text = _HOLE.sub("%s", text.replace("%", "%%"))
        call = draft.pick.choice(["executemany", "execute_batch"])
        return Step(f"{call}, {self.what}", text, sets, call, numbers=self.numbers)


def _with_words(draft: Draft, text: str) -> str:
    return traps.with_words(draft.pick, text).replace("++", "||").strip()


def hole_value(draft: Draft, name: str) -> str:
    """A value of a pool, in a statement's text."""
    if name in _ARRAYS:
        some = draft.pick.sample([*dict.fromkeys(POOLS[_ARRAYS[name]])], 3)
        return draft.value([each or 0 for each in some] if name == "ids" else some, "list")
    return draft.value(draft.pick.choice(POOLS[name]), "")


def draft(pick: Random) -> Draft:
    """What parameters of a new statement go into."""
    style = pick.choice([None, "format", "format", "pyformat"])
    return Draft(pick, lambda *_: None, style)


@cache
def templates() -> dict[str, list[Template]]:
    """Those of `statements.sql`, by their titles."""
    found: dict[str, list[Template]] = {}
    _, *sections = _FILE.read_text(encoding="utf-8").split("\n-- = ")
    for section in sections:
        head, _, text = section.partition("\n")
        what, _, notes = head.partition(";")
        since = re.search(r"since (\d+)", notes)
        found[what] = [
            Template(
                what,
                each.strip(),
                int(since[1]) if since else 0,
                "numbers" in notes,
                "counts" in notes,
            )
            for each in text.split(";\n")
            if each.strip()
        ]
    return found


def from_template(pick: Random, version: int) -> Step:
    """A step of a random text that a server of a version knows."""
    known = [some for some in templates().values() if some[0].since <= version]
    template = pick.choice(pick.choice(known))
    if pick.random() < 0.08 and (many := template.several(draft(pick))):
        return many
    return template.step(draft(pick))


def in_one_string(pick: Random, version: int) -> Step:
    """Several statements without parameters in one text."""
    some = []
    while len(some) < 2:
        template = pick.choice(pick.choice([*templates().values()]))
        if template.since <= version and not template.numbers:
            some.append(template.step(Draft(pick, lambda *_: None)))
    text = "; ".join(step.text for step in some)
    return replace(some[-1], what=SEVERAL, text=text, counts=any(s.counts for s in some))
