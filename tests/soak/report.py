"""What a soak finds out: violations at once, progress now and then, figures at the end."""

# ruff: noqa: T201  # it is a program's output

from __future__ import annotations

import gc
import logging
import os
import subprocess
import time
from collections import Counter
from pathlib import Path

#: After so many violations only their number matters.
_ENOUGH = 20


class Report:
    """Collects what happens.

    Args:
        seed: Of the random choices.
        state: Tells what is going on, for a violation.

    Attributes:
        outcomes: How requests ended, and how often.
        kills: At which moments requests were killed or timed out, and how often.
        longest_s: The longest request, and the longest clean-up after a kill.
        log: What greenshard has logged, and how often.
        figures: What else is worth telling, by name.
    """

    def __init__(self, seed, state=lambda: ""):
        self.seed = seed
        self.state = state
        self.started = time.monotonic()
        self.log = Counter()
        self.violations = []
        self.outcomes, self.kills = Counter(), Counter()
        self.longest_s = Counter()
        self.figures = {}

    def listen(self, logger):
        """Count what a logger is told, instead of printing it."""
        handler = logging.Handler()
        handler.emit = lambda record: self.log.update([f"{record.levelname}: {record.msg}"])
        logger.addHandler(handler)

    @property
    def seconds(self):
        return time.monotonic() - self.started

    @property
    def killed(self):
        return self.kills.total()

    def violation(self, what):
        self.violations.append(what)
        if len(self.violations) <= _ENOUGH:
            state = "".join(f"\n    {line}" for line in self.state().splitlines())
            print(f"VIOLATION after {self.seconds:.1f} s, seed {self.seed}: {what}{state}")

    def took(self, what, seconds, most_s):
        """Something that must end in time has ended."""
        self.longest_s[what] = max(self.longest_s[what], seconds)
        if seconds > most_s:
            self.violation(f"{what} took {seconds:.1f} s; it may take {most_s:.1f} s")

    def progress(self, share):
        """One line."""
        left_s = self.seconds * (1 - share) / share if share else 0.0
        print(
            f"{self.seconds:6.0f} s  {share:4.0%}  {self.outcomes.total()} requests, "
            f"{self.killed} killed, {len(self.violations)} violations; "
            f"{memory_mb():.0f} MB; about {left_s:.0f} s left",
            flush=True,
        )

    def conclude(self):
        """The figures, and the exit code."""
        print(f"{self.seconds:.0f} s, seed {self.seed}")
        told = {"requests": self.outcomes, "killed": self.kills, "logged": self.log}
        for title, counts in told.items():
            told = ", ".join(f"{n} {what}" for what, n in counts.most_common())
            print(f"{title}: {counts.total()}: {told}")
        for what, seconds in self.longest_s.items():
            print(f"longest {what}: {seconds:.2f} s")
        for what, figure in self.figures.items():
            print(f"{what}: {figure}")
        print(f"{len(self.violations)} violations", flush=True)
        return 1 if self.violations else 0


def memory_mb():
    """What this process occupies, in MB."""
    gc.collect()
    status = Path("/proc/self/statm")
    if status.exists():
        return int(status.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
    asked = ["ps", "-o", "rss=", "-p", str(os.getpid())]
    told = subprocess.run(asked, check=True, capture_output=True, text=True)
    return int(told.stdout) * 1024 / 1e6
