"""``greenshard status`` and ``greenshard cancel`` over shards that work, wait, freeze and die."""

from __future__ import annotations

import contextlib
import json
import threading
import time

import psycopg2
import pytest
from click.testing import CliRunner

import greenshard
from greenshard.cli import main
from greenshard.watching import shard_status
from tests.postgres.psql import run

SCHEMA = """
CREATE SCHEMA far;
CREATE TABLE orders (id int PRIMARY KEY, note text);
CREATE TABLE far.parted (k int) PARTITION BY HASH (k);
CREATE TABLE far.one PARTITION OF far.parted FOR VALUES WITH (MODULUS 1, REMAINDER 0);
CREATE TABLE nation (id int);
"""
TABLES = """
[tables]
orders = { shard_key = "id" }
far.parted = { shard_key = "k" }
nation = { reference = true }
"""
SLEEP = "SELECT pg_sleep(60), 'a secret' FROM orders"


@pytest.fixture(scope="module")
def dsns(greenshard_shards):
    with greenshard_shards.databases() as dsns:
        for dsn in dsns.values():
            run(dsn, SCHEMA)
        yield dsns


@pytest.fixture(scope="module")
def path(dsns, tmp_path_factory):
    shards = "".join(f"{name} = {json.dumps(dsn)}\n" for name, dsn in dsns.items())
    path = tmp_path_factory.mktemp("cluster") / "cluster.toml"
    path.write_text(f"[shards]\n{shards}{TABLES}")
    greenshard.init(path)
    with greenshard.connect(path) as conn, conn.cursor() as cur:
        cur.executemany("INSERT INTO orders VALUES (%s, 'x')", [(n,) for n in range(40)])
        cur.execute("INSERT INTO nation VALUES (1), (2)")
    conn.close()
    for dsn in dsns.values():
        with contextlib.closing(psycopg2.connect(dsn)) as conn:
            conn.autocommit = True
            conn.cursor().execute("ANALYZE")
    return path


@pytest.fixture
def up(greenshard_shards):
    """Shards that a test has stopped run again after it."""
    yield greenshard_shards
    for shard in greenshard_shards:
        shard.resume()
        if not shard.running:
            shard.start()


def command(name, path, *words):
    return CliRunner().invoke(main, [name, "-c", str(path), *words])


def seen(path, *words):
    result = command("status", path, "--json", *words)
    return json.loads(result.stdout), result.exit_code


def until(condition):
    deadline = time.monotonic() + 30
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(0.05)
    return found


@contextlib.contextmanager
def session(dsn, application="shop"):
    conn = psycopg2.connect(dsn, application_name=application)
    try:
        yield conn
    finally:
        conn.close()


def test_what_each_shard_does_is_shown(path, dsns):
    with session(dsns["s1"], "by night") as conn:
        conn.cursor().execute("SELECT 'a secret'")
        told, code = until(lambda: (s := seen(path))[0]["shards"][1]["running"] and s)
        text = command("status", path).stdout
    assert (code, told["down"]) == (0, [])
    (idle,) = told["shards"][1]["running"]
    assert (idle["application"], idle["state"]) == ("by night", "idle in transaction")
    assert idle["sql"] == "SELECT ?"
    assert ["by night", "idle in transaction", 1] in told["shards"][1]["sessions"]
    rows = [shard["rows"] for shard in told["shards"]]
    assert [set(each) for each in rows] == [{"orders", "nation", "far.parted"}] * 2
    assert set(told["skew"]) == {"orders", "far.parted"}
    assert "a secret" not in json.dumps(told) + text
    assert text.splitlines()[0] == f"{path}: 2 shards"
    assert "by night" in text
    assert all(name in text for name in ("orders", "far.parted", "skew", "connections"))


def test_who_waits_for_whom_is_shown(path, dsns):
    with session(dsns["s0"]) as holder, session(dsns["s0"]) as waiter:
        holder.cursor().execute("LOCK TABLE nation")
        pids = [conn.info.backend_pid for conn in (holder, waiter)]
        thread = threading.Thread(target=_ignoring, args=(waiter, "SELECT * FROM nation"))
        thread.start()
        waits = until(lambda: seen(path)[0]["shards"][0]["waits"])
        text = command("status", path).stdout
        holder.rollback()
        thread.join()
    assert waits == [{"shard": "s0", "pid": pids[1], "blocker": pids[0]}]
    assert f"s0:{pids[0]}, idle in transaction for" in text


