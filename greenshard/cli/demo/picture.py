"""Bars: the picture that the demo draws of rows and milliseconds.

Pure: numbers in, text out. A bar is as wide as its share of the largest number, in eighths of a
column where the terminal can print them.
"""

from __future__ import annotations

from collections.abc import Iterable

EIGHTHS = "▏▎▍▌▋▊▉█"


def bar(value: float, largest: float, width: int, *, ascii_only: bool = False) -> str:
    """Draw one bar, padded with spaces to ``width`` columns.

    Args:
        value: the number to draw, 0 or more.
        largest: the number that fills the whole width.
        width: columns, 1 or more.
        ascii_only: draw with ``#`` instead of block characters.

    Returns:
        ``width`` characters. Zero is all spaces; any number above zero leaves a mark.

    >>> bar(5, 10, 8)
    '████    '
    >>> bar(1, 1000, 8, ascii_only=True)
    '#       '
    """
    if value <= 0 or largest <= 0:
        return " " * width
    eighths = max(1, min(round(8 * width * value / largest), 8 * width))
    if ascii_only:
        return ("#" * max(1, round(eighths / 8))).ljust(width)
    full, rest = divmod(eighths, 8)
    return (EIGHTHS[-1] * full + (EIGHTHS[rest - 1] if rest else "")).ljust(width)


def milliseconds(seconds: float) -> str:
    """Write a duration in milliseconds, or in seconds from ten of them.

    >>> milliseconds(0.00123), milliseconds(0.25), milliseconds(12)
    ('1.2 ms', '250 ms', '12.0 s')
    """
    if seconds >= 10:
        return f"{seconds:.1f} s"
    if seconds >= 0.1:
        return f"{seconds * 1000:,.0f} ms"
    return f"{seconds * 1000:.1f} ms"


def right_aligned(texts: Iterable[str]) -> list[str]:
    """Pad texts on the left to one width.

    >>> right_aligned(["7", "336,776"])
    ['      7', '336,776']
    """
    listed = list(texts)
    width = max(map(len, listed), default=0)
    return [text.rjust(width) for text in listed]
