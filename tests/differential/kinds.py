"""Random statements of the kinds that need tables, functions and roles of their own.

Each is a file of `kinds/`: what it is about; how its tables are declared; what makes them; their
rows; sentences that a session may begin with; and its statements, which have these holes, and those
words to choose that `traps` has::

    {k}       a key of which there are rows, mostly; a literal or a parameter
    {n}       a small number, likewise
    {total}   nothing; at the end it says that the rows come in one order only

A session that is ``elsewhere: this || that`` begins after others have done this and committed, and
they undo it by that. ``-- refused 30: GS415 ...`` says that 30 of 1,000 statements may be refused
with such words; see `budget`. The tables are in a schema that has the kind's name; ``public.``
stands for it. A section of statements may say from which version on a server knows them:
``-- = statements 15``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random

from greenshard.cluster import Reference, Sharded, Single
from tests.differential import traps
from tests.differential.draft import Statement

_FOLDER = Path(__file__).parent / "kinds"
_DECLARATION = re.compile(r"^-- ([a-z]\w+): (\w+)(?:, triggers (.*))?$", re.MULTILINE)
_REFUSED = re.compile(r"^-- refused (\d+): (.*)$", re.MULTILINE)
_HOLE = re.compile(r"\{([kn])\}")
_TOTAL = "{total}"
_KEYS = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 99)
_WORDS = ("é", "ß", "a", "Ünï", "b ", "", "zz", "none")


@dataclass(frozen=True)
class Kind:
    """What belongs to one kind.

    Attributes:
        name: That of its file.
        tables: How each table is declared.
        schema, rows: SQL that makes the tables, and fills them on one server.
        sessions: What a session may begin with.
        statements: Texts with holes, and the version that a server must have for each.
        keys: What {k} stands for.
        refused: How many of 1,000 statements may be refused, by the first words of the reason.
        apart: Whether other kinds shall not meet its operators and casts, which may read tables:
            no function would be harmless where they are.
    """

    name: str
    tables: dict[str, Sharded | Reference | Single]
    schema: str
    rows: str
    sessions: tuple[str, ...]
    statements: tuple[tuple[str, int], ...]
    keys: tuple[object, ...]
    refused: dict[str, float]
    apart: bool

    def session(self, pick: Random) -> str:
        return pick.choice(self.sessions) if self.sessions else ""

    def statement(self, pick: Random, version: int) -> Statement:
        """A random statement that a server of a version knows."""
        text = pick.choice([text for text, since in self.statements if since <= version])
        order = "total" if text.endswith(_TOTAL) else "bag"
        text = traps.with_words(pick, text.removesuffix(_TOTAL).strip())
        args: list[object] = []

        def value(hole: re.Match[str]) -> str:
            chosen = pick.choice(self.keys if hole[1] == "k" else range(5))
            if pick.random() < 0.5:
                return f"'{chosen}'" if isinstance(chosen, str) else str(chosen)
            args.append(chosen)
            return "\0"

        text = _HOLE.sub(value, text)
        if args:
            text = text.replace("%", "%%").replace("\0", "%s")
        return Statement(text, tuple(args) or None, order)


@cache
def kinds() -> dict[str, Kind]:
    """All kinds, by name."""
    return {path.stem: read(path) for path in sorted(_FOLDER.glob("*.sql"))}


def read(path: Path) -> Kind:
    whole = path.read_text(encoding="utf-8").replace("public.", f"{path.stem}.")
    head, *sections = whole.split("\n-- = ")
    texts: dict[str, str] = {}
    statements: list[tuple[str, int]] = []
    for section in sections:
        title, _, text = section.partition("\n")
        word, _, version = title.partition(" ")
        if word == "statements":
            some = _without_comments(text).split(";\n")
            statements += [(each.strip(), int(version or 0)) for each in some if each.strip()]
        else:
            texts[word] = text
    return Kind(
        path.stem,
        {found[1]: _declared(*found.groups()) for found in _DECLARATION.finditer(head)},
        texts["schema"],
        texts.get("rows", ""),
        tuple(texts.get("sessions", "").strip().splitlines()),
        tuple(statements),
        _WORDS if "-- keys are words" in head else _KEYS,
        {words: float(share) for share, words in _REFUSED.findall(head)},
        "-- apart" in head.splitlines(),
    )


def _declared(name: str, key: str, triggers: str | None) -> Sharded | Reference | Single:
    if key == "single":
        return Single("s0")
    fine = tuple(triggers.split(", ")) if triggers else ()
    return Reference(triggers=fine) if key == "reference" else Sharded(key, triggers=fine)


def _without_comments(text: str) -> str:
    return "\n".join(line for line in f"{text}\n".splitlines() if line[:2] != "--") + "\n"
