"""The files of docs/deployment.rst work as they stand there; only numbers are made smaller."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request

import psycopg2
import pytest

import greenshard
from greenshard.cluster import Cluster
from greenshard.pool.policy import Policy
from tests.initialised import initialised
from tests.meta.pages import ROOT, python_blocks

PAGE = ROOT / "docs" / "deployment.rst"
APP, SETTINGS, PRELOADING = python_blocks(PAGE)
#: Pages with which the tests see what the application does with slow requests.
MORE = """
@app.get("/sleep/<float:seconds>")
def sleep(seconds):
    conn = db.connection
    cur = conn.cursor()
    cur.timeout = flask.request.args.get("timeout", 60, float)
    with conn.on(conn.shards):
        cur.execute("SELECT pg_sleep(%s)", (seconds,))
    return str(os.getpid())

@app.get("/misspelled")
def misspelled():
    db.connection.cursor().execute("SELECT custommer FROM orders")

@app.get("/block")
def block():
    gevent.monkey.get_original("time", "sleep")(60)
"""


def blocks(language):
    found = re.findall(
        rf"^\.\. code-block:: {language}\n\n((?:   .*\n|\n)+)", PAGE.read_text(), re.MULTILINE
    )
    return [re.sub(r"^   ", "", block, flags=re.MULTILINE).strip() + "\n" for block in found]


class Site:
    """The application under gunicorn."""

    def __init__(self, directory, settings, *arguments):
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.address = f"127.0.0.1:{free.getsockname()[1]}"
        (directory / "gunicorn.conf.py").write_text(settings)
        self.log = directory / "log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "gunicorn", "-b", self.address, *arguments],
                cwd=directory, stdout=log, stderr=log,
                env={**os.environ, "PYTHONPATH": str(ROOT), "HOME": str(directory)},
            )  # fmt: skip

    def get(self, path):
        """The status and the text of a page."""
        try:
            with urllib.request.urlopen(f"http://{self.address}{path}", timeout=60) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def wait(self):
        eventually(self.answers)

    def answers(self):
        assert self.process.poll() is None, self.log.read_text()
        with contextlib.suppress(urllib.error.URLError, ConnectionError):
            return self.get("/live") == (200, "yes")

    def end(self):
        self.process.send_signal(signal.SIGQUIT)  # does not wait for the workers' next second
        self.process.wait(60)


def eventually(condition, seconds=30.0):
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.02)
    return found


def running(dsns):
    """How many of the application's statements run on each shard."""
    counts = []
    for dsn in dsns.values():
        with contextlib.closing(psycopg2.connect(dsn)) as conn, conn.cursor() as cur:
            cur.execute(
                "SELECT count(*) FROM pg_stat_activity"
                " WHERE datname = current_database() AND query ~ 'pg_slee[p]' AND state = 'active'"
            )
            counts.append(cur.fetchone()[0])
    return counts


@pytest.fixture(scope="module")
def dsns(greenshard_shards):
    with greenshard_shards.databases() as found:
        cluster = initialised(Cluster(found, {"orders": greenshard.Sharded("id")}))
        with contextlib.closing(greenshard.connect(cluster)) as conn, conn.cursor() as cur:
            cur.execute("CREATE TABLE orders (id int, customer text, amount int)")
            rows = [(number, "ada", 5) for number in range(1, 9)]
            cur.executemany("INSERT INTO orders VALUES (%s, %s, %s)", rows)
            conn.commit()
        yield found


@pytest.fixture(scope="module")
def directory(dsns, tmp_path_factory):
    """Holds the application's files."""
    place = tmp_path_factory.mktemp("site")
    declaration = next(block for block in blocks("toml") if "[tables]" in block)
    for number, dsn in enumerate(dsns.values()):
        declaration = declaration.replace(f"host=db{number}.example.com dbname=app user=app", dsn)
    (place / "cluster.toml").write_text(declaration)
    app = re.sub(r"seconds=8.0", "seconds=2.0", APP)
    (place / "app.py").write_text(f"{app}\nimport os\nimport gevent.monkey\n{MORE}")
    return place


