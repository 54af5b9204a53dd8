"""Who may get the same text, and who is refused; sessions of a server that only reports."""

from __future__ import annotations

import contextlib
from types import SimpleNamespace

import pytest

from greenshard import errors
from greenshard.links import quoting as module
from greenshard.links.quoting import (
    are_usual,
    check_alike,
    check_usual,
    check_written,
    is_plain,
    is_usual,
    merged_once,
    quoting,
)
from tests.unit.links.reporting import CONFORMING, ENCODING, reporting_session

#: What a session's server reports: at first, and later.
SESSIONS = {
    "usual": ({}, {}),
    "opened off": ({CONFORMING: b"off"}, {}),
    "set off": ({}, {CONFORMING: b"off"}),
    "set on": ({CONFORMING: b"off"}, {CONFORMING: b"on"}),
    "latin1": ({ENCODING: b"LATIN1"}, {}),
    "other codec": ({}, {ENCODING: b"LATIN1"}),
    "no codec": ({}, {ENCODING: b"MULE_INTERNAL"}),
    "other name": ({ENCODING: b"UNICODE"}, {ENCODING: b"UTF8"}),
    "hyphens": ({ENCODING: b"euc-jp"}, {ENCODING: b"EUC_JP"}),
}
USUAL = ["usual", "latin1", "other name", "hyphens"]
REFUSED = {
    "opened off": "has standard_conforming_strings = off",
    "set off": "has standard_conforming_strings = off",
    "set on": "was opened with standard_conforming_strings = off",
    "other codec": "has client_encoding LATIN1, and psycopg2 writes UTF8",
    "no codec": "has client_encoding MULE_INTERNAL, and psycopg2 writes UTF8",
}


@pytest.fixture(autouse=True)
def nothing_seen(monkeypatch):
    monkeypatch.setattr(module, "_usual", set())


@pytest.fixture(scope="module")
def raws():
    with contextlib.ExitStack() as stack:
        found = {}
        for name, (first, later) in SESSIONS.items():
            raw = stack.enter_context(reporting_session(first, later))
            found[name] = raw
        yield found


@pytest.fixture
def sessions(raws):
    """Peers of `Physical`."""
    return {n: SimpleNamespace(shard=n, raw=raw, alive=True) for n, raw in raws.items()}


def test_how_a_session_is_written_for(raws):
    assert quoting(raws["usual"]) == (rb"'\'", "UTF8", "UTF8")
    assert quoting(raws["other codec"]) == (rb"'\'", "LATIN1", "UTF8")
    assert quoting(raws["opened off"])[0] == rb"E'\\'"
    assert quoting(raws["set off"])[0] == rb"'\\'"
    assert quoting(raws["set on"])[0] == rb"E'\'"


@pytest.mark.parametrize("name", USUAL)
def test_usual_session_is_known_once_it_was_looked_at(sessions, name):
    assert not is_usual(sessions[name])
    check_usual([sessions[name]])
    assert is_usual(sessions[name])
    assert are_usual([sessions[name], sessions["usual"]])


@pytest.mark.parametrize("name", REFUSED)
def test_session_that_reads_literals_otherwise_is_refused_each_time(sessions, name):
    for _ in range(2):
        with pytest.raises(errors.NotSupportedError, match=REFUSED[name]) as caught:
            check_usual([sessions["usual"], sessions[name]])
        assert (caught.value.code, caught.value.shard) == ("GS413", name)
        assert f"the session of shard {name} " in str(caught.value)
        assert not is_usual(sessions[name])
    assert not are_usual([sessions[name]])


def test_session_that_is_gone_is_not_asked():
    gone = SimpleNamespace(shard="s0", raw=None, alive=False)
    check_usual([gone])
    check_alike([gone], plain=False)


@pytest.mark.parametrize("name", SESSIONS)
def test_sessions_that_are_all_alike_may_get_any_text(sessions, name):
    several = [sessions[name], SimpleNamespace(**{**vars(sessions[name]), "shard": "again"})]
    if name != "set on":
        check_alike(several, plain=False)
        return
    for plain in (False, True):  # parameters are lost even in a text that is plain
        with pytest.raises(errors.NotSupportedError, match=REFUSED[name]):
            check_alike(several, plain=plain)


@pytest.mark.parametrize("name", REFUSED)
def test_sessions_that_differ_may_get_plain_texts_only(sessions, name):
    several = [sessions["usual"], sessions[name]]
    with pytest.raises(errors.NotSupportedError, match=REFUSED[name]) as caught:
        check_alike(several, plain=False)
    assert caught.value.shard == name
    if name != "set on":
        check_alike(several, plain=True)


def test_sessions_that_differ_in_their_letters_alone_are_all_usual(sessions):
    check_alike([sessions["usual"], sessions["latin1"]], plain=False)


@pytest.mark.parametrize("text", ["SELECT 'a\\b'", "SELECT 'é'", rb"'\'", "é".encode()])
def test_text_written_for_one_session_is_for_others_if_it_is_usual(raws, text):
    assert not is_plain(text)
    check_written(raws["usual"], text)
    with pytest.raises(errors.NotSupportedError, match="a session has standard") as caught:
        check_written(raws["set off"], text)
    assert caught.value.shard is None


@pytest.mark.parametrize("text", ["SELECT 'a'", b"SELECT 'a'"])
def test_plain_text_is_for_any_session(raws, text):
    assert is_plain(text)
    check_written(raws["set off"], text)


def test_parameters_are_written_once_for_sessions_that_quote_alike(raws):
    def merged(*names, given=(1, "\\")):
        return merged_once("SELECT %s, %s", given, [raws[name].cursor() for name in names])

    alone = ("SELECT %s, %s", (1, "\\"))
    assert merged("usual", "usual") == (rb"SELECT 1, '\'",)
    assert merged("set off", "set off") == (rb"SELECT 1, '\\'",)
    assert merged("usual") == alone  # the driver does it
    assert merged("usual", "usual", "set off") == alone
    assert merged("usual", "other codec") == alone
    assert merged("usual", "usual", given=None) == ("SELECT %s, %s",)
