"""One statement on its way to the shards."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from greenshard import _green
from greenshard._driver import RawCursor
from greenshard.executor.answers.ahead import RowsAhead, reading_ahead
from greenshard.executor.answers.answer import Answer
from greenshard.executor.answers.columns import check_columns
from greenshard.executor.answers.parts import Parts
from greenshard.links.deadline import Deadline
from greenshard.links.fanout import Job
from greenshard.links.quoting import check_alike
from greenshard.links.session import Outcome, Session
from greenshard.links.streams import Stream
from greenshard.sql.effects import NO_EFFECT, Effect
from greenshard.transaction.admission import admit_writes
from greenshard.transaction.state import Transaction

#: After so many, other greenlets have their turn: 10 us each.
_MOST_AT_ONCE = 1_000
#: Not 0: then gevent looks at timers and sockets only once in 50 times.
_PAUSE_S = 0.0001

Calls = Mapping[str, Callable[[], object]]
Streaming = Callable[[Mapping[str, RawCursor]], tuple[Stream, ...]]


@dataclass(slots=True, eq=False)
class Execution:
    """What every way of running a statement needs.

    Attributes:
        session: The connections; held by the caller.
        transaction: Theirs.
        parts: The shards' cursors.
        timeout: What the statement may take.
        reads: Whether it certainly only reads.
        tolerant: Whether the answer of some shards is good enough.
        streaming: What makes the rows of a named cursor; None for other cursors.
        strategy: How it is run, for the listener; None until it is planned.
        noted: Where to note its calls, for the listener; None if there is none.
        plain: Whether the text means the same in every session, its parameters aside.
        bound: Whether it may have parameters.
        effect: How it is to be run on several shards.
        queries: Whether it is a query, which writes by functions only, if at all.
        ran: The shards in whose sessions some of it ran.
    """

    session: Session
    transaction: Transaction
    parts: Parts
    timeout: Deadline
    reads: bool
    tolerant: bool
    streaming: Streaming | None
    strategy: str | None = None
    noted: list[Job] | None = None
    plain: bool = True
    bound: bool = False
    effect: Effect = NO_EFFECT
    queries: bool = False
    ran: set[str] = field(default_factory=set)

    @property
    def writes(self) -> bool:
        """Whether it writes, as its text says. What functions do, COMMIT asks the servers."""
        return self.effect.atomic and not (self.reads or self.queries)

    @property
    def tables(self) -> tuple[str, ...]:
        """The declared tables that the statement is known to name."""
        return ()

    def fan_out(
        self, shards: Sequence[str], calls_on: Callable[[Mapping[str, RawCursor]], Calls]
    ) -> Answer:
        """Run a statement on some shards; the answer is the rows of all.

        Args:
            shards: Their names.
            calls_on: What to run, for the cursors of those that there are.

        Switches: yes.
        """
        cursors = self.parts.ready(shards, self.timeout)
        calls = self.reading(cursors, calls_on(cursors))
        return self.answer_of(cursors, self.run(shards, calls))

    def reading(self, cursors: Mapping[str, RawCursor], calls: Calls) -> Calls:
        """Calls whose rows are the answer: those of several shards are decoded meanwhile."""
        # With one shard nobody is waited for, and a named cursor's rows stay on the server.
        if len(cursors) < 2 or self.streaming is not None:
            return calls
        return {
            shard: partial(reading_ahead, call, cursors[shard]) for shard, call in calls.items()
        }

    def answer_of(self, cursors: Mapping[str, RawCursor], outcome: Outcome) -> Answer:
        """The rows that some cursors have, one shard after the other.

        Args:
            cursors: Those that were executed.
            outcome: What became of that.

        Switches: only if the names of types must be asked for.
        """
        # on_error="partial": those that failed have no rows, and are told of in `failures`.
        if outcome.failures:
            cursors = {shard: cursors[shard] for shard in outcome.jobs}
        if self.streaming is not None:
            return Answer(cursors, self.streaming(cursors), outcome)
        check_columns(cursors, self.session, self.timeout)
        ahead = {
            shard: RowsAhead(cursors[shard], job.result)
            for shard, job in outcome.jobs.items()
            if isinstance(job.result, list)
        }
        return Answer(cursors, (), outcome, ahead=ahead)

    def run(
        self,
        shards: Sequence[str],
        calls: Calls,
        *,
        share: float | None = None,
        before: Sequence[Job] = (),
    ) -> Outcome:
        """Run calls, and take note of the shards that there is no call for: they are gone.

        Args:
            shards: Where.
            calls: What.
            share: The part (0 to 1) of the time left that they may take; None for all of it.
            before: The calls that the statement has made already.

        Raises:
            errors.NotSupportedError: The sessions would not read the text as it is meant.

        Switches: yes.
        """
        self.check_sessions(shards)
        # Only now: a shard that had to be asked, and did not answer, has used up time.
        timeout = self.timeout if share is None else self.timeout.part(share)
        # Before they run: a call that fails may have left something in its session, too.
        self.ran.update(calls)
        if len(calls) < len(shards):
            # The session finds out that a shard is gone, and whether its absence is tolerated.
            calls = {shard: calls.get(shard, _nothing) for shard in shards}
        in_turn = self.effect.in_turn and not before and self.streaming is None
        if in_turn and len(shards) > 1:
            return self._run_in_turn(calls, timeout)
        return self._run(calls, timeout, before)

    def _run_in_turn(self, calls: Calls, timeout: Deadline) -> Outcome:
        """Run the first shard's call before the others.

        Of two statements that lock the same rows, one then waits there. Sent to all shards at once,
        each would soon hold a shard that the other one waits for, which no server sees.
        """
        for shard in calls:  # none shall be found out of reach when others have written
            self.session.physical(shard)
        first, *others = calls
        jobs = {**self._run({first: calls[first]}, timeout, ()).jobs}
        rest = {shard: calls[shard] for shard in others}
        jobs |= self._run(rest, timeout, tuple(jobs.values())).jobs
        return Outcome(jobs, {})

    def _run(self, calls: Calls, timeout: Deadline, before: Sequence[Job]) -> Outcome:
        if self.writes:
            admit_writes(self.session, self.transaction, calls, timeout)
        return self.session.run(
            calls,
            timeout,
            tolerant=self.tolerant,
            writes=not self.reads,
            noted=self.noted,
            before=before,
        )

    def check_sessions(self, shards: Sequence[str]) -> None:
        """Refuse sessions that could read otherwise what was written for another.

        psycopg2 writes parameters for each where they differ; what is in the text already was
        written for one (`mogrify`, ``execute_values``).

        Raises:
            errors.NotSupportedError: There are some.
        """
        # SELECT 1 reads alike under any setting; what has a backslash, or letters beyond ASCII,
        # does not.
        if len(shards) > 1 and (self.bound or not self.plain):
            physicals = self.session.physicals
            there = (physicals[shard] for shard in shards if shard in physicals)
            check_alike(there, plain=self.plain)


def _nothing() -> None:
    """The call of a shard that is not there; it is never made."""


def in_turns(sets: Iterable[Any]) -> Iterator[Any]:
    """Many things to do, one after the other, with pauses for other greenlets.

    Switches: now and then.
    """
    for number, each in enumerate(sets, 1):
        if number % _MOST_AT_ONCE == 0:
            _green.sleep(_PAUSE_S)
        yield each
