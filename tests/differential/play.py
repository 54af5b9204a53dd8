"""Blocks of statements of one kind: on one server and on shards, which must stay alike."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from random import Random
from typing import Any

from greenshard.cluster import Sharded
from tests.differential import stage
from tests.differential.answers import rows_differ
from tests.differential.kinds import Kind
from tests.differential.referee import Case, Referee
from tests.differential.stage import Stage

#: The most statements of a block, which is one transaction.
_LENGTH = 5
_ELSEWHERE, _UNDONE = "elsewhere: ", " || "
_READ_ONLY = ("SELECT", "VALUES", "TABLE", "WITH", "(")


class Player:
    """Connections to the databases of one kind.

    Attributes:
        referee: Compares the answers.
    """

    def __init__(self, made: Stage, kind: Kind, one: Any, conn: Any) -> None:
        self.stage = made
        self.kind = kind
        self.one = one
        self.conn = conn
        self.referee = Referee("", one, {stage.SHARD_COUNT: conn}, made.types)

    def cases(self, seed: object, count: int) -> Iterator[Case]:
        """At least so many statements, in whole blocks."""
        done = 0
        for number in itertools.count():
            for case in self.block(f"{seed}/{number}"):
                yield case
                done += 1
            if done >= count:
                return

    def block(self, seed: object) -> Iterator[Case]:
        """Run a random transaction, up to its first statement that fails or is refused."""
        kind = self.kind
        pick = Random(f"{seed}/{kind.name}")
        session = kind.session(pick)
        undo = ""
        if session.startswith(_ELSEWHERE):
            done, undo = session.removeprefix(_ELSEWHERE).split(_UNDONE)
            self._elsewhere(done)
            session = ""
        self.referee.rollback()
        try:
            if session:
                self._on_both(session)
            for number in range(pick.randint(1, _LENGTH)):
                made = kind.statement(pick, self.one.server_version // 10000)
                label = f"{kind.name} {seed}/{number}{session and f' ({session})'}"
                case = self.referee.judge(label, made)
                (verdict,) = case.verdicts
                if verdict.outcome == "equal" and not made.text.startswith(_READ_ONLY):
                    case = self._with_contents(case, session)
                yield case
                if case.expected.error or case.verdicts[0].outcome != "equal":
                    return
        finally:
            self.referee.rollback()
            if undo:
                self._elsewhere(undo)

    def _elsewhere(self, text: str) -> None:
        """Run a text in other connections, for good."""
        with stage.opened(self.stage, self.kind, self.conn.cluster) as others:
            for conn in others:
                with conn.cursor() as cur:
                    cur.execute(text)
                conn.commit()

    def _on_both(self, text: str) -> None:
        for conn in (self.one, self.conn):
            with conn.cursor() as cur:
                cur.execute(text)

    def _with_contents(self, case: Case, session: str) -> Case:
        """The case, which is wrong if the tables hold other rows than they should."""
        as_a_role = "SET LOCAL ROLE" in session
        if as_a_role:
            self._on_both("RESET ROLE")
        wrong = self._amiss()
        if as_a_role:
            self._on_both(session)
        if wrong is None:
            return case
        return replace(case, verdicts=[replace(case.verdicts[0], outcome="wrong", reason=wrong)])

    def _amiss(self) -> str | None:
        kind = self.kind
        present = stage.present_tables(kind, self.one)
        expected = stage.contents(kind, self.one, present)
        sharded = {n for n, table in kind.tables.items() if isinstance(table, Sharded)}
        copies = [row for row in expected if row[0] not in sharded]
        found = []
        for shard in self.conn.shards:
            with self.conn.on(shard):
                rows = stage.contents(kind, self.conn, present)
            here = [row for row in rows if row[0] not in sharded]
            if here != copies:
                return f"the copies of {shard}: {rows_differ(copies, here)}"
            for row in rows:
                if row[0] in sharded and (place := self.stage.shard_of(*row[:2])) != shard:
                    return f"{row} is on {shard}, and belongs on {place}"
            found += [row for row in rows if row[0] in sharded]
        right = [row for row in expected if row[0] in sharded]
        return None if sorted(found, key=repr) == right else rows_differ(right, found)
