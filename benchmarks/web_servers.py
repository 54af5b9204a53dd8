"""The contestants of web.py: which server runs which application, and their processes."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from web_scene import POOL_SIZE
from workers import HERE, ContestantFailed

#: Seconds that a server may take to start, and to end.
_START_S, _END_S = 30.0, 10.0

Command = Callable[[Path], list[str]]


def gunicorn(application: str, *options: str) -> Command:
    """One worker that keeps connections open, as its clients do."""

    def command(path: Path) -> list[str]:
        common = ["--workers=1", "--keep-alive=120", "--no-control-socket", "--log-level=warning"]
        where = [f"--bind=unix:{path}", f"--pythonpath={HERE}", f"web_apps.{application}"]
        return [sys.executable, "-m", "gunicorn", *common, *options, *where]

    return command


def gevent(application: str) -> Command:
    return gunicorn(application, "--worker-class=gevent")


def gthread(application: str) -> Command:
    """As many threads as connections: more requests at once would wait for those."""
    return gunicorn(application, "--worker-class=gthread", f"--threads={POOL_SIZE}")


def uvicorn(application: str) -> Command:
    def command(path: Path) -> list[str]:
        fast = ["--loop=uvloop", "--http=httptools", "--no-access-log", "--log-level=warning"]
        where = [f"--uds={path}", f"--app-dir={HERE}", f"web_apps.{application}"]
        return [sys.executable, "-m", "uvicorn", *fast, "--timeout-keep-alive=120", *where]

    return command


def script(name: str) -> Command:
    return lambda path: [sys.executable, str(HERE / "web_apps" / name), str(path)]


OURS, BY_HAND = "greenshard", "by hand"
OURS_IN_TRANSACTION, BY_HAND_IN_TRANSACTION = f"{OURS}, transaction", f"{BY_HAND}, transaction"
THREADS, SEQUENTIAL, ASYNCPG = "threads", "sequential", "asyncpg"

CONTESTANTS = {
    OURS: gevent("with_greenshard:autocommit"),
    BY_HAND: gevent("by_hand:autocommit"),
    OURS_IN_TRANSACTION: gevent("with_greenshard:transaction"),
    BY_HAND_IN_TRANSACTION: gevent("by_hand:transaction"),
    THREADS: gthread("blocking:threads"),
    SEQUENTIAL: gthread("blocking:sequential"),
    ASYNCPG: uvicorn("with_asyncpg:application"),
}
#: No contestant: what the load generator is tried with.
NOTHING = {"nothing": script("nothing.py")}


@contextmanager
def servers(names: Sequence[str], dsns: Sequence[str]) -> Iterator[dict[str, str]]:
    """The contestants' servers, by name the path of the socket that each listens on."""
    environment = {**os.environ, "GREENSHARD_BENCH_DSNS": json.dumps(dsns)}
    with tempfile.TemporaryDirectory() as home, ExitStack() as stack:
        paths, processes = {}, {}
        for number, (name, command) in enumerate({**CONTESTANTS, **NOTHING}.items()):
            if name in names:
                path = Path(home) / f"{number}.sock"
                process = subprocess.Popen(command(path), env=environment)
                stack.callback(_end, process)
                paths[name], processes[name] = path, process
        for name, path in paths.items():
            _wait_start(name, processes[name], path)
        yield {name: str(path) for name, path in paths.items()}


def _wait_start(name: str, process: subprocess.Popen[bytes], path: Path) -> None:
    """Wait until a server listens.

    Raises:
        ContestantFailed: It does not; what it said is on the standard error.
    """
    end = time.monotonic() + _START_S
    while process.poll() is None and time.monotonic() < end:
        with socket.socket(socket.AF_UNIX) as tried:
            if tried.connect_ex(str(path)) == 0:
                return
        time.sleep(0.02)
    raise ContestantFailed(f"the server of {name!r} did not start")


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_END_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
