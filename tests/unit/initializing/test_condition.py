"""What keeps a database from being a shard."""

from __future__ import annotations

from typing import Any

from greenshard.initializing.condition import Condition
from greenshard.initializing.schema import granted, made

FACTS: dict[str, Any] = {
    "user": "ann",
    "standby": False,
    "prepared": 10,
    "connections": 100,
    "database": "d",
    "may_create": True,
    "unknown": None,
    "schema": None,
    "tables": None,
}
OWNED = {"owner": "ann", "ours": True, "trusted": True}


def said(several=True, **facts):
    return [each.message for each in Condition("s0", {**FACTS, **facts}).obstacles(several)]


def test_what_is_in_the_way_is_told():
    assert said() == []
    assert said(prepared=0, several=False) == []
    assert "max_prepared_transactions is 0" in said(prepared=0)[0]
    hint = next(Condition("s0", {**FACTS, "prepared": 0}).obstacles(True)).hint
    assert "`max_prepared_transactions = 100`" in hint
    assert said(standby=True) == ["the server is a standby"]
    assert said(may_create=False) == ["ann may not create a schema in database d"]
    assert said(may_create=False, schema=OWNED) == []
    assert said(unknown=["bob"]) == ["there is no role bob"]
    assert "belongs to bob, and ann may" in said(schema={**OWNED, "owner": "bob", "ours": False})[0]
    assert "bob, who is neither" in said(schema={**OWNED, "owner": "bob", "trusted": False})[0]


def test_only_what_is_not_there_is_made():
    everything = list(made(False, {}))
    assert everything[0] == "CREATE SCHEMA greenshard"
    assert len(everything) == 5
    assert not list(made(True, {"shard": ("id",), "decision": (), "barrier": (), "forgotten": ()}))
    assert "ADD COLUMN id" in list(made(True, {"shard": ("name",)}))[-1]


def test_roles_are_quoted():
    assert 'TO "a b", "c"' in list(granted(["a b", "c"]))[-1]
    assert list(granted([]))[-1].endswith("TO CURRENT_USER")
