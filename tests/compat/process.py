"""Run tests in child processes, with a deadline for each test: a hang does not stop the run."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tests.compat.server import Server

HERE = Path(__file__).resolve().parent
PROJECT = HERE.parent.parent
# What one test can end as, from best to worst: the worst of several reports of a test counts.
STATUSES = ("passed", "skipped", "failed", "error", "hung", "crashed")


@dataclass(frozen=True)
class Outcome:
    """How one test ended: one of STATUSES, why in a line, and the traceback or output."""

    status: str
    summary: str = ""
    detail: str = ""


@dataclass
class Batch:
    """What one child process reported."""

    outcomes: dict[str, Outcome] = field(default_factory=dict)
    names: list[str] = field(default_factory=list)
    running: str | None = None
    done: bool = False

    def take(self, event: dict[str, Any]) -> None:
        """Take one event of the child in."""
        if event["event"] == "start":
            self.running = event["test"]
        elif event["event"] == "outcome":
            known = self.outcomes.get(event["test"])
            new = Outcome(event["status"], event["summary"], event["detail"])
            if known is None or STATUSES.index(new.status) > STATUSES.index(known.status):
                self.outcomes[event["test"]] = new
        elif event["event"] == "names":
            self.names = event["names"]
        else:
            self.done = True


class Side:
    """One side of the comparison: ``psycopg2`` or ``greenshard``.

    Args:
        name: which.
        suite: directory that holds psycopg2's package ``tests``.
        server: where the tests' databases are made.
        deadline_s: seconds that one test may take.
        monkey_patch: whether the tests run under ``gevent.monkey.patch_all()``.
    """

    def __init__(
        self, name: str, suite: Path, server: Server, *, deadline_s: float, monkey_patch: bool
    ) -> None:
        self.name, self._suite, self._server = name, suite, server
        self._deadline_s = deadline_s
        self._launcher = ["-m", "gevent.monkey"] if monkey_patch else []

    def names(self) -> list[str]:
        """Return the name of every test of the suite.

        Raises:
            SystemExit: the suite could not be imported.
        """
        batch, ending = self._run_process([])
        if not batch.done:
            raise SystemExit(f"{self.name}: the suite cannot be loaded:\n{ending.detail}")
        return batch.names

    def run(self, names: Sequence[str], report: Callable[[str], None]) -> dict[str, Outcome]:
        """Run the tests in one process, and on after a hang or crash in the next one.

        A test that hung or crashed the process is tried again alone; only then it counts.
        """
        outcomes: dict[str, Outcome] = {}
        left = list(names)
        while left:
            batch, ending = self._run_process(left)
            outcomes.update(batch.outcomes)
            left = [name for name in left if name not in outcomes]
            if left:
                culprit = batch.running if batch.running in left else left[0]
                left.remove(culprit)
                report(f"{self.name}: {ending.status} in {culprit}")
                outcomes[culprit] = ending if len(names) == 1 else self._run_alone(culprit)
        return outcomes

    def _run_alone(self, name: str) -> Outcome:
        batch, ending = self._run_process([name])
        return batch.outcomes.get(name, ending)

    def _run_process(self, names: Sequence[str]) -> tuple[Batch, Outcome]:
        """Run one child; return its reports, and how it ended if it did not finish."""
        batch = Batch()
        with self._server.database() as database, tempfile.TemporaryFile() as output:
            with self._child(names, database, output) as (proc, pipe):
                hung = not self._read_events(pipe, batch)
                stop(proc, hung=hung)
            output.seek(0)
            text = output.read().decode(errors="replace")
        if hung:
            return batch, Outcome("hung", f"no end within {self._deadline_s:g} s", text)
        return batch, Outcome("crashed", f"exit status {proc.returncode}", text)

    @contextlib.contextmanager
    def _child(
        self, names: Sequence[str], database: dict[str, str], output: IO[bytes]
    ) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
        worker = str(HERE / "worker.py")
        reader, writer = os.pipe()
        proc = subprocess.Popen(
            [sys.executable, *self._launcher, worker, str(self._suite), str(writer), *names],
            env={**os.environ, **database, **self._environment()},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            pass_fds=[writer],
            start_new_session=True,
            cwd=self._suite,
        )
        os.close(writer)
        try:
            yield proc, reader
        finally:
            stop(proc, hung=True)
            os.close(reader)

    def _environment(self) -> dict[str, str]:
        return {
            "GREENSHARD_COMPAT_SIDE": self.name,
            "PSYCOPG2_TEST_GREEN": "1",
            "PYTHONPATH": os.pathsep.join([str(HERE / "inject"), str(PROJECT)]),
            "PYTHONDONTWRITEBYTECODE": "1",
        }

    def _read_events(self, pipe: int, batch: Batch) -> bool:
        """Read the child's events to the end; return False if none came within the deadline."""
        buffer = b""
        with selectors.DefaultSelector() as selector:
            selector.register(pipe, selectors.EVENT_READ)
            while not batch.done:
                if not selector.select(self._deadline_s):
                    return False
                chunk = os.read(pipe, 65536)
                if not chunk:
                    break
                *lines, buffer = (buffer + chunk).split(b"\n")
                for line in lines:
                    batch.take(json.loads(line))
        return True


def stop(proc: subprocess.Popen[bytes], *, hung: bool) -> None:
    """End the child and what it started; a hung one prints its threads' tracebacks first."""
    if hung and proc.poll() is None:
        proc.send_signal(signal.SIGABRT)
    with contextlib.suppress(subprocess.TimeoutExpired):
        proc.wait(timeout=5)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(proc.pid, signal.SIGKILL)
    proc.wait()
