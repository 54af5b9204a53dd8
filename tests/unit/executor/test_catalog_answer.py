from __future__ import annotations

import json

import pytest

from greenshard import errors
from greenshard.executor.knowledge import catalog_queries as catalog
from greenshard.links.outside import understood


@pytest.mark.parametrize("answer", [b"\xff", b"{", b"[]", b"5", b'{"system": 7}', "text", None])
def test_answer_about_the_catalog_that_makes_no_sense_is_the_shards_failure(answer):
    with (
        pytest.raises(errors.OperationalError, match=r"shard s1: .* cannot be read") as caught,
        understood("s1"),
    ):
        catalog._catalog(json.loads(bytes(answer)))
    assert caught.value.shard == "s1"
