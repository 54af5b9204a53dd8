"""``greenshard explain`` against real shards."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from greenshard.cli import main
from tests.postgres.cli.conftest import declaration


def explain(cluster: str, *args: str, stdin: str | None = None) -> Result:
    return CliRunner().invoke(main, ["explain", cluster, *args], input=stdin)


@pytest.mark.parametrize(
    ("sql", "strategy"),
    [
        ("SELECT * FROM orders WHERE id = 7", "route"),
        ("SELECT * FROM customers", "reference"),
        ("SELECT * FROM orders JOIN customers ON customer = name", "concatenate"),
        ("SELECT * FROM orders ORDER BY amount LIMIT 3", "merge"),
        ("SELECT customer, avg(amount) FROM orders GROUP BY customer", "combine"),
        ("SELECT mode() WITHIN GROUP (ORDER BY customer) FROM orders", "gather"),
        ("SET work_mem = '8MB'", "broadcast"),
    ],
)
def test_plan_begins_with_its_strategy(cluster_file: str, sql: str, strategy: str) -> None:
    result = explain(cluster_file, sql)
    assert result.exit_code == 0, result.stderr
    assert result.stdout.startswith(f"strategy: {strategy}\nshards: ")


def test_parameters_name_the_shard(cluster_file: str) -> None:
    sql = "SELECT * FROM orders WHERE id = %s AND customer LIKE 'a%%'"
    targets = set()
    for number in range(1, 13):
        lines = explain(cluster_file, "-p", str(number), sql).stdout.splitlines()
        assert lines[0] == "strategy: route"
        targets.add(lines[1])
    assert targets == {"shards: s0", "shards: s1"}


def test_analyze_runs_it_on_each_shard_and_takes_it_back(cluster_file: str) -> None:
    several = explain(cluster_file, "--analyze", "DELETE FROM orders").stdout
    assert several.startswith("strategy: concatenate\n")
    assert [f"plan on {shard}:" in several for shard in ("s0", "s1")] == [True, True]
    assert several.count("actual time") >= 2
    one = explain(cluster_file, "--analyze", "-p", "7", "SELECT * FROM orders WHERE id = %s").stdout
    assert one.startswith("strategy: route\n")
    assert "plan there:\n    " in one
    assert "actual time" in one
    counted = ["query", "-c", cluster_file, "-f", "csv", "SELECT count(*) FROM orders"]
    assert CliRunner().invoke(main, counted).stdout == "count\n12\n"


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM orders WHERE id = %s AND customer LIKE 'a%%'",
        "SELECT * FROM orders WHERE id = %(id)s AND customer LIKE %(like)s",
        "SELECT * FROM orders WHERE id=? AND customer LIKE ? LIMIT ?",
        "SELECT * FROM orders WHERE id = $1 AND customer LIKE 'a%'",
    ],
)
def test_a_statement_as_a_log_has_it_is_planned_for_any_values(cluster_file: str, sql: str) -> None:
    lines = explain(cluster_file, sql).stdout.splitlines()
    assert lines[:2] == ["strategy: route", "shards: the one that the parameters name"]
    assert lines[-1].startswith("the values are not known")


def test_what_looks_like_a_placeholder_may_be_an_operator(cluster_file: str) -> None:
    assert explain(cluster_file, "SELECT 7 % id, '%s', '?' FROM orders").exit_code == 0
    refused = explain(cluster_file, "SELECT nothing FROM orders WHERE id = ?")
    assert "nothing" in refused.stdout


def test_explain_and_query_take_the_same_parameters(cluster_file: str) -> None:
    args = ["-p", "3", "-p", "é", "SELECT id FROM orders WHERE id > %s AND customer = %s"]
    assert explain(cluster_file, *args).exit_code == 0
    assert CliRunner().invoke(main, ["query", "-c", cluster_file, *args]).exit_code == 0


def test_verbose_tells_why_cheaper_strategies_refused(cluster_file: str) -> None:
    sql = "SELECT mode() WITHIN GROUP (ORDER BY customer) FROM orders"
    assert "why not" not in explain(cluster_file, sql).stdout
    verbose = explain(cluster_file, "--verbose", sql).stdout
    _, _, reasons = verbose.partition("why not a cheaper strategy:\n")
    strategies = [line.split(":")[0].strip() for line in reasons.splitlines()]
    assert strategies == ["route", "reference", "concatenate", "merge", "combine"]


def test_sql_comes_from_standard_input(cluster_file: str) -> None:
    result = explain(cluster_file, "-", stdin="SELECT 'é'\nFROM orders WHERE id = 7;\n")
    assert "    SELECT 'é'\n    FROM orders" in result.stdout


@pytest.mark.parametrize(
    ("sql", "what"),
    [
        ("DO 'BEGIN END'", "DO over several shards"),
        ("SELECT * FROM nothing", 'relation "nothing" does not exist'),
        ("SELECT FROM WHERE", 'syntax error at or near "WHERE"'),
    ],
)
def test_a_refusal_is_printed_and_is_exit_code_1(cluster_file: str, sql: str, what: str) -> None:
    result = explain(cluster_file, sql)
    assert result.exit_code == 1
    assert result.stdout.splitlines()[:2] == ["strategy: refused", f"    {what}"]


def test_nothing_is_run(cluster_file: str) -> None:
    assert explain(cluster_file, "DROP TABLE orders").exit_code == 0
    assert explain(cluster_file, "DELETE FROM orders").exit_code == 0
    counted = ["query", "-c", cluster_file, "-f", "csv", "SELECT count(*) FROM orders"]
    assert CliRunner().invoke(main, counted).stdout == "count\n12\n"


def test_too_few_parameters_are_a_usage_error(cluster_file: str) -> None:
    result = explain(cluster_file, "-p", "1", "SELECT * FROM orders WHERE id = %s AND amount > %s")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "-p" in result.stderr


def test_unreachable_shard_exits_with_its_code(
    greenshard_dsns: dict[str, str], tmp_path: Path
) -> None:
    path = tmp_path / "cluster.toml"
    path.write_text(
        declaration({**greenshard_dsns, "gone": "host=/nonexistent dbname=x password=hush"})
    )
    result = explain(str(path), "SELECT 1")
    assert result.exit_code == 5
    assert "gone" in result.stderr
    assert "hush" not in result.stderr
