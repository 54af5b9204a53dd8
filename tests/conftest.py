"""Fixtures that every test of this project may use."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import tempfile
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from greenshard.testing import pytest_plugin

#: Files in memory, and how many bytes of it must be free: all tests together need a fifth of them.
_MEMORY, _ENOUGH = Path("/dev/shm"), 4 << 30


def keep_servers_in_memory() -> None:
    """Put the servers' data where making a file costs nothing, unless told where to put it.

    Each database is 300 files, and on a disk it may take a millisecond to make one. The tests' own
    directories, which stay there afterwards, remain where they are.
    """
    if (
        "TMPDIR" not in os.environ
        and _MEMORY.is_dir()
        and shutil.disk_usage(_MEMORY).free > _ENOUGH
    ):
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", tempfile.gettempdir())
        os.environ["TMPDIR"] = tempfile.tempdir = str(_MEMORY)


keep_servers_in_memory()


def heed_signals() -> None:
    """Let this process, and what it starts, heed signals also where they run in the background.

    There, a shell lets a program ignore those of the terminal, and so does nohup.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)


heed_signals()


# How long an example takes says how busy the machine is.
hypothesis.settings.register_profile("greenshard", deadline=None)
hypothesis.settings.load_profile("greenshard")

#: Whatever is random follows from it; the processes of pytest-xdist inherit it.
os.environ.setdefault("GREENSHARD_SEED", str(secrets.randbits(32)))


#: Files that one process is busy with for half a minute or more. They come first: one that came
#: last would keep one process busy while the others have nothing left to do.
_LONG = (
    "tests/differential/test_order_of_bytes.py",
    "tests/differential/test_order_of_words.py",
)


@pytest.hookimpl(trylast=True)  # after pytest-randomly
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the tests of long files first."""
    rank = {Path(__file__).parents[1] / name: number for number, name in enumerate(_LONG)}
    items.sort(key=lambda item: rank.get(item.path, len(rank)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """One more than there are processors: tests of timeouts and of silent servers mostly wait."""
    return (os.cpu_count() or 1) + 1


def pytest_report_header() -> str:
    """Tell the seed."""
    return f"GREENSHARD_SEED={os.environ['GREENSHARD_SEED']}"


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Tell the seed where a test failed, also with ``-q``."""
    if terminalreporter.stats.keys() & {"failed", "error"}:
        terminalreporter.write_line(f"again: GREENSHARD_SEED={os.environ['GREENSHARD_SEED']}")


def pytest_configure(config: pytest.Config) -> None:
    """Register the fixtures, unless the entry point of an installed greenshard did it already.

    `pytest_plugins` is for a conftest.py in the root directory only.
    """
    if not config.pluginmanager.is_registered(pytest_plugin):
        config.pluginmanager.register(pytest_plugin, "greenshard")
