"""The project's pages in reStructuredText, as the tests of this folder read them."""

from __future__ import annotations

import textwrap
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.rst"
PAGES = [README, *sorted((ROOT / "docs").glob("*.rst"))]


def python_blocks(page: Path) -> list[str]:
    """Return the text of each ``.. code-block:: python`` of a page, padded to its line number."""
    lines = page.read_text(encoding="utf-8").splitlines()
    starts = [i for i, line in enumerate(lines) if line.strip() == ".. code-block:: python"]
    return ["\n" * (start + 1) + textwrap.dedent(_indented(lines[start + 1 :])) for start in starts]


def _indented(lines: list[str]) -> str:
    """Return the lines up to the first that is not empty and not indented."""
    end = next((i for i, line in enumerate(lines) if line[:1].strip()), len(lines))
    return "\n".join(lines[:end])
