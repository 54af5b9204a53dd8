"""Blocks of random writes: on one server and on shards, which must stay alike.

A block begins with the same rows everywhere. It is one transaction, which is rolled back or
committed, or a series of statements in autocommit. After each step what it answers is compared, and
then all rows; in some blocks only at the end, for looking at all shards makes them take part.

Volatile values are compared by their kind, see `told`; but all copies of a reference table must be
the same, and what one statement writes on several shards must have one time.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

import psycopg2

import greenshard
from greenshard.cluster import Reference, Sharded, Single
from greenshard.testing import Shards
from tests.differential import referee
from tests.differential.answers import Answer, rows_differ
from tests.differential.dml import places
from tests.differential.dml.inserts import TARGETS, insert
from tests.differential.dml.places import Places
from tests.differential.dml.steps import SEVERAL, Step, from_template, in_one_string
from tests.differential.dml.told import (
    TIME,
    VOLATILE,
    Told,
    difference,
    is_refusal,
    kind_of,
    perform,
)
from tests.differential.draft import Statement
from tests.differential.referee import Case, Verdict

_FAILED = psycopg2.extensions.TRANSACTION_STATUS_INERROR
_LENGTH = 12
_SAVEPOINTS = ("SAVEPOINT a", "SAVEPOINT a", "ROLLBACK TO a", "ROLLBACK TO a", "RELEASE a")
#: The most characters of a line that are shown.
_WIDTH = 1000
#: How many of 1,000 steps may be refused, by the first words of the reason; see `budget`.
REFUSED = {"GS41": 30.0, "by chance": 5.0}
_UNIQUE_VIOLATION = "23505"
#: PostgreSQL chooses which row gets which number.
_BY_CHANCE = "by chance: a new number may meet one that is there until that row gets another one"
#: Columns whose numbers sequences give.
_NUMBERED = frozenset(
    {
        ("ticket", "id"),
        ("event", "id"),
        ("part", "no"),
        ("log", "seq"),
        ("tag", "id"),
        ("parted", "n"),
    }
)

_COLUMNS = """
    SELECT c.relname, array_agg(a.attname::text ORDER BY a.attnum),
        array_agg(a.atttypid::int ORDER BY a.attnum)
    FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
    WHERE a.attnum > 0 AND NOT a.attisdropped
        AND c.relnamespace = 'public'::regnamespace AND c.relkind = 'r'
    GROUP BY 1
