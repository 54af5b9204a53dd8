from __future__ import annotations

import re

import greenshard
from greenshard import errors
from tests.meta.pages import ROOT

ERRORS_PAGE = (ROOT / "docs" / "errors.rst").read_text(encoding="utf-8")
API_PAGE = (ROOT / "docs" / "api.rst").read_text(encoding="utf-8")


def test_each_public_name_exists() -> None:
    assert [name for name in greenshard.__all__ if not hasattr(greenshard, name)] == []


def test_each_public_name_is_documented() -> None:
    documented = re.findall(r"^\.\. auto\w+:: (\w+)(?:\(\))?$", API_PAGE, re.MULTILINE)
    described = re.findall(r"^\.\. py:\w+:: (\w+)", API_PAGE, re.MULTILINE)
    assert sorted(set(greenshard.__all__) - {*documented, *described}) == []


def test_each_error_code_has_an_anchor_and_a_section_of_its_own() -> None:
    sections = re.findall(r"^\.\. _(gs\d+):\n\n(GS\d+): (.+)\n", ERRORS_PAGE, re.MULTILINE)
    assert {code: text for anchor, code, text in sections if anchor == code.lower()} == {
        **errors.CODES
    }


def test_each_error_code_is_in_the_table() -> None:
    rows = re.findall(
        r"^   \* - :ref:`(GS\d+) <gs\d+>`\n     - .+\n     - (.+)\n", ERRORS_PAGE, re.MULTILINE
    )
    assert dict(rows) == {**errors.CODES}
