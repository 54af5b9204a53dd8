"""A request to cancel may come before the statement: it is then sent again."""

from __future__ import annotations

from greenshard.links import physical
from greenshard.links.physical import Physical


def test_a_cancel_is_repeated_until_the_statement_has_ended(monkeypatch) -> None:
    sent: list[object] = []
    pauses: list[float] = []
    monkeypatch.setattr(physical, "request_cancel", sent.append)
    monkeypatch.setattr(physical._green, "sleep", pauses.append)
    raw = object()
    connection = Physical("s0", None, raw)  # type: ignore[arg-type]
    connection.cancel_while(lambda: len(sent) < 9)
    assert sent == [raw] * 9
    assert pauses == sorted(pauses)
    assert pauses[0] == 0.01
    assert pauses[-1] == 0.5
    connection.cancel_while(lambda: False)
    assert len(sent) == 9
