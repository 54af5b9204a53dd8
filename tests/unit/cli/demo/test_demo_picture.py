from __future__ import annotations

import pytest

from greenshard.cli.demo.picture import bar, milliseconds, right_aligned


def test_bar_of_largest_fills_the_width() -> None:
    assert bar(7, 7, 5) == "█████"


def test_bar_of_zero_is_blank() -> None:
    assert bar(0, 7, 5) == "     "


def test_bar_is_blank_when_all_are_zero() -> None:
    assert bar(0, 0, 5) == "     "


@pytest.mark.parametrize("ascii_only", [False, True])
def test_bar_of_the_smallest_number_leaves_a_mark(ascii_only: bool) -> None:
    assert bar(1, 10**9, 5, ascii_only=ascii_only).strip()


@pytest.mark.parametrize("ascii_only", [False, True])
@pytest.mark.parametrize("value", range(12))
def test_bar_is_as_wide_as_asked(value: int, ascii_only: bool) -> None:
    assert len(bar(value, 10, 7, ascii_only=ascii_only)) == 7


def test_bar_in_ascii_is_ascii() -> None:
    assert bar(3, 10, 10, ascii_only=True) == "###       "


def test_bar_shows_eighths() -> None:
    assert bar(17, 64, 8) == "██▏     "


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.0 ms"),
        (0.00004, "0.0 ms"),
        (0.0994, "99.4 ms"),
        (0.1, "100 ms"),
        (9.9, "9,900 ms"),
        (10, "10.0 s"),
    ],
)
def test_milliseconds_has_three_digits_or_so(seconds: float, text: str) -> None:
    assert milliseconds(seconds) == text


def test_right_aligned_nothing() -> None:
    assert right_aligned([]) == []
