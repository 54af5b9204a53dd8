"""Recovery in the background: transactions that are in doubt on a pool's shards are finished."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from random import random
from typing import Any

from greenshard import _green
from greenshard._driver import Dsn
from greenshard.pool.stats import RecoveryStats
from greenshard.transaction.recovery import leading, recover_shards
from greenshard.transaction.verdict import RecoveryReport

logger = logging.getLogger("greenshard")

#: What was prepared so many seconds ago, or less, is left to its coordinator.
_YOUNG_S = 2.0
#: How long a round may take, in seconds.
_ROUND_S = 30.0
#: Before the first round: a program that was started again finishes what it has left, but several
#: processes that are started together need not do so at once.
_FIRST_S = 2.0
#: How often, in seconds, the thread looks whether its pool is still there.
_LOOK_S = 5.0


class Background:
    """Rounds of recovery, in the thread of a pool's housekeeper.

    Of the processes that share a cluster one does a round at a time; whoever comes meanwhile leaves
    out its own. A round has connections of its own, and no slot of the pool.

    Args:
        dsns: How to connect, by the shards' names.
        every_s: Seconds from one round to the next, give or take a tenth.
        chance: A number from 0 to 1, each time another.

    Attributes:
        stats: What the last round has found; None before the first.
    """

    def __init__(
        self, dsns: Mapping[str, Dsn], every_s: float, chance: Callable[[], float] = random
    ) -> None:
        self._dsns, self._every_s, self._chance = dsns, every_s, chance
        self._due = time.monotonic() + chance() * min(_FIRST_S, every_s)
        self._round: Any = None
        self._told: frozenset[str] = frozenset()
        self.stats: RecoveryStats | None = None

    def begin(self) -> float:
        """Begin a round if one is due; returns seconds until the next look."""
        now = time.monotonic()
        if now >= self._due:
            self._due = now + self._every_s * (0.9 + 0.2 * self._chance())
            if self._round is None:
                self._round = _green.spawn(self._do)
        return min(self._due - now, _LOOK_S)

    def stop(self) -> None:
        """End the round that is under way. Switches: if there is one."""
        under_way = self._round
        if under_way is not None:
            # What it has begun on a server ends there; what it has not comes with the next round.
            under_way.kill()

    def _do(self) -> None:
        try:
            with leading(self._dsns) as leads:
                if leads:
                    self._tell(recover_shards(self._dsns, timeout_s=_ROUND_S, young_s=_YOUNG_S))
        except Exception:
            logger.exception("recovery in the background has failed")
        finally:
            self._round = None

    def _tell(self, report: RecoveryReport) -> None:
        for part in report.finished:
            done = "committed" if part.committed else "rolled back"
            logger.warning("a transaction in doubt is %s on %s: %s", done, part.shard, part.gid)
        lost = {f"{part.gid} on {part.shard}: {part.why}" for part in report.in_doubt if part.lost}
        for what in sorted(lost - self._told):
            logger.error("a transaction stays in doubt until somebody decides: %s", what)
        foreign = {f"{part.gid} on {part.shard}: {part.why}" for part in report.foreign}
        for what in sorted(foreign - self._told):
            logger.warning("what is prepared has the name of one of ours: %s", what)
        self._told = frozenset(lost | foreign)
        before = self.stats.finished if self.stats is not None else 0
        self.stats = RecoveryStats(
            time.monotonic(), len(report.in_doubt), report.oldest_s, before + len(report.finished)
        )
