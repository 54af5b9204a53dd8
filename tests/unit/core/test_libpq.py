"""The libpq behind psycopg2."""

from __future__ import annotations

import pytest

from greenshard import _libpq


def test_libpq_that_cannot_cancel_without_blocking_is_refused(monkeypatch):
    monkeypatch.setattr(_libpq, "LIBRARY", None)  # the program, which has no libpq
    monkeypatch.setattr(_libpq, "LIBPQ_VERSION", 160004)
    with pytest.raises(ImportError, match=r"this one has libpq 16\. psycopg2-binary 2\.9\.11"):
        _libpq._functions()