@pytest.fixture(params=["plain", "preloaded"])
def site(request, directory):
    settings = SETTINGS if request.param == "plain" else PRELOADING
    site = Site(directory, settings, "--workers=2", "--timeout=2", "--graceful-timeout=20")
    try:
        site.wait()
        yield site
    finally:
        site.end()


def test_requests_end_in_time_and_workers_are_replaced_without_losing_any(site, dsns):
    assert site.get("/orders/7") == (200, '["ada",5]\n')
    assert site.get("/orders/9")[0] == 404
    assert site.get("/ready") == (200, '{"down":[]}\n')
    # All shards say so, and trying again does not help.
    assert site.get("/misspelled")[0] == 500
    # Longer than gunicorn's own timeout and the request's.
    assert site.get("/sleep/60.0") == (504, "That took too long.\n")
    assert site.get("/sleep/60.0?timeout=0.2") == (504, "A server did not answer in time.")
    assert running(dsns) == [0, 0]
    answers = []
    threads = [
        threading.Thread(target=lambda: answers.append(site.get("/sleep/0.4"))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    eventually(lambda: running(dsns)[0])
    site.process.send_signal(signal.SIGHUP)
    for thread in threads:
        thread.join()
    assert {status for status, _ in answers} == {200}
    assert len(answers) == 8


def test_a_worker_that_hangs_is_replaced_and_a_slow_one_is_not(directory):
    site = Site(directory, SETTINGS, "--workers=1", "--timeout=1")
    try:
        site.wait()
        # A busy machine may take longer than the application lets a request take.
        pid = eventually(lambda: (text := site.get("/sleep/1.4")[1]).isdigit() and text)
        assert site.get("/sleep/0.0") == (200, pid)
        with pytest.raises(OSError, match=r"Remote end closed|reset"):
            site.get("/block")
        site.wait()
        status, other = site.get("/sleep/0.0")
        assert (status, other == pid) == (200, False)
    finally:
        site.end()


def test_settings_of_the_role_can_be_set_by_each_session(dsns):
    (statements,) = blocks("sql")
    dsn = dsns["s0"]
    with contextlib.closing(psycopg2.connect(dsn)) as conn, conn.cursor() as cur:
        cur.execute("CREATE ROLE app LOGIN")
        cur.execute(statements)
        conn.commit()
    try:
        with (
            contextlib.closing(greenshard.connect(f"{dsn} user=app")) as conn,
            conn.cursor() as cur,
        ):
            for name, value in re.findall(r"SET (\w+) = '(\w+)'", statements):
                cur.execute(f"SHOW {name}")
                assert cur.fetchall() == [(value,)]
                cur.execute(f"SET LOCAL {name} = '7s'")
            cur.execute("SET statement_timeout = '1s'")
            cur.execute("SHOW statement_timeout")
            assert cur.fetchall() == [("1s",)]
    finally:
        with contextlib.closing(psycopg2.connect(dsn)) as conn, conn.cursor() as cur:
            cur.execute("DROP ROLE app")
            conn.commit()


def test_connection_strings_of_the_page_can_be_read(tmp_path):
    for block in blocks("toml"):
        path = tmp_path / "cluster.toml"
        path.write_text(block if "[tables]" in block else f"{block}\n[tables]\n")
        assert len(Cluster.from_toml(path).shards) in {1, 2}


def test_sum_of_the_connections():
    text = PAGE.read_text()
    example = re.search(r"^For example, (?:.*\n)+?\n(?:    .*\n)+", text, re.MULTILINE)[0]
    numbers = re.findall(r"^    (\d+) x \((\d+) \+ (\d+)\)  ", example, re.MULTILINE)[0]
    processes, size, gathers = map(int, numbers)
    assert gathers == Policy(size).for_gatherers().max_size
    plain = processes * (size + gathers)
    found = [int(number) for number in re.findall(r"= +(\d+)", example)]
    assert found == [plain, 2 * plain]
    assert 2 * plain + 20 + 3 <= 220
    for words in (
        f"{2 * plain}, 20 for",
        "``max_connections = 220``",
        f"``(100 - 3 - 17) / ({processes} x 2)``, which is 5: a ``max_size`` of 4",
    ):
        assert words in text
