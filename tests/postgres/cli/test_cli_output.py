"""Output that cannot be written, or that would control a terminal; names and values from hell."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path

import psycopg2
import pytest
from click.testing import CliRunner
from psycopg2 import sql

import greenshard
from greenshard.cli import main
from tests.sampling import few

FULL = "the output cannot be written: No space left on device"
HELL = '%s%%(x)s "a"\'b\\c;--\n\x1b]0;pwned\x07\x9b2J\u202e/*é東🐘'
ESCAPES = "\x1b]0;pwned\x07\x1b[2J\x9b31m\u202eoff\tx\r\n"
SHOWN = r"\x1b]0;pwned\x07\x1b[2J\x9b31m\u202eoff\tx\r\n"


def run(
    command: str,
    *,
    redirect: str = "",
    env: Mapping[str, str] | None = None,
    pass_fds: Sequence[int] = (),
) -> subprocess.CompletedProcess[str]:
    """Run a command line in a shell; ``{g}`` stands for the program."""
    program = f"{sys.executable} -m greenshard.cli"
    return subprocess.run(
        ["bash", "-c", command.format(g=program) + redirect],
        capture_output=True,
        text=True,
        encoding="utf-8",
        errors="replace",
        pass_fds=pass_fds,
        env={**os.environ, **(env or {})},
        timeout=60,
        check=False,
    )


@pytest.fixture
def commands(cluster_file: str) -> dict[str, str]:
    return {
        "table": f"{{g}} query -c {cluster_file} 'SELECT id FROM orders'",
        "csv": f"{{g}} query -f csv -c {cluster_file} 'SELECT id FROM orders'",
        "json": f"{{g}} query -f json -c {cluster_file} 'SELECT id FROM orders'",
        "write": f"{{g}} query -c {cluster_file} \"UPDATE customers SET city = 'w'\"",
        "explain": f"{{g}} explain {cluster_file} 'SELECT id FROM orders'",
        "check": f"{{g}} check {cluster_file}",
        "help": "{g} query --help",
    }


COMMANDS = ["table", "csv", "json", "write", "explain", "check"]


@pytest.mark.parametrize("name", few(COMMANDS, 2))
def test_a_full_disk_is_one_line_and_a_code_of_its_own(commands: dict[str, str], name: str) -> None:
    done = run(commands[name], redirect=" > /dev/full")
    assert (done.stderr, done.returncode) == (f"greenshard: {FULL}\n", 6)


def test_help_to_a_full_disk_is_one_line(commands: dict[str, str]) -> None:
    done = run(commands["help"], redirect=" > /dev/full")
    assert (done.stderr, done.returncode) == ("greenshard: No space left on device\n", 6)


@pytest.mark.parametrize("name", few([*COMMANDS, "help"], 3))
def test_a_closed_stdout_is_told_before_anything_is_done(
    commands: dict[str, str], name: str
) -> None:
    done = run(commands[name], redirect=" >&-")
    assert (done.stderr, done.returncode) == ("greenshard: standard output is closed\n", 6)
    if name == "write":
        cities = run(commands["csv"].replace("id FROM orders", "city FROM customers")).stdout
        assert cities
        assert "w" not in cities


@pytest.mark.parametrize("name", few(COMMANDS, 2))
def test_a_pipe_that_no_one_reads_ends_quietly(commands: dict[str, str], name: str) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = run(commands[name], redirect=f" >&{writing}", pass_fds=[writing])
    finally:
        os.close(writing)
    assert (done.stderr, done.returncode) == ("", 128 + signal.SIGPIPE)


@pytest.mark.parametrize("name", few(COMMANDS, 2))
def test_a_closed_stderr_changes_nothing(commands: dict[str, str], name: str) -> None:
    done = run(commands[name], redirect=" 2>&- <&-")
    assert done.returncode == 0
    assert done.stdout


@pytest.mark.parametrize("stderr", ["2>&-", "2>/dev/full"])
def test_an_error_that_cannot_be_written_still_has_its_code(cluster_file: str, stderr: str) -> None:
    done = run(f"{{g}} query -c {cluster_file} 'SELECT nothing'", redirect=f" {stderr}")
    assert (done.stdout, done.returncode) == ("", 1)


@pytest.mark.parametrize(
    ("stdin", "why"),
    [("<&-", "standard input is closed"), ("< <(printf '\\xff')", "standard input is not UTF-8")],
)
def test_a_statement_that_cannot_be_read_is_told(cluster_file: str, stdin: str, why: str) -> None:
    for command in (f"{{g}} query -c {cluster_file} - ", f"{{g}} explain {cluster_file} - "):
        done = run(command, redirect=stdin)
        assert why in done.stderr
        assert (done.stderr.count("\n"), done.returncode) == (1, 2)


#: Several command lines in one process, with a mark after what each prints.
IN_TURN = """
import json, sys
from greenshard.cli import main
for args in json.loads(sys.argv[1]):
    try:
        main(args, prog_name="greenshard")
    except SystemExit as end:
        assert not end.code
    sys.stdout.write("<end>")
    sys.stdout.flush()
