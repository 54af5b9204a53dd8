"""Placement by a rule of the user's: a function, or one that greenshard does not know."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from typing import Any

from greenshard import errors
from greenshard.cluster.mistakes import kind
from greenshard.cluster.placement import Mistake, Placement


@dataclass(frozen=True)
class Unknown(Placement):
    """Rows were placed by a rule that greenshard does not know; rows of equal keys share a shard.

    Attributes:
        name: Tables placed by the same rule have the same name here, and so are colocated.
    """

    name: str = ""

    def shards_for(self, value: Any, type_name: str, shards: tuple[str, ...]) -> str | None:
        return None

    def mistakes(self, shards: Sequence[str]) -> Iterator[Mistake]:
        name: Any = self.name
        if not isinstance(name, str):
            yield "name", f"must be text, not {kind(name)}"


@dataclass(frozen=True, eq=False)
class Function(Placement):
    """A function of yours: ``function(key, shards)`` returns the name of a shard, or None.

    Attributes:
        function: The function, or where to import it from: "package.module:function".
    """

    function: str | Callable[[Any, tuple[str, ...]], str | None]

    def shards_for(self, value: Any, type_name: str, shards: tuple[str, ...]) -> str | None:
        """See `Placement.shards_for`.

        Raises:
            errors.ProgrammingError: The function fails, or names no shard.
        """
        try:
            shard = self._call(value, shards)
        except Exception as error:
            raise errors.ProgrammingError(
                f"the placement function {self._name} failed: {type(error).__name__}", code="GS107"
            ) from error
        # Silently it would be as if no row were there.
        if shard is not None and shard not in shards:
            raise errors.ProgrammingError(
                f"the placement function {self._name} returned {shard!r}, which is no shard",
                code="GS107",
                hint=f"The shards are {', '.join(shards)}.",
            )
        return shard

    @cached_property
    def _call(self) -> Callable[[Any, tuple[str, ...]], str | None]:
        if not isinstance(self.function, str):
            return self.function
        module, _, name = self.function.partition(":")
        found: Any = import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
        return found  # type: ignore[no-any-return]

    @property
    def _name(self) -> str:
        if isinstance(self.function, str):
            return self.function
        return str(getattr(self.function, "__qualname__", type(self.function).__name__))

    def mistakes(self, shards: Sequence[str]) -> Iterator[Mistake]:
        if isinstance(self.function, str) and not all(self.function.partition(":")):
            yield "", "must be named as in package.module:function"
            return
        try:
            call: object = self._call
        except Exception as error:  # importing runs any code
            yield "", f"{self._name} cannot be imported: {type(error).__name__}: {error}"
            return
        if not callable(call):
            yield "", f"{self._name} is not a function"

    @cached_property
    def _identity(self) -> object:
        """What equal placements share: the function, however it is named."""
        try:
            return self._call
        except Exception:
            return self.function

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Function) and self._identity == other._identity

    def __hash__(self) -> int:
        return hash(self._identity)
