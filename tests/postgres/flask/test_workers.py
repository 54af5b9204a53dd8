"""Under gunicorn: forked workers of several kinds, clients that leave, workers that are aborted."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

import pytest

from tests.postgres.flask.test_interruption import running
from tests.postgres.pool.conftest import eventually

SCRIPTS = Path(__file__).parent / "scripts"
CONFIGURED = ["--config", str(SCRIPTS / "workers_conf.py")]


class Server:
    """gunicorn with `scripts/workers_app.py`."""

    def __init__(self, dsns, log, *arguments):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.log = log
        self._workers = int(arguments[arguments.index("--workers") + 1])
        command = [sys.executable, "-m", "gunicorn", "--bind", f"127.0.0.1:{self.port}"]
        with log.open("w") as file:
            self._process = subprocess.Popen(
                [*command, *arguments, *CONFIGURED, "--chdir", str(SCRIPTS), "workers_app:app"],
                env={**os.environ, "SHARDS": json.dumps(dsns), "PYTHONPATH": os.getcwd()},
                stderr=file,
            )
        eventually(self._answers, 60)
        eventually(self._is_ready, 60)

    def _answers(self):
        assert self._process.poll() is None, self.log.read_text()
        try:
            return self.get("/taken")
        except (URLError, ConnectionError):
            time.sleep(0.05)
            return False

    def _is_ready(self):
        """Whether no worker is still on its way."""
        return self.log.read_text().count("Worker is ready") >= self._workers

    def get(self, path):
        with urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=30) as response:
            return json.load(response)

    def post(self, path):
        request = Request(f"http://127.0.0.1:{self.port}{path}", method="POST")
        with urlopen(request, timeout=30) as response:
            return response.read().decode()

    def close(self):
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(60)


@pytest.fixture
def serve(dsns, tmp_path):
    with contextlib.ExitStack() as servers:

        def start(*arguments):
            server = Server(dsns, tmp_path / "log", *arguments)
            return servers.enter_context(contextlib.closing(server))

        yield start


def names(watch):
    return sorted(name for (name,) in watch.ask("s0", "SELECT name FROM items"))


@pytest.mark.parametrize("kind", ["sync", "gthread", "gevent"])
def test_each_forked_worker_has_a_pool_of_its_own(serve, watch, kind):
    threads = ["--threads", "4"] if kind == "gthread" else []
    server = serve("--preload", "--workers", "2", "--worker-class", kind, *threads)
    with ThreadPoolExecutor(8) as clients:
        added = list(clients.map(server.post, [f"/{kind}{number}" for number in range(30)]))
        answers = list(clients.map(server.get, ["/"] * 30))
    assert added == ["done"] * 30
    assert names(watch) == sorted(f"{kind}{number}" for number in range(30))
    sessions = {}
    for answer in answers:
        assert answer["process"] != answer["imported"]["process"]
        assert not {*answer["sessions"]} & {*answer["imported"]["sessions"]}
        sessions.setdefault(answer["process"], set()).update(answer["sessions"])
    if len(sessions) == 2:  # usually: but one worker may be quick enough for all
        first, second = sessions.values()
        assert not first & second


def test_a_client_of_gunicorn_that_leaves_ends_the_stream(serve, watch):
    server = serve("--workers", "1", "--worker-class", "gevent")
    for _ in range(5):
        client = socket.create_connection(("127.0.0.1", server.port), timeout=30)
        client.sendall(b"GET /endless HTTP/1.1\r\nHost: test\r\n\r\n")
        assert client.recv(100).startswith(b"HTTP/1.1 200")
        client.close()
    eventually(lambda: server.get("/taken") == {"taken": 0}, 30)
    assert names(watch) == []
    assert "Traceback" not in server.log.read_text()


def test_a_worker_that_is_aborted_leaves_nothing_on_the_servers(serve, watch):
    server = serve("--workers", "1", "--timeout", "1")
    with pytest.raises((HTTPError, ConnectionError)):
        server.post("/lost?sleep=1")
    eventually(lambda: running(watch) == 0)
    assert names(watch) == []
    assert server.post("/kept") == "done"
    assert names(watch) == ["kept"]
