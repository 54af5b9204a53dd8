"""The time that the statements of one connection tell.

PostgreSQL's ``now()`` is the time at which the transaction began. Over several shards it is that of
one shard, the first whose time was told: what another one computes gets it as a value.
"""

from __future__ import annotations

from typing import Any

from greenshard._driver import own_cursor
from greenshard.links.beginning import executing
from greenshard.links.deadline import Deadline
from greenshard.links.physical import Physical
from greenshard.links.session import Session
from greenshard.planner.analysis.clock_words import told_by
from greenshard.planner.plan import Plan
from greenshard.transaction.state import Transaction

#: In ISO form, whatever the session has set.
_NOW = (
    "SELECT pg_catalog.to_char("
    "pg_catalog.timezone('UTC', pg_catalog.now()), 'YYYY-MM-DD HH24:MI:SS.US\"+00\"')"
)
_MOMENT = _NOW.replace("pg_catalog.now()", "pg_catalog.statement_timestamp()")
#: Of a failed transaction: the statement fails anyhow.
_NOBODY_TELLS = "now"


class Clock:
    """Whose time it is, and which.

    Args:
        session: The connection's; held by whoever calls.
        transaction: Its.
    """

    def __init__(self, session: Session, transaction: Transaction) -> None:
        self._session = session
        self._transaction = transaction

    @property
    def now(self) -> str | None:
        """The time at which the transaction began; None if a shard must be asked for it."""
        transaction = self._transaction
        return transaction.began_at if transaction.is_open else None

    def shard(self, near: str) -> str:
        """The shard whose time is that of the transaction; of the statement in autocommit mode.

        Args:
            near: One that is about to run something.
        """
        physical = self._session.physicals.get(near)
        if physical is not None and physical.commits_alone and not self._transaction.is_open:
            return near
        return self._transaction.clock(near)

    def tells_right(self, plan: Plan, given: Any, physical: Physical) -> bool:
        """Whether a statement tells the time of the transaction if one shard runs it as it is.

        Args:
            plan: Its plan.
            given: Its parameters.
            physical: The connection to that shard.

        Cost: 0.1 us if it tells none; 0.5 us for each parameter that may be a time.
        """
        if plan.timed is None and not (plan.clock and told_by(plan.clock, given)):
            return True
        return self.is_of(physical)

    def is_of(self, physical: Physical) -> bool:
        """Whether a shard's own time is that of the transaction. Cost: 1 us."""
        # In autocommit mode each statement has its own time.
        if physical.commits_alone:
            return True
        return self._transaction.clock(physical.shard) == physical.shard

    def ask(self, shard: str, timeout: Deadline) -> str:
        """Ask for the time at which the transaction began; of the statement in autocommit mode.

        Args:
            shard: Whom to ask, see `shard`.
            timeout: What it may take.

        Switches: yes.
        """
        physical = self._session.physical(shard)
        if physical.failed:
            return _NOBODY_TELLS
        self._transaction.began_at = now = self._told(physical, _NOW, timeout)
        return now

    def ask_moment(self, shard: str, timeout: Deadline) -> str:
        """Ask for the time at which a statement began, which is about to; arguments as of `ask`.

        Switches: yes.
        """
        physical = self._session.physical(shard)
        return _NOBODY_TELLS if physical.failed else self._told(physical, _MOMENT, timeout)

    def _told(self, physical: Physical, query: str, timeout: Deadline) -> str:
        cursor = own_cursor(physical.raw)
        self._session.run({physical.shard: executing(physical, cursor, query)}, timeout)
        row: Any = cursor.fetchone()
        return str(row[0])
