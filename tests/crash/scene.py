"""The shards, the proxy before them, the processes that are killed, and what is true afterwards."""

from __future__ import annotations

import contextlib
import json
import queue
import subprocess
import sys
import threading
import time
from contextlib import closing

import psycopg2

import greenshard
from greenshard import Cluster
from greenshard.testing import Shards
from tests.crash.coordinator import NAME
from tests.crash.wire import Proxy

#: For what happens at once, on a machine that does a lot else.
PATIENCE_S = 60.0

SETTINGS = {
    "max_prepared_transactions": 20,
    # A server ends what it runs for a client that is gone.
    "client_connection_check_interval": "100ms",
    # `Shards` has synchronous_commit off, and nobody else writes the log in time: a decision that
    # is not made durable is lost with its server.
    "wal_writer_delay": "10s",
}


def eventually(condition, what):
    deadline = time.monotonic() + PATIENCE_S
    while not (found := condition()):
        assert time.monotonic() < deadline, what
        time.sleep(0.01)
    return found


class Nursery:
    """A process that forks for each job; what the forks say comes into a queue."""

    def __init__(self, events: queue.Queue[object]) -> None:
        self._events = events
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.crash.coordinator"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def start(self, kind: str, **arguments: object) -> None:
        print(json.dumps((kind, arguments)), file=self._process.stdin, flush=True)

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait(PATIENCE_S)
        self._reader.join()
        self._process.stdout.close()

    def _read(self) -> None:
        for line in self._process.stdout:
            self._events.put((self, json.loads(line)))


class Scene:
    """What all runs share. Close it.

    Args:
        count: How many shards.
        fault: How recovery shall be wrong.
        options: Of the connections that commit.
    """

    def __init__(self, count: int, fault: str | None = None, **options: object) -> None:
        self._stack = contextlib.ExitStack()
        self.shards = self._stack.enter_context(Shards(count, settings=SETTINGS))
        self.names = [shard.name for shard in self.shards]
        self.options, self.fault = options, fault
        greenshard.init(Cluster(shards=self.shards.dsns))
        for name in self.names:
            self.ask(name, "CREATE TABLE writes (x int)")
            self.ask(name, "CHECKPOINT")
        sockets = {s.name: s.data_dir.parent / ".s.PGSQL.5432" for s in self.shards}
        self.proxy = self._stack.enter_context(closing(Proxy(sockets, NAME)))
        self.events = self.proxy.events
        nurseries = [self._stack.enter_context(closing(Nursery(self.events))) for _ in range(4)]
        self.coordinator, *self.recoverers, self.auditor = nurseries
        for _ in nurseries:
            self.next()
        self._x = 0

    def close(self) -> None:
        self._stack.close()

    @property
    def relayed(self) -> dict[str, str]:
        return {name: f"{self.proxy.dsn(name)} dbname=postgres" for name in self.names}

    def next(self, timeout_s: float = PATIENCE_S) -> object:
        """What happens next: a rule was reached, or a process said something.

        Raises:
            queue.Empty: Nothing happens.
        """
        return self.events.get(timeout=timeout_s)

    def new_x(self) -> int:
        self._x += 1
        return self._x

    def recover(self, how: str) -> None:
        """Let recovery run "once", "twice", or two "together"."""
        dsns = self.shards.dsns
        for _ in range(2 if how == "twice" else 1):
            running = self.recoverers if how == "together" else self.recoverers[:1]
            for nursery in running:
                nursery.start("recover", dsns=dsns, fault=self.fault)
            left = len(running)
            while left:
                source, said = self.next()
                if source in running and "ended" in said:
                    assert said["ended"] == 0
                    left -= 1

    def outcome(self, gid: str) -> str:
        """What `greenshard.outcome` tells."""
        nursery, told = self.recoverers[0], ""
        nursery.start("outcome", dsns=self.shards.dsns, gid=gid)
        while True:
            source, said = self.next()
            if source is nursery and "ended" in said:
                return told
            told = said.get("outcome", told)

    def has(self, shard: str, x: int) -> bool:
        """Whether a row is on a shard."""
        return bool(self.ask(shard, f"SELECT 1 FROM writes WHERE x = {x}"))

    def nobody_there(self) -> bool:
        """Whether the servers have no session of a process that has ended."""
        return not any(self.ask(shard, _SESSIONS) for shard in self.names)

    def prepared(self) -> list[tuple[str, str]]:
        """What is prepared: the shard, and the name."""
        question = "SELECT gid FROM pg_prepared_xacts"
        return [(shard, gid) for shard in self.names for (gid,) in self.ask(shard, question)]

    def clean(self) -> None:
        """Roll back what is prepared, for the next run's sake."""
        for shard, gid in self.prepared():
            self.ask(shard, f"ROLLBACK PREPARED '{gid}'")

    def left_behind(self) -> list[str]:
        """What a transaction may leave: all of it must be gone."""
        found = []
        for shard in self.names:
            found += [f"{shard}: {what} {which}" for what, which in self.ask(shard, _LEFT)]
        return found

    def ask(self, shard: str, statement: str) -> list[tuple[object, ...]]:
        """Ask a server, past everything."""
        with closing(psycopg2.connect(self.shards[shard].dsn, application_name="judge")) as conn:
            conn.autocommit = True
            cur = conn.cursor()
            cur.execute(statement)
            return cur.fetchall() if cur.description else []


#: All but the judge's own.
_SESSIONS = """
SELECT 1 FROM pg_stat_activity
WHERE backend_type = 'client backend' AND application_name <> 'judge'
"""

_LEFT = """
SELECT 'prepared', gid FROM pg_prepared_xacts
UNION ALL
SELECT 'session', state || ' ' || query FROM pg_stat_activity
WHERE backend_type = 'client backend' AND application_name <> 'judge'
UNION ALL
SELECT 'lock', l.mode || ' ' || coalesce(l.relation::regclass::text, l.locktype)
FROM pg_locks l LEFT JOIN pg_stat_activity a USING (pid)
WHERE l.locktype IN ('relation', 'transactionid', 'advisory')
  AND (a.pid IS NULL OR a.backend_type = 'client backend' AND a.application_name <> 'judge')
"""
