"""Shards that sort text by words give what one such server gives.

Where the server has no ICU, this is a locale of the C library.
"""

from __future__ import annotations

from tests.differential.agreement import Agreement


class TestOrderOfWords(Agreement):
    collation = "words"
