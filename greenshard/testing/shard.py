"""One embedded server."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from greenshard.testing import guard
from greenshard.testing.account import Account
from greenshard.testing.shard_errors import ShardError

__all__ = ["SUPERUSER", "Shard"]

SUPERUSER = "postgres"
_UNIX_PORT = 5432
_LOG_TAIL_LINES = 20
_POLL_S = 0.01
_READY_LINE = 7


class Shard:
    """One PostgreSQL server of `Shards`; not made by users.

    Every method that waits gives up after the ``timeout_s`` of its `Shards`, with the end of the
    server's log in the error, and waits with ``time.sleep``: under gevent's monkey patching, other
    greenlets run.

    Attributes:
        name: ``"s0"``, ``"s1"``, ...
        data_dir: The server's data directory.
    """

    def __init__(
        self, name: str, home: Path, postgres: Path, account: Account, timeout_s: float
    ) -> None:
        self.name = name
        self.data_dir = home / name / "data"
        self._directory = home / name
        self._postgres = postgres
        self._account = account
        self._timeout_s = timeout_s
        self._owner = os.getpid()
        self._server: subprocess.Popen[bytes] | None = None
        self._paused = False
        self._tcp_port: int | None = None
        self._password = ""

    def __repr__(self) -> str:
        if not self.running:
            state = "stopped"
        else:
            state = f"{'paused' if self._paused else 'running'}, pid {self.pid}"
        return f"<Shard {self.name}: {state}, {self._directory}>"

    @property
    def dsn(self) -> str:
        """How to connect through the server's unix socket, as superuser, without a password."""
        return self.dsn_of("postgres")

    @property
    def tcp_address(self) -> tuple[str, int]:
        """Loopback address and port. Raises `ShardError` without ``Shards(..., tcp=True)``."""
        if self._tcp_port is None:
            raise ShardError(f"{self.name} does not listen on TCP: use Shards(..., tcp=True)")
        return "127.0.0.1", self._tcp_port

    @property
    def tcp_dsn(self) -> str:
        """How to connect through TCP, as superuser; it holds the server's random password.

        The password keeps the other users of the machine out: whoever is a superuser of
        PostgreSQL runs programs as the user who runs the server.
        """
        host, port = self.tcp_address
        return f"host={host} port={port} dbname=postgres user={SUPERUSER} password={self._password}"

    def dsn_of(self, database: str) -> str:
        """As `dsn`, for another database of the server; its name must need no quoting."""
        port = self._tcp_port or _UNIX_PORT
        return f"host={self._directory} port={port} dbname={database} user={SUPERUSER}"

    @property
    def running(self) -> bool:
        """Whether the server process exists, paused or not."""
        return self._server is not None and self._server.poll() is None

    @property
    def paused(self) -> bool:
        """Whether `pause` was called, and neither `resume` nor the end of the server since."""
        return self._paused and self.running

    @property
    def pid(self) -> int:
        """The process id of the server (the postmaster). Raises `ShardError` if stopped."""
        return self._process().pid

    def log(self) -> str:
        """What the server has logged so far."""
        try:
            return (self._directory / "log").read_text(errors="replace")
        except FileNotFoundError:
            return ""

    def start(self) -> None:
        """Start the server and wait until it takes connections; nothing if it is running.

        After `kill` the server first recovers from its write-ahead log.
        """
        self._launch()
        self._wait_until_ready()

    def stop(self) -> None:
        """Shut down fast: clients are disconnected, data is kept; nothing if it is stopped."""
        self._check_owner()
        if not self.running:
            return
        self.resume()
        os.kill(self.pid, signal.SIGINT)
        self._wait(lambda: not self.running, "stop")

    def restart(self) -> None:
        """`stop`, then `start`."""
        self.stop()
        self.start()

    def kill(self) -> None:
        """SIGKILL the server and all its backends: every client loses its connection at once."""
        self._check_owner()
        if not guard.kill(self._directory):
            raise self._error("did not end after SIGKILL")
        self._wait(lambda: not self.running, "end after SIGKILL")

    def pause(self) -> None:
        """SIGSTOP the server and all its backends: like a frozen machine.

        The kernel still takes TCP and unix connections for it, until its backlog is full.
        """
        self._check_owner()
        self._process()
        self._paused = True
        if not guard.pause(self._directory):
            raise self._error("could not be paused")

    def resume(self) -> None:
        """SIGCONT after `pause`; nothing if it is not paused."""
        self._check_owner()
        if self.paused:
            guard.resume(self._directory)
        self._paused = False

    def _configure(self, settings: Mapping[str, object], tcp: tuple[int, str] | None) -> None:
        """Write the settings into postgresql.conf, where ALTER SYSTEM can still override them."""
        if tcp is not None:
            self._tcp_port, self._password = tcp
        addresses = {
            "unix_socket_directories": self._directory,
            "listen_addresses": "" if tcp is None else "127.0.0.1",
            "port": self._tcp_port or _UNIX_PORT,
        }
        with (self.data_dir / "postgresql.conf").open("a", encoding="utf-8") as conf:
            for name, value in {**settings, **addresses}.items():
                print(f"{name} = {_quoted(value)}", file=conf)

    def _launch(self) -> None:
        """Start the server process, without waiting for it."""
        self._check_owner()
        if self.running:
            return
        self._paused = False
        # Files of a killed server. Its pid may by now be that of another of our servers, which
        # PostgreSQL would take for a second server on this data directory.
        (self.data_dir / "postmaster.pid").unlink(missing_ok=True)
        for lock in self._directory.glob(".s.PGSQL.*.lock"):
            lock.unlink()
        with (self._directory / "log").open("ab") as log:
            self._server = self._account.spawn(
                [self._postgres, "-D", self.data_dir], cwd=self._directory, output=log
            )

    def _process(self) -> subprocess.Popen[bytes]:
        if self._server is None or not self.running:
            raise ShardError(f"shard {self.name} is not running")
        return self._server

    def _wait_until_ready(self) -> None:
        self._wait(self._is_ready, "start")

    def _is_ready(self) -> bool:
        if self._server is None or not self.running:
            raise self._error("ended while starting")
        try:
            lines = (self.data_dir / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        return (
            len(lines) > _READY_LINE
            and lines[0] == str(self._server.pid)
            and lines[_READY_LINE].strip() == "ready"
        )

    def _wait(self, condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + self._timeout_s
        while not condition():
            if time.monotonic() > deadline:
                raise self._error(f"did not {what} within {self._timeout_s:g} s")
            time.sleep(_POLL_S)

    def _error(self, what: str) -> ShardError:
        tail = "\n".join(self.log().splitlines()[-_LOG_TAIL_LINES:])
        return ShardError(f"shard {self.name} {what}; the end of its log:\n{tail}")

    def _check_owner(self) -> None:
        if os.getpid() != self._owner:
            raise ShardError(
                f"shard {self.name} belongs to process {self._owner}, not to its fork {os.getpid()}"
            )


def _quoted(value: object) -> str:
    escaped = str(value).replace("\\", "\\\\").replace("'", "''")
    return f"'{escaped}'"
