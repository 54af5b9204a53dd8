"""Who runs the servers: PostgreSQL refuses to run as root."""

from __future__ import annotations

import os
import pwd
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from greenshard.testing.shard_errors import ShardError

__all__ = ["Account"]

_CANDIDATES = ("nobody", "daemon", "postgres")
_MAX_UID = 2**31


@dataclass(frozen=True)
class Account:
    """The user that server processes run as; without ids, the user of this process."""

    uid: int | None = None
    gid: int | None = None

    @classmethod
    def for_servers(cls) -> Account:
        """This process's user, or an unprivileged one if that is root.

        Raises:
            ShardError: This is root and the machine has no unprivileged user.
        """
        if os.geteuid() != 0:
            return cls()
        for name in _CANDIDATES:
            try:
                entry = pwd.getpwnam(name)
            except KeyError:
                continue
            # macOS says 4294967294 for nobody (-2), which setuid does not take.
            if 0 < entry.pw_uid < _MAX_UID:
                return cls(entry.pw_uid, entry.pw_gid)
        raise ShardError(
            "PostgreSQL refuses to run as root, and this machine has none of the users "
            f"{', '.join(_CANDIDATES)}: create one, or run the tests as another user"
        )

    def spawn(
        self,
        command: Sequence[str | Path],
        *,
        cwd: Path,
        stdin: int | None = subprocess.DEVNULL,
        output: IO[bytes] | int = subprocess.DEVNULL,
    ) -> subprocess.Popen[bytes]:
        """Start a command as this user, in a session of its own: Ctrl-C does not reach it."""
        return subprocess.Popen(
            command,
            cwd=cwd,
            stdin=stdin,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=_environment(),
            start_new_session=True,
            user=self.uid,
            group=self.gid,
            extra_groups=None if self.uid is None else [],
        )

    def give(self, path: Path) -> None:
        """Make this user the owner of a file or directory."""
        if self.uid is not None and self.gid is not None:
            os.chown(path, self.uid, self.gid)

    def can_enter(self, path: Path) -> bool:
        """Whether this user may use what is in a directory (or execute a file)."""
        if self.uid is None:
            return os.access(path, os.X_OK)
        return self.spawn(["test", "-x", path], cwd=Path("/")).wait() == 0


def _environment() -> dict[str, str]:
    """The environment without libpq's variables, which would lead psql and initdb astray."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    # On macOS a postmaster without a valid locale refuses to start.
    return kept | {"LC_ALL": "C"}
