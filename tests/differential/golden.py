"""Statements whose answer was wrong once, read from ``golden/findings.sql``.

Each is a block of lines; blocks are separated by empty lines. ``-- = title`` starts one; then come
``-- order: total`` or ``-- order: (0, 1)`` if the rows come in an order, ``-- by value`` if equal
values may look different, ``-- args: ...`` as a Python literal, and the statement.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass
from pathlib import Path

from tests.differential.draft import Statement

_FILE = Path(__file__).parent / "golden" / "findings.sql"


@dataclass(frozen=True)
class Finding:
    """A statement and what it shows."""

    title: str
    statement: Statement


def findings() -> list[Finding]:
    """All of them, in the file's order."""
    blocks = _FILE.read_text(encoding="utf-8").split("\n\n")
    return [_finding(block.strip()) for block in blocks if block.strip().startswith("-- = ")]


def _finding(block: str) -> Finding:
    lines = block.splitlines()
    notes = [line.removeprefix("-- ") for line in lines if line.startswith("-- ")]
    facts = dict(note.split(": ", 1) for note in notes if ": " in note and note[0] != "=")
    order = facts.get("order", "bag")
    return Finding(
        notes[0].removeprefix("= "),
        Statement(
            "\n".join(line for line in lines if not line.startswith("-- ")),
            ast.literal_eval(facts.get("args", "None")),
            ast.literal_eval(order) if order.startswith("(") else order,
            "by value" in notes,
        ),
    )
