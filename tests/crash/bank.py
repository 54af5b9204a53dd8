"""A bank whose tellers are killed: what it has in all must stay what it was."""

from __future__ import annotations

import os
import queue
import random
import signal
import time
from collections import Counter

from tests.crash import tellers
from tests.crash.scene import PATIENCE_S, Nursery, Scene, eventually

#: Greenlets of each process.
_TELLERS = 5
#: How many transfers a process does at most before it is killed, in the middle of others.
_MOST = 30


class Bank:
    """Accounts on the shards of a scene.

    Attributes:
        tally: How many transfers were done, processes killed and parts recovered; how often the
            money was added up in a snapshot, and how often wrong without one.
    """

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self.tally: Counter[str] = Counter()
        self._pids: dict[Nursery, int] = {}
        self._left: dict[Nursery, int] = {}
        self._chance = random.Random()
        self._wrong_totals: set[tuple[str, int]] = set()
        for name in scene.names:
            scene.ask(name, tellers.TABLE)
        tellers.open_accounts(scene.shards.dsns)

    def run(self, kills: int, chance: random.Random) -> list[str]:
        """Let it work, with recovery in the background, until so many tellers were killed.

        Returns:
            What is wrong afterwards.
        """
        scene, self._chance = self._scene, chance
        *offices, recoverer = (scene.coordinator, *scene.recoverers)
        auditor = scene.auditor
        for nursery in (*offices, recoverer, auditor):
            self._start(nursery, recoverer)
        end = time.monotonic() + PATIENCE_S + kills
        while self.tally["killed"] < kills or not self.tally["snapshots"]:
            assert time.monotonic() < end, f"they do nothing: {self.tally}"
            for nursery in self._ended(0.02):
                self._start(nursery, recoverer)
        left = {*offices, recoverer, auditor}
        while left:
            for nursery in (*offices, auditor):
                self._kill(nursery)
            left -= set(self._ended(0.1))
        eventually(scene.nobody_there, "a session is left")
        scene.recover("once")
        return self._wrong()

    def _start(self, nursery: Nursery, recoverer: Nursery) -> None:
        if nursery is recoverer:
            nursery.start("recover", dsns=self._scene.shards.dsns, fault=self._scene.fault)
        elif nursery is self._scene.auditor:
            nursery.start("audit", dsns=self._scene.shards.dsns)
        else:
            self._left[nursery] = self._chance.randint(1, _MOST)
            nursery.start("transfers", dsns=self._scene.shards.dsns, count=_TELLERS)

    def _kill(self, nursery: Nursery) -> None:
        pid = self._pids.pop(nursery, None)
        if pid is not None:
            os.kill(pid, signal.SIGKILL)
            self.tally["killed"] += 1

    def _ended(self, timeout_s: float) -> list[Nursery]:
        """Those whose job has ended meanwhile."""
        try:
            nursery, said = self._scene.next(timeout_s)
        except queue.Empty:
            return []
        if "ended" in said:
            self._pids.pop(nursery, None)
            return [nursery]
        if "pid" in said:
            self._pids[nursery] = said["pid"]
        self.tally["recovered"] += said.get("recovered", 0)
        if "told" in said:
            self.tally["snapshots"] += 1
            self._wrong_totals |= {(s, n) for s, n in said["told"].items() if n != tellers.TOTAL}
        self.tally["fractured"] += said.get("fractured", False)
        if "transfers" in said:
            self.tally["transfers"] += 1
            self._left[nursery] -= 1
            if self._left[nursery] == 0:
                self._kill(nursery)
        return []

    def _wrong(self) -> list[str]:
        wrong = self._scene.left_behind()
        asked = [self._scene.ask(n, "SELECT sum(balance) FROM account") for n in self._scene.names]
        total = sum(rows[0][0] for rows in asked)
        if total != tellers.TOTAL:
            wrong.append(f"{total} in all, and not {tellers.TOTAL}")
        wrong += [f"{total} in a snapshot, by {name}" for name, total in self._wrong_totals]
        return wrong