def _ignoring(conn, sql):
    with contextlib.suppress(psycopg2.Error):
        conn.cursor().execute(sql)


def test_what_is_prepared_is_shown(path, dsns):
    with session(dsns["s1"]) as conn:
        conn.autocommit = True
        conn.cursor().execute("BEGIN; CREATE TABLE x (a int); PREPARE TRANSACTION 'a job'")
        try:
            told, _ = seen(path)
            assert [len(shard["foreign"]) for shard in told["shards"]] == [0, 1]
            assert [shard["in_doubt"] for shard in told["shards"]] == [[], []]
        finally:
            conn.cursor().execute("ROLLBACK PREPARED 'a job'")


@pytest.mark.parametrize("fault", ["pause", "kill"])
def test_shards_that_do_not_answer_are_gone_without(path, up, fault):
    getattr(up["s1"], fault)()
    start = time.monotonic()
    told, code = seen(path, "--timeout", "1")
    took = time.monotonic() - start
    text = command("status", path, "--timeout", "1").stdout
    assert took < 6  # a busy machine; it has a second
    assert (told["down"], code) == (["s1"], 5)
    assert told["shards"][0]["version"]
    assert "1 down" in text.splitlines()[0]
    assert "shard s1 does not answer: " in text


def test_without_any_shard_it_says_so(tmp_path):
    path = tmp_path / "none.toml"
    path.write_text('[shards]\na = "host=/nowhere"\nb = "host=/nowhere2"\n')
    told, code = seen(path, "--timeout", "1")
    assert (told["down"], code) == (["a", "b"], 5)
    assert all("failed" in shard["why"] for shard in told["shards"])


def running(path):
    found = [each for shard in seen(path)[0]["shards"] for each in shard["running"]]
    return [each for each in found if "pg_sleep" in each["sql"]]


def asleep(path, done):
    """A statement on both shards, which ends with an error that is kept."""

    def sleep():
        with contextlib.closing(greenshard.connect(path)) as conn:
            try:
                conn.cursor().execute(SLEEP)
            except greenshard.Error as error:
                done.append(error)

    thread = threading.Thread(target=sleep)
    thread.start()
    until(lambda: len(running(path)) == 2)
    return thread, running(path)


def test_a_statement_is_cancelled_on_all_shards(path, monkeypatch):
    monkeypatch.setattr(shard_status, "_TOGETHER_S", 30.0)  # a busy machine
    done = []
    thread, found = asleep(path, done)
    assert {each["shard"] for each in found} == {"s0", "s1"}
    assert {each["sql"] for each in found} == {"SELECT pg_sleep(?), ? FROM orders"}
    result = command("cancel", path, f"{found[0]['shard']}:{found[0]['pid']}")
    thread.join()
    assert (result.exit_code, len(result.stdout.splitlines())) == (0, 2)
    first, second = result.stdout.splitlines()
    assert " cancelled, after " in first
    # greenshard cancels the other one itself, when the first one fails.
    assert " cancelled, after " in second or " had ended, after " in second
    (error,) = done
    assert error.pgcode == "57014"
    assert running(path) == []


def test_one_part_alone_can_be_ended(path):
    done = []
    thread, found = asleep(path, done)
    who = f"{found[0]['shard']}:{found[0]['pid']}"
    result = command("cancel", path, "--only", "--terminate", who)
    thread.join()  # greenshard itself cancels the others then
    assert (result.exit_code, len(result.stdout.splitlines())) == (0, 1)
    assert result.stdout.startswith(f"{who} ended, after ")
    assert isinstance(done[0], greenshard.OperationalError)


def test_what_is_not_there_cannot_be_cancelled(path):
    result = command("cancel", path, "s0:1")
    assert (result.exit_code, "is in no transaction" in result.stderr) == (1, True)
    for who in ("s9:1", "s0", "s0:x"):
        assert command("cancel", path, who).exit_code == 2
