"""A clock that tests move on."""

from __future__ import annotations


class Clock:
    """Stands for the module ``time``."""

    now = 1000.0

    def monotonic(self):
        return self.now
