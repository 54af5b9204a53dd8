"""``make app``: the application with servers of its own."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import psycopg2
import pytest

from greenshard import Cluster
from tests.postgres.flask_app.conftest import (
    EXAMPLES,
    PATIENCE_S,
    answers,
    eventually,
    free_port,
    running,
)

START = str(EXAMPLES / "flask_app" / "start.py")
SERVERS_S = 120


def test_one_command_serves_the_flights_until_it_is_told_to_end(tmp_path: Path) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}/"
    log = tmp_path / "log"
    command = [START, "--shards", "2", "--bind", f"127.0.0.1:{port}"]
    with running(command, log, url, TMPDIR=str(tmp_path)) as process:
        assert url in log.read_text()
        assert "336,776 flights loaded" in log.read_text()
        homes = server_homes(tmp_path)
        assert [home.is_dir() for home in homes] == [True, True]
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE_S) == 0
        assert not answers(url)
    assert "Traceback" not in log.read_text()
    assert [home.exists() for home in homes] == [False, False]
    assert [path.name for path in tmp_path.iterdir()] == ["log"]


def test_command_that_is_told_to_end_while_it_loads_ends(tmp_path: Path) -> None:
    log = tmp_path / "log"
    command = [sys.executable, START, "--shards", "2", "--bind", f"127.0.0.1:{free_port()}"]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    with log.open("w") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
    try:
        eventually(lambda: "servers are up" in log.read_text() and server_homes(tmp_path))
        homes = server_homes(tmp_path)
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 0
    finally:
        process.kill()
        process.wait(PATIENCE_S)
    assert log.read_text().count("\n") == 1
    assert [home.exists() for home in homes] == [False, False]
    assert [path.name for path in tmp_path.iterdir()] == ["log"]


def server_homes(directory: Path) -> list[Path]:
    """The directories of the servers, which are gone when the servers are."""
    declarations = list(directory.glob("greenshard-*/cluster.toml"))
    if not declarations or "[placement]" not in declarations[0].read_text():
        return []  # not written yet, or half
    shards = Cluster.from_toml(declarations[0]).shards.values()
    return [Path(psycopg2.extensions.parse_dsn(shard.primary)["host"]) for shard in shards]


@pytest.mark.parametrize("where", ["127.0.0.1:{port}", "nowhere", "127.0.0.1:x", "192.0.2.1:80"])
def test_place_that_cannot_be_listened_on_is_told_at_once(where: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        place = where.format(port=taken.getsockname()[1])
        done = subprocess.run(
            [sys.executable, START, "--bind", place],
            capture_output=True,
            text=True,
            timeout=SERVERS_S,
            check=False,
        )
    assert done.returncode == 1
    assert re.fullmatch(rf"error: cannot listen on {place} \(.*\); name another.*\n", done.stderr)
    assert done.stdout == ""
