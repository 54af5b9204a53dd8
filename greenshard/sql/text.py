"""A text that is sent to servers, and where its parameters come from."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any


class Now(Enum):
    """Stands for the time at which the transaction began, where a parameter is looked up."""

    NOW = "now"


#: Where a value comes from: an index or name among the user's parameters, or the clock.
Source = int | str | Now


@dataclass(frozen=True, slots=True)
class Sql:
    """A text for the servers.

    Attributes:
        text: With psycopg2's placeholders.
        binds: None for the user's own text, to be sent with the user's own parameters. Otherwise
            the placeholders are ``%(name)s`` and this tells each name's value; if it is empty the
            text goes without parameters, and a percent sign in it is not doubled.
    """

    text: str
    binds: tuple[tuple[str, Source], ...] | None = None

    def values(self, given: Any, now: object = None) -> Any:
        """The parameters to send: the user's own, or None, or a mapping of names.

        Args:
            given: The user's parameters.
            now: What stands for `Now`.
        """
        if self.binds is None:
            return given
        if not self.binds:
            return None
        return {name: now if isinstance(at, Now) else given[at] for name, at in self.binds}

    @property
    def needs_now(self) -> bool:
        """Whether the time at which the transaction began must be asked for."""
        return any(isinstance(at, Now) for _, at in self.binds or ())
