"""Runs tests/golden/: a statement and its facts (see README.rst there)."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import pytest

from greenshard.sql.redaction import redact
from greenshard.sql.statement import Statement, Unreadable, read_statement

GOLDEN = Path(__file__).parents[2] / "golden"
STATEMENT_FILES = ("inserting.txt", "not_inserting.txt", "reading.txt", "unreadable.txt")


class Case(NamedTuple):
    outcome: str
    has_parameters: bool
    sql: str
    position: int | None


def cases(file: str) -> dict[str, str]:
    parts = re.split(r"^--- (.*)\n", (GOLDEN / file).read_text("utf-8"), flags=re.MULTILINE)
    titles, bodies = parts[1::2], parts[2::2]
    assert len(set(titles)) == len(titles)
    return dict(zip(titles, (body.removesuffix("\n") for body in bodies), strict=True))


def statement_case(body: str) -> Case:
    head, _, text = body.removeprefix("= ").partition("\n")
    text = text.removesuffix("\n").replace("␀", "\0")
    outcome = head.removesuffix(", parameters")
    position = text.find("▸")
    return Case(outcome, head != outcome, text.replace("▸", ""), None if position < 0 else position)


def parameters(*files: str) -> list[object]:
    return [
        pytest.param(body, id=f"{file}: {title}")
        for file in files
        for title, body in cases(file).items()
    ]


def outcome(found: Statement | Unreadable) -> tuple[str, int | None]:
    if isinstance(found, Unreadable):
        return f"unreadable {found.message}", found.position
    if found.inserts:
        assert not found.reads
        return f"inserts {found.construct}", found.position
    return ("reads" if found.reads else "neither"), found.position


@pytest.mark.parametrize("body", parameters(*STATEMENT_FILES))
def test_a_statement_has_the_facts_of_the_golden_file(body: str) -> None:
    case = statement_case(body)

    assert outcome(read_statement(case.sql, case.has_parameters)) == (case.outcome, case.position)


@pytest.mark.parametrize("body", parameters("redaction.txt"))
def test_a_redacted_statement_is_as_in_the_golden_file(body: str) -> None:
    sql, _, redacted = f"\n{body}".removesuffix("\n").rpartition("\n=> ")

    assert redact(sql[1:].replace("␀", "\0")) == redacted


def test_a_position_is_that_of_the_construct() -> None:
    for body in cases("inserting.txt").values():
        case = statement_case(body)
        construct = case.outcome.removeprefix("inserts ")
        assert case.position is not None
        assert case.sql[case.position :].upper().startswith(construct)
