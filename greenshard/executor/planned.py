"""Run plans: one database over several shards."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from greenshard import errors
from greenshard._driver import RawConnection, RawCursor, ours, python_encoding
from greenshard.executor.answers.answer import Answer, Stages
from greenshard.executor.execution import Calls, Execution
from greenshard.executor.knowledge.one_database import OneDatabase
from greenshard.links.beginning import executing
from greenshard.links.deadline import Deadline
from greenshard.links.opening import Limits
from greenshard.links.physical import Physical
from greenshard.links.quoting import check_usual, is_plain, merged_once
from greenshard.links.session import Outcome
from greenshard.planner.analysis.clock_words import told_by
from greenshard.planner.place import Place, Role
from greenshard.planner.plan import Anywhere, Broadcast, Plan, Routed, Step
from greenshard.planner.refusals import refusal_error
from greenshard.planner.tasks import ANYWHERE, Stage, Task, chosen, own_place, settle
from greenshard.sql.parameters import Written
from greenshard.sql.text import Sql

#: In a statement of several stages whose first may lack shards: the share of the time that it gets,
#: so that there is time left to make an answer of what there is.
_FIRST_SHARE = 0.75

_OWN_NOW = Written(b"pg_catalog.now()", None, "timestamptz")


@dataclass(slots=True, eq=False, kw_only=True)
class Planned(Execution):
    """An execution that follows a plan.

    Attributes:
        database: What the connection knows.
        plan: The plan.
        text: The user's statement.
        given: The user's parameters.
        limits: What the connection allows.
        stages: What the stages before the last one took.
        now: The time at which the transaction began, once it is known.
        own_now: Whether the one shard that is told the time may tell it itself.
        moment: The time at which the statement began, once it is known.
        query: The user's statement as psycopg2 would have sent it, where another was sent.
        computed: What stands for `Computed` values, once a server has computed them.
        results: The rows of subqueries that were computed first, for where others are gathered.
    """

    database: OneDatabase
    plan: Plan
    text: str
    given: Any
    limits: Limits
    stages: Stages | None = None
    now: str | None = None
    own_now: bool = False
    moment: str | None = None
    query: bytes | None = None
    computed: Sequence[Any] = ()
    results: Sequence[Any] = ()

    @property
    def tables(self) -> tuple[str, ...]:
        return self.plan.tables

    # The user's parameters ------------------------------------------------------------------

    def check_parameters(self) -> None:
        """Let psycopg2 refuse wrong parameters as it does, before another text is sent."""
        # Where another text is sent than the user's, psycopg2 never sees the user's parameters.
        if self.query is None:
            self.query = self.written(self.parts.quoting())

    def written(self, raw: RawConnection) -> bytes:
        """The user's statement as psycopg2 sends it to a server."""
        if self.given is None:
            return self.text.encode(python_encoding(raw))
        return RawCursor(raw).mogrify(self.text, self.given)

    def as_sent(self) -> bytes | None:
        """The user's statement as psycopg2 sends it; None if it cannot be."""
        try:
            return self.query or self.written(self.parts.quoting())
        except Exception:  # whatever the program's adapters raise
            return None

    def check_clock(self) -> None:
        """Refuse 'now' in a parameter: one shard reads it once, as one PostgreSQL does.

        Raises:
            errors.NotSupportedError: There is one, and the statement runs on several shards.
        """
        if self.plan.clock and told_by(self.plan.clock, self.given):
            raise errors.NotSupportedError(
                "a parameter tells the time ('now' or the like), which is another one on each "
                "shard",
                code="GS410",
                hint="Pass the time itself, as a datetime; or write now() in the statement.",
            )

    def settled(self, step: Step) -> tuple[Step, tuple[Stage, ...]]:
        """The step that is taken, and its tasks; see `settle`.

        Raises:
            errors.Error: As psycopg2, if parameters are not there.
        """
        names = self.database.cluster.names
        step = self.database.certain(step, self.text, self.given)
        try:
            step, stages = settle(step, names, self.given)
        except (LookupError, TypeError):
            self.check_parameters()
            step, stages = settle(step, names, self.given, known=False)
        return step, stages

    def placed(self, stages: tuple[Stage, ...]) -> tuple[Stage, ...]:
        """Stages whose tasks all have a place: a shard is chosen for what any one may run."""
        for stage in stages:
            for task in stage:
                if task.place is ANYWHERE:
                    shard = self.any_shard()
                    if self.plan.timed is not None or self.plan.clock:
                        shard = self.database.clock.shard(shard)
                    return chosen(stages, own_place(shard))
        return stages

    def in_time(self, step: Step, stages: tuple[Stage, ...]) -> tuple[Step, tuple[Stage, ...]]:
        """The step that is taken, and its tasks, so that the time is that of the transaction.

        Args:
            step: One that `settled` gave.
            stages: Its tasks, which have places.

        Raises:
            errors.NotSupportedError: A parameter tells the time, and it would be another one.

        Switches: if a connection must be opened.
        """
        plan = self.plan
        # What several shards run tells one time anyhow.
        if not isinstance(step, (Routed, Anywhere)) or (plan.timed is None and not plan.clock):
            return step, stages
        shard = stages[0][0].place.shard
        self.session.reach((shard,), self.timeout)
        physical = self.session.physicals.get(shard)
        if physical is None or self.database.clock.tells_right(plan, self.given, physical):
            return step, stages
        self.check_clock()
        assert plan.timed is not None  # noqa: S101  # else it was a parameter
        step, stages = self.settled(plan.timed)
        return step, self.placed(stages)

    def calls(self, stage: Stage, cursors: Mapping[str, RawCursor]) -> Calls:
        """What sends the tasks of a stage, to those shards that there are.

        What several shards get alike is written once.

        Args:
            stage: The tasks.
            cursors: The shards' cursors.

        Switches: if the time at which the transaction began must be asked for.
        """
        alike: dict[tuple[int, int], list[Task]] = {}
        for task in stage:
            if task.place.shard in cursors:
                # By identity: the tasks of one plan share their text and parameters.
                alike.setdefault((id(task.sql), id(task.given)), []).append(task)
        physicals = self.session.physicals
        sent = {key: self._sent(tasks, cursors) for key, tasks in alike.items()}
        calls: dict[str, Callable[[], object]] = {}
        for task in stage:
            shard = task.place.shard
            raw = cursors.get(shard)
            if raw is None:
                continue
            arguments = sent[id(task.sql), id(task.given)]
            if task.repeats:
                calls[shard] = partial(raw.executemany, *arguments)
            else:
                calls[shard] = executing(physicals[shard], raw, *arguments)
        return calls

    def _sent(self, tasks: Sequence[Task], cursors: Mapping[str, RawCursor]) -> tuple[Any, ...]:
        """What psycopg2's method is called with, for tasks that are alike but for their places."""
        sql, given = tasks[0].sql, tasks[0].given
        if tasks[0].repeats:
            return sql.text, given
        parameters = self.parameters(sql, given, tasks[0].place.shard)
        if len(tasks) == 1:  # as most often
            return (sql.text,) if parameters is None else (sql.text, parameters)
        raws = [cursors[task.place.shard] for task in tasks]
        return merged_once(sql.text, parameters, raws)

    def parameters(self, sql: Sql, given: Any, shard: str | None = None) -> Any:
        """The parameters to send with a text.

        Args:
            sql: The text.
            given: What they are taken from.
            shard: One that the statement needs, to be asked for the time; None if none is known.

        Raises:
            errors.NotSupportedError: The time may only be a shard's own.

        Switches: if the time at which the transaction began must be asked for.
        """
        if sql.binds is None:
            return given
        if sql.needs_now and self.own_now and not sql.needs_moment:
            return sql.values(given, _OWN_NOW, self.computed)
        if (sql.needs_now or sql.needs_moment) and self.plan.clocked is not None:
            raise refusal_error(self.plan.clocked, self.plan.refusals)
        if sql.needs_now and self.now is None:
            self.now = self._asked_now(shard)
        if sql.needs_moment and self.moment is None:
            self.moment = self._asked_moment(shard)
        now, moment = (None if each is None else ours(each) for each in (self.now, self.moment))
        return sql.values(given, now, self.computed, moment)

    def spare_asking(self, stages: Sequence[Stage]) -> None:
        """Let one shard tell the time itself, if it is the only one to which the rest goes.

        Args:
            stages: What is still to be run.
        """
        tasks = [task for stage in stages for task in stage]
        # The time may have been told already, to what ran before.
        if len(tasks) != 1 or self.now is not None or not tasks[0].sql.needs_now:
            return
        self.session.reach((shard := tasks[0].place.shard,), self.timeout)
        physical = self.session.physicals.get(shard)
        self.own_now = physical is not None and self.database.clock.is_of(physical)

    def _asked_now(self, shard: str | None) -> str:
        """The time at which the transaction began. Switches: the first time in a transaction."""
        if (now := self.database.clock.now) is not None:
            return now
        shard = self.database.clock.shard(shard or self.any_shard())
        self.check_bearings((shard,))
        self.ran.add(shard)
        return self.database.clock.ask(shard, self.timeout)

    def _asked_moment(self, shard: str | None) -> str:
        """The time at which the statement began, on one shard. Switches: yes."""
        shard = self.database.clock.shard(shard or self.any_shard())
        self.check_bearings((shard,))
        self.ran.add(shard)
        return self.database.clock.ask_moment(shard, self.timeout)

    # Where ----------------------------------------------------------------------------------

    def any_shard(self) -> str:
        """A shard that is in a transaction already, else any; the one that has answered last.

        Nothing else tells of one that has gone silent, until it is asked.
        """
        alive = self.session.alive
        if not alive:
            self.session.check_alive()
        # To begin a transaction on another shard would take one more COMMIT, and one more that may
        # be lost.
        able = [p for p in alive if p.in_transaction] or alive
        return max(able, key=_prompter).shard

    @property
    def gathers_on(self) -> str:
        """The shard to whose database rows are brought: where there is a connection for that."""
        alive = self.session.alive
        if not alive:
            self.session.check_alive()
        beside = {place.shard for place, p in self.session.beside.items() if p.alive}
        return max(alive, key=lambda p: (p.late is None, p.shard in beside, p.answered_at)).shard

    @property
    def failed(self) -> str | None:
        """A shard on which the transaction has failed: nothing but its end can be run."""
        # With on_error="partial" the other shards answer as if that one were gone.
        return None if self.tolerant else self.transaction.failed

    @property
    def gathers_references(self) -> bool:
        """Whether another session may not see what this transaction sees in reference tables."""
        return self.database.sees_apart

    def check_sessions(self, shards: Sequence[str]) -> None:
        """Refuse sessions that would read the statement otherwise than the planner.

        Raises:
            errors.NotSupportedError: There are some.

        Switches: if one must be asked.
        """
        self.check_quoting(shards)
        self.check_bearings(shards)

    def check_bearings(self, shards: Sequence[str]) -> None:
        """Refuse sessions that do not have the bearings that the statement was planned by.

        What may give them the same ones is not refused.

        Raises:
            errors.NotSupportedError: There are some.

        Switches: if one must be asked.
        """
        step = self.plan.step
        if isinstance(step, Broadcast) and not (step.resets_catalog or self.plan.names):
            return
        names, timeout = self.plan.names, self._first_timeout
        if self.database.check(shards, names, timeout, tolerant=self.tolerant):
            self._allow_for_grace()

    def confirm(self, shards: Sequence[str]) -> None:
        """See that the plan holds on the shards that it needs, before anything is sent.

        Raises:
            PlanOutdated: It does not.
            errors.Error: A shard that must be asked failed, or time is up.

        Switches: if one must be asked.
        """
        self.session.reach(shards, self.timeout)
        if self.database.confirm(shards, self._first_timeout, tolerant=self.tolerant):
            self._allow_for_grace()

    @property
    def _first_share(self) -> float | None:
        """The part of its time that a stage may take that may lack shards, and is not the last."""
        # Who needs every shard has nothing to save time for.
        return _FIRST_SHARE if self.tolerant else None

    @property
    def _first_timeout(self) -> Deadline:
        """The same, as a deadline."""
        return self.timeout.part(_FIRST_SHARE) if self.tolerant else self.timeout

    def _allow_for_grace(self) -> None:
        """A shard that did not answer its cancel either has used up the grace time, too."""
        self.timeout = self.timeout.later(self.session.grace_s)

    def check_quoting(self, shards: Sequence[str]) -> None:
        """Refuse sessions that read literals otherwise than the planner.

        The home's too: the program may have written a literal for it, with ``as_string(conn)``.
        What may end it is not refused, if it means the same everywhere.

        Raises:
            errors.NotSupportedError: There are some.
        """
        plain = is_plain(self.text)
        step = self.plan.step
        if plain and isinstance(step, Broadcast) and not step.resets_catalog:
            return
        physicals = self.session.physicals
        names = shards if plain else {self.database.home, *shards}
        check_usual([physicals[shard] for shard in names if shard in physicals])

    # Stages ---------------------------------------------------------------------------------

    def first_stage(
        self, shards: Sequence[str], calls: Calls, cursors: Mapping[str, RawCursor] | None = None
    ) -> Outcome:
        """Run a stage after which others come.

        Args:
            shards: Where.
            calls: What.
            cursors: Those that the calls execute, for the number of rows.

        Switches: yes.
        """
        outcome = self.run(shards, calls, share=self._first_share)
        if outcome.failures:
            self._allow_for_grace()
        self.stages = self.stages or Stages()
        # -1 of a cursor that gives no rows.
        counts = {shard: max(0, cursor.rowcount) for shard, cursor in (cursors or {}).items()}
        self.stages.add(outcome, counts)
        return outcome

    def count(self, shard: str, rows: int) -> None:
        """Add rows to those that a shard has given."""
        if self.stages is not None:
            self.stages.timings[shard].rows += rows

    def last_stage(self, shard: str, text: str | bytes, parameters: Any) -> Answer:
        """Run the statement whose rows are the answer, on one shard.

        Args:
            shard: Where.
            text: What, with psycopg2's placeholders.
            parameters: Their values; None if the text has no placeholders.

        Switches: yes.
        """
        cursor = self.parts.last(shard, self.timeout)
        self.check_sessions((shard,))  # a function that the first stage called may have set it
        outcome = self.run_last(Place(shard), cursor, text, parameters)
        return Answer({shard: cursor}, (), outcome, self.stages)

    def run_last(
        self, place: Place, cursor: RawCursor, text: str | bytes, parameters: Any
    ) -> Outcome:
        """Run the statement of a last stage.

        Args:
            place: Where.
            cursor: What runs it.
            text: What, with psycopg2's placeholders.
            parameters: Their values; None if the text has no placeholders.

        Switches: yes.
        """
        self.ran.add(place.shard)
        sent: tuple[Any, ...] = (text,) if parameters is None else (text, parameters)
        call = partial(cursor.execute, *sent)
        if place.role is Role.STATEMENTS:
            outcome = self.session.run({place.shard: call}, self.timeout, noted=self.noted)
        else:
            ran = self.session.run({}, self.timeout, noted=self.noted, beside={place: call})
            outcome = Outcome({place.shard: ran.beside[place]}, {})
        self.stages = self.stages or Stages()
        self.stages.add(outcome, {})
        return outcome


def _prompter(physical: Physical) -> tuple[bool, float]:
    """What is the larger, the sooner a shard can be expected to answer."""
    return physical.late is None, physical.answered_at