"""

Content = tuple[str, str | None, tuple[str | None, ...]]


@dataclass
class Block:
    """What is decided for all of a block.

    Attributes:
        mode: "rollback", "commit" or "autocommit".
        saves: Whether each step has a savepoint of its own, to go back to after an error.
        each: Whether all rows are looked at after each step.
        history: The steps done, as code.
        apart: Whether the sequences may have counted otherwise since they were last compared.
    """

    mode: str
    saves: bool
    each: bool
    history: list[str] = field(default_factory=list)
    apart: bool = False


class Player:
    """Connections to the one database and to the shards of a cluster."""

    def __init__(self, made: Places, count: int, opened: contextlib.ExitStack) -> None:
        self.made, self.count, self.cluster = made, count, made.clusters[count]
        self.one = opened.enter_context(contextlib.closing(psycopg2.connect(made.one)))
        self.conn = opened.enter_context(
            contextlib.closing(greenshard.connect(self.cluster, timeout=60.0))
        )
        self.dsns = {name: shard.primary for name, shard in self.cluster.shards.items()}
        with self.one.cursor() as cur:
            cur.execute(_COLUMNS)
            found = cur.fetchall()
        self.one.rollback()
        self.kinds = {name: dict(zip(names, kinds, strict=True)) for name, names, kinds in found}
        self.times: set[str] = set()
        self.found_times: set[str] = set()
        self.sharded = {
            name: declared.shard_key if isinstance(declared, Sharded) else "NULL"
            for name, declared in self.cluster.tables.items()
            if not isinstance(declared, Reference)
        }

    def block(self, seed: object) -> Iterator[Case]:
        """Run one, up to the first step that goes wrong."""
        pick = Random(f"{seed}/{self.count}")
        mode = pick.choice(["rollback"] * 5 + ["commit", "autocommit", "autocommit"])
        saves = pick.random() < 0.8 and mode != "autocommit"
        block = Block(mode, saves, pick.random() < 0.7)
        self._begin(block)
        try:
            for number in range(pick.randint(3, _LENGTH)):
                step = self._step(pick)
                if step.counts and block.apart:
                    continue
                case, goes_on = self._judge(f"{seed}/{self.count}/{number}", block, step)
                yield case
                if not goes_on:
                    return
            yield from self._at_the_end(f"{seed}/{self.count}", block)
        finally:
            self._end(block)

    def _at_the_end(self, label: str, block: Block) -> Iterator[Case]:
        """What is wrong when all is done: with the transaction, and committed."""
        wrong = self._amiss(set(), 2)
        if not wrong and block.mode == "commit":
            # Deferred constraints may fail here.
            codes = [_commit(conn) for conn in (self.one, self.conn)]
            wrong = f"COMMIT: {codes[1]} instead of {codes[0]}" if codes[0] != codes[1] else None
            wrong = wrong or self._amiss(set(), 2)
        if wrong:
            history = "\n    ".join(block.history)
            verdict = self._verdict("wrong", f"{wrong}\nblock: {block.mode}\n    {history}")
            yield _case(label, Step("the end of a block", ""), Told(), verdict)

    def _step(self, pick: Random) -> Step:
        roll, version = pick.random(), self.one.server_version // 10000
        if roll < 0.4:
            return insert(pick, [target.table for target in TARGETS])
        if roll < 0.44:
            return Step("savepoints", pick.choice(_SAVEPOINTS))
        return in_one_string(pick, version) if roll < 0.47 else from_template(pick, version)

    def _begin(self, block: Block) -> None:
        for conn in (self.one, self.conn):
            conn.rollback()
            conn.autocommit = True
            with conn.cursor() as cur:
                cur.execute("DISCARD SEQUENCES")
            conn.autocommit = block.mode == "autocommit"
        self._set_sequences()
        self._finish("rollback")
        self.times, self.found_times = set(), set()

    def _end(self, block: Block) -> None:
        self._finish("rollback")
        for conn in (self.one, self.conn):
            conn.autocommit = False
        if block.mode != "rollback":
            for dsn in (self.made.one, *self.dsns.values()):
                places.restore(dsn, self.made.restoring)

    def _finish(self, how: str) -> None:
        for conn in (self.one, self.conn):
            getattr(conn, how)()

    def _both(self, text: str) -> None:
        for conn in (self.one, self.conn):
            with conn.cursor() as cur:
                cur.execute(text)

    # One step -------------------------------------------------------------------------------

    def _judge(self, label: str, block: Block, step: Step) -> tuple[Case, bool]:
        """How a step came out, and whether the block can go on."""
        if block.saves:
            self._both("SAVEPOINT step")
        got = perform(self.conn, step, self.made.types)
        expected, verdict = self._compared(step, got)
        by_chance = verdict.reason == _BY_CHANCE
        goes_on = verdict.outcome != "wrong" and not by_chance and self._goes_on(block, step, got)
        if verdict.outcome == "error" and not goes_on and block.mode != "autocommit":
            verdict = self._after_an_error(verdict)
        if verdict.outcome != "wrong" and block.saves:
            self._both("ROLLBACK TO step" if got.error or by_chance else "RELEASE step")
        if goes_on:
            verdict = self._looked_at(block, step, verdict)
        if goes_on and got.error and verdict.outcome != "wrong":
            self._set_sequences()
            block.apart = True
        block.history.append(f"{step.shown()}  -- {verdict.outcome}")
        if verdict.outcome == "wrong":
            done = "\n    ".join([f"{block.mode}, saves {block.saves}", *block.history])
            verdict = self._verdict("wrong", f"{verdict.reason}\nblock: {done}")
        # Rows that have got their numbers in another order are others now.
        goes_on = goes_on and verdict.outcome != "wrong" and not (step.numbers and not got.error)
        return _case(label, step, expected, verdict), goes_on

    def _compared(self, step: Step, got: Told) -> tuple[Told, Verdict]:
        """What one server answers, and how the shards' answer compares; not if it is a refusal."""
        if got.error and is_refusal(got.error):
            return Told(), self._verdict("refused", referee.reason(got.error))
        expected = perform(self.one, step, self.made.types)
        failed = {each.error.pgcode for each in (expected, got) if each.error}
        if step.numbers and failed == {_UNIQUE_VIOLATION} and not (expected.error and got.error):
            return Told(), self._verdict("refused", _BY_CHANCE)
        wrong = difference(expected, got, step)
        outcome = "wrong" if wrong else "error" if got.error else "equal"
        return expected, self._verdict(outcome, wrong)

    def _goes_on(self, block: Block, step: Step, got: Told) -> bool:
        """Whether both sides stand where they can be compared, and go on."""
        if got.error is None or block.saves:
            return True
        if block.mode == "autocommit":
            # Sets that were undone, and then done one by one, have taken numbers twice.
            numbered = any(name in step.text for name, _ in _NUMBERED)
            return step.call != "executemany" or not numbered
        return is_refusal(got.error) and self.conn.info.transaction_status != _FAILED

    def _verdict(self, outcome: str, reason: str | None = None) -> Verdict:
        return Verdict(outcome, self.count, reason or "")

    def _after_an_error(self, verdict: Verdict) -> Verdict:
        """A failed transaction takes no more statements, on one server and on shards."""
        told = [perform(conn, Step("", "SELECT 1"), {}) for conn in (self.one, self.conn)]
        codes = [each.error and each.error.pgcode for each in told]
        if codes != ["25P02", "25P02"]:
            return self._verdict("wrong", f"after the error {codes}")
        return verdict

    def _looked_at(self, block: Block, step: Step, verdict: Verdict) -> Verdict:
        """The verdict, which is wrong if the tables hold other rows than they should."""
        loose = {name for name in self.kinds if step.numbers and name in step.text}
        if not (block.each or step.numbers):
            return verdict
        single = step.call in ("execute", "execute_values") and step.what != SEVERAL
        wrong = self._amiss(loose, 1 if block.each and single else 2)
        return self._verdict("wrong", wrong) if wrong else verdict

    # All rows -------------------------------------------------------------------------------

    def _contents(self, conn: Any) -> list[Content]:
        parts = []
        for name, kinds in self.kinds.items():
            key = f"{self.sharded.get(name, 'NULL')}::text"
            listed = ", ".join(f"{column}::text" for column in kinds)
            parts.append(f"SELECT '{name}', {key}, ARRAY[{listed}] FROM ONLY public.{name}")
        with conn.cursor() as cur:
            cur.execute(" UNION ALL ".join(parts))
            return sorted(((n, k, tuple(row)) for n, k, row in cur.fetchall()), key=repr)

    def _amiss(self, loose: set[str], steps: int) -> str | None:
        expected = self._contents(self.one)
        found: list[Content] = []
        copies: list[Content] | None = None
        for shard in self.cluster.names:
            with self.conn.on(shard):
                rows = self._contents(self.conn)
            here = [row for row in rows if row[0] not in self.sharded]
            if copies is not None and here != copies:
                return f"the copies of {shard}: {rows_differ(copies, here)}"
            if copies is None:
                copies = here
                found += here
            for name, key, row in rows:
                if name in self.sharded:
                    place = places.shard_of(self.cluster, name, key)
                    if place != shard:
                        return f"{name} {row} is on {shard}, and belongs on {place}"
                    found.append((name, key, row))
        right, ours = (self._shown(rows, loose) for rows in (expected, found))
        if right != ours:
            return rows_differ(right, ours)
        times, found_times = self._times(expected), self._times(found)
        # What a statement writes on several shards has one time; each statement may have its own.
        new, found_new = times - self.times, found_times - self.found_times
        self.times, self.found_times = times, found_times
        if steps == 1 and len(new) < 2 <= len(found_new):
            return f"one statement wrote several times: {found_new}"
        return None

    def _shown(self, rows: list[Content], loose: set[str]) -> list[tuple[object, ...]]:
        """The rows, with volatile values by their kind."""
        return sorted(
            (
                (
                    name,
                    *(
                        "number" if name in loose and (name, column) in _NUMBERED
                        else kind_of(value, kind)
                        for (column, kind), value in zip(self.kinds[name].items(), row, strict=True)
                    ),
                )
                for name, _, row in rows
            ),
            key=repr,
        )  # fmt: skip

    def _times(self, rows: list[Content]) -> set[str]:
        """The times in all rows that are of this run."""
        return {
            value
            for name, _, row in rows
            for value, kind in zip(row, self.kinds[name].values(), strict=True)
            if kind == TIME and kind_of(value, kind) == VOLATILE
        }

    # Sequences ------------------------------------------------------------------------------

    def _set_sequences(self) -> None:
        """Let the cluster's sequences count on from where the one server's are."""
        homes = {name: self._home(name) for name in self.made.sequences}
        reading = " UNION ALL ".join(
            f"SELECT '{name}', last_value, is_called FROM {name}" for name in homes
        )
        with self.one.cursor() as cur:
            cur.execute(reading)
            right = cur.fetchall()
        ours = []
        for shard in dict.fromkeys(homes.values()):
            with self.conn.on(shard), self.conn.cursor() as cur:
                cur.execute(reading)
                ours += [row for row in cur.fetchall() if homes[row[0]] == shard]
        for name, last, called in sorted(set(right) - set(ours)):
            self._both(f"SELECT setval('{name}', {last}, {called})")

    def _home(self, sequence: str) -> str:
        """The shard where a sequence counts."""
        declared = self.cluster.tables.get(sequence.partition("_")[0])
        return declared.on if isinstance(declared, Single) else self.cluster.names[0]


