"""What is known of shards' code, while it is asked and changed at the same time."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from greenshard.planner.code import Code, Trace
from greenshard.pool import codes as module
from greenshard.pool.codes import Codes

TEXTS = {("INSERT INTO t VALUES (1)", False)}
SHARD = SimpleNamespace(shard="s0")
CALM = Code({}, {"t": ""}, frozenset(), unseen=False, makes=False)


@pytest.fixture
def server(monkeypatch):
    """Answers as a server does; `meanwhile` is called while the code is on its way."""
    server = SimpleNamespace(version=b"1", meanwhile=lambda: None)

    def read_code(_):
        server.meanwhile()
        return CALM

    monkeypatch.setattr(module, "read_outside", lambda physical, read: read(physical))
    monkeypatch.setattr(module, "catalog_version", lambda _: server.version)
    monkeypatch.setattr(module, "read_code", read_code)
    return server


def test_code_is_kept_until_it_may_have_changed(server):
    codes = Codes()
    assert codes.trace("s0", TEXTS) is None
    assert codes.ask(SHARD, TEXTS) is Trace.NOTHING
    codes.doubt(SHARD, Trace.UNSEEN)
    assert codes.trace("s0", TEXTS) is Trace.NOTHING
    server.version = b"2"
    codes.doubt(SHARD, Trace.ANYTHING)
    assert codes.trace("s0", TEXTS) is Trace.NOTHING
    codes.doubt(SHARD, Trace.UNSEEN)
    assert codes.trace("s0", TEXTS) is None


@pytest.mark.parametrize(
    "change",
    [
        lambda codes: codes.forget("s0"),
        lambda codes: codes.doubt(SHARD, Trace.CODE),
        lambda codes: codes.doubt(SHARD, Trace.UNSEEN),
    ],
)
def test_code_that_changed_while_it_was_read_is_not_kept(server, change):
    codes = Codes()
    server.meanwhile = lambda: change(codes)
    assert codes.ask(SHARD, TEXTS) is Trace.UNSEEN
    assert codes.trace("s0", TEXTS) is None


def test_change_of_another_shard_does_not_count(server):
    codes = Codes()
    server.meanwhile = lambda: codes.forget("s1")
    assert codes.ask(SHARD, TEXTS) is Trace.NOTHING
    assert codes.trace("s0", TEXTS) is Trace.NOTHING
