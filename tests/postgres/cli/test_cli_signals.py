"""SIGINT, SIGTERM and SIGHUP end every command: nothing runs on, nothing is left behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psycopg2
import pytest

SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
MARK = "/* signalled */"
SLOW = f"SELECT id, pg_sleep(60) FROM orders {MARK}"
PATIENCE_S = 30

each_signal = pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)


@contextmanager
def started(*args: str, **options: object) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "greenshard.cli", *args],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,  # type: ignore[call-overload]
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def ends_by(process: subprocess.Popen[str], number: signal.Signals) -> None:
    process.send_signal(number)
    _, stderr = process.communicate(timeout=PATIENCE_S)
    assert (stderr.strip(), process.returncode) == (
        f"greenshard: stopped by {number.name}",
        128 + number,
    )


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.fixture
def running(greenshard_dsns: dict[str, str]) -> Iterator[Callable[[str], int]]:
    """On how many shards sessions are in a state: active ones, or any but our own."""
    options = "-c statement_timeout=10s"
    observers = [psycopg2.connect(dsn, options=options) for dsn in greenshard_dsns.values()]

    def count(where: str) -> int:
        found = 0
        for observer in observers:
            observer.autocommit = True
            with observer.cursor() as cursor:
                cursor.execute(
                    "SELECT count(*) > 0 FROM pg_stat_activity WHERE backend_type = 'client "
                    "backend' AND datname = current_database() AND application_name <> 'holder' "
                    f"AND pid <> pg_backend_pid() AND {where}"
                )
                found += cursor.fetchone()[0]
        return found

    yield count
    for observer in observers:
        observer.close()


@each_signal
@pytest.mark.parametrize(
    "args",
    [["--format", "table", SLOW], ["--format", "csv", SLOW], ["--on", "s1", SLOW]],
    ids=["all", "stream", "one"],
)
def test_query_is_cancelled_on_every_server(
    cluster_file: str,
    running: Callable[[str], int],
    number: signal.Signals,
    args: Sequence[str],
) -> None:
    shards = 1 if "--on" in args else 2
    with started("query", "-c", cluster_file, *args) as process:
        wait_for(lambda: running("wait_event = 'PgSleep'") == shards)
        ends_by(process, number)
    wait_for(lambda: running("true") == 0)


@contextmanager
def locked(dsns: dict[str, str], table: str) -> Iterator[None]:
    """Keep everyone else from reading a table, on all shards."""
    holders = [psycopg2.connect(dsn, application_name="holder") for dsn in dsns.values()]
    for holder in holders:
        holder.cursor().execute(f"LOCK TABLE {table}")
    yield
    for holder in holders:
        holder.close()


@each_signal
@pytest.mark.parametrize(
    ("args", "table"),
    [(["check"], "orders"), (["explain"], "pg_catalog.pg_collation")],
    ids=["check", "explain"],
)
def test_check_and_explain_leave_nothing_waiting(
    cluster_file: str,
    greenshard_dsns: dict[str, str],
    running: Callable[[str], int],
    number: signal.Signals,
    args: Sequence[str],
    table: str,
) -> None:
    sql = ["SELECT count(*) FROM orders"] if args == ["explain"] else []
    with locked(greenshard_dsns, table), started(*args, cluster_file, *sql) as process:
        wait_for(lambda: running("wait_event_type = 'Lock'") >= 1)
        ends_by(process, number)
        wait_for(lambda: running("true") == 0)


@each_signal
def test_a_second_signal_does_not_break_off_the_first_ones_work(
    cluster_file: str, running: Callable[[str], int], number: signal.Signals
) -> None:
    with started("query", "-c", cluster_file, SLOW) as process:
        wait_for(lambda: running("wait_event = 'PgSleep'") == 2)
        process.send_signal(signal.SIGHUP)
        for _ in range(3):
            process.send_signal(number)
        process.communicate(timeout=PATIENCE_S)
        assert process.returncode in (128 + signal.SIGHUP, 128 + number)
    wait_for(lambda: running("true") == 0)


def test_a_signal_that_is_ignored_stays_ignored(
    cluster_file: str, running: Callable[[str], int]
) -> None:
    def ignore() -> None:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    sql = "SELECT pg_sleep(1.5)"
    with started("query", "-c", cluster_file, sql, preexec_fn=ignore) as process:
        wait_for(lambda: running("wait_event = 'PgSleep'") == 1)
        process.send_signal(signal.SIGHUP)
        _, stderr = process.communicate(timeout=PATIENCE_S)
        assert (stderr, process.returncode) == ("", 0)


@pytest.mark.parametrize(
    ("number", "moment"),
    [(signal.SIGHUP, "  servers "), (signal.SIGTERM, "  split "), (signal.SIGINT, "3  ")],
    ids=["up", "split", "asks"],
)
def test_demo_leaves_no_server_and_no_folder(
    tmp_path: Path, number: signal.Signals, moment: str
) -> None:
    home = tmp_path / "t"
    home.mkdir()
    home.chmod(0o755)
    for parent in (tmp_path, *tmp_path.parents):
        if parent.owner() == home.owner() and str(parent) not in ("/", "/tmp"):
            parent.chmod(parent.stat().st_mode | 0o011)
    environment = {**os.environ, "TMPDIR": str(home)}
    with started("demo", "--shards", "2", env=environment) as process:
        assert process.stdout is not None
        next(line for line in process.stdout if line.startswith(moment))
        ends_by(process, number)
    assert list(home.iterdir()) == []
    assert not servers_of(home)


def servers_of(directory: Path) -> list[str]:
    listing = subprocess.run(["ps", "-A", "-ww", "-o", "command="], capture_output=True, check=True)
    return [
        line
        for line in listing.stdout.decode(errors="replace").splitlines()
        if re.search(rf" -D {re.escape(str(directory))}", line)
    ]
