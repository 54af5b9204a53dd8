"""A statement goes where the same one goes whose literals are parameters.

`executor.several` plans a write by its text without its literals, and sends the text.
"""

from __future__ import annotations

import pytest

from greenshard.planner.pins import named_shards
from greenshard.planner.plan import Routed
from greenshard.sql.lifting import lifted
from tests.unit.planner import scene
from tests.unit.planner.plan_cases import plan_cases

PLANNER = scene.planner()
TEXTS = {title: case.sql for title, case in plan_cases().items() if not case.has_parameters}
MORE = [
    "UPDATE orders SET o_comment = 'o_orderkey = 8' WHERE o_orderkey = 7",
    "UPDATE orders SET o_totalprice = -1.50, o_comment = 'it''s' WHERE o_orderkey=-7",
    "DELETE FROM orders WHERE o_orderkey IN (7, 7)",
    "DELETE FROM orders WHERE o_orderkey = '7' AND o_orderdate < DATE '2024-01-01'",
    "DELETE FROM orders WHERE o_orderkey = 7.0",
    "DELETE FROM orders WHERE o_orderkey = 7 + 1",
    "DELETE FROM orders WHERE o_orderkey = 7 OR o_orderkey = 8",
    "INSERT INTO orders (o_orderkey, o_comment) VALUES (7, 'a'), (7, 'b')",
    "INSERT INTO orders (o_comment, o_orderkey) VALUES ('now', '9')",
    "INSERT INTO orders (o_orderkey) VALUES (NULL)",
    "INSERT INTO orders VALUES (7, 1, 'O', 1.5, '2024-01-01', 'x', 'x') ON CONFLICT DO NOTHING",
    "UPDATE orders SET o_orderkey = 7 WHERE o_orderkey = 7",
    "UPDATE orders SET o_orderkey = 8 WHERE o_orderkey = 7",
]


def home(text: str, given: tuple[object, ...] | None) -> str | None:
    """The shard that a text goes to as it is; None if it takes more, or is not known to."""
    step = PLANNER.plan(text, given is not None, scene.PATH).step
    if not isinstance(step, Routed) or step.sql.binds is not None:
        return None
    named = named_shards(step.pins, scene.SHARDS, given)
    return next(iter(named)) if named is not None and len(named) == 1 else None


@pytest.mark.parametrize("text", [*TEXTS.values(), *MORE], ids=[*TEXTS, *MORE])
def test_without_its_literals_a_text_goes_where_it_goes_with_them(text: str) -> None:
    found = lifted(text)
    if found is not None and (by_lifted := home(*found)) is not None:
        assert by_lifted == home(text, None)


def test_texts_are_lifted_and_routed_at_all() -> None:
    routed = [text for text in MORE if (found := lifted(text)) and home(*found) is not None]
    assert len(routed) >= 5
