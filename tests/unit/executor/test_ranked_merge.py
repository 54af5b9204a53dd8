"""Pages of sorted rows become one order, of which no more than some pages are held."""

from __future__ import annotations

import random
from itertools import chain

import pytest

from greenshard.executor.strategies.ranked_merge import merge_pages
from greenshard.links.streams import streams


class Page:
    """A peer of psycopg2's named cursor over rows that are there."""

    def __init__(self, rows, counter):
        self.rows, self.counter = list(rows), counter

    def fetchmany(self, size):
        page, self.rows = self.rows[:size], self.rows[size:]
        self.counter["held"] += len(page)
        self.counter["most"] = max(self.counter["most"], self.counter["held"])
        return page


def merged(parts, itersize):
    """The merged rows, the most that were held at once, and the sizes of what was ordered."""
    counter, ordered = {"held": 0, "most": 0}, []
    raws = {f"s{at}": Page([(value,) for value in part], counter) for at, part in enumerate(parts)}
    made = streams(raws, lambda calls: {s: call() for s, call in calls.items()}, itersize)

    def order(rows):
        ordered.append(len(rows))
        return sorted(rows, key=lambda row: row[0])

    rows = []
    for (value,) in merge_pages(made, order):
        rows.append(value)
        counter["held"] -= 1
    return rows, counter["most"], ordered


@pytest.mark.parametrize("seed", range(40))
@pytest.mark.parametrize("itersize", [1, 2, 7, 1000])
def test_pages_are_merged_in_order_and_few_are_held(seed, itersize):
    pick = random.Random(seed)
    parts = [
        sorted(pick.randrange(30) for _ in range(pick.randrange(60)))
        for _ in range(pick.randint(1, 5))
    ]
    rows, most, _ = merged(parts, itersize)
    assert rows == sorted(chain.from_iterable(parts))
    assert most < len(parts) * (1.5 * itersize + 1)


def test_shards_one_after_the_other_are_not_held_together():
    parts = [range(1000), range(1000, 2000), range(2000, 3000)]
    rows, most, _ = merged(parts, 10)
    assert rows == list(range(3000))
    assert most <= 3 * 15


def test_each_round_gives_about_a_page_of_each():
    pick = random.Random(1)
    parts = [sorted(pick.random() for _ in range(20_000)) for _ in range(4)]
    rows, _, ordered = merged(parts, 1000)
    assert rows == sorted(chain.from_iterable(parts))
    assert len(ordered) < 40


def test_what_one_shard_has_alone_is_not_compared():
    _, _, ordered = merged([[1], range(100)], 10)
    assert len(ordered) == 1


def test_equal_rows_come_in_shard_order():
    counter = {"held": 0, "most": 0}
    raws = {
        "s0": Page([(1, "a"), (1, "b")], counter),
        "s1": Page([(1, "c"), (2, "d")], counter),
    }
    made = streams(raws, lambda calls: {s: call() for s, call in calls.items()}, 5)
    rows = merge_pages(made, lambda rows: sorted(rows, key=lambda row: row[0]))
    assert [name for _, name in rows] == list("abcd")
