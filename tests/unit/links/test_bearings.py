from __future__ import annotations

import json

from greenshard.links.bearings import _NAMES, read_bearings


def found(temporary=None, schema="pg_temp_3"):
    settings = ["1"] * len(_NAMES)
    path = [schema, "pg_catalog", "public"]
    said = [path, "public", "none", "me", "read committed", temporary, settings]
    return json.dumps(said).encode()


def test_equal_bearings_are_one_object():
    """Also of a session that is asked again, and so says who it began as."""
    first, user = read_bearings(found(), None)
    assert user == "me"
    for same in read_bearings(found(), "me"), read_bearings(found(schema="pg_temp_4"), "me"):
        assert same[0] is first
    for other in read_bearings(found(), "boss"), read_bearings(found(["t"]), "me"):
        assert other[0] != first
