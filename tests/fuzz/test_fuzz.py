"""The short form of ``make fuzz``: some cases of each part, others each time.

``GREENSHARD_SEED`` sets the seed, which is printed with a failure.
"""

from __future__ import annotations

import os
from itertools import islice

import pytest

from greenshard.cluster import HASHED_TYPES
from greenshard.testing import Shards
from tests.fuzz.declarations import Declarations
from tests.fuzz.keys import TABLES, Keys
from tests.fuzz.names import Names

SEED = os.environ["GREENSHARD_SEED"]
DECLARATIONS = 1500
KEYS = 400
NAMES = 8


@pytest.fixture(scope="module")
def server():
    with Shards(1, settings={"max_connections": 200}) as shards:
        yield shards


def tried(fuzzer, count):
    """What is wrong in some cases, by their labels."""
    found = {label: fuzzer.run(label) for label in islice(fuzzer.labels(SEED), count)}
    return {label: what for label, what in found.items() if what}


def test_declarations_are_read_or_refused():
    declarations = Declarations()
    try:
        assert tried(declarations, DECLARATIONS) == {}, f"seed {SEED}"
        assert min(declarations.tally.values()) > DECLARATIONS / 10, declarations.tally
    finally:
        declarations.close()


def test_keys_are_where_the_servers_own_partitions_have_them(server):
    keys = Keys(server, SEED)
    try:
        assert tried(keys, KEYS) == {}, f"seed {SEED}"
        assert keys.tally["equal"] > KEYS / 4, keys.tally
    finally:
        keys.close()


def test_names_from_hell_are_read_written_and_checked(server):
    names = Names(server, SEED)
    try:
        assert tried(names, NAMES) == {}, f"seed {SEED}"
        assert names.tally["equal"] > 9 * names.tally["refused"], names.tally
    finally:
        names.close()


def test_keys_of_every_hashed_type_are_tried():
    assert {name.partition("(")[0] for name in TABLES} - {"char"} | {"bpchar"} >= HASHED_TYPES
