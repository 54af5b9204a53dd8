from __future__ import annotations

import random

from greenshard.merge import line_numbers
from greenshard.merge.line_numbers import LineNumbers


def test_lines_of_shards_are_lines_of_the_file():
    chance = random.Random(7)
    numbers, line = LineNumbers(3, header=1), 1
    got = [1, 1, 1]
    expected = {(0, 1): 1, (2, 1): 1}  # the header, which each of them gets
    for _ in range(20):
        homes = [chance.randrange(3) for _ in range(chance.randrange(9))]
        heights = [chance.randrange(1, 4) for _ in homes] if chance.random() < 0.5 else None
        numbers.note(homes, heights)
        for number, home in enumerate(homes):
            height = 1 if heights is None else heights[number]
            line += height
            got[home] += height
            for up in range(height):
                expected[home, got[home] - up] = line - up
    assert {at: numbers.line_of(*at) for at in expected} == expected


def test_what_is_remembered_is_bounded(monkeypatch):
    monkeypatch.setattr(line_numbers, "ROWS", 100)
    numbers = LineNumbers(2)
    for _ in range(50):
        numbers.note([0, 1] * 5, None)
    assert numbers.line_of(1, 250) == 500
    assert numbers.line_of(1, 1) is None
