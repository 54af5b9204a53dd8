"""Placement by PostgreSQL's own hash partitioning.

The rows of slot i are those of the partition ``FOR VALUES WITH (MODULUS slots, REMAINDER i)``, so
the data stays interoperable with ``PARTITION BY HASH`` on the server.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

from greenshard.cluster.encodings import codec_of
from greenshard.cluster.hashing import HASHED_TYPES, integer_row_hashes, row_hash
from greenshard.cluster.mistakes import kind, shown
from greenshard.cluster.placement import Mistake, Placement, unknown_shards
from greenshard.sql.types import read

MAX_SLOTS = 2**31 - 1
"""A modulus of PostgreSQL is an int4."""

SHOWN = 5
"""How many slots a message names."""


@dataclass(frozen=True)
class Hash(Placement):
    """PostgreSQL's own hash partitioning: slot = hash modulo `slots`, and each slot on a shard.

    Attributes:
        slots: How many, at least as many as shards. It cannot change without moving rows.
        assignment: The shard of each slot; None puts slot i on shard i modulo the shards' number.

    >>> Hash().shards_for(7, "int4", ("s0", "s1")), Hash().shards_for(7, "bigint", ("s0", "s1"))
    ('s1', 's1')
    """

    slots: int = 256
    assignment: Mapping[int, str] | None = field(default=None, hash=False)
    _codec: str = field(default="utf-8", repr=False, kw_only=True)

    def in_encoding(self, encoding: str) -> Hash:
        codec = codec_of(encoding)
        # Most databases are in UTF-8, and need no copy.
        return self if codec == self._codec else replace(self, _codec=codec)

    def shards_for(self, value: Any, type_name: str, shards: tuple[str, ...]) -> str | None:
        hashed = row_hash(value, type_name, self._codec)
        if hashed is None:
            return self._by_other_name(value, type_name, shards)
        slot = hashed % self.slots
        return shards[slot % len(shards)] if self.assignment is None else self.assignment[slot]

    def _by_other_name(self, value: Any, type_name: str, shards: tuple[str, ...]) -> str | None:
        """The shard of a key whose type has SQL's name, as bigint; None if it has none of ours."""
        if type_name in HASHED_TYPES:
            return None
        written = type_name.lower()
        known = read(written)
        name = written.partition("(")[0] if known is None else known.name
        return self.shards_for(value, name, shards) if name in HASHED_TYPES else None

    def shards_of_integers(self, values: Sequence[int], shards: tuple[str, ...]) -> list[str]:
        """The shard of each of many integers of 64 bits, as `shards_for` gives it."""
        slots, assigned, count = self.slots, self.assignment, len(shards)
        if assigned is None:
            return [shards[hashed % slots % count] for hashed in integer_row_hashes(values)]
        return [assigned[hashed % slots] for hashed in integer_row_hashes(values)]

    def shard_of(self, slot: int, shards: Sequence[str]) -> str:
        """The shard that a slot is on."""
        return shards[slot % len(shards)] if self.assignment is None else self.assignment[slot]

    def mistakes(self, shards: Sequence[str]) -> Iterator[Mistake]:
        if not is_int(self.slots):
            yield "slots", f"must be a number, not {kind(self.slots)}"
        elif not 1 <= self.slots <= MAX_SLOTS:
            yield "slots", f"must be from 1 to {MAX_SLOTS}, not {shown(self.slots)}"
        elif self.assignment is not None:
            yield from self._assignment_mistakes(self.assignment, shards)
        elif self.slots < len(shards):
            yield "slots", f"{self.slots} slots leave some of the {len(shards)} shards without any"

    def _assignment_mistakes(self, assignment: Any, shards: Sequence[str]) -> Iterator[Mistake]:
        if not isinstance(assignment, Mapping):
            yield "assignment", f"must be a mapping of slots to shards, not {kind(assignment)}"
            return
        known = {slot for slot in assignment if is_int(slot) and 0 <= slot < self.slots}
        if strange := [slot for slot in assignment if slot not in known]:
            yield "assignment", f"no slots from 0 to {self.slots - 1}: {some(strange)}"
        if len(known) < self.slots:
            missing = (slot for slot in range(self.slots) if slot not in known)
            yield "assignment", f"slots without a shard: {some(list(islice(missing, SHOWN + 1)))}"
        yield from unknown_shards("assignment", assignment.values(), shards)

    def objection(self, type_name: str) -> str | None:
        if type_name in HASHED_TYPES:
            return None
        return f"keys of type {type_name} cannot be hashed; {', '.join(sorted(HASHED_TYPES))} can"


def is_int(value: object) -> bool:
    """Whether a value is a number, and not True or False."""
    return isinstance(value, int) and not isinstance(value, bool)


def some(values: Sequence[object]) -> str:
    """The first few of many."""
    more = ", ..." if len(values) > SHOWN else ""
    return ", ".join(map(shown, values[:SHOWN])) + more
