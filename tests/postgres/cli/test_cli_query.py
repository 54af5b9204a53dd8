"""``greenshard query`` against real shards."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import psycopg2
import pytest
from click.testing import CliRunner, Result

from greenshard.cli import main
from greenshard.testing import Shards

TEXTS = """
SELECT NULL AS nothing, '' AS empty, true AS yes, 9007199254740993::int8 AS big,
       0.10::numeric AS price, 'NaN'::float8 AS nan, '1 mon'::interval AS month,
       'infinity'::timestamp AS forever, '0044-03-15 BC'::date AS ides,
       '\\x00ff'::bytea AS bytes, '{1,NULL}'::int[] AS list,
       '{"a": 1.10}'::jsonb AS doc, 'x,"y"' AS quoted
"""


@pytest.fixture
def dsns(greenshard_dsns: dict[str, str]) -> dict[str, str]:
    """Two shards with a table t: the rows 0 and 2 on the first, 1 and 3 on the second."""
    for remainder, dsn in enumerate(greenshard_dsns.values()):
        on_one_shard(
            dsn,
            "CREATE TABLE t (id int PRIMARY KEY, name text)",
            "INSERT INTO t SELECT i, 'n' || i FROM generate_series(0, 3) i "
            f"WHERE i % 2 = {remainder}",
        )
    return greenshard_dsns


def on_one_shard(dsn: str, *statements: str) -> None:
    conn = psycopg2.connect(dsn)
    try:
        with conn, conn.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
    finally:
        conn.close()


def shard_options(dsns: Mapping[str, str]) -> list[str]:
    return [word for name, dsn in dsns.items() for word in ("-s", f"{name}={dsn}")]


def run(dsns: Mapping[str, str], *args: str, stdin: str | None = None) -> Result:
    return CliRunner().invoke(main, ["query", *shard_options(dsns), *args], input=stdin)


def test_table_shows_the_union_in_shard_order(dsns: dict[str, str]) -> None:
    result = run(dsns, "SELECT id, name FROM t ORDER BY id")
    assert result.exit_code == 0, result.stderr
    lines = result.stdout.splitlines()
    assert lines[:6] == ["id | name", "---+-----", " 0 | n0", " 2 | n2", " 1 | n1", " 3 | n3"]
    assert lines[6].startswith("(4 rows, ")


def test_unnamed_shards_work(dsns: dict[str, str]) -> None:
    options = [word for dsn in dsns.values() for word in ("-s", dsn)]
    result = CliRunner().invoke(main, ["query", *options, "-f", "csv", "SELECT count(*) FROM t"])
    assert result.stdout == "count\n2\n2\n"


def test_shards_come_from_the_environment(dsns: dict[str, str]) -> None:
    env = {"GREENSHARD_SHARDS": "\n".join(f"{name}={dsn}" for name, dsn in dsns.items())}
    result = CliRunner().invoke(
        main, ["query", "--on", "s1", "-f", "csv", "SELECT id FROM t ORDER BY id"], env=env
    )
    assert (result.exit_code, result.stdout) == (0, "id\n1\n3\n")


def test_csv_keeps_postgresqls_text(dsns: dict[str, str]) -> None:
    result = run(dsns, "--on", "s0", "-f", "csv", TEXTS)
    assert result.stdout.splitlines()[1] == (
        ',"",t,9007199254740993,0.10,NaN,1 mon,infinity,0044-03-15 BC,\\x00ff,'
        '"{1,NULL}","{""a"": 1.10}","x,""y"""'
    )


def test_json_keeps_what_json_cannot_say_as_text(dsns: dict[str, str]) -> None:
    result = run(dsns, "--on", "s0", "-f", "json", TEXTS)
    assert json.loads(result.stdout) == [
        {
            "nothing": None,
            "empty": "",
            "yes": True,
            "big": 9007199254740993,
            "price": "0.10",
            "nan": "NaN",
            "month": "1 mon",
            "forever": "infinity",
            "ides": "0044-03-15 BC",
            "bytes": "\\x00ff",
            "list": [1, None],
            "doc": {"a": 1.10},
            "quoted": 'x,"y"',
        }
    ]
    assert '"doc": {"a": 1.10}' in result.stdout


