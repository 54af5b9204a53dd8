"""``flask greenshard``: ping and stats."""

from __future__ import annotations

import json

import pytest

DEAD = "host=/nonexistent dbname=x password=hidden"


def run(site, *args):
    return site.app.test_cli_runner().invoke(args=["greenshard", *args])


def test_ping_tells_versions_and_milliseconds(site):
    result = run(site, "ping")
    assert result.exit_code == 0, result.output
    lines = [line.split() for line in result.stdout.splitlines() if "default" in line]
    assert [line[:2] for line in lines] == [["default", "s0"], ["default", "s1"]]
    for line in lines:
        assert float(line[2]) > 0
        assert int(line[3].split(".")[0]) >= 10
    assert site.taken == 0


def test_ping_tells_why_a_shard_does_not_answer(make_site, dsns):
    site = make_site(pools={"archive": {"up": dsns["s0"], "down": DEAD}})
    result = run(site, "ping")
    assert result.exit_code == 1
    assert "pool archive: shard down is down" in result.stdout
    assert "hidden" not in result.output


@pytest.mark.parametrize("command", ["ping", "stats"])
def test_a_pool_without_any_shard_does_not_hide_the_others(make_site, command):
    site = make_site(pools={"archive": {"a": DEAD, "b": DEAD}})
    result = run(site, command, "--json")
    assert result.exit_code == 1
    found = json.loads(result.stdout)
    failed = {(row["pool"], row["shard"]) for row in found if row["error"] is not None}
    assert failed == {("archive", "a"), ("archive", "b")}
    assert {row["shard"] for row in found} == {"s0", "s1", "a", "b"}


def test_a_frozen_shard_is_told_in_time(make_site, greenshard_shards, dsns):
    site = make_site()
    greenshard_shards["s1"].pause()
    try:
        result = run(site, "ping", "--json", "--timeout", "0.5")
    finally:
        greenshard_shards["s1"].resume()
    assert result.exit_code == 1
    assert [row["error"] is None for row in json.loads(result.stdout)] == [True, False]


def test_stats_count_the_sessions_on_the_servers(site):
    with site.pool.connection() as first, site.pool.connection() as second:
        for connection in (first, second):
            connection.on(("s0", "s1")).cursor().execute("SELECT 1")
        result = run(site, "stats", "--json")
    assert result.exit_code == 0, result.output
    found = {
        (row["shard"], row["state"]): row["sessions"]
        for row in json.loads(result.stdout)
        if row["application"] == "pooled"
    }
    assert found == {("s0", "idle in transaction"): 2, ("s1", "idle in transaction"): 2}


def test_stats_are_printed_for_people(site):
    with site.pool.connection() as connection:
        connection.on(("s0", "s1")).cursor().execute("SELECT 1")
        result = run(site, "stats")
    rows = [line.split() for line in result.stdout.splitlines() if "idle in transaction" in line]
    assert [row[:4] for row in rows] == [
        ["default", "3", "s0", "pooled"],
        ["default", "3", "s1", "pooled"],
    ]
    assert [row[-2] for row in rows] == ["1", "1"]


def test_help_says_whose_numbers_they_are(site):
    text = " ".join(run(site, "stats", "--help").stdout.split())
    assert "as its server sees them" in text
    assert "db.pool.stats()" in text
