from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from greenshard.sql.redaction import MAX_CHARACTERS, redact

SECRET = "hunter2"

anything = st.text(st.characters(codec="utf-8"), max_size=10)
literals = st.sampled_from(["'{}'", "E'{}'", "U&'{}'", "$${}$$", "$a${}$a$", "'{}"])
comments = st.sampled_from(["/*{}*/", "--{}", "--{}\n", "/*{}"])


@given(anything, literals | comments, anything)
def test_what_is_in_a_literal_or_comment_never_shows(before: str, form: str, after: str) -> None:
    text = "ALTER ROLE app PASSWORD " + form.format(f"{before} {SECRET} {after}")
    # Where the text around ends the literal itself, the secret stands outside of it.
    ends = {"'", "\\", "$", "*", "/", "\n", "\r", "\0"} & set(before + after)

    assert ends or SECRET not in redact(text)


@given(st.text())
def test_any_text_gives_one_short_line(sql: str) -> None:
    redacted = redact(sql)

    assert len(redacted) <= MAX_CHARACTERS
    assert "\n" not in redacted or '"' in redacted  # a quoted name may hold a line break


def test_a_long_statement_is_cut() -> None:
    redacted = redact("SELECT a FROM t WHERE a IN (" + ", ".join(["1"] * 1000) + ")")

    assert len(redacted) == MAX_CHARACTERS
    assert redacted.startswith("SELECT a FROM t WHERE a IN (?, ?")
    assert redacted.endswith("...")


def test_a_statement_that_just_fits_is_not_cut() -> None:
    fitting = "SELECT " + "a" * (MAX_CHARACTERS - len("SELECT "))

    assert redact(fitting) == fitting
    assert redact(fitting + "a") == fitting[: MAX_CHARACTERS - 3] + "..."


def test_half_a_surrogate_pair_shows_the_first_keyword() -> None:
    assert redact("SELECT '\ud800'") == "SELECT ..."
