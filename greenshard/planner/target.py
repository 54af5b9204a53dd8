"""The shards that one statement runs on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from greenshard import errors


@dataclass(frozen=True, slots=True)
class Target:
    """The shards that one statement runs on.

    Attributes:
        shards: Their names, in shard order.
        broadcast: Whether an INSERT may put the same rows on several of them.
    """

    shards: tuple[str, ...]
    broadcast: bool = False


def choose(shards: str | Iterable[str], known: Sequence[str]) -> Target:
    """The target of ``conn.on(shards)``.

    Args:
        shards: A shard's name, or several.
        known: The names there are, in shard order.

    Raises:
        errors.ProgrammingError: A name is not known, or none is given.
    """
    names = {shards} if isinstance(shards, str) else set(shards)
    unknown = sorted(str(name) for name in names if name not in known)
    if unknown or not names:
        raise errors.ProgrammingError(
            f"no such shard: {', '.join(unknown)}" if unknown else "no shard is named",
            code="GS103",
            hint=f"The shards are {', '.join(known)}.",
        )
    return Target(tuple(name for name in known if name in names))
