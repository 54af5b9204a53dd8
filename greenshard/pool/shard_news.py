"""Tells the log when a shard goes down, and when it is up again.

    WARNING greenshard: shard s1 is down: Connection refused
    WARNING greenshard: shard s1 is up again, after 12.3 s

Whoever has asked a shard looks, and tells what nobody has told yet: the state itself writes
nothing, for it is changed under a lock.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

from greenshard import _green
from greenshard.pool.shard_state import ShardState

logger = logging.getLogger("greenshard")


class ShardNews:
    """What was told of a pool's shards.

    Args:
        shards: Them.
    """

    def __init__(self, shards: Mapping[str, ShardState]) -> None:
        self._shards = shards
        self._lock = _green.NativeLock()
        self._down_since: dict[str, float] = {}

    def tell(self, now: float) -> None:
        """Write what is new to the log. Switches: if a handler of the log does."""
        for name, shard in self._shards.items():
            since = shard.breaker.since
            # As most often, without the lock.
            if since == self._down_since.get(name):
                continue
            with self._lock:
                told = self._down_since.pop(name, None)
                if since is not None:
                    self._down_since[name] = since
            if told is None and since is not None:
                logger.warning("shard %s is down: %s", name, shard.breaker.reason)
            elif told is not None and since is None:
                logger.warning("shard %s is up again, after %.1f s", name, now - told)
