"""A temporary directory that ends with its owner, together with every server in it."""

from __future__ import annotations

import os
import re
import secrets
import subprocess
import sys
import tempfile
import weakref
from pathlib import Path

from greenshard.testing import guard
from greenshard.testing.account import Account
from greenshard.testing.shard_errors import ShardError

__all__ = ["Home"]

# A socket's path has at most 103 bytes on macOS; "/gs-12345678/s123/.s.PGSQL.12345" follows.
_MAX_BASE_LENGTH = 70
# Such a path needs no quoting in a DSN, in postgresql.conf or in ps's output.
_PLAIN_PATH = re.compile(r"[A-Za-z0-9/._+-]+")
_CLOSE_PATIENCE_S = 30.0


class Home:
    """A new temporary directory, and the guard that ends what runs in it.

    The guard (see `guard`) acts when `close` is called, and when this process ends in whatever
    way. A forked child of this process has no say: the write end of the guard's pipe is closed in
    it right after the fork, so that it neither keeps the servers alive nor, ending first, stops
    them; programs started with exec never get it.

    Args:
        account: Who shall own the directory.

    Raises:
        ShardError: No directory for temporary files has a path short enough for sockets.
    """

    def __init__(self, account: Account) -> None:
        self.owner = os.getpid()
        # The guard knows of the directory before it is there: a signal may arrive at any moment.
        self.path = _new_path(_base_directory(account))
        self._guard: subprocess.Popen[bytes] | None = None
        read_end, write_end = os.pipe()
        # Not closed with os.close: under gevent's patch that waits for the hub's next event.
        self._write_end = open(write_end, "wb", buffering=0)  # noqa: SIM115  # closed by `close`
        _open_homes.add(self)
        try:
            self._guard = _start_guard(self.path, read_end)
            self.path.mkdir(mode=0o700)
            account.give(self.path)
        except BaseException:
            self.close()
            raise
        finally:
            os.close(read_end)

    def close(self) -> None:
        """End every server in the directory and remove it. In a forked child: do nothing.

        Raises:
            ShardError: Something could not be ended or removed.
        """
        if self._write_end.closed or os.getpid() != self.owner:
            return
        self._release()
        if self._guard is not None:
            try:
                self._guard.wait(_CLOSE_PATIENCE_S)
            except subprocess.TimeoutExpired:
                raise ShardError(f"the servers in {self.path} are still ending") from None
        # The guard did it, unless somebody killed the guard.
        if self.path.exists() and not guard.clean(self.path):
            raise ShardError(f"could not end and remove everything in {self.path}")

    def _release(self) -> None:
        _open_homes.discard(self)
        self._write_end.close()


_open_homes: weakref.WeakSet[Home] = weakref.WeakSet()


def _release_in_child() -> None:
    for home in list(_open_homes):
        home._release()


os.register_at_fork(after_in_child=_release_in_child)


def _start_guard(path: Path, read_end: int) -> subprocess.Popen[bytes]:
    # In a session of its own: Ctrl-C, or a signal to the owner's group, does not reach it.
    return subprocess.Popen(
        [sys.executable, "-I", "-S", Path(guard.__file__).absolute(), path, str(os.getpid())],
        cwd="/",
        stdin=read_end,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def _new_path(base: Path) -> Path:
    while (path := base / f"gs-{secrets.token_hex(4)}").exists():
        pass
    return path


def _base_directory(account: Account) -> Path:
    tried = []
    for base in (tempfile.gettempdir(), "/tmp"):
        path = Path(base).resolve()
        plain = _PLAIN_PATH.fullmatch(str(path)) and len(str(path)) <= _MAX_BASE_LENGTH
        if plain and account.can_enter(path):
            return path
        tried.append(str(path))
    raise ShardError(
        f"no usable directory for temporary files among {', '.join(tried)}: it needs a path of "
        f"at most {_MAX_BASE_LENGTH} plain characters that the servers' user can enter"
    )
