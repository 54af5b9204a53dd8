"""Each file of examples/, run as its users run it."""

from __future__ import annotations

import importlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

import psycopg2
import pytest

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"

FLIGHTS = [
    # (tailnum, dest, distance, arr_delay); the aircraft decides the shard.
    [
        ("N1", "HNL", 4983, 30),
        ("N1", "HNL", 4983, 11),
        ("N1", "ANC", 3370, 5),
        (None, "X", 1, None),
    ],
    [("N2", "HNL", 4963, -4), ("N2", "BOS", 200, None)],
]


@pytest.fixture
def dsns(greenshard_dsns: dict[str, str]) -> dict[str, str]:
    """Two shards with a few flights."""
    for dsn, rows in zip(greenshard_dsns.values(), FLIGHTS, strict=True):
        conn = psycopg2.connect(dsn)
        with conn, conn.cursor() as cursor:
            cursor.execute(
                "CREATE TABLE flights (tailnum text, dest text, distance int, arr_delay int)"
            )
            cursor.executemany("INSERT INTO flights VALUES (%s, %s, %s, %s)", rows)
        conn.close()
    return greenshard_dsns


@pytest.fixture
def environment(dsns: dict[str, str]) -> dict[str, str]:
    return {**os.environ, "GREENSHARD_SHARDS": "\n".join(dsns.values())}


def test_plain_script_prints_flights_of_all_shards(environment: dict[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", str(EXAMPLES / "plain.py"), "N1"],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    lines = done.stdout.splitlines()
    assert lines[0] == "N1: 3 flights, 13,336 miles"
    assert lines[1] == "most flights: N1 (3), N2 (2)"
    assert [line.split()[:2] for line in lines[2:]] == [["s0:", "1"], ["s1:", "1"]]


@pytest.fixture
def flask_view(dsns: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(EXAMPLES))
    module = importlib.import_module("flask_view")
    monkeypatch.setitem(module.app.config, "SHARDS", list(dsns.values()))
    return module


def test_view_merges_and_sorts_the_groups_of_all_shards(flask_view: Any) -> None:
    response = flask_view.app.test_client().get("/airports/HNL/delays")
    assert response.get_json() == [
        {"tailnum": "N1", "flights": 2, "mean_delay": 20.5},
        {"tailnum": "N2", "flights": 1, "mean_delay": -4.0},
    ]


def test_view_without_flights_is_not_found(flask_view: Any) -> None:
    assert flask_view.app.test_client().get("/airports/ZZZ/delays").status_code == 404


def test_view_shows_each_shard(flask_view: Any) -> None:
    answer = flask_view.app.test_client().get("/shards").get_json()
    assert {name: part["flights"] for name, part in answer.items()} == {"s0": 4, "s1": 2}


def test_view_closes_its_connection_after_each_request(flask_view: Any, dsns: Any) -> None:
    client = flask_view.app.test_client()
    for _ in range(3):
        assert client.get("/shards").status_code == 200
    assert backends(dsns["s0"]) == 0


def backends(dsn: str) -> int:
    """The connections that others hold, when those that are closing are gone."""
    conn = psycopg2.connect(dsn)
    conn.autocommit = True
    deadline = time.monotonic() + 10
    try:
        with conn.cursor() as cursor:
            while True:
                cursor.execute(
                    "SELECT count(*) FROM pg_stat_activity "
                    "WHERE datname = current_database() AND pid <> pg_backend_pid()"
                )
                ((count,),) = cursor.fetchall()
                if count == 0 or time.monotonic() > deadline:
                    return int(count)
                time.sleep(0.05)
    finally:
        conn.close()


def test_view_answers_503_when_a_shard_is_down(flask_view: Any, dsns: Any) -> None:
    flask_view.app.config["SHARDS"] = [dsns["s0"], "host=/nonexistent dbname=x"]
    assert flask_view.app.test_client().get("/shards").status_code == 503


@pytest.fixture
def gunicorn(environment: dict[str, str], tmp_path: Path) -> Iterator[str]:
    """The address of the Flask example under gunicorn, one gevent worker."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    command = [sys.executable, "-m", "gunicorn", "-c", str(EXAMPLES / "gunicorn.conf.py")]
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(
            [*command, "--chdir", str(EXAMPLES), "flask_view:app"],
            env={**environment, "BIND": address, "WEB_CONCURRENCY": "1"},
            stderr=log,
        )
        try:
            wait_until_up(process, f"http://{address}/shards")
            yield f"http://{address}"
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)
    assert "Traceback" not in (tmp_path / "log").read_text()


def wait_until_up(process: subprocess.Popen[bytes], url: str) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        try:
            get(url)
        except HTTPError:
            raise
        except (URLError, ConnectionError):
            time.sleep(0.1)
        else:
            return
    pytest.fail("gunicorn did not come up")


def get(url: str) -> Any:
    with urlopen(url, timeout=30) as response:
        return json.load(response)


def test_gunicorn_serves_many_clients_at_once(gunicorn: str, dsns: dict[str, str]) -> None:
    with ThreadPoolExecutor(8) as clients:
        answers = list(clients.map(get, [f"{gunicorn}/airports/HNL/delays"] * 40))
    assert {row["tailnum"] for answer in answers for row in answer} == {"N1", "N2"}
    assert all(len(answer) == 2 for answer in answers)
    assert [backends(dsn) for dsn in dsns.values()] == [0, 0]
