"""The interface of placements: which shard holds the rows of a key.

A placement says of a key value which shard has it, or None where it cannot tell; a reader then
asks all shards, and a writer must name one. Tables with equal placements are colocated.

The classes check nothing when they are made: `mistakes` tells what is wrong, so that `Cluster`
can report it with everything else.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

Mistake = tuple[str, str]
"""Where in the placement ("" for all of it), and what."""


class Placement(ABC):
    """Key value -> shard."""

    @abstractmethod
    def shards_for(self, value: Any, type_name: str, shards: tuple[str, ...]) -> str | None:
        """The shard that holds rows whose key equals `value`.

        Args:
            value: A Python value of the key's type, as psycopg2 gives it (a `UUID` for uuid);
                None for NULL.
            type_name: ``pg_type.typname`` of the key's type (``int8``; `Hash` knows SQL's names
                such as ``bigint``, too); of a domain, that of its base type.
            shards: The names of all shards, in the cluster's order.

        Returns:
            A shard's name, or None if the placement cannot tell.
        """

    def in_encoding(self, encoding: str) -> Placement:
        """The same, of databases in another encoding than UTF-8 (``pg_encoding_to_char``)."""
        return self

    def mistakes(self, shards: Sequence[str]) -> Iterator[Mistake]:
        """What is wrong with the placement itself in a cluster of these shards."""
        yield from ()

    def objection(self, type_name: str) -> str | None:
        """Why keys of a type cannot be placed, or None if they can."""
        return None


@dataclass(frozen=True)
class OneShard(Placement):
    """All rows are on one shard: those of a table that it has alone."""

    shard: str

    def shards_for(self, value: Any, type_name: str, shards: tuple[str, ...]) -> str:
        return self.shard


def unknown_shards(at: str, named: Iterable[object], shards: Sequence[str]) -> Iterator[Mistake]:
    """The mistakes of naming shards that the cluster does not have."""
    known = frozenset(shards)
    for name in dict.fromkeys(map(str, named)):
        if name not in known:
            yield at, f"there is no shard {name}"
