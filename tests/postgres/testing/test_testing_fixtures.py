from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import psycopg2
import pytest

from greenshard.testing import pytest_plugin


def fetch(dsn, statement):
    with contextlib.closing(psycopg2.connect(dsn)) as conn, conn.cursor() as cur:
        cur.execute(statement)
        return cur.fetchone()[0]


def test_dsns_fixture_gives_an_empty_database_on_each_shard(greenshard_shards, greenshard_dsns):
    assert list(greenshard_dsns) == [shard.name for shard in greenshard_shards]
    for dsn in greenshard_dsns.values():
        assert fetch(dsn, "SELECT count(*) FROM pg_stat_user_tables") == 0


USERS_TEST = """
def test_settings(greenshard_shards, greenshard_dsns):
    assert len(greenshard_shards) == len(greenshard_dsns) == 3
    log = (greenshard_shards[2].data_dir / "postgresql.conf").read_text()
    assert "max_prepared_transactions = '7'" in log
"""
USERS_INI = """[pytest]
greenshard_shards = 3
greenshard_settings =
    max_prepared_transactions = 7
"""


@pytest.mark.parametrize("conftest", ["", f"pytest_plugins = [{pytest_plugin.__name__!r}]"])
def test_configuration_file_says_how_many_shards_and_their_settings(tmp_path, conftest):
    (tmp_path / "test_users.py").write_text(USERS_TEST)
    (tmp_path / "pytest.ini").write_text(USERS_INI)
    (tmp_path / "conftest.py").write_text(conftest)
    root = Path(pytest_plugin.__file__).parents[2]
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", pytest_plugin.__name__],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout
