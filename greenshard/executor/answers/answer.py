"""What the shards gave to one statement."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from greenshard._driver import RawCursor
from greenshard.links.fanout import Job
from greenshard.links.session import Outcome
from greenshard.links.streams import Stream
from greenshard.merge.concatenation import Concatenation, Rows
from greenshard.merge.status import merge_status
from greenshard.merge.weaving import Weaving


@dataclass(slots=True)
class ShardTiming:
    """How long one shard took.

    Attributes:
        first_result_s: Seconds until its answer to the statement was there.
        total_s: Seconds in all, with what was fetched from its server afterwards.
        rows: How many rows it gave, or changed.
    """

    first_result_s: float
    total_s: float
    rows: int


class Stages:
    """What the stages before the last one took, where a statement has several.

    Attributes:
        timings: A `ShardTiming` for each shard that answered.
        failures: The error of each shard that did not.
    """

    __slots__ = ("failures", "timings")

    def __init__(self) -> None:
        self.timings: dict[str, ShardTiming] = {}
        self.failures: dict[str, BaseException] = {}

    def add(self, outcome: Outcome, rows: Mapping[str, int]) -> None:
        """Add what a stage took; `rows` tells how many rows each shard gave."""
        self.failures.update(outcome.failures)
        for shard, job in outcome.jobs.items():
            timing = self.timings.setdefault(shard, ShardTiming(0.0, 0.0, 0))
            timing.first_result_s += job.seconds
            timing.total_s += job.seconds
            timing.rows += rows.get(shard, 0)


_NONE: Mapping[str, Rows] = {}


class Answer:
    """The rows of the shards that answered, and what is known of the statement.

    Args:
        cursors: The cursor of each shard that answered, in shard order.
        streams: For a named cursor, the rows of each.
        outcome: How the calls ended; None if nothing was executed.
        stages: What went before, if the rows are those of a last stage on one shard.
        ahead: The rows of those shards that psycopg2 has made some of already.

    Attributes:
        rows: The rows of all, one shard after the other.
        failures: The error of each shard that did not answer.
        command: The command tag, if it is not that of what has made the rows.
    """

    rows: Concatenation | Rows
    failures: Mapping[str, BaseException]
    command: str | None = None

    def __init__(
        self,
        cursors: Mapping[str, RawCursor],
        streams: Iterable[Stream] = (),
        outcome: Outcome | None = None,
        stages: Stages | None = None,
        *,
        ahead: Mapping[str, Rows] = _NONE,
    ) -> None:
        self._cursors: tuple[Any, ...] = tuple(cursors.values())
        self._streams = tuple(streams)
        sources: Sequence[Any] = self._streams or self._cursors
        if ahead:
            sources = [ahead.get(shard, cursor) for shard, cursor in cursors.items()]
        self._ahead = ahead
        # The rows of one shard are its cursor's, which psycopg2 gives out by itself.
        # `Concatenation` would cost a Python call for each row.
        alone = len(self._cursors) == 1 and sources is self._cursors
        self.rows = self._cursors[0] if alone else Concatenation(sources)
        self._stages = stages
        self._named = cursors
        if outcome is None:
            self.failures = stages.failures if stages else {}
            self._seconds: dict[str, float] = {}
        else:
            # Those of the last stage are in `stages`, too.
            self.failures = stages.failures if stages else outcome.failures
            self._seconds = {name: job.seconds for name, job in outcome.jobs.items()}

    @classmethod
    def of_one(cls, shard: str, cursor: RawCursor, job: Job) -> Answer:
        """The rows of the one shard that was asked."""
        answer = cls({shard: cursor})
        answer._seconds = {shard: job.seconds}
        return answer

    def of_first(self) -> Answer:
        """The same with the rows and counts of the first shard only."""
        first = dict(list(self._named.items())[:1])
        stages = Stages()
        # All shards have done it, and the listener is told what each took.
        stages.timings, stages.failures = self.timings, dict(self.failures)
        return Answer(first, self._streams[:1], None, stages, ahead=self._ahead)

    def weave(self, numbers: Mapping[str, Sequence[int]]) -> None:
        """Put the rows in order, if each shard has given one for each that it was sent.

        It has not if ON CONFLICT DO NOTHING or a trigger left some out: nothing tells which.

        Args:
            numbers: For each shard the places of its rows among those of all.
        """
        counts = [cursor.rowcount for cursor in self._cursors]
        sent = [len(numbers[shard]) for shard in self._named]
        if len(counts) < 2 or counts != sent or self.description is None:
            return
        turns = {number: at for at, shard in enumerate(self._named) for number in numbers[shard]}
        parts: list[Any] = [self._ahead.get(shard, each) for shard, each in self._named.items()]
        self.rows = Weaving(parts, [turns[number] for number in sorted(turns)])

    @cached_property
    def timings(self) -> dict[str, ShardTiming]:
        """A `ShardTiming` for each shard that answered."""
        if self._stages is not None:
            return self._stages.timings
        timings = {}
        for name, cursor in self._named.items():
            seconds = self._seconds.get(name, 0.0)
            rows = 0 if self._streams else max(0, cursor.rowcount)
            timings[name] = ShardTiming(seconds, seconds, rows)
        return timings

    def add_before(self, timings: Mapping[str, ShardTiming]) -> None:
        """Add what other statements took that ran before this one."""
        for shard, each in timings.items():
            timing = self.timings.setdefault(shard, ShardTiming(0.0, 0.0, 0))
            timing.first_result_s += each.total_s
            timing.total_s += each.total_s
            timing.rows += each.rows

    @property
    def _first(self) -> RawCursor | None:
        return self._cursors[0] if self._cursors else None

    @property
    def shard_count(self) -> int:
        """How many shards answered."""
        return len(self._cursors)

    @property
    def rowcount(self) -> int:
        """Rows of all shards together, -1 if not known."""
        # psycopg2 gives a named cursor's count after its first fetch: the page's. Of several that
        # means nothing.
        return -1 if len(self._streams) > 1 else self.rows.rowcount

    @property
    def rownumber(self) -> int:
        """How many rows were fetched; of one stream, of its last page (as psycopg2 counts)."""
        return self._streams[0].page_rownumber if len(self._streams) == 1 else self.rows.rownumber

    @property
    def description(self) -> Any:
        """The columns, with the type codes of the first shard that knows them.

        Named cursors know them from their first fetch on, and the first to get there may be any.
        """
        known = (cursor.description for cursor in self._cursors)
        return next((columns for columns in known if columns is not None), None)

    @property
    def described_on(self) -> str | None:
        """The shard whose types the `description` has; None if there is none."""
        known = (s for s, cursor in self._named.items() if cursor.description is not None)
        return next(known, None)

    @property
    def statusmessage(self) -> str | None:
        """The command tag, with the row counts of the shards added up."""
        return self.command or merge_status([each.statusmessage for each in self._cursors])

    @property
    def lastrowid(self) -> int:
        """The OID of the last row inserted, 0 if there is none."""
        return 0 if self._first is None else self._first.lastrowid

    @property
    def pgresult_ptr(self) -> int | None:
        """libpq's result of the first shard that answered."""
        return None if self._first is None else self._first.pgresult_ptr


