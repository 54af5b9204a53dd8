"""The command lines on the pages are such as the program takes."""

from __future__ import annotations

import re
import shlex

import click
import pytest

from greenshard.cli import main
from tests.meta.pages import PAGES

#: In a literal block or as inline literal.
_LINE = re.compile(
    r"^ +\$? ?(greenshard [a-z].*?)(?:  +#.*)?$|``(greenshard [a-z][^`]*)``", re.MULTILINE
)
#: What a page puts for something else, and sentences that begin so.
_OTHER = re.compile(r"\.\.\.|^greenshard (has|can|does)\b")


def lines():
    for page in PAGES:
        if page.stem == "changelog":
            continue
        for match in _LINE.finditer(page.read_text(encoding="utf-8")):
            line = " ".join((match[1] or match[2]).split())
            if not _OTHER.search(line):
                yield page.stem, line


LINES = sorted(set(lines()))


@pytest.mark.parametrize(("page", "line"), LINES, ids=[f"{p}: {line}" for p, line in LINES])
def test_command_line_is_taken(page, line):
    # A statement may go on in the next lines.
    _, name, *words = shlex.split(line if line.count('"') % 2 == 0 else f'{line}"')
    command = main.commands[name]
    parser = command.make_parser(click.Context(command, info_name=name))
    # Options must be known; that a value is missing is a page's way to name one.
    try:
        parser.parse_args(args=words)
    except click.BadOptionUsage as error:
        assert "requires an argument" in str(error)  # noqa: PT017


def test_there_are_such_lines():
    assert len(LINES) > 60
    named = {line.split()[1] for _, line in LINES}
    assert named == set(main.commands)
