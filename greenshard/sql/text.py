"""A text that is sent to servers, and where its parameters come from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any


class Now(Enum):
    """Stands for a time, where a parameter is looked up: that the transaction began, or this."""

    NOW = "now"
    STATEMENT = "statement"


@dataclass(frozen=True, slots=True)
class Computed:
    """Stands for a value that a server computes before the text is sent, by its number."""

    number: int


#: Where a value comes from: an index or name among the user's parameters, the clock, or a server.
Source = int | str | Now | Computed


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

    def values(
        self,
        given: Any,
        now: object = None,
        computed: Sequence[object] = (),
        moment: object = None,
    ) -> Any:
        """The parameters to send: the user's own, or None, or a mapping of names.

        Args:
            given: The user's parameters.
            now: What stands for `Now.NOW`.
            computed: What stands for `Computed`, by number.
            moment: What stands for `Now.STATEMENT`.
        """
        if self.binds is None:
            return given
        if not self.binds:
            return None
        times = {Now.NOW: now, Now.STATEMENT: moment}
        return {name: _value(at, given, times, computed) for name, at in self.binds}

    @property
    def needs_now(self) -> bool:
        """Whether the time at which the transaction began must be asked for."""
        return any(at is Now.NOW for _, at in self.binds or ())

    @property
    def needs_moment(self) -> bool:
        """Whether the time at which the statement began must be asked for."""
        return any(at is Now.STATEMENT for _, at in self.binds or ())


def _value(
    source: Source, given: Any, times: Mapping[Now, object], computed: Sequence[object]
) -> object:
    if isinstance(source, Now):
        return times[source]
    return computed[source.number] if isinstance(source, Computed) else given[source]
