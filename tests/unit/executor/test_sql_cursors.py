"""What a cursor that SQL declares is told by the connections that there are."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from greenshard import errors
from greenshard.executor.sql_cursors import named_for


def test_autocommit_of_a_connection_that_is_late_is_not_the_programs():
    made = SimpleNamespace(cursor=lambda name, **options: name)
    parts = SimpleNamespace(logical=SimpleNamespace(connection=made))
    late = SimpleNamespace(autocommit=True, late=object())
    there = SimpleNamespace(autocommit=False, late=None)
    session = SimpleNamespace(alive=[there, late])
    assert named_for(parts, "c", session, holds=False) == "c"
    there.autocommit = True
    with pytest.raises(errors.NotSupportedError, match="in a transaction that SQL has begun"):
        named_for(parts, "c", session, holds=False)
