"""How Django's expressions are written for a cluster: as for PostgreSQL, but for ``Now()``.

Django writes ``STATEMENT_TIMESTAMP()``, which is another time on each shard, so that a statement
for several cannot have it. For a cluster it is ``CURRENT_TIMESTAMP``: one shard's, when the
transaction began.
"""

from __future__ import annotations

from typing import Any

from django.db.backends.postgresql import compiler as _compiler
from django.db.models.functions import Now

_theirs: Any = _compiler


class _OneTime:
    """Writes one time for all shards."""

    connection: Any

    def compile(self, node: Any) -> Any:
        """The SQL of an expression, and its parameters."""
        if isinstance(node, Now) and "cluster" in self.connection.settings_dict["OPTIONS"]:
            return "CURRENT_TIMESTAMP", ()
        written: Any = super().compile(node)  # type: ignore[misc]  # Django's
        return written


class SQLCompiler(_OneTime, _theirs.SQLCompiler):  # type: ignore[misc]  # they have no types
    """Of SELECT."""


class SQLInsertCompiler(_OneTime, _theirs.SQLInsertCompiler):  # type: ignore[misc]
    """Of INSERT."""


class SQLUpdateCompiler(_OneTime, _theirs.SQLUpdateCompiler):  # type: ignore[misc]
    """Of UPDATE."""


class SQLDeleteCompiler(_OneTime, _theirs.SQLDeleteCompiler):  # type: ignore[misc]
    """Of DELETE."""


class SQLAggregateCompiler(_OneTime, _theirs.SQLAggregateCompiler):  # type: ignore[misc]
    """Of SELECT over a query."""
