"""Writes lines to stdout, whole and in UTF-8, until the reader has had enough."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterable


def write_lines(lines: Iterable[str]) -> bool:
    """Write lines to stdout, in UTF-8 whatever the locale.

    Returns:
        False if the reader closed the pipe, as ``head`` does; the lines left are not asked for.

    Switches: if the lines come from shards.
    """
    out = io.TextIOWrapper(sys.stdout.buffer, "utf-8", newline="")
    try:
        for line in lines:
            out.write(line + "\n")
        out.flush()
    except BrokenPipeError:
        discard_stdout()
        return False
    finally:
        _detach(out)
    return True


def discard_stdout() -> None:
    """Point stdout to nowhere, so that the interpreter's last flush does not fail too."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def _detach(out: io.TextIOWrapper) -> None:
    try:
        out.detach()
    except BrokenPipeError:
        discard_stdout()
        out.detach()
