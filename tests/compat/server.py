"""One embedded PostgreSQL server, and a fresh database in it for each process that runs tests."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import psycopg2
from psycopg2.extensions import parse_dsn

from greenshard.testing import Shards

if TYPE_CHECKING:
    from collections.abc import Iterator

TEMPLATE = "psycopg2_template"


class Server:
    """Makes the databases that the suite runs in.

    Args:
        dsn: where it is; the user must be a superuser.
    """

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        parts = parse_dsn(dsn)
        self._environment = {
            "PSYCOPG2_TESTDB_HOST": parts["host"],
            "PSYCOPG2_TESTDB_PORT": parts["port"],
            "PSYCOPG2_TESTDB_USER": parts["user"],
        }
        self._last = 0
        self._run("postgres", f"CREATE DATABASE {TEMPLATE}")
        self._run(TEMPLATE, "CREATE EXTENSION hstore")

    def _run(self, database: str, statement: str) -> str:
        """Run one statement outside a transaction; return its first value, or ''."""
        conn = psycopg2.connect(self._dsn, dbname=database)
        try:
            conn.autocommit = True
            with conn.cursor() as cur:
                cur.execute(statement)
                row = cur.fetchone() if cur.description else None
                return str(row[0]) if row else ""
        finally:
            conn.close()

    def version(self) -> str:
        """Return the server's version."""
        return self._run("postgres", "SHOW server_version")

    @contextlib.contextmanager
    def database(self) -> Iterator[dict[str, str]]:
        """Yield the environment variables that name a database of its own to the suite."""
        self._last += 1
        name = f"psycopg2_test_{self._last}"
        self._run("postgres", f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}")
        yield {**self._environment, "PSYCOPG2_TESTDB": name}
        # FORCE ends what a killed test left running; a prepared transaction still forbids it.
        with contextlib.suppress(psycopg2.errors.ObjectInUse):
            self._run("postgres", f"DROP DATABASE {name} WITH (FORCE)")


@contextlib.contextmanager
def running_server() -> Iterator[Server]:
    """Start a server, with prepared transactions for the TPC tests; stop it at the end."""
    with Shards(1, settings={"max_prepared_transactions": 20}) as shards:
        yield Server(shards[0].dsn)
