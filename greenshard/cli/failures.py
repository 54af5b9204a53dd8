"""How commands fail: exit codes for scripts, and one line of what, one of what to do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from enum import IntEnum
from typing import IO, Any

import click

from greenshard import errors
from greenshard.cli import terminal

HINT_MARK = "HINT:"


class ExitCode(IntEnum):
    """What the shell gets; documented in ``greenshard query --help``."""

    OK = 0
    DATABASE_ERROR = 1
    USAGE = 2
    PARTIAL = 3
    TIMEOUT = 4
    NO_CONNECTION = 5
    OUTPUT = 6


class CommandFailed(click.ClickException):
    """Ends the program with a message on stderr.

    Args:
        message: what happened.
        hint: what to do, or None.
        code: the exit code.
    """

    def __init__(
        self, message: str, *, hint: str | None = None, code: ExitCode = ExitCode.DATABASE_ERROR
    ) -> None:
        super().__init__(message)
        self.hint = hint
        self.exit_code = int(code)  # type: ignore[misc]  # show() and exit read the instance's

    def show(self, file: IO[Any] | None = None) -> None:
        """Print the message, and the hint on a line of its own."""
        lines = [f"greenshard: {self.message}"]
        if self.hint:
            lines.append(f"  hint: {terminal.lines(self.hint)}")
        # Where nothing can be written, the exit code still tells.
        with suppress(OSError):
            click.echo("\n".join(lines), file=file, err=file is None)


def from_error(error: errors.Error, *, connecting: bool = False) -> CommandFailed:
    """Turn an error of greenshard or of a shard into what the user reads.

    Args:
        error: the error.
        connecting: whether it came while the shards were being opened.
    """
    hint = error.hint or _server_hint(error)
    return CommandFailed("\n".join(message_lines(error)), hint=hint, code=_code(error, connecting))


def message_lines(error: BaseException) -> Iterator[str]:
    """Give what happened: one line, and one more for each shard if several failed.

    Of greenshard's own errors, all lines: a refusal tells in several what is in the way.
    """
    if isinstance(error, errors.Error) and error.failures and not error._once:
        yield first_line(error).rstrip(":")
        for shard, failure in error.failures.items():
            yield f"  shard {shard}: {first_line(failure)}"
        return
    if isinstance(error, errors.Error) and error.code is not None:
        first, *more = str(error).split(HINT_MARK)[0].strip().splitlines()
    else:
        first, more = first_line(error), []
    name = getattr(error, "shard", None)
    yield first if name is None or f"shard {name}" in first else f"shard {name}: {first}"
    yield from more


def first_line(error: BaseException) -> str:
    """Give the line of a message that says what happened."""
    lines = str(error).split(HINT_MARK)[0].strip().splitlines()
    return lines[0] if lines else type(error).__name__


def _server_hint(error: errors.Error) -> str | None:
    hint = getattr(error.diag, "message_hint", None)
    return str(hint) if hint else None


def _code(error: errors.Error, connecting: bool) -> ExitCode:
    if connecting and isinstance(error, errors.OperationalError):
        return ExitCode.NO_CONNECTION
    if connecting:
        return ExitCode.USAGE
    if isinstance(error, errors.QueryTimeout):
        return ExitCode.TIMEOUT
    return ExitCode.DATABASE_ERROR
