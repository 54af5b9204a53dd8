"""Loads the demo's rows through psql, a process per shard.

psql and not the driver, because COPY is refused on green connections: bulk loading is the work of
the tools that PostgreSQL ships. One process writes to all of them; the servers work at the same
time.
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import IO, cast

PROGRESS_EVERY = 8192


class LoadFailed(Exception):
    """psql reported an error; the message names the shard."""


class Psql:
    """One psql on one shard, reading its standard input.

    Args:
        program: the path of psql.
        shard: the shard's name, for errors.
        dsn: where to connect.
        command: what to run; None runs the script that is written to it.
    """

    def __init__(self, program: Path, shard: str, dsn: str, command: str | None = None) -> None:
        options = ["-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", dsn]
        self.shard = shard
        self._errors: IO[str] = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115
        self._process = subprocess.Popen(
            [str(program), *options, *(("-c", command) if command else ("-f", "-"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=self._errors,
            text=True,
            encoding="utf-8",
        )
        self._input = cast("IO[str]", self._process.stdin)

    def __enter__(self) -> Psql:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the process, whatever state it is in."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        self._close_input()
        self._errors.close()

    def write(self, text: str) -> None:
        """Send text.

        Raises:
            LoadFailed: psql has ended.
        """
        try:
            self._input.write(text)
        except BrokenPipeError:
            self.finish()
            raise LoadFailed(f"shard {self.shard}: psql ended too early") from None

    def end_input(self) -> None:
        """Tell psql that no more comes, without waiting for it to end."""
        self._close_input()

    def finish(self) -> None:
        """End the input and wait for psql.

        Raises:
            LoadFailed: psql reported an error.
        """
        self._close_input()
        if self._process.wait() != 0:
            self._errors.seek(0)
            raise LoadFailed(f"shard {self.shard}: {self._errors.read().strip()}")

    def _close_input(self) -> None:
        # If psql ended first, its exit status says whether that is an error.
        with suppress(BrokenPipeError):
            self._input.close()


def run_scripts(program: Path, dsns: Mapping[str, str], scripts: Sequence[str]) -> None:
    """Run one script on each shard, all at the same time.

    Args:
        program: the path of psql.
        dsns: the shards, by name.
        scripts: for each shard, in order, what psql runs.

    Raises:
        LoadFailed: a script failed.
    """
    with ExitStack() as stack:
        shells = [stack.enter_context(Psql(program, *shard)) for shard in dsns.items()]
        for shell, script in zip(shells, scripts, strict=True):
            shell.write(script)
            shell.end_input()
        for shell in shells:
            shell.finish()


def copy_rows(
    program: Path,
    dsns: Mapping[str, str],
    command: str,
    rows: Iterable[tuple[int, str]],
    on_progress: Callable[[int], None],
) -> list[int]:
    """Send each row to its shard, to a COPY that all shards run at the same time.

    Args:
        program: the path of psql.
        dsns: the shards, by name.
        command: the COPY ... FROM STDIN.
        rows: pairs of a shard's number and a line with its line end.
        on_progress: called now and then with the rows sent so far.

    Returns:
        The rows that each shard got.

    Raises:
        LoadFailed: a shard refused the rows.
    """
    sent = [0] * len(dsns)
    with ExitStack() as stack:
        shells = [stack.enter_context(Psql(program, *shard, command)) for shard in dsns.items()]
        for number, (shard, line) in enumerate(rows):
            shells[shard].write(line)
            sent[shard] += 1
            if number % PROGRESS_EVERY == 0:
                on_progress(number)
        for shell in shells:
            shell.end_input()
        for shell in shells:
            shell.finish()
    on_progress(sum(sent))
    return sent
