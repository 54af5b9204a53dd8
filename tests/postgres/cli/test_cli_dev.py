"""``greenshard dev``: servers that stay until Ctrl-C."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from greenshard.cli import main
from greenshard.cli.dev import MARK, declared
from greenshard.cluster.toml import tomllib

TABLES = """\
two_phase = true
[tables]
orders = { shard_key = "id" }
products = { reference = true }
[placement]
slots = 8
"""
SCHEMA = """
CREATE TABLE orders (id int PRIMARY KEY, amount int);
CREATE TABLE products (code text PRIMARY KEY);
INSERT INTO orders SELECT g, g * 10 FROM generate_series(1, 20) AS g;
INSERT INTO products VALUES ('a'), ('b');
"""


def start(directory: Path, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "greenshard.cli", "dev", *words],
        cwd=directory,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_shards_with_a_schema_stay_until_they_are_ended(tmp_path: Path) -> None:
    (tmp_path / "tables.toml").write_text(TABLES)
    (tmp_path / "schema.sql").write_text(SCHEMA)
    words = ["--shards", "2", "--tables", "tables.toml", "schema.sql"]
    file = tmp_path / "cluster.toml"
    with start(tmp_path, *words) as process:
        try:
            assert process.stdout is not None
            lines = [process.stdout.readline() for _ in range(3)]
            assert lines[0] == "2 shards, declared in cluster.toml; Ctrl-C ends them.\n"
            assert lines[2] == f"  export GREENSHARD_CLUSTER={file}\n"

            def told(*words: str) -> str:
                done = CliRunner().invoke(main, [*words[:1], "-c", str(file), *words[1:]])
                assert done.exit_code == 0, done.output
                return done.stdout

            counted = told("query", "-f", "csv", "SELECT count(*), sum(amount) FROM orders")
            assert counted == "count,sum\n20,2100\n"
            each = told("query", "--each", "-f", "csv", "SELECT count(*) FROM products")
            assert each == "shard,count\ns0,2\ns1,2\n"
            assert "All is as declared." in told("check")
        finally:
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    assert not file.exists()


def test_a_schema_that_is_refused_ends_it(tmp_path: Path) -> None:
    (tmp_path / "schema.sql").write_text("CREATE TABLE x (a nothing)")
    with start(tmp_path, "--shards", "1", "schema.sql") as process:
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (1, "")
    assert 'type "nothing" does not exist' in err
    assert list(tmp_path.glob("*.toml")) == []


def test_no_file_of_somebody_is_written_over(tmp_path: Path) -> None:
    file = tmp_path / "cluster.toml"
    file.write_text("[shards]\n")
    result = CliRunner().invoke(main, ["dev", "--write", str(file)])
    assert (result.exit_code, file.read_text()) == (2, "[shards]\n")
    assert "--write" in result.stderr


@pytest.mark.parametrize("more", ["", TABLES, "# only words\n", "[tables]\n"])
def test_the_written_file_has_shards_and_what_was_said(more: str) -> None:
    text = declared({"s0": 'host="/a b"'}, more)
    assert text.startswith(MARK)
    assert tomllib.loads(text) == {**tomllib.loads(more), "shards": {"s0": 'host="/a b"'}}
