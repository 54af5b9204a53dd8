"""Which rows Python can order, and in which PostgreSQL must rank the values."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from greenshard._driver import RawConnection
from greenshard.executor.answers.buffered import Row
from greenshard.executor.planned import Planned
from greenshard.executor.strategies.exactness import check_types
from greenshard.executor.strategies.ranking import rank
from greenshard.executor.types.casting import Casting
from greenshard.merge.ordering import comparable, order, sorts_by_code_point
from greenshard.planner.plan import SortKey
from greenshard.sql.types import Trait, oids_with

_COMPARED_AS_TEXT = oids_with(Trait.READ_AS_TEXT)


class Comparison:
    """How the rows of a statement compare.

    Args:
        e: The execution.
        shard: The first that answered.
        description: Its columns.
        casting: What of them was fetched as text.
        encoding: Of what came of `sending_cell`, instead.

    Attributes:
        shard: Where values are ranked.
    """

    def __init__(
        self,
        e: Planned,
        shard: str,
        description: Sequence[Any],
        casting: Casting,
        encoding: str | None = None,
    ) -> None:
        self._e = e
        self.shard = shard
        self._description = description
        self._casting = casting
        self._sent_in = encoding
        raw = e.session.physicals[shard].raw
        # Code points sort as UTF-8's bytes do; as those of LATIN1 or EUC_JP they do not.
        self._encoding = str(RawConnection.get_parameter_status(raw, "server_encoding"))

    def type_of(self, key: SortKey) -> int:
        """The OID of the type that a key sorts by."""
        oid: int = self._description[key.column].type_code
        return oid

    def is_pythons(self, key: SortKey) -> bool:
        """Whether Python compares the values, as they were fetched."""
        if self._sent_in is not None:
            return False
        oid, c_collation = self.type_of(key), self._e.database.c_collation
        code_point = sorts_by_code_point(key.collation, c_collation, self._encoding)
        if not comparable(oid, code_point):
            return False
        return oid in _COMPARED_AS_TEXT or not self._casting.is_text(oid)

    def check(self, keys: Iterable[SortKey]) -> None:
        """Make sure that the values came as exact as the servers have sorted them.

        Raises:
            errors.NotSupportedError: A setting of the session is in the way.
        """
        check_types(self._e, map(self.type_of, keys))

    def ordered(self, rows: list[Row], keys: Sequence[SortKey]) -> list[Row] | None:
        """The rows in order; None if Python cannot tell which.

        Args:
            rows: Their values are as exact as the servers have sorted them: they have passed
                `check`, or were `written`.
            keys: What they are sorted by.

        Switches: if PostgreSQL must rank values.
        """
        ranks = {}
        for position, key in enumerate(keys):
            if not self.is_pythons(key):
                # Distinct ones, once each: the rank of a value holds for all rows that have it.
                values = {row[key.column] for row in rows} - {None}
                oid = self.type_of(key)
                ranks[position] = rank(
                    self._e, self.shard, oid, values, key.collation, self._sent_in
                )
        return order(rows, keys, ranks)