@pytest.mark.parametrize("array_type", ["bool", "int2", "int8", "oid", "float8", "numeric", "uuid"])
def test_arrays_of_postgresql_are_lists_in_json(dsns: dict[str, str], array_type: str) -> None:
    result = run(
        dsns,
        "--on",
        "s0",
        "-f",
        "json",
        f"SELECT NULL::{array_type}[], '{{}}'::{array_type}[] AS a",
    )
    assert json.loads(result.stdout)[0]["a"] == []


def test_json_without_rows_is_an_empty_array(dsns: dict[str, str]) -> None:
    result = run(dsns, "-f", "json", "SELECT id FROM t WHERE false")
    assert (result.exit_code, json.loads(result.stdout)) == (0, [])


def test_json_refuses_two_columns_of_one_name(dsns: dict[str, str]) -> None:
    result = run(dsns, "-f", "json", "SELECT id, id FROM t")
    assert result.exit_code == 2
    assert "'id'" in result.stderr
    assert "hint:" in result.stderr


def test_null_prints_as_told(dsns: dict[str, str]) -> None:
    result = run(dsns, "--on", "s0", "--null", "NA", "-f", "csv", "SELECT NULL AS a, 'NA' AS b")
    assert result.stdout == 'a,b\nNA,"NA"\n'


def test_parameters_are_bound(dsns: dict[str, str]) -> None:
    sql = "SELECT id FROM t WHERE id = %s OR name = %s OR name LIKE 'x%%'"
    result = run(dsns, "-f", "csv", "-p", "2", "-p", "n'1", sql)
    assert (result.exit_code, result.stdout) == (0, "id\n2\n")


def test_percent_signs_stand_for_themselves_without_parameters(dsns: dict[str, str]) -> None:
    assert run(dsns, "-f", "csv", "SELECT id FROM t WHERE name LIKE '%2'").stdout == "id\n2\n"


@pytest.mark.parametrize("values", [["1"], ["1", "2", "3"]])
def test_wrong_number_of_parameters_is_a_usage_error(
    dsns: dict[str, str], values: list[str]
) -> None:
    options = [word for value in values for word in ("-p", value)]
    result = run(dsns, *options, "SELECT id FROM t WHERE id IN (%s, %s)")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "-p" in result.stderr


def test_without_parameters_a_placeholder_is_a_syntax_error(dsns: dict[str, str]) -> None:
    result = run(dsns, "SELECT id FROM t WHERE id = %s")
    assert (result.exit_code, result.stdout) == (1, "")


def test_sql_comes_from_standard_input(dsns: dict[str, str]) -> None:
    result = run(dsns, "-f", "csv", "-", stdin="SELECT 'é' AS a\nFROM t WHERE id = 0;\n")
    assert (result.exit_code, result.stdout) == (0, "a\né\n")


def test_update_prints_the_rows_of_all_shards_and_commits(dsns: dict[str, str]) -> None:
    result = run(dsns, "UPDATE t SET name = 'new' WHERE id < 3")
    assert (result.exit_code, result.stdout) == (0, "UPDATE 3\n")
    assert (
        run(dsns, "-f", "csv", "SELECT count(*) FROM t WHERE name = 'new'").stdout
        == "count\n2\n1\n"
    )


def test_update_prints_to_stderr_beside_csv(dsns: dict[str, str]) -> None:
    result = run(dsns, "-f", "csv", "DELETE FROM t")
    assert (result.stdout, result.stderr) == ("", "DELETE 4\n")


