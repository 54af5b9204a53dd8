"""Each command that is about a cluster takes it by -c, by the environment, or as an argument."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from greenshard.cli import main

#: What follows the cluster.
COMMANDS = {
    "check": [],
    "init": [],
    "recover": [],
    "explain": ["SELECT 1"],
    "coordinator": ["dbname=a"],
    "cancel": ["s0:1"],
    "status": [],
    "query": ["SELECT 1"],
}


@pytest.fixture(autouse=True)
def _nothing_set(monkeypatch):
    monkeypatch.delenv("GREENSHARD_CLUSTER", raising=False)
    monkeypatch.delenv("GREENSHARD_SHARDS", raising=False)


def run(*words, **env):
    return CliRunner().invoke(main, words, env=env)


def test_every_command_is_known_here():
    # These make their own.
    assert set(main.commands) - {"demo", "dev"} == set(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_the_cluster_may_be_named_in_each_way(command):
    rest, path = COMMANDS[command], "/nonexistent/cluster.toml"
    ways = [run(command, "-c", path, *rest), run(command, *rest, GREENSHARD_CLUSTER=path)]
    if command != "query":
        ways.append(run(command, path, *rest))
        # The argument is nearer than the environment.
        ways.append(run(command, path, *rest, GREENSHARD_CLUSTER="other.toml"))
    for result in ways:
        assert (result.exit_code, result.stdout) == (2, "")
        assert f"{path} cannot be read" in result.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_none_is_an_error_that_says_how_to_name_one(command):
    result = run(command, *COMMANDS[command])
    assert result.exit_code == 2
    assert "-c FILE" in result.stderr
    assert "$GREENSHARD_CLUSTER" in result.stderr


@pytest.mark.parametrize("command", sorted(set(COMMANDS) - {"query"}))
def test_two_are_an_error(command):
    result = run(command, "-c", "a.toml", "b.toml", *COMMANDS[command])
    assert result.exit_code == 2
    assert "Usage:" in result.stderr


@pytest.mark.parametrize("command", ["explain", "coordinator", "cancel"])
def test_what_follows_the_cluster_is_asked_for(command):
    assert "Missing argument" in run(command).stderr
    assert run(command, "a", "b", "c").exit_code == 2
