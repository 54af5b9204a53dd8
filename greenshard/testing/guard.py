"""The server processes under a directory: found, paused, killed, and ended with their owner.

This file has two uses. The functions are imported by its neighbours. Run as a script
(``python -I -S guard.py DIRECTORY OWNER_PID``) it is the guard: a tiny process that waits until
its owner is gone, then ends every server under the directory and removes the directory. So that
the guard starts in milliseconds and never runs user code, this file imports the standard library
only.

The guard learns of its owner's end in two ways. Its standard input is a pipe whose only write end
is in the owner: whatever ends the owner, ``kill -9`` included, closes it. And it looks every
second whether its parent is still the owner, in case a stray copy of the write end (a ``fork`` in
C code) outlives the owner. Both work on Linux and on macOS.

A process belongs to a directory when its command line says ``-D DIRECTORY/...`` (``postgres``,
``initdb``), when it descends from such a process (backends), or, on Linux, when it is a
``postgres`` whose working directory is there (backends whose postmaster was killed). Nobody has to
tell the guard of a server, so no server can be missed because its owner died at the wrong moment.
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

__all__ = ["clean", "kill", "members", "pause", "resume"]

_POLL_S = 0.01
_OWNER_POLL_S = 1.0
_SHUTDOWN_PATIENCE_S = 3.0
_KILL_PATIENCE_S = 10.0


class Process(NamedTuple):
    """One row of the process table."""

    pid: int
    parent: int
    state: str
    command: str

    @property
    def stopped(self) -> bool:
        return self.state in ("T", "t")


def members(directory: Path) -> list[Process]:
    """The living processes that belong to a directory, see the module's text."""
    table = [process for process in _process_table() if process.state != "Z"]
    mine = {process.pid for process in table if _is_named(process, directory)}
    before = -1
    while len(mine) != before:
        before = len(mine)
        mine.update(process.pid for process in table if process.parent in mine)
    mine.update(process.pid for process in table if _works_in(process, directory))
    return [process for process in table if process.pid in mine]


def pause(directory: Path) -> bool:
    """SIGSTOP every process of a directory; False if some did not stop in time.

    It repeats until a look at the process table shows only stopped processes: a child forked
    while its parent was being stopped is caught in the next round.
    """

    def all_stopped() -> bool:
        running = [process for process in members(directory) if not process.stopped]
        _signal(running, signal.SIGSTOP)
        return not running

    return _wait_until(all_stopped, _KILL_PATIENCE_S)


def resume(directory: Path) -> None:
    """SIGCONT every process of a directory."""
    _signal(members(directory), signal.SIGCONT)


def kill(directory: Path) -> bool:
    """SIGKILL every process of a directory; False if some did not end in time.

    They are stopped first, because a child of a killed parent is no longer known by its parent.
    """
    pause(directory)

    def all_gone() -> bool:
        alive = members(directory)
        _signal(alive, signal.SIGKILL)
        return not alive

    return _wait_until(all_gone, _KILL_PATIENCE_S)


def clean(directory: Path) -> bool:
    """End every process of a directory and remove it; False if something is left.

    An immediate shutdown comes first: it makes a server give back its shared memory.
    """
    _shut_down(directory)
    ended = kill(directory)
    _remove_shared_memory(directory)

    def removed() -> bool:
        shutil.rmtree(directory, ignore_errors=True)
        return not directory.exists()

    return _wait_until(removed, _KILL_PATIENCE_S) and ended and not members(directory)


def _shut_down(directory: Path) -> None:
    servers = [process for process in members(directory) if _is_named(process, directory)]
    resume(directory)
    _signal(servers, signal.SIGQUIT)
    _wait_until(lambda: not members(directory), _SHUTDOWN_PATIENCE_S)


def _remove_shared_memory(directory: Path) -> None:
    """Remove the System V segments of killed servers; line 7 of their pid files names them."""
    for pid_file in directory.glob("*/data/postmaster.pid"):
        with contextlib.suppress(OSError, IndexError):
            segment = pid_file.read_text().splitlines()[6].split()[1]
            subprocess.run(["ipcrm", "-m", segment], capture_output=True, check=False)


def _is_named(process: Process, directory: Path) -> bool:
    return f" -D {directory}/" in process.command


def _works_in(process: Process, directory: Path) -> bool:
    if not process.command.startswith("postgres"):
        return False
    try:
        return directory in Path(f"/proc/{process.pid}/cwd").readlink().parents
    except OSError:
        return False


def _signal(processes: Iterable[Process], number: signal.Signals) -> None:
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, number)


def _wait_until(condition: Callable[[], bool], patience_s: float) -> bool:
    deadline = time.monotonic() + patience_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_S)
    return True


def _process_table() -> list[Process]:
    if Path("/proc/self/stat").exists():
        return _read_proc()
    return _ask_ps()


def _read_proc() -> list[Process]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            # A process may end between the listing and the reading.
            with contextlib.suppress(OSError):
                found.append(_read_proc_entry(entry))
    return found


def _read_proc_entry(entry: Path) -> Process:
    # pid (command) state parent ...: the command may hold blanks and parentheses.
    fields = (entry / "stat").read_text(errors="replace").rpartition(")")[2].split()
    command = (entry / "cmdline").read_text(errors="replace").replace("\0", " ")
    return Process(int(entry.name), int(fields[1]), fields[0], command)


def _ask_ps() -> list[Process]:
    listing = subprocess.run(
        ["ps", "-A", "-ww", "-o", "pid=,ppid=,stat=,command="],
        capture_output=True,
        text=True,
        errors="replace",
        check=True,
    )
    rows = (line.split(None, 3) for line in listing.stdout.splitlines())
    return [Process(int(r[0]), int(r[1]), r[2][0], r[3]) for r in rows if len(r) == 4]


def _wait_for_owner(owner: int) -> None:
    while os.getppid() == owner:
        readable, _, _ = select.select([0], [], [], _OWNER_POLL_S)
        if readable:
            # Nothing is ever written into the pipe: readable means closed.
            return


def main(directory: Path, owner: int) -> int:
    """Guard a directory until its owner is gone; return the exit status."""
    _wait_for_owner(owner)
    return 0 if clean(directory) else 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[2])))
