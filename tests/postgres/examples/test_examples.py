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
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

import psycopg2
import pytest

import greenshard

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"

SCHEMA = """
CREATE TABLE flights (tailnum text, carrier text, dest text, distance int, arr_delay int);
CREATE TABLE airlines (carrier text PRIMARY KEY, name text)
"""
TABLES = """
[tables]
flights = { shard_key = "tailnum" }
airlines = { reference = true }
"""
AIRLINES = [("HA", "Hawaiian"), ("DL", "Delta")]
FLIGHTS = [
    # N1 and N2 are on different shards.
    ("N1", "HA", "HNL", 4983, 30),
    ("N1", "HA", "HNL", 4983, 11),
    ("N1", "HA", "ANC", 3370, 5),
    (None, "DL", "X", 1, None),
    ("N2", "DL", "HNL", 4963, -4),
    ("N2", "DL", "BOS", 200, None),
]


@pytest.fixture
def cluster_file(greenshard_dsns: dict[str, str], tmp_path: Path) -> Path:
    """A cluster of two shards with a few flights."""
    for dsn in greenshard_dsns.values():
        conn = psycopg2.connect(dsn)
        with conn, conn.cursor() as cursor:
            cursor.execute(SCHEMA)
        conn.close()
    path = tmp_path / "cluster.toml"
    path.write_text(declaration(greenshard_dsns))
    greenshard.init(path)
    with greenshard.connect(path) as conn:
        cursor = conn.cursor()
        cursor.executemany("INSERT INTO flights VALUES (%s, %s, %s, %s, %s)", FLIGHTS)
        cursor.executemany("INSERT INTO airlines VALUES (%s, %s)", AIRLINES)
    conn.close()
    return path


def declaration(dsns: Mapping[str, str]) -> str:
    shards = "".join(f"{name} = {json.dumps(dsn)}\n" for name, dsn in dsns.items())
    return f"[shards]\n{shards}{TABLES}"


@pytest.fixture
def environment(cluster_file: Path) -> dict[str, str]:
    return {**os.environ, "GREENSHARD_CLUSTER": str(cluster_file)}


@pytest.mark.usefixtures("cluster_file")
def test_the_flights_are_on_both_shards(greenshard_dsns: dict[str, str]) -> None:
    for dsn in greenshard_dsns.values():
        conn = psycopg2.connect(dsn)
        with conn, conn.cursor() as cursor:
            cursor.execute("SELECT count(*) > 0 FROM flights")
            assert cursor.fetchall() == [(True,)]
        conn.close()


def test_plain_script_prints_what_one_database_would_say(environment: dict[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", str(EXAMPLES / "plain.py"), "N1"],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    lines = done.stdout.splitlines()
    assert lines[0].startswith("N1: 3 flights, 13,336 miles (from s")
    assert lines[1] == "most flights: N1 (3), N2 (2)"
    assert lines[2] == "latest: Hawaiian (15.3 min), Delta (-4.0 min)"
    assert [line.split()[0] for line in lines[3:5]] == ["s0:", "s1:"]
    assert lines[5] == "strategy: combine"


@pytest.fixture
def flask_view(cluster_file: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(str(EXAMPLES))
    monkeypatch.setenv("GREENSHARD_CLUSTER", str(cluster_file))
    module = importlib.import_module("flask_view")
    with module.app.app_context():
        pool = module.db.pool
    yield module
    pool.close()
    # It reads its configuration when it is imported.
    sys.modules.pop("flask_view")


def test_view_of_an_aircraft_reaches_one_shard(flask_view: Any) -> None:
    response = flask_view.app.test_client().get("/aircraft/N1")
    assert response.get_json() == [
        {"dest": "HNL", "flights": 2, "miles": 9966},
        {"dest": "ANC", "flights": 1, "miles": 3370},
    ]


def test_view_of_an_airport_averages_over_all_shards(flask_view: Any) -> None:
    response = flask_view.app.test_client().get("/airports/HNL/airlines")
    assert response.get_json() == [
        {"airline": "Hawaiian", "flights": 2, "mean_delay": 20.5},
        {"airline": "Delta", "flights": 1, "mean_delay": -4.0},
    ]


@pytest.mark.parametrize("path", ["/aircraft/N9", "/airports/ZZZ/airlines"])
def test_view_without_flights_is_not_found(flask_view: Any, path: str) -> None:
    assert flask_view.app.test_client().get(path).status_code == 404


def test_view_shows_each_shard(flask_view: Any) -> None:
    answer = flask_view.app.test_client().get("/shards").get_json()
    assert answer["flights"] == len(FLIGHTS)
    assert list(answer["milliseconds"]) == ["s0", "s1"]


def test_view_uses_its_connection_again(flask_view: Any, greenshard_dsns: dict[str, str]) -> None:
    client = flask_view.app.test_client()
    for _ in range(3):
        assert client.get("/shards").status_code == 200
    assert [backends(dsn, 1) for dsn in greenshard_dsns.values()] == [1, 1]


def backends(dsn: str, most: int) -> int:
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
                if count <= most or time.monotonic() > deadline:
                    return int(count)
                time.sleep(0.05)
    finally:
        conn.close()


def test_view_answers_503_when_a_shard_is_down(
    cluster_file: Path, greenshard_dsns: dict[str, str], request: pytest.FixtureRequest
) -> None:
    dead = {"s0": greenshard_dsns["s0"], "s1": "host=/nonexistent dbname=x"}
    cluster_file.write_text(declaration(dead))
    view = request.getfixturevalue("flask_view")
    response = view.app.test_client().get("/shards")
    assert (response.status_code, response.headers["Retry-After"]) == (503, "1")


@pytest.fixture
def gunicorn(environment: dict[str, str], tmp_path: Path) -> Iterator[str]:
    """The address of the Flask example under gunicorn, one gevent worker."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    settings = str(EXAMPLES / "flask_app" / "gunicorn.conf.py")
    command = [sys.executable, "-m", "gunicorn", "-c", settings]
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


def test_gunicorn_serves_many_clients_at_once(
    gunicorn: str, greenshard_dsns: dict[str, str]
) -> None:
    urls = [f"{gunicorn}/airports/HNL/airlines", f"{gunicorn}/aircraft/N2"] * 20
    with ThreadPoolExecutor(8) as clients:
        answers = list(clients.map(get, urls))
    assert [row["flights"] for row in answers[0]] == [2, 1]
    assert [row["dest"] for row in answers[1]] == ["BOS", "HNL"]
    assert all(answer == answers[number % 2] for number, answer in enumerate(answers))
    assert all(1 <= backends(dsn, 8) <= 8 for dsn in greenshard_dsns.values())
