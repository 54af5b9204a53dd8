from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from greenshard.testing import guard
from greenshard.testing.account import Account
from greenshard.testing.home import Home

# A stand-in for a server: it is found by `-D`, and has a child, found by its parent.
SERVER = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'input()'])"


@pytest.fixture(params=["_read_proc", "_ask_ps"])
def process_table(request, monkeypatch):
    missing = not Path("/proc/self/stat").exists() if request.param == "_read_proc" else None
    if missing or not shutil.which("ps"):
        pytest.skip("not on this machine")
    monkeypatch.setattr(guard, "_process_table", getattr(guard, request.param))


@pytest.fixture
def directory(tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    return home


@pytest.fixture
def server(directory):
    command = [sys.executable, "-c", SERVER, "-D", f"{directory}/s0/data"]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        wait_until(lambda: len(guard.members(directory)) == 2)
        yield process
        with contextlib.suppress(ProcessLookupError):
            process.kill()


def wait_until(condition):
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.usefixtures("process_table")
def test_members_are_the_named_processes_and_their_children(directory, server):
    found = guard.members(directory)
    assert {process.pid for process in found} > {server.pid}
    assert {process.parent for process in found} == {os.getpid(), server.pid}


@pytest.mark.usefixtures("process_table", "server")
def test_paused_processes_are_stopped_until_resumed(directory):
    assert guard.pause(directory)
    assert [process.stopped for process in guard.members(directory)] == [True, True]
    guard.resume(directory)
    wait_until(lambda: not any(process.stopped for process in guard.members(directory)))


@pytest.mark.usefixtures("process_table")
def test_kill_ends_children_too(directory, server):
    assert guard.kill(directory)
    assert guard.members(directory) == []
    assert server.wait() == -9


def test_clean_ends_paused_processes_and_removes_the_directory(directory, server):
    guard.pause(directory)
    assert guard.clean(directory)
    assert not directory.exists()
    assert server.wait() != 0


def test_a_directory_with_a_longer_name_is_another_directory(directory, server):
    assert guard.members(directory.with_name(directory.name[:-1])) == []


def test_home_is_removed_at_close_and_closing_again_does_nothing():
    home = Home(Account())
    assert home.path.is_dir()
    home.close()
    home.close()
    assert not home.path.exists()


def test_home_is_removed_at_close_though_its_guard_was_killed():
    home = Home(Account())
    home._guard.kill()
    home.close()
    assert not home.path.exists()


def test_long_or_strange_temporary_directories_are_not_used(monkeypatch, tmp_path):
    for strange in (tmp_path / ("x" * 80), tmp_path / "a b"):
        strange.mkdir()
        monkeypatch.setattr(tempfile, "tempdir", str(strange))
        home = Home(Account())
        home.close()
        assert home.path.parent == Path("/tmp").resolve()


# Each owner prints its home's path and then gets killed, except for what it does before.
OWNER = """
import os, subprocess, sys, time
from greenshard.testing.account import Account
from greenshard.testing.home import Home
home = Home(Account())
server = [sys.executable, "-c", "input()", "-D", f"{home.path}/s0/data"]
subprocess.Popen(server, stdin=subprocess.PIPE, start_new_session=True)
"""
REPORT = "print(home.path, flush=True); time.sleep(600)"


@pytest.fixture
def owner():
    with contextlib.ExitStack() as cleanup:

        def start(code):
            command = [sys.executable, "-c", OWNER + code]
            root = str(Path(guard.__file__).parents[2])
            process = subprocess.Popen(
                command,
                stdout=subprocess.PIPE,
                text=True,
                env={**os.environ, "PYTHONPATH": root},
                start_new_session=True,
            )
            cleanup.callback(process.stdout.close)
            cleanup.callback(process.wait)
            cleanup.callback(process.kill)
            return process, Path(process.stdout.readline().strip())

        yield start


def test_guard_ends_servers_when_the_owner_is_killed(owner):
    process, home = owner(REPORT)
    assert home.is_dir()
    assert len(guard.members(home)) == 1
    process.kill()
    wait_until(lambda: not home.exists() and not guard.members(home))


def test_guard_does_not_wait_for_a_forked_child_of_a_killed_owner(owner):
    process, home = owner(f"if os.fork() == 0: {REPORT}\ntime.sleep(600)")
    assert home.is_dir()
    process.kill()
    wait_until(lambda: not home.exists())
    os.killpg(process.pid, 9)


def test_guard_does_not_wait_for_a_stray_copy_of_its_pipe(owner):
    stray = "os.dup(home._write_end.fileno())"
    process, home = owner(f"{stray}\nif os.fork() == 0: {REPORT}\ntime.sleep(600)")
    process.kill()
    wait_until(lambda: not home.exists())
    os.killpg(process.pid, 9)


def test_a_forked_child_neither_closes_nor_ends_the_home_of_its_parent(owner):
    child = "if os.fork() == 0: home.close(); sys.exit()"
    process, home = owner(f"{child}\nos.wait(); time.sleep(1.5); {REPORT}")
    assert home.is_dir()
    assert len(guard.members(home)) == 1
    process.kill()
    wait_until(lambda: not home.exists())
