"""Names of transactions over several shards, and of their parts that are prepared.

::

    greenshard_<cluster>_<anchor>_<transaction>             the transaction: the key of its decision
    greenshard_<cluster>_<anchor>_<transaction>_<shard>     its part that is prepared on a shard

Cluster, anchor and shard are what `greenshard init` has stamped them with: a name or a position
would be another one when the declaration is changed. The shard is part of what is prepared because
a server has one name space for all its databases, which may be several shards.

Source: PostgreSQL manual, PREPARE TRANSACTION (an identifier is shorter than 200 bytes).
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass

_PREFIX = "greenshard"
_FORM = re.compile(
    rf"{_PREFIX}_([0-9a-f]{{32}})_([0-9a-f]{{32}})_([0-9a-f]{{32}})(?:_([0-9a-f]{{32}}))?"
)
#: Hexadecimal digits of the milliseconds in a transaction's name; the rest is random.
_TIME_DIGITS, _RANDOM_BYTES = 12, 10


@dataclass(frozen=True, slots=True)
class Gid:
    """The name of a transaction over several shards.

    Attributes:
        cluster: The cluster's id, 32 hexadecimal digits, as the others.
        anchor: The id of the shard whose COMMIT decides.
        transaction: When it was made, and random digits.
    """

    cluster: str
    anchor: str
    transaction: str

    @property
    def decision(self) -> str:
        """The key of the transaction's decision, which users are told of."""
        return f"{_PREFIX}_{self.cluster}_{self.anchor}_{self.transaction}"

    def prepared(self, shard_id: str) -> str:
        """What the part of a shard is prepared as."""
        return f"{self.decision}_{shard_id}"

    @property
    def made_at(self) -> float:
        """When it was made, in seconds since 1970, by the clock of who made it."""
        return int(self.transaction[:_TIME_DIGITS], 16) / 1000


def new_transaction(now_s: float) -> str:
    """The part of a name that is the transaction's own.

    Args:
        now_s: The time, in seconds since 1970.
    """
    return time_digits(int(now_s * 1000)) + secrets.token_hex(_RANDOM_BYTES)


def time_digits(ms: int) -> str:
    """What the names of transactions begin with that were made then, and sort by.

    Args:
        ms: Milliseconds since 1970.
    """
    return f"{max(0, ms):0{_TIME_DIGITS}x}"


def read(text: str) -> tuple[Gid, str | None] | None:
    """Read a name.

    Returns:
        The transaction, and the shard's id if it is that of a part; None if it is none of ours.
    """
    found = _FORM.fullmatch(text)
    if found is None:
        return None
    cluster, anchor, transaction, shard_id = found.groups()
    return Gid(cluster, anchor, transaction), shard_id
