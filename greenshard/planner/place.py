"""Where something runs: a shard, and in which of its connections' roles."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Role(Enum):
    """What a connection to a shard is for."""

    STATEMENTS = "statements"  # the user's, in the user's transaction
    GATHERING = "gathering"  # rows of other shards come there, in a transaction of its own
    COORDINATING = "coordinating"  # it is not a shard's: it reads all shards by itself


@dataclass(frozen=True, slots=True)
class Place:
    """A shard, and a role there.

    >>> str(Place("s0")), str(Place("s0", Role.GATHERING)), str(Place("s0", Role.GATHERING, 2))
    ('s0', 's0 (gathering)', 's0 (gathering 2)')

    Attributes:
        shard: The shard's name; of the coordinator, "coordinator".
        role: The role.
        number: Which connection of that role, where a session has several.
    """

    shard: str
    role: Role = Role.STATEMENTS
    number: int = 1

    def __str__(self) -> str:
        if self.role is not Role.GATHERING:
            return self.shard
        which = self.role.value if self.number == 1 else f"{self.role.value} {self.number}"
        return f"{self.shard} ({which})"
