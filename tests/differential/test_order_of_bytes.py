"""Shards that sort text by its bytes give what one such server gives."""

from __future__ import annotations

from tests.differential.agreement import Agreement


class TestOrderOfBytes(Agreement):
    collation = "C"
