"""A soak of an application under gunicorn, whose workers are restarted and killed."""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import gevent
import gevent.event
from gevent import subprocess

from tests.soak.part import RECOVER_EVERY_S, RECOVERY_S, Part
from tests.soak.web_crowd import WebCrowd

#: Seconds after the kill of a worker in which its clients may notice.
_AFTERWARDS_S = 3.0
#: The longest time between two restarts, and how long gunicorn may take to start and to end.
_PAUSE_S, _START_S, _END_S = 8.0, 30.0, 120.0
_BOOTED = re.compile(r"Booting worker with pid: (\d+)")
_READY = re.compile(r"Worker ready \(pid: (\d+)\)")
_ENDED = re.compile(r"(?:Worker exiting \(pid: |Worker \(pid:)(\d+)\)")
HERE = Path(__file__).resolve().parent


class Gunicorn:
    """The server's processes.

    Args:
        directory: For its socket and its log.
        environment: What the application needs.
    """

    def __init__(self, directory, environment):
        self.path = str(directory / "socket")
        self._log = directory / "log"
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "gunicorn", "-c", str(HERE / "gunicorn.conf.py")],
                env={
                    **os.environ,
                    **environment,
                    "SOAK_SOCKET": self.path,
                    "PYTHONPATH": str(HERE.parents[1]),
                },
                stdout=log,
                stderr=log,
            )

    def log(self):
        return self._log.read_text(errors="replace")

    def workers(self):
        """The process ids of the workers; none while one is starting.

        gunicorn waits long for a worker that it tells to end before it listens to signals.
        """
        log = self.log()
        begun, ready, ended = (set(each.findall(log)) for each in (_BOOTED, _READY, _ENDED))
        return [] if begun - ready - ended else sorted(map(int, ready - ended))

    def reload(self):
        self.process.send_signal(signal.SIGHUP)

    def end(self):
        """End it gracefully; returns its exit code, None if it does not end."""
        self.process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self.process.wait(_END_S)
        self.process.kill()
        return None


class Unrest:
    """Restarts workers, in all the ways that there are.

    Attributes:
        counts: How often each has happened.
    """

    def __init__(self, gunicorn, rand):
        self.counts = Counter()
        self._gunicorn, self._rand = gunicorn, rand
        self._last_kill = -_AFTERWARDS_S
        self._stopped = gevent.event.Event()
        self._running = None

    def __str__(self):
        return f"{dict(self.counts)}, the last kill {time.monotonic() - self._last_kill:.1f} s ago"

    @property
    def has_killed(self):
        """Whether a worker was killed a short time ago."""
        return time.monotonic() - self._last_kill < _AFTERWARDS_S

    def start(self):
        self._running = gevent.spawn(self._go_on)

    def stop(self):
        self._stopped.set()
        self._running.get()

    def _go_on(self):
        while not self._stopped.wait(self._rand.uniform(0.3, 1) * _PAUSE_S):
            while not (workers := self._gunicorn.workers()):
                if self._stopped.wait(0.1):
                    return
            kind = self._rand.choice(("reload", "kill"))
            if kind == "reload":
                self._gunicorn.reload()
            else:
                self._last_kill = time.monotonic()
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self._rand.choice(workers), signal.SIGKILL)
            self.counts[kind] += 1


class WebSoak(Part):
    """See the module's text.

    Args:
        scene, bounds, report, until, faulty: See `Part`.
    """

    def __init__(self, scene, bounds, report, until, *, faulty=True):
        limits = {"soak web *": bounds.max_size + bounds.max_gathers}
        super().__init__(scene, bounds, report, until, limits, faulty=faulty)
        self._directory = tempfile.TemporaryDirectory(prefix="soak-")
        pool = {
            "max_size": bounds.max_size,
            "max_gathers": bounds.max_gathers,
            "timeout": bounds.pool_timeout_s,
            "call_timeout": bounds.call_timeout_s,
            "connect_timeout": bounds.connect_timeout_s,
            "cancel_grace": bounds.grace_s,
            "max_lifetime": bounds.max_lifetime_s,
            "check_after": 1.0,
            "recover_every": RECOVER_EVERY_S,
        }
        given = json.dumps({"dsns": scene.dsns(""), "pool": pool})
        self._gunicorn = Gunicorn(Path(self._directory.name), {"SOAK": given})
        self._unrest = Unrest(self._gunicorn, random.Random(f"{report.seed}/unrest"))
        self.crowd = WebCrowd(self, self._gunicorn.path, self._unrest)

    def run(self):
        with self._directory:
            try:
                self._wait_until_up()
                super().run()
            finally:
                if self._gunicorn.process.poll() is None:
                    self._gunicorn.process.kill()
            self._read_log()

    def _wait_until_up(self):
        end = time.monotonic() + _START_S
        while not self._states():
            if time.monotonic() > end:
                raise RuntimeError(f"gunicorn does not start:\n{self._gunicorn.log()[-3000:]}")
            gevent.sleep(0.1)

    def _load(self):
        self._unrest.start()
        try:
            super()._load()
        finally:
            self._unrest.stop()

    def _states(self):
        """The pool of each worker that answers now."""
        states = {}
        for _ in range(8):
            with contextlib.suppress(OSError, ValueError):
                state = json.loads(self.crowd.ask("/pool/0")[1])
                states[state.pop("worker")] = state
        return states

    def _recover(self):
        self.report.figures["workers"] = dict(self._unrest.counts)
        end = time.monotonic() + RECOVERY_S
        while failures := self._failures():
            if time.monotonic() > end:
                self.report.violation(f"not well again: {failures[:2]}")
                break
            gevent.sleep(0.5)

    def _failures(self):
        """Let as many ask at once as there are connections; returns what is not as it should be."""
        asked = [gevent.spawn(self._fails, n) for n in range(4 * self.bounds.max_size)]
        gevent.joinall(asked)
        failures = [each.value for each in asked if each.value is not None]
        gevent.sleep(0.2)
        for worker, state in self._states().items():
            if state["taken"] or state["waiting"] or state["closing"]:
                failures.append(f"worker {worker}: nobody has any, but: {state}")
        return failures

    def _fails(self, number):
        try:
            status, answer = self.crowd.ask(f"/read/{number}")
        except OSError as exc:
            return repr(exc)
        return None if status == 200 else answer.decode()

    def _close(self):
        code = self._gunicorn.end()
        if code != 0:
            self.report.violation(f"gunicorn ends with {code}:\n{self._gunicorn.log()[-3000:]}")

    def _read_log(self):
        lines = self._gunicorn.log().splitlines()
        told = Counter(
            kind
            for line in lines
            for kind in ("WORKER TIMEOUT", "Traceback", "Booting worker", "Autorestarting")
            if kind in line
        )
        self.report.figures["gunicorn's log"] = dict(told)
        for kind in ("WORKER TIMEOUT", "Traceback"):
            if told[kind]:
                first = next(number for number, line in enumerate(lines) if kind in line)
                excerpt = "\n".join(lines[max(0, first - 3) : first + 60])
                self.report.violation(f"gunicorn's log has {told[kind]} of {kind}:\n{excerpt}")
