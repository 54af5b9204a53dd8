"""Five shards, and programs in processes of their own that work on them."""

from __future__ import annotations

import contextlib
import json
import select
import subprocess
import sys
import time
from pathlib import Path

import psycopg2
import pytest

from greenshard.deadlocks.observer import NAME

#: What the programs wait before they look, in seconds.
TIMEOUT_S = 1.5
PROGRAM = Path(__file__).parent / "member.py"


@pytest.fixture(scope="module")
def dsns(greenshard_shards):
    with contextlib.ExitStack() as stack:
        made = [stack.enter_context(greenshard_shards.databases()) for _ in range(3)]
        every = [dsn for each in made for dsn in each.values()]
        dsns = {f"s{number}": dsn for number, dsn in enumerate(every[:5])}
        for dsn in dsns.values():
            ask(
                dsn,
                "CREATE TABLE t (k int PRIMARY KEY, n int);"
                " INSERT INTO t SELECT k, 0 FROM generate_series(0, 9) AS k; SELECT 1",
            )
        yield dsns


def ask(dsn, sql, *args):
    with contextlib.closing(psycopg2.connect(dsn)) as connection:
        connection.autocommit = True
        cursor = connection.cursor()
        cursor.execute(sql, args)
        return cursor.fetchall()


#: Who is in a transaction on a server, and for whom each waits.
BUSY = """SELECT pid, application_name, state, wait_event, pg_blocking_pids(pid), query
FROM pg_stat_activity WHERE datname = current_database() AND xact_start IS NOT NULL"""


class Member:
    """A program; what is asked of it is answered in its own time."""

    def __init__(self, dsns, **arguments):
        self._dsns = dsns
        self._command = [sys.executable, PROGRAM, json.dumps(dsns), json.dumps(arguments)]
        self._start()

    def _start(self):
        self._process = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def fileno(self):
        """For select: readable when an answer is there."""
        return self._process.stdout.fileno()

    def begin(self, name, *args, **kwargs):
        self._process.stdin.write(json.dumps([name, args, kwargs]) + "\n")
        self._process.stdin.flush()

    def end(self):
        ready, _, _ = select.select([self], [], [], 60.0)
        assert ready, f"no answer: {[(name, ask(dsn, BUSY)) for name, dsn in self._dsns.items()]}"
        return json.loads(self.line())

    def line(self):
        return self._process.stdout.readline()

    def do(self, name, *args, **kwargs):
        self.begin(name, *args, **kwargs)
        told = self.end()
        assert "text" not in told, told
        return told["value"]

    def restart(self):
        """Kill it, whatever it does, and start it anew."""
        self._process.kill()
        self._process.communicate()
        self._start()

    def stop(self):
        self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            raise
        self._process.stdout.close()


@pytest.fixture(scope="module")
def programs(dsns):
    """Programs that are there for all tests, for it takes long to start one."""
    made = [Member(dsns, deadlock_timeout_s=TIMEOUT_S) for _ in range(5)]
    assert {member.end() for member in made} == {"ready"}
    yield made
    for member in made:
        member.stop()


@pytest.fixture
def members(programs, dsns):
    """Those programs, without connections, and rows that nobody has changed."""
    for dsn in dsns.values():
        ask(dsn, "UPDATE t SET n = 0; SELECT 1")
    yield programs
    for member in programs:
        member.begin("close")
    stuck = [member for member in programs if not closed(member)]
    for member in stuck:
        member.restart()
    assert not [member for member in stuck if member.end() != "ready"]
    assert not stuck, "still at what a test has begun"


def closed(member):
    """Whether it has answered that it is closed, after what a failed test has not read."""
    end = time.monotonic() + 10.0
    while (left_s := end - time.monotonic()) > 0 and select.select([member], [], [], left_s)[0]:
        if (told := json.loads(member.line())).get("value", 0) is None and told["name"] == "close":
            return True
    return False


def lookers(dsn):
    """The sessions that look for deadlocks on a shard."""
    return ask(
        dsn,
        "SELECT pid FROM pg_stat_activity WHERE starts_with(application_name, %s)"
        " AND datname = current_database()",
        NAME,
    )


def until(condition, seconds=10.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.01)


def waits(dsn, count):
    """Wait until so many sessions wait for locks in a shard's database."""
    sql = (
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    until(lambda: ask(dsn, sql)[0][0] == count)
