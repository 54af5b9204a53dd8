"""Fresh databases on running servers."""

from __future__ import annotations

import secrets
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from greenshard.testing.account import Account
from greenshard.testing.shard_errors import ShardError

__all__ = ["Psql", "new_database_name"]

_PATIENCE_S = 60.0
# Since PostgreSQL 15 the default is to write the copy into the write-ahead log, too.
_CREATE = r"""
SELECT :SERVER_VERSION_NUM OPERATOR(pg_catalog.>=) 150000 AS is_asked \gset
\if :is_asked
CREATE DATABASE :"name" TEMPLATE :"template" STRATEGY file_copy;
\else
CREATE DATABASE :"name" TEMPLATE :"template";
\endif
"""
# Prepared transactions would keep the database, and can only be ended from inside it.
_DROP = r"""
SELECT pg_catalog.count(*) OPERATOR(pg_catalog.>) 0 AS prepared
FROM pg_catalog.pg_prepared_xacts WHERE database OPERATOR(pg_catalog.=) :'name' \gset
\if :prepared
\connect :"name"
SELECT pg_catalog.format('ROLLBACK PREPARED %L', gid) FROM pg_catalog.pg_prepared_xacts
WHERE database OPERATOR(pg_catalog.=) pg_catalog.current_database() \gexec
\connect postgres
\endif
DROP DATABASE IF EXISTS :"name" WITH (FORCE);
"""


def new_database_name() -> str:
    """A name that no database has yet, and that needs no quoting."""
    return f"test_{secrets.token_hex(4)}"


@dataclass(frozen=True)
class Psql:
    """The program psql and who runs it. Every method raises `ShardError` with psql's output."""

    program: Path
    account: Account

    def create_database(self, dsns: Mapping[str, str], name: str, template: str) -> None:
        """Create a database on every server.

        Args:
            dsns: How to reach each server, by its name.
            name: The new database.
            template: The database that is copied.
        """
        self._run(dsns, _CREATE, {"name": name, "template": template})

    def drop_database(self, dsns: Mapping[str, str], name: str) -> None:
        """Drop a database on every server that has it, whoever is connected to it."""
        self._run(dsns, _DROP, {"name": name})

    def _run(self, dsns: Mapping[str, str], script: str, variables: Mapping[str, str]) -> None:
        options = [f"--set={name}={value}" for name, value in variables.items()]
        command = [str(self.program), "-X", "-q", "-w", "--set=ON_ERROR_STOP=1", *options]
        running = {
            name: self.account.spawn(
                [*command, f"--dbname={dsn}"],
                cwd=Path("/"),
                stdin=subprocess.PIPE,
                output=subprocess.PIPE,
            )
            for name, dsn in dsns.items()
        }
        outcomes = {name: _outcome(process, script) for name, process in running.items()}
        failures = [f"psql failed on {name}: {said}" for name, said in outcomes.items() if said]
        if failures:
            raise ShardError("\n".join(failures))


def _outcome(process: subprocess.Popen[bytes], script: str) -> str:
    """Feed psql its script and wait for it; what it said if it failed, else nothing."""
    try:
        output, _ = process.communicate(script.encode(), _PATIENCE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return f"no answer within {_PATIENCE_S:g} s"
    if process.returncode == 0:
        return ""
    return output.decode(errors="replace") or f"exit status {process.returncode}"
