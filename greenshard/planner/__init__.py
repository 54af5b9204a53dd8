"""SQL text to facts and plans: pure, without gevent, driver or clock.

The union of shards needs three things of it: may this text run on every shard
(`read_statement`), does it only read (`Statement.reads`), and what may a log show of
it (`redact`).
"""

from __future__ import annotations

from greenshard.sql.first_words import commits, copies_with_client
from greenshard.sql.redaction import redact
from greenshard.sql.statement import Statement, Unreadable, read_statement

__all__ = ["Statement", "Unreadable", "commits", "copies_with_client", "read_statement", "redact"]
