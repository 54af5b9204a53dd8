"""What no strategy gets round."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """Something in the text that no strategy gets round.

    Attributes:
        reason: What it is.
        offset: Where, in bytes; None if it is not known.
        code, hint: Of the error.
        pgcode: The server's code for it, if it would report it.
    """

    reason: str
    offset: int | None
    code: str
    hint: str | None = None
    pgcode: str | None = None
