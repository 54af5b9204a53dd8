"""Characters that would control the terminal, or hide what is written there, as escapes. Pure."""

from __future__ import annotations

# C0, DEL and C1; the separators that some programs end a line at; and what turns the direction of
# writing, so that a text reads as another one.
_STRANGE = [
    *range(0x20),
    *range(0x7F, 0xA0),
    0x2028,
    0x2029,
    *range(0x202A, 0x202F),
    *range(0x2066, 0x206A),
]
_NAMED = {9: "\\t", 10: "\\n", 13: "\\r"}
_ESCAPES = {code: f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" for code in _STRANGE}
_IN_CELL = _ESCAPES | _NAMED
_IN_TEXT = {code: escape for code, escape in _ESCAPES.items() if chr(code) not in "\t\n"}


def cell(text: str) -> str:
    r"""A value, or a name: on one line.

    >>> print(cell("a\x1b[2J\n"))
    a\x1b[2J\n
    """
    return text.translate(_IN_CELL)


def lines(text: str) -> str:
    r"""A message, or SQL: its line ends and tabs stay.

    >>> print(lines("a\x9b2J\nb"))
    a\x9b2J
    b
    """
    return text.translate(_IN_TEXT)
