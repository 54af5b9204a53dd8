"""What ``greenshard check --repair`` says, before and after."""

from __future__ import annotations

from greenshard.checking import Repair, Repairs
from greenshard.cli.check_repair import done_lines, planned_lines


def test_what_is_left_alone_is_not_said_to_be_done() -> None:
    repairs = Repairs(
        [
            Repair("copy", "nation", "s0", "s1", 1, inserted=1),
            Repair("copy", "region", "s0", "s1", 1200, left={"in use": 1200}),
            Repair("move", "orders", "s0", "s1", 3, inserted=1, deleted=2, left={"taken": 1}),
            Repair("move", "orders", "s0", "", 2, left={"no shard is told": 2}),
        ],
        {"lines": "it has a rule"},
    )
    assert list(planned_lines(repairs)) == [
        "To be done:",
        "  nation: make s1 as s0, 1 row differs",
        "  region: make s1 as s0, 1,200 rows differ",
        "  orders: move 3 rows from s0 to s1",
        "  orders: leave 2 rows on s0, no shard is told",
        "lines is left alone: it has a rule",
    ]
    assert list(done_lines(repairs)) == [
        "nation: s1 is as s0, 1 row inserted, 0 changed, 0 deleted",
        "region: s1 is not made as s0",
        "  1,200 rows left alone: in use",
        "orders: moved 2 rows from s0 to s1 (1 of them was there already)",
        "  1 row left alone: taken",
        "orders: 2 rows on s0",
        "  2 rows left alone: no shard is told",
        "lines is left alone: it has a rule",
        "",
    ]