"""


@pytest.mark.parametrize(
    "environment",
    few(
        [
            {"PGCLIENTENCODING": "KOI8R"},
            {"PGCLIENTENCODING": "SQL_ASCII"},
            {"PGCLIENTENCODING": "MULE_INTERNAL"},
            {"PGCLIENTENCODING": "bogus"},
            {"PYTHONIOENCODING": "ascii", "LC_ALL": "C"},
            {"PYTHONIOENCODING": "latin-1:strict"},
        ],
        2,
    ),
    ids=str,
)
def test_no_encoding_of_the_environment_stands_in_the_way(
    cluster_file: str, environment: dict[str, str]
) -> None:
    text = "é я 東京 🐘"
    done = run(f"{{g}} query -c {cluster_file} \"SELECT '{text}'\"", env=environment)
    assert (done.stderr, done.returncode) == ("", 0)
    assert text in done.stdout
    done = run(f"{{g}} query -c {cluster_file} 'SELECT \"{text}\"'", env=environment)
    assert "does not exist" in done.stderr
    assert (done.stderr.count("\n"), done.returncode) == (1, 1)
    statement = f"SELECT '{text}'"
    lines = [
        ["query", "-c", cluster_file, "-f", "csv", statement],
        ["query", "-c", cluster_file, "-f", "json", statement],
        ["explain", cluster_file, statement],
        ["check", cluster_file],
    ]
    ended = subprocess.run(
        [sys.executable, "-c", IN_TURN, json.dumps(lines)],
        capture_output=True,
        env={**os.environ, **environment},
        timeout=60,
        check=False,
    )
    assert (ended.stderr, ended.returncode) == (b"", 0)
    *shown, checked, end = ended.stdout.decode().split("<end>")
    assert [text in each for each in shown] == [True, True, True]
    assert (bool(checked), end) == (True, "")


# What controls a terminal ----------------------------------------------------------------------


def query(path: str, *args: str) -> str:
    result = CliRunner().invoke(main, ["query", "-c", path, *args])
    assert result.exit_code == 0, result.stderr
    return result.stdout_bytes.decode()


def test_a_table_shows_what_controls_a_terminal_as_escapes(cluster_file: str) -> None:
    out = query(cluster_file, "-p", ESCAPES, f'SELECT %s AS "{ESCAPES}"')
    assert out.splitlines()[0] == SHOWN
    assert out.splitlines()[2] == SHOWN


def test_csv_and_json_give_the_value_as_it_is(cluster_file: str) -> None:
    statement = f'SELECT %s AS "{ESCAPES}"'
    out = query(cluster_file, "-f", "csv", "-p", ESCAPES, statement)
    assert list(csv.reader(io.StringIO(out, newline=""))) == [[ESCAPES], [ESCAPES]]
    out = query(cluster_file, "-f", "json", "-p", ESCAPES, statement)
    assert json.loads(out) == [{ESCAPES: ESCAPES}]


def test_json_is_one_line_a_row_whatever_line_ends_the_value_has(cluster_file: str) -> None:
    out = query(cluster_file, "-f", "json", """SELECT '{"a":\r\n "b"}'::json, 'x\ny' AS t""")
    assert len(out.splitlines()) == 3
    assert json.loads(out) == [{"json": {"a": "b"}, "t": "x\ny"}]


@pytest.mark.parametrize(
    "statement",
    [
        f'SELECT "{ESCAPES}" FROM orders',
        f"SELECT '{ESCAPES}'::int",
        f'SELECT * FROM "{ESCAPES}"',
        f"DO $$ BEGIN RAISE 'x%', '{ESCAPES}'; END $$",
    ],
)
def test_errors_do_not_control_the_terminal(cluster_file: str, statement: str) -> None:
    for args in (["query", "-c", cluster_file], ["explain", cluster_file]):
        result = CliRunner().invoke(main, [*args, statement], color=True)
        assert "\x1b" not in result.output
        assert "\x9b" not in result.output
        assert "\x07" not in result.output


def test_a_plan_does_not_control_the_terminal(cluster_file: str) -> None:
    result = CliRunner().invoke(main, ["explain", cluster_file, f"SELECT '{ESCAPES}'"], color=True)
    assert r"\x1b]0;pwned\x07" in result.stdout
    assert "\x1b" not in result.stdout


# Names and values from hell --------------------------------------------------------------------


@pytest.fixture
def hell(greenshard_dsns: dict[str, str], tmp_path: Path) -> str:
    """A cluster whose tables and columns have such names, as its shards do."""
    names = [HELL[:20], HELL[20:]]
    for dsn in greenshard_dsns.values():
        with closing(psycopg2.connect(dsn)) as conn, conn, conn.cursor() as cursor:
            for number, name in enumerate(names):
                columns = sql.SQL("({} int, {} text)").format(
                    sql.Identifier(names[1 - number]), sql.Identifier("[/red]" + name)
                )
                cursor.execute(sql.SQL("CREATE TABLE {} ").format(sql.Identifier(name)) + columns)

    def quoted(name: str) -> str:
        return '"' + name.replace('"', '""') + '"'

    def toml(text: str) -> str:
        return json.dumps(text, ensure_ascii=False)

    shards = "".join(f"{toml(n)} = {toml(d)}\n" for n, d in greenshard_dsns.items())
    first = f"{toml(quoted(names[0]))} = {{ shard_key = {toml(quoted(names[1]))} }}\n"
    second = f"{toml(quoted(names[1]))} = {{ reference = true }}\n"
    path = tmp_path / "hell.toml"
    path.write_text(f"[shards]\n{shards}[tables]\n{first}{second}")
    return str(path)


def test_names_from_hell_are_but_names(hell: str) -> None:
    first, second = (name for name in greenshard.Cluster.from_toml(hell).tables)
    key = second
    for number in range(6):
        status = query(hell, "-p", str(number), "-p", HELL,
                       f"INSERT INTO {first.replace('%', '%%')} VALUES (%s, %s)")  # fmt: skip
        assert status == "INSERT 0 1\n"
    for statement in (
        f"SELECT * FROM {first} ORDER BY 2 DESC, 1",
        f"SELECT {key}, count(DISTINCT t.*::text) FROM {first} t GROUP BY 1",
        f"SELECT count(DISTINCT a.{key}) FROM {first} a JOIN {first} b ON a.{key} < b.{key}",
    ):
        out = query(hell, statement)
        assert "\x1b" not in out
        assert len(json.loads(query(hell, "-f", "json", statement))) in (1, 6)
        plan = CliRunner().invoke(main, ["explain", hell, "-v", statement], color=True)
        assert (plan.exit_code, "\x1b" in plan.output) == (0, False)
    checked = CliRunner().invoke(main, ["check", hell], color=True)
    assert (checked.exit_code, "\x1b" in checked.output) == (0, False), checked.output


def test_sixteen_hundred_columns_are_printed(cluster_file: str) -> None:
    columns = ", ".join(f"{number} AS c{number}" for number in range(1600))
    statement = f"SELECT {columns} FROM orders WHERE id < 3"
    assert len(query(cluster_file, statement).splitlines()[0].split(" | ")) == 1600
    assert query(cluster_file, "-f", "csv", statement).splitlines()[1].count(",") == 1599
    assert len(json.loads(query(cluster_file, "-f", "json", statement))[0]) == 1600


def test_huge_values_are_printed(cluster_file: str) -> None:
    statement = "SELECT repeat(E'\\x1b', 5000000) AS t, ARRAY[repeat('\"', 5000000)] AS a"
    assert len(query(cluster_file, statement)) > 20_000_000
    (row,) = json.loads(query(cluster_file, "-f", "json", statement))
    assert (len(row["t"]), len(row["a"][0])) == (5_000_000, 5_000_000)
