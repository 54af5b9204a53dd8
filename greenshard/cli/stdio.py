"""Reads stdin and writes stdout, in UTF-8 whatever the locale."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterable
from contextlib import suppress

from rich.console import Console

from greenshard.cli.failures import CommandFailed, ExitCode


class ReaderGone(BaseException):
    """Who read the output has closed the pipe, as ``head`` does: the program ends, quietly."""


class Screen(Console):
    """A console of rich's that does not exit by itself."""

    def on_broken_pipe(self) -> None:
        """Called when the reader has closed the pipe."""
        discard_stdout()
        raise ReaderGone


def read_sql(sql: str) -> str:
    """The statement of a command line: what is written there, or for "-" what stdin holds.

    Raises:
        CommandFailed: It cannot be read.
    """
    if sql != "-":
        return sql
    if sys.stdin is None:
        raise CommandFailed("standard input is closed", code=ExitCode.USAGE)
    try:
        return sys.stdin.buffer.read().decode()
    except UnicodeDecodeError as error:
        raise CommandFailed(
            f"standard input is not UTF-8: {error.reason} at byte {error.start}",
            code=ExitCode.USAGE,
        ) from error


def write_lines(lines: Iterable[str]) -> None:
    """Write lines to stdout.

    Raises:
        ReaderGone: The reader closed the pipe; the lines left are not asked for.
        CommandFailed: Nothing can be written, to a full disk for example.

    Switches: if the lines come from shards.
    """
    out = io.TextIOWrapper(sys.stdout.buffer, "utf-8", newline="")
    try:
        for line in lines:
            _write(out, line)
        _write(out)
    finally:
        with suppress(OSError):  # it was told already
            out.detach()


def _write(out: io.TextIOWrapper, line: str | None = None) -> None:
    """Write a line, or what has not been written of those before."""
    try:
        if line is None:
            out.flush()
        else:
            out.write(line + "\n")
    except BrokenPipeError:
        discard_stdout()
        raise ReaderGone from None
    except OSError as error:
        discard_stdout()
        raise CommandFailed(
            f"the output cannot be written: {error.strerror}", code=ExitCode.OUTPUT
        ) from error


def discard_stdout() -> None:
    """Point stdout to nowhere, so that the interpreter's last flush does not fail too."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    with suppress(OSError):  # a test's stdout has no descriptor
        os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
