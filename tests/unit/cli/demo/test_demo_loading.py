from __future__ import annotations

import sys
from pathlib import Path

import pytest

from greenshard.cli.demo.loading import LoadFailed, copy_rows, run_scripts

# Stands in for psql: appends its input to the file that its DSN names, and fails if told to.
FAKE = """\
#!{python}
import sys
dsn = sys.argv[sys.argv.index("-d") + 1]
if dsn.startswith("dead"):
    sys.stderr.write("ERROR:  no partition for row\\n")
    sys.exit(3)
with open(dsn, "a") as file:
    file.write(sys.stdin.read())
"""


@pytest.fixture
def psql(tmp_path: Path) -> Path:
    program = tmp_path / "psql"
    program.write_text(FAKE.format(python=sys.executable))
    program.chmod(0o755)
    return program


def test_each_row_goes_to_its_shard_in_order(psql: Path, tmp_path: Path) -> None:
    dsns = {name: str(tmp_path / name) for name in ("s0", "s1", "s2")}
    rows = [(0, "a\n"), (2, "b\n"), (0, "c\n")]
    done: list[int] = []
    assert copy_rows(psql, dsns, "COPY", rows, done.append) == [2, 0, 1]
    assert [Path(dsn).read_text() for dsn in dsns.values()] == ["a\nc\n", "", "b\n"]
    assert done[-1] == 3


def test_each_script_runs_on_its_shard(psql: Path, tmp_path: Path) -> None:
    dsns = {name: str(tmp_path / name) for name in ("s0", "s1")}
    run_scripts(psql, dsns, ["zero", "one"])
    assert [Path(dsn).read_text() for dsn in dsns.values()] == ["zero", "one"]


def test_failing_script_names_its_shard(psql: Path, tmp_path: Path) -> None:
    with pytest.raises(LoadFailed, match="shard s1: ERROR:  no partition"):
        run_scripts(psql, {"s0": str(tmp_path / "s0"), "s1": "dead"}, ["x", "y"])


def test_failing_copy_names_its_shard_however_much_is_sent(psql: Path, tmp_path: Path) -> None:
    dsns = {"s0": str(tmp_path / "s0"), "s1": "dead"}
    rows = ((number % 2, "x" * 100 + "\n") for number in range(100_000))
    with pytest.raises(LoadFailed, match="shard s1: ERROR:  no partition"):
        copy_rows(psql, dsns, "COPY", rows, lambda done: None)
