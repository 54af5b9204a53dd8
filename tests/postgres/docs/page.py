"""The page docs/one-database.rst, as the tests of this folder read it."""

from __future__ import annotations

import re

from tests.meta.pages import ROOT

PAGE = (ROOT / "docs" / "one-database.rst").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    """The code blocks of the page in one language."""
    found = re.findall(rf"^\.\. code-block:: {language}\n\n((?:   .*\n|\n)+)", PAGE, re.MULTILINE)
    return [re.sub(r"^   ", "", block, flags=re.MULTILINE).strip() + "\n" for block in found]


def table_rows() -> dict[str, str]:
    """By its first cell, without marks: each row of the page's table."""
    table = PAGE[PAGE.index(".. list-table::") :]
    rows = re.findall(
        r"^   \* - (.+(?:\n       .+)*)\n     - (.+(?:\n       .+)*)", table, re.MULTILINE
    )
    return {" ".join(first.replace("``", "").split()): second for first, second in rows[1:]}