def _commit(conn: Any) -> str | None:
    """The SQLSTATE of what COMMIT raises; a transaction that fails there is rolled back."""
    try:
        conn.commit()
    except psycopg2.Error as error:
        conn.rollback()
        codes = {each.pgcode for each in getattr(error, "failures", {}).values()}
        return str(error.pgcode or sorted(map(str, codes)))
    return None


def _case(label: str, step: Step, expected: Told, verdict: Verdict) -> Case:
    made = Statement(step.shown(), None, features=frozenset({step.what}))
    answer = Answer([()] * len(expected.rows or ()), [], [], expected.error, expected.count)
    return Case(label, made, answer, [verdict])


@contextlib.contextmanager
def players(shards: Shards, seed: object) -> Iterator[list[Player]]:
    """One for each number of shards, in new databases."""
    made = places.make(shards, seed)
    with contextlib.ExitStack() as opened:
        yield [Player(made, count, opened) for count in places.COUNTS]


def cases(some: Sequence[Player], seed: object, count: int) -> Iterator[Case]:
    """At least so many steps, in whole blocks; half of them over the most shards."""
    turns, done = itertools.cycle([*some, some[-1]]), 0
    for number, player in enumerate(turns):
        for case in player.block(f"{seed}/{number}"):
            yield case
            done += 1
        if done >= count:
            return


def told(case: Case) -> str:
    """All that is needed to look into a step that went wrong."""
    lines = [f"{case.label}: {case.statement.text}", *case.verdicts[0].reason.splitlines()]
    return "\n".join(line[:_WIDTH] for line in lines)
