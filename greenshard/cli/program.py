"""What holds for every command: how it ends when it is told to, or cannot print."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import click

from greenshard import _green
from greenshard.cli import terminal
from greenshard.cli.failures import ExitCode
from greenshard.cli.stdio import ReaderGone, discard_stdout

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
KILLED = 128
"""The shell adds the signal's number to it."""


class Stopped(BaseException):
    """A signal has told the program to end. No ``Exception``: nothing may take it for a failure.

    Attributes:
        signal: Which one.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.signal = signal.Signals(number)


class Program(click.Group):
    """A group of commands that ends well.

    On SIGINT, SIGTERM and SIGHUP it cancels what runs on the servers, closes, removes what it made,
    and exits with 128 and the signal's number. When the reader of its output is gone it exits as if
    SIGPIPE had ended it. What cannot be printed is one line on stderr.
    """

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run a command line, and exit."""
        _occupy_standard_files()
        try:
            if sys.stdout is None:
                _fail("standard output is closed", ExitCode.OUTPUT)
            with stoppable():
                return super().main(*args, **kwargs)
        except Stopped as stopped:
            _fail(f"stopped by {stopped.signal.name}", KILLED + stopped.signal)
        except ReaderGone:
            sys.exit(KILLED + signal.SIGPIPE)
        except (OSError, UnicodeError) as error:
            discard_stdout()
            _fail(_words(error), ExitCode.OUTPUT)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; see `click.Command.invoke`."""
        try:
            return super().invoke(ctx)
        except click.ClickException as error:
            error.message = terminal.lines(error.message)  # type: ignore[misc]  # show() reads it
            raise


def _words(error: OSError | UnicodeError) -> str:
    if isinstance(error, OSError) and error.strerror and error.filename is None:
        return error.strerror
    return str(error)


def _fail(message: str, code: int) -> None:
    # Standard error may be closed too.
    with suppress(OSError):
        click.echo(f"greenshard: {terminal.lines(message)}", err=True)
    sys.exit(code)


def _occupy_standard_files() -> None:
    """Put nowhere in the place of standard files that are closed.

    Else the first socket to a shard would get such a number, and what a library writes to standard
    error would go to the server.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


@contextmanager
def stoppable() -> Iterator[None]:
    """Within this, each of `SIGNALS` raises `Stopped` in the main greenlet, once.

    A signal that was ignored, as under ``nohup``, still is. Later ones do nothing: a closing
    terminal sends several, and what the first one began must end.
    """

    def stop(number: int, _frame: object) -> None:
        for each in caught:
            signal.signal(each, _nothing)
        _green.raise_in_main(Stopped(number))

    try:
        caught = {each: signal.getsignal(each) for each in SIGNALS}
        caught = {each: old for each, old in caught.items() if old not in (signal.SIG_IGN, None)}
        for each in caught:
            signal.signal(each, stop)
    except ValueError:  # not the main thread
        caught = {}
    try:
        yield
    finally:
        for each, old in caught.items():
            signal.signal(each, old)


def _nothing(_number: int, _frame: object) -> None:
    pass
