"""The way to the observer's process."""

from __future__ import annotations

import json
import sys

from gevent import subprocess

from tests.soak import observer


class Observer:
    """What the soak holds: starts the process and talks to it.

    Args:
        dsns: A superuser's DSN of each server.
        rules: See `observer.Rules`.
    """

    def __init__(self, dsns, rules):
        self.process = subprocess.Popen(
            [sys.executable, "-I", observer.__file__, json.dumps({"dsns": dsns, "rules": rules})],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def tick(self):
        """This process is well: it does something."""
        self._tell("tick")

    def ended(self, number):
        """A request has ended; no server may run it any more."""
        self._tell(f"ended {number}")

    def excuse(self, shard):
        """The server cannot notice now what we do."""
        self._tell(f"excuse {shard}")

    def watch(self, shard):
        """It can again."""
        self._tell(f"watch {shard}")

    def reports(self):
        """What it tells, one after the other: violations, and at the end the figures."""
        for line in self.process.stdout:
            yield json.loads(line)

    def finish(self):
        """Let it tell the figures and end."""
        self.process.stdin.close()

    def _tell(self, line):
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()