def test_returning_prints_rows_and_commits(dsns: dict[str, str]) -> None:
    result = run(dsns, "-f", "csv", "DELETE FROM t WHERE id = 3 RETURNING id")
    assert result.stdout == "id\n3\n"
    assert run(dsns, "-f", "csv", "SELECT id FROM t WHERE id = 3").stdout == "id\n"


def test_failure_on_one_shard_rolls_back_on_all(dsns: dict[str, str]) -> None:
    result = run(dsns, "UPDATE t SET id = 1 / (3 - id)")
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.splitlines()[0] == "greenshard: shard s1: division by zero"
    assert run(dsns, "-f", "csv", "SELECT sum(id) FROM t").stdout == "sum\n2\n4\n"


def test_several_statements_print_the_last_answer(dsns: dict[str, str]) -> None:
    result = run(dsns, "-f", "csv", "SELECT 1 AS a; SELECT 2 AS b")
    assert result.stdout == "b\n2\n2\n"


def test_ddl_prints_its_tag(dsns: dict[str, str]) -> None:
    assert run(dsns, "CREATE TABLE u ()").stdout == "CREATE TABLE\n"


def test_insert_is_refused_with_the_way_out(dsns: dict[str, str]) -> None:
    result = run(dsns, "INSERT INTO t VALUES (7, 'x')")
    assert result.exit_code == 1
    assert "hint:" in result.stderr
    assert run(dsns, "-f", "csv", "SELECT count(*) FROM t").stdout == "count\n2\n2\n"


def test_insert_goes_to_the_named_shard_or_to_all(dsns: dict[str, str]) -> None:
    assert run(dsns, "--on", "s1", "INSERT INTO t VALUES (7, 'x')").stdout == "INSERT 0 1\n"
    assert run(dsns, "--broadcast", "INSERT INTO t VALUES (8, 'x')").exit_code == 0
    assert run(dsns, "-f", "csv", "SELECT count(*) FROM t").stdout == "count\n3\n4\n"


def test_each_shard_is_asked_by_itself(dsns: dict[str, str], cluster_file: str) -> None:
    sql = "SELECT count(*) AS n, 'x' FROM orders"
    result = CliRunner().invoke(main, ["query", "-c", cluster_file, "--each", "-f", "csv", sql])
    assert (result.exit_code, result.stderr) == (0, "")
    head, *rows = [line.split(",") for line in result.stdout.splitlines()]
    assert head == ["shard", "n", "?column?"]
    assert [row[0] for row in rows] == ["s0", "s1"]
    assert sum(int(row[1]) for row in rows) == 12  # over the cluster it is one number
    several = run(dsns, "--each", "SELECT generate_series(1, 2) AS g")
    cells = [line.split("|")[0].strip() for line in several.stdout.splitlines()]
    assert cells[0] == "shard"
    assert cells[2:6] == ["s0", "s0", "s1", "s1"]


def test_each_only_reads(cluster_file: str) -> None:
    words = ["query", "-c", cluster_file, "--each", "DELETE FROM orders"]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 1
    assert "read-only transaction" in result.stderr


def test_autocommit_runs_what_a_transaction_cannot(dsns: dict[str, str]) -> None:
    assert run(dsns, "VACUUM t").exit_code == 1
    result = run(dsns, "--autocommit", "VACUUM t")
    assert (result.exit_code, result.stdout) == (0, "VACUUM\n")


def test_sql_error_of_all_shards_is_printed_once(dsns: dict[str, str]) -> None:
    result = run(dsns, "SELECT nme FROM t")
    assert result.exit_code == 1
    lines = result.stderr.splitlines()
    assert lines[0] == 'greenshard: all 2 shards: column "nme" does not exist'
    assert lines[1].startswith("  hint: ")


def test_timeout_cancels_and_exits_with_its_code(dsns: dict[str, str]) -> None:
    start = time.monotonic()
    result = run(dsns, "--timeout", "0.3", "SELECT pg_sleep(60)")
    assert result.exit_code == 4
    assert result.stderr.startswith("greenshard: ")
    assert time.monotonic() - start < 30


