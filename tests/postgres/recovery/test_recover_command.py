"""``greenshard recover``, and what ``greenshard check`` says of transactions in doubt."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time

import pytest

import greenshard
from greenshard.checking import check, in_doubt
from greenshard.cli.failures import ExitCode
from tests.postgres.recovery.test_recovery import holding


@pytest.fixture
def path(scene, tmp_path):
    file = tmp_path / "c.toml"
    lines = "".join(f'{name} = "{dsn}"\n' for name, dsn in scene.dsns.items())
    file.write_text(f'[shards]\n{lines}[tables]\nt = {{ shard_key = "x" }}\n')
    return str(file)


def run(*args):
    command = [sys.executable, "-m", "greenshard.cli", "recover", *args]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_a_round_prints_what_it_did_and_its_exit_code_says_what_is_left(scene, path):
    decided, held, lost = scene.gid(), scene.gid(), scene.gid(anchor_id="a" * 32)
    for gid in (decided, held, lost):
        scene.prepare("s1", gid, 1)
    scene.decide(decided, True)
    with holding(scene, held):
        done = run(path)
    assert done.returncode == ExitCode.DATABASE_ERROR, done.stderr
    first, _, _, _, *rows = done.stdout.splitlines()
    assert first == f"{path}: 3 shards, 1 finished, 2 left in doubt"
    cells = [[cell.strip() for cell in row.split("|")] for row in rows]
    assert [(c[0], c[1], c[3]) for c in cells] == [
        ("committed", "s1", decided.decision),
        ("in doubt", "s1", held.decision),
        ("needs you", "s1", lost.decision),
    ]
    told = json.loads(run(path, "--json").stdout)
    assert (told["ok"], len(told["finished"]), len(told["in_doubt"])) == (False, 1, 1)
    assert told["in_doubt"][0]["lost"] is True
    scene.ask("s1", "ROLLBACK PREPARED %s", lost.prepared(scene.ids["s1"]))
    assert run(path, "--once").returncode == ExitCode.OK
    scene.ask("s2", "DROP SCHEMA greenshard CASCADE")
    done = run(path)
    assert done.returncode == ExitCode.NO_CONNECTION
    assert "shard s2 could not be asked: it is not initialised" in done.stdout
    for wrong in (["--watch", "0"], ["--watch", "1", "--once"], ["--timeout", "0"]):
        assert run(path, *wrong).returncode == ExitCode.USAGE


def test_watching_goes_on_until_it_is_stopped(scene, path):
    command = [sys.executable, "-m", "greenshard.cli", "recover", path, "--watch", "0.2", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as watching:
        try:
            assert json.loads(watching.stdout.readline())["finished"] == []
            scene.prepare("s1", scene.gid(), 1)
            end = time.monotonic() + 20
            while not json.loads(watching.stdout.readline())["finished"]:
                assert time.monotonic() < end
        finally:
            watching.send_signal(signal.SIGTERM)
        assert watching.wait(20) == 128 + signal.SIGTERM
    assert scene.prepared("s1") == []


def test_what_only_looks_like_ours_is_printed_and_leaves_the_exit_code_alone(scene, path, stranger):
    gid = scene.gid(anchor_id="a" * 32)
    scene.prepare("s1", gid, 1, dsn=f"{scene.dsns['s1']} user={stranger}")
    done = run(path)
    assert done.returncode == ExitCode.OK
    first, _, _, _, row = done.stdout.splitlines()
    assert first.endswith("0 left in doubt, 1 of roles that may not commit over several shards")
    assert [cell.strip() for cell in row.split("|")][:2] == ["not ours", "s1"]
    assert f"ROLLBACK PREPARED '{gid.prepared(scene.ids['s1'])}'" in row
    assert [part["owner"] for part in json.loads(run(path, "--json").stdout)["foreign"]] == [
        stranger
    ]
    scene.ask("s1", "ROLLBACK PREPARED %s", gid.prepared(scene.ids["s1"]))


def test_check_tells_what_is_in_doubt_and_for_how_long(scene, monkeypatch, stranger):
    theirs = scene.gid()
    scene.prepare("s1", theirs, 1, dsn=f"{scene.dsns['s1']} user={stranger}")
    scene.prepare("s1", scene.gid(), 1)
    scene.prepare("s1", scene.gid(), 2)
    scene.prepare("s2", scene.gid(), 1, name="another program's")
    cluster = greenshard.Cluster(scene.dsns, {"t": greenshard.Sharded("x")})

    def found():
        with greenshard.connect(scene.dsns) as conn:
            report = check(conn, cluster, rows=False)
        notes = [note for note in report.notes if "prepared transaction" in note]
        return [(f.shards, f.message) for f in report.findings if f.check == "transactions"], notes

    assert found() == ([], [])  # they may just be being committed
    monkeypatch.setattr(in_doubt, "_YOUNG_S", 0.0)
    ((shards, message),), notes = found()
    # What somebody else has prepared, under a name of ours or another one, is seen, too.
    first, second = notes
    assert first.startswith("shard s1: 1 prepared transaction of other programs")
    assert f"by {stranger}. It keeps its locks" in first
    assert second.endswith("ROLLBACK PREPARED 'another program''s'")
    assert shards == ("s1",)
    assert message.startswith("2 transactions over several shards in doubt, the oldest for ")
    assert "`greenshard recover`" in message
    scene.ask("s1", "ROLLBACK PREPARED %s", theirs.prepared(scene.ids["s1"]))
