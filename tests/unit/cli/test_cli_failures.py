from __future__ import annotations

import psycopg2
import pytest

from greenshard import errors
from greenshard.cli.failures import CommandFailed, ExitCode, from_error, message_lines


def shown(failed: CommandFailed, capsys: pytest.CaptureFixture[str]) -> list[str]:
    failed.show()
    captured = capsys.readouterr()
    assert captured.out == ""
    return captured.err.splitlines()


def test_error_prints_one_line_of_what_and_one_of_what_to_do(
    capsys: pytest.CaptureFixture[str],
) -> None:
    error = errors.OperationalError("it broke", code="GS203", shard="s1", hint="Connect again.")
    assert shown(from_error(error), capsys) == [
        "greenshard: shard s1: it broke [GS203]",
        "  hint: Connect again.",
    ]


def test_message_of_several_lines_prints_its_first(capsys: pytest.CaptureFixture[str]) -> None:
    server = psycopg2.ProgrammingError('relation "x" does not exist\nLINE 1: SELECT\n    ^\n')
    error = errors.from_driver(server, "s1", name_shard=True)
    assert shown(from_error(error), capsys) == ['greenshard: shard s1: relation "x" does not exist']


def test_refusal_of_several_lines_prints_them_all(capsys: pytest.CaptureFixture[str]) -> None:
    error = errors.NotSupportedError("it cannot:\nmerge: no\ngather: no", code="GS410", hint="Try.")
    assert shown(from_error(error), capsys) == [
        "greenshard: it cannot:",
        "merge: no",
        "gather: no [GS410]",
        "  hint: Try.",
    ]


def test_several_failures_print_a_line_each() -> None:
    failures = {"s0": psycopg2.DataError("bad\nCONTEXT: x"), "s1": psycopg2.DataError("worse")}
    error = errors.from_shards(failures, 4)
    assert list(message_lines(error)) == [
        "2 of 4 shards failed [GS201]",
        "  shard s0: bad",
        "  shard s1: worse",
    ]


def test_error_without_text_prints_its_class() -> None:
    assert list(message_lines(psycopg2.InterfaceError())) == ["InterfaceError"]


@pytest.mark.parametrize(
    ("error", "connecting", "code"),
    [
        (errors.ProgrammingError("no such column"), False, ExitCode.DATABASE_ERROR),
        (errors.NotSupportedError("refused", code="GS401"), False, ExitCode.DATABASE_ERROR),
        (errors.QueryTimeout("late", code="GS301"), False, ExitCode.TIMEOUT),
        (errors.OperationalError("gone", code="GS203"), False, ExitCode.DATABASE_ERROR),
        (errors.OperationalError("refused", code="GS101"), True, ExitCode.NO_CONNECTION),
        (errors.ProgrammingError("invalid dsn", code="GS102"), True, ExitCode.USAGE),
    ],
)
def test_exit_code_tells_scripts_what_happened(
    error: errors.Error, connecting: bool, code: ExitCode
) -> None:
    assert from_error(error, connecting=connecting).exit_code == code


def test_exit_code_of_all_shards_unreachable() -> None:
    down = psycopg2.OperationalError("connection refused")
    error = errors.from_shards({"s0": down, "s1": down}, 2, doing=" to open", code="GS101")
    assert isinstance(error, errors.Error)
    assert from_error(error, connecting=True).exit_code == ExitCode.NO_CONNECTION