def test_timeout_holds_for_streams(dsns: dict[str, str]) -> None:
    assert run(dsns, "--timeout", "0.3", "-f", "csv", "SELECT pg_sleep(60)").exit_code == 4


def test_unreachable_shard_exits_with_its_code(dsns: dict[str, str]) -> None:
    result = run({**dsns, "gone": "host=/nonexistent dbname=x password=hush"}, "SELECT 1")
    assert result.exit_code == 5
    assert "gone" in result.stderr
    assert "hush" not in result.stderr


def test_unreadable_dsn_is_a_usage_error_that_shows_no_password() -> None:
    result = run({"a": "postgresql://u:hush@[::1/x"}, "SELECT 1")
    assert result.exit_code == 2
    assert "hush" not in result.output


def test_partial_answer_prints_rows_and_exits_with_its_code(dsns: dict[str, str]) -> None:
    on_one_shard(dsns["s0"], "DROP TABLE t")
    result = run(dsns, "--on-error", "partial", "-f", "csv", "SELECT id FROM t ORDER BY id")
    assert result.exit_code == 3
    assert result.stdout == "id\n1\n3\n"
    assert "shard s0" in result.stderr


def test_partial_answer_when_a_shard_is_down(dsns: dict[str, str]) -> None:
    shards = {"gone": "host=/nonexistent dbname=x", **dsns}
    result = run(shards, "--on-error", "partial", "-f", "csv", "SELECT count(*) FROM t")
    assert result.exit_code == 3
    assert result.stdout == "count\n2\n2\n"
    assert "gone" in result.stderr


def test_unknown_shard_is_a_usage_error(dsns: dict[str, str]) -> None:
    result = run(dsns, "--on", "s9", "SELECT 1")
    assert result.exit_code == 2
    assert "s0, s1" in result.stderr


def run_cluster(path: str, *args: str, stdin: str | None = None) -> Result:
    return CliRunner().invoke(main, ["query", "-c", path, *args], input=stdin)


@pytest.mark.parametrize("format_name", ["csv", "table", "json"])
@pytest.mark.parametrize(
    ("sql", "rows"),
    [
        ("SELECT amount FROM orders WHERE id = 7", [["7.50"]]),
        ("SELECT city FROM customers WHERE name = 'é'", [["Évry"]]),
        ("SELECT city FROM orders JOIN customers ON customer = name WHERE id = 8 OR false",
         [["Évry"]]),
        ("SELECT id FROM orders ORDER BY amount DESC LIMIT 3", [["12"], ["11"], ["10"]]),
        ("SELECT customer, id FROM orders ORDER BY 1 DESC, 2 LIMIT 2", [["é", "2"], ["é", "5"]]),
        ("SELECT count(*), sum(id), avg(amount), max(amount) FROM orders",
         [["12", "78", "7.0000000000000000", "12.50"]]),
        ("SELECT customer, count(*) FROM orders GROUP BY 1 HAVING count(*) > 3 ORDER BY sum(id)",
         [["b", "4"], ["é", "4"], ["a", "4"]]),
        ("SELECT count(DISTINCT customer), '1 mon'::interval AS m FROM orders", [["3", "1 mon"]]),
    ],
)  # fmt: skip
def test_a_cluster_answers_as_one_database(
    cluster_file: str, sql: str, rows: list[list[str]], format_name: str
) -> None:
    result = run_cluster(cluster_file, "-f", format_name, sql)
    assert result.exit_code == 0, result.stderr
    assert printed_rows(result.stdout, format_name) == rows


def printed_rows(output: str, format_name: str) -> list[list[str]]:
    if format_name == "json":
        return [[str(value) for value in row.values()] for row in json.loads(output)]
    if format_name == "csv":
        return [line.split(",") for line in output.splitlines()[1:]]
    return [[cell.strip() for cell in line.split("|")] for line in output.splitlines()[2:-1]]