class CountedAnswer(Answer):
    """The answer to statements whose rows nobody wants.

    Args:
        count: How many rows they gave, or changed.
        status: The last one's command tag.
        stages: What they took, if that is known.
    """

    def __init__(self, count: int, status: str | None, stages: Stages | None = None) -> None:
        super().__init__({}, stages=stages)
        self._count, self._status = count, status

    @property
    def rowcount(self) -> int:
        """Rows of all statements together."""
        return self._count

    @property
    def statusmessage(self) -> str | None:
        """The command tag."""
        return self._status


#: The answer before there is one.
NOTHING = Answer({})


class AnswerView:
    """What is known of a cursor's last statement, as its attributes."""

    _answer: Answer = NOTHING

    @property
    def rowcount(self) -> int:
        """Rows of all shards together, -1 if not known."""
        return self._answer.rowcount

    @property
    def rownumber(self) -> Any:
        """How many rows have been fetched; on a named cursor over one shard, of the last page."""
        return self._answer.rownumber

    @property
    def description(self) -> Any:
        """The columns; the type codes are those of the first shard that answered."""
        return self._answer.description

    @property
    def statusmessage(self) -> str | None:
        """The command tag, with the row counts of the shards added up."""
        return self._answer.statusmessage

    @property
    def lastrowid(self) -> int:
        """The OID of the last row inserted, 0 if there is none."""
        return self._answer.lastrowid

    @property
    def pgresult_ptr(self) -> int | None:
        """libpq's result of the first shard that answered."""
        return self._answer.pgresult_ptr

    @property
    def failures(self) -> Mapping[str, BaseException]:
        """The error of each shard that did not answer the last statement."""
        return self._answer.failures

    @property
    def timings(self) -> dict[str, ShardTiming]:
        """A `ShardTiming` for each shard that did."""
        return self._answer.timings
