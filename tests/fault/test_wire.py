"""The wire breaks at bytes that are chosen anew each time; ``make fuzz`` tries all of them."""

from __future__ import annotations

import os

import pytest

from tests.fault.scene import SLACK_S, bounded
from tests.fuzz.wire import Wire

SEED = os.environ["GREENSHARD_SEED"]
BREAKS = 48
#: Half of them are silent, and each silence lasts until a timeout.
LONGEST_S = 30.0


@pytest.fixture(scope="module")
def wire(whole_scene):
    wire = Wire(whole_scene)
    wire.learn()
    yield wire
    wire.close()


def test_conversations_break_at_any_byte_and_nothing_is_wrong(scene, wire):
    with bounded(LONGEST_S - SLACK_S):
        wrong = {label: wire.run(label) for label in wire.sample(SEED, BREAKS)}
    assert {label: what for label, what in wrong.items() if what} == {}, f"seed {SEED}"