def test_the_cluster_comes_from_the_environment(cluster_file: str) -> None:
    env = {"GREENSHARD_CLUSTER": cluster_file}
    args = ["query", "-f", "csv", "SELECT count(*) FROM orders"]
    assert CliRunner().invoke(main, args, env=env).stdout == "count\n12\n"


def test_an_insert_over_a_cluster_finds_its_shard(cluster_file: str) -> None:
    args = ["-p", "99", "-p", "a", "-p", "1.00", "INSERT INTO orders VALUES (%s, %s, %s)"]
    assert run_cluster(cluster_file, *args).stdout == "INSERT 0 1\n"
    count = "SELECT count(*) FROM orders WHERE id = 99"
    assert run_cluster(cluster_file, "-f", "csv", count).stdout == "count\n1\n"


def test_a_write_to_a_reference_table_is_counted_once(cluster_file: str) -> None:
    assert run_cluster(cluster_file, "UPDATE customers SET city = 'x'").stdout == "UPDATE 3\n"


def test_a_refusal_prints_what_is_in_the_way_and_a_way_out(cluster_file: str) -> None:
    result = run_cluster(cluster_file, "SELECT pg_relation_size('orders')")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "tells of one shard's part only" in result.stderr
    assert "hint: " in result.stderr


def test_mistakes_of_a_cluster_file_are_all_printed(tmp_path: Path) -> None:
    path = tmp_path / "cluster.toml"
    path.write_text('[shards]\ns0 = 7\n[tables]\nt = { shard_key = "id", reference = true }\n')
    result = run_cluster(str(path), "SELECT 1")
    assert result.exit_code == 2
    assert "shards.s0" in result.stderr
    assert "tables.t" in result.stderr


def program(dsns: Mapping[str, str], *args: str) -> list[str]:
    return [sys.executable, "-m", "greenshard.cli", "query", *shard_options(dsns), *args]


def test_closed_pipe_ends_quietly(dsns: dict[str, str]) -> None:
    sql = "SELECT i, repeat('x', 1000) FROM generate_series(1, 10000000) i"
    with subprocess.Popen(
        program(dsns, "-f", "csv", sql), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        first = process.stdout.readline()
        process.stdout.close()
        stderr = process.stderr.read()
    assert (first, stderr) == (b"i,repeat\n", b"")
    assert process.returncode == 128 + signal.SIGPIPE


def test_output_is_utf8_in_any_locale(dsns: dict[str, str]) -> None:
    done = subprocess.run(
        program(dsns, "--on", "s0", "SELECT '東京' AS city"),
        capture_output=True,
        check=True,
        env={"LC_ALL": "C", "PYTHONIOENCODING": "ascii", "PATH": ""},
    )
    assert "東京" in done.stdout.decode("utf-8")


def test_interrupt_ends_a_query_without_a_traceback(
    dsns: dict[str, str], greenshard_shards: Shards
) -> None:
    process = subprocess.Popen(
        program(dsns, "SELECT pg_sleep(60) /* interrupt */"),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    wait_until_running(dsns["s0"])
    process.send_signal(2)
    _, stderr = process.communicate(timeout=30)
    assert (stderr, process.returncode) == (b"greenshard: stopped by SIGINT\n", 130)
    wait_until_running(dsns["s0"], running=False)


def wait_until_running(dsn: str, running: bool = True) -> None:
    conn = psycopg2.connect(dsn)
    conn.autocommit = True
    deadline = time.monotonic() + 30
    try:
        with conn.cursor() as cursor:
            while time.monotonic() < deadline:
                cursor.execute(
                    "SELECT count(*) > 0 FROM pg_stat_activity WHERE state = 'active' "
                    "AND query LIKE '%/* interrupt */%' AND pid <> pg_backend_pid()"
                )
                if cursor.fetchall() == [(running,)]:
                    return
                time.sleep(0.05)
    finally:
        conn.close()
    pytest.fail(f"the query is {'not ' if running else 'still '}running")
