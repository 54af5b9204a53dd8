"""One transaction, what happens to it, and whether anything is wrong afterwards."""

from __future__ import annotations

import itertools
import os
import signal
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from tests.crash.coordinator import NAME
from tests.crash.scene import Scene, eventually
from tests.crash.wire import ANSWERED, CUT, LATE, PASS, SENT, TOLD, Rule

#: What happens when the messages stand where they shall, and to whom; how they go on, see `wire`.
#: The process that commits is killed;
KILL = "kill"
#: or frozen, and goes on when recovery was there;
PAUSE = "pause"
#: or only its greenlet is killed, which must leave nothing to recovery;
KILL_GREENLET = "kill-greenlet"
#: the sessions of its connections are ended, which their servers tell;
TERMINATE = "terminate"
#: the connections on which a message is held are cut;
CUT_OFF = "cut-off"
#: they are frozen, as is every new one to their shards, until that process has given up;
FREEZE = "freeze"
#: the servers are killed, and are there again at once, or when that process has ended;
KILL_SERVER, KILL_SERVER_LONG = "kill-server", "kill-server-long"
#: or frozen, until it has ended.
FREEZE_SERVER = "freeze-server"

_GO_ON = {
    KILL: (CUT, LATE),
    PAUSE: (PASS, CUT),
    KILL_GREENLET: (PASS,),
    TERMINATE: (PASS,),
    CUT_OFF: (CUT, LATE),
    FREEZE: (CUT, LATE),
    KILL_SERVER: (CUT, PASS),
    KILL_SERVER_LONG: (CUT, PASS),
    FREEZE_SERVER: (PASS,),
}
#: So long a process waits that hears nothing, and so long for what it has cancelled.
_TIMEOUT_S, _GRACE_S = 0.4, 0.2
RECOVERIES = ("once", "twice", "together")
BY = ("method", "text", "autocommit")

_TERMINATE = f"""
SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = '{NAME}'
"""

Points = tuple[tuple[str, str, str], ...]


@dataclass(frozen=True)
class Case:
    """A transaction, and what happens to it.

    Attributes:
        writers: The shards on which it writes.
        readers: Those on which it only reads.
        by: How it commits: by the "method", by "text", or by itself: "autocommit".
        points: Messages, by label and shard, and where they stand when it happens.
        event: What happens.
        goes_on: How the held ones go on.
        recovery: How recovery runs.
    """

    writers: tuple[str, ...]
    readers: tuple[str, ...] = ()
    by: str = "method"
    points: Points = ()
    event: str = KILL
    goes_on: str = CUT
    recovery: str = "once"

    def __str__(self) -> str:
        points = ",".join(":".join(point) for point in self.points)
        words = ("+".join(self.writers), "+".join(self.readers), self.by, points)
        return "/".join((*words, self.event, self.goes_on, self.recovery))

    @classmethod
    def read(cls, text: str) -> Case:
        """Read what `str` has written."""
        writers, readers, by, points, *rest = text.split("/")
        return cls(
            tuple(writers.split("+")),
            tuple(readers.split("+")) if readers else (),
            by,
            tuple(tuple(point.split(":")) for point in points.split(",") if point),  # type: ignore[misc]
            *rest,
        )


class Runs:
    """Runs cases.

    Attributes:
        tally: How often each kind of end was seen.
    """

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self.tally: Counter[str] = Counter()
        self._traces: dict[tuple[object, ...], list[tuple[str, str]]] = {}

    def steps(self, writers, readers=(), by="method") -> dict[str, list[str]]:
        """The steps of such a transaction's commit, in order, and the shards of each."""
        key = (writers, readers, by)
        if key not in self._traces:
            wrong = self.run(Case(writers, readers, by))
            assert not wrong, wrong
            self._traces[key] = list(self._scene.proxy.passed)
        steps: dict[str, list[str]] = {}
        for label, shard in self._traces[key]:
            steps.setdefault(label, [])
            if shard not in steps[label]:
                steps[label].append(shard)
        return {label: sorted(shards) for label, shards in steps.items()}

    def killed(self, writers, readers=(), by="method") -> Iterator[Points]:
        """Every moment at which the process that commits may be killed.

        That is, for each step: which of its messages have reached their servers, and which answers
        the process.
        """
        steps = self.steps(writers, readers, by)
        for label, shards in steps.items():
            for stages in itertools.product((SENT, ANSWERED, TOLD), repeat=len(shards)):
                # When all have answered, the next step is about to be sent: which is that one's.
                if set(stages) == {TOLD} and label != list(steps)[-1]:
                    continue
                yield tuple(zip([label] * len(shards), shards, stages, strict=True))

    def struck(self, writers, readers=(), by="method") -> Iterator[Points]:
        """Every message of a commit that may be lost, and its answer."""
        for label, shards in self.steps(writers, readers, by).items():
            for shard in shards:
                for stage in (SENT, ANSWERED):
                    yield ((label, shard, stage),)

    def every_kill(self, writers, readers=(), by="method") -> Iterator[Case]:
        recoveries = itertools.cycle(RECOVERIES)
        for points in self.killed(writers, readers, by):
            for goes_on in (CUT, LATE):
                if goes_on == CUT or any(stage == SENT for *_, stage in points):
                    yield Case(writers, readers, by, points, KILL, goes_on, next(recoveries))

    def every_strike(self, writers, readers=(), by="method", events=()) -> Iterator[Case]:
        recoveries = itertools.cycle(RECOVERIES)
        for points in self.struck(writers, readers, by):
            for event in events or [e for e in _GO_ON if e != KILL]:
                for goes_on in _GO_ON[event]:
                    if goes_on != LATE or points[0][2] == SENT:
                        yield Case(writers, readers, by, points, event, goes_on, next(recoveries))

    def random_case(self, chance) -> Case:
        """Any case: also some that do not come about."""
        names = list(self._scene.names)
        chance.shuffle(names)
        count = chance.randint(2, len(names)) if chance.random() < 0.9 else 1
        writers = tuple(sorted(names[:count]))
        by = chance.choice(BY)
        others = names[count:]
        readers = tuple(others[: chance.randint(0, len(others))]) if by != "autocommit" else ()
        event = chance.choice([KILL] * 6 + list(_GO_ON))
        moments = self.killed if event == KILL else self.struck
        # One statement that commits by itself on one shard has no steps.
        points = chance.choice(list(moments(writers, readers, by)) or [()])
        goes_on, recovery = chance.choice(_GO_ON[event]), chance.choice(RECOVERIES)
        return Case(writers, readers, by, points, event, goes_on, recovery)

    def run(self, case: Case) -> str:
        """Run a case; returns what is wrong, or nothing."""
        scene, x = self._scene, self._scene.new_x()
        scene.proxy.reset()
        wanted = {(label, shard): stage for label, shard, stage in case.points}
        rule = scene.proxy.hold(wanted) if wanted else None
        scene.coordinator.start(
            "transaction",
            dsns=scene.relayed,
            writers=case.writers,
            readers=case.readers,
            x=x,
            by=case.by,
            # Who is killed waits for what is held; a server takes a while to be there again.
            timeout=_TIMEOUT_S if case.event in {FREEZE, FREEZE_SERVER} else 20.0,
            cancel_grace=_GRACE_S,
            # Of one shard's own commit, the server's settings decide whether it is durable.
            options="" if len(case.writers) > 1 else "-c synchronous_commit=on",
            **scene.options,
        )
        said: dict[str, object] = {}
        while "ended" not in said:
            happened = scene.next()
            if isinstance(happened, Rule):
                self._strike(case, rule, said)
            elif happened[0] is scene.coordinator:
                said.update(happened[1])
        if rule is not None and not rule.reached:
            self.tally["did not come about"] += 1
        left = scene.prepared() if case.event == KILL_GREENLET else []
        self._heal(case, rule)
        wrong = self._judge(case, x, said, rule is not None and rule.reached)
        return f"left to recovery: {left}; {wrong}" if left else wrong

    def _strike(self, case: Case, rule: Rule, said: dict[str, object]) -> None:
        scene = self._scene
        victims = [shard for _, shard, _ in case.points]
        if case.event in {KILL, PAUSE, KILL_GREENLET}:
            self._strike_process(case, rule, said)
        elif case.event == FREEZE:
            scene.proxy.silence(*victims)
        else:
            for shard in victims:
                self._strike_server(case, shard)
            scene.proxy.let_go(rule, case.goes_on)

    def _strike_process(self, case: Case, rule: Rule, said: dict[str, object]) -> None:
        scene, pid = self._scene, said["pid"]
        if case.event == KILL:
            os.kill(pid, signal.SIGKILL)
        elif case.event == PAUSE:
            os.kill(pid, signal.SIGSTOP)
            scene.recover("once")  # while messages are still on the way
            scene.proxy.let_go(rule, case.goes_on)
            scene.recover(case.recovery)
            os.kill(pid, signal.SIGCONT)
        else:
            os.kill(pid, signal.SIGUSR1)
            while "signalled" not in said:
                said.update(scene.next()[1])
            scene.proxy.let_go(rule, case.goes_on)

    def _strike_server(self, case: Case, shard: str) -> None:
        server = self._scene.shards[shard]
        if case.event == TERMINATE:
            self._scene.ask(shard, _TERMINATE)
        elif case.event == FREEZE_SERVER:
            server.pause()
        elif case.event != CUT_OFF:
            server.kill()
        if case.event == KILL_SERVER:
            server.start()

    def _heal(self, case: Case, rule: Rule | None) -> None:
        """Let everything answer again, and what is in doubt be finished."""
        scene = self._scene
        scene.shards.start()
        if rule is not None:
            if case.goes_on == LATE and case.event in {KILL, FREEZE}:
                scene.recover(case.recovery)  # while messages are still on the way
            scene.proxy.let_go(rule, case.goes_on)
        if case.goes_on == LATE:
            eventually(scene.proxy.settled, "a message did not arrive")
        scene.proxy.cut()
        eventually(scene.nobody_there, f"a session is left: {case}")
        scene.recover(case.recovery)
        # A server needs a moment to end the sessions of recovery, too.
        eventually(scene.nobody_there, f"a session of recovery is left: {case}")

    def _judge(self, case: Case, x: int, said: dict[str, object], rule_reached: bool) -> str:
        scene = self._scene
        there = {shard for shard in scene.names if scene.has(shard, x)}
        wrong = []
        if there not in (set(), set(case.writers)):
            wrong.append(f"half applied: on {sorted(there)} of {case.writers}")
        if "committed" in said and there != set(case.writers):
            wrong.append(f"lost: reported committed, and on {sorted(there)}")
        killed = case.event == KILL and rule_reached
        if not killed and said["ended"] != 0:
            wrong.append("the process has crashed")
        next_there = {shard for shard in scene.names if scene.has(shard, -x)}
        if next_there not in (set(), set(case.writers)):
            wrong.append(f"half applied: the next transaction is on {sorted(next_there)}")
        if "committed_next" in said and next_there != set(case.writers):
            wrong.append(f"lost: the next transaction is on {sorted(next_there)}")
        kind = said.get("kind", "")
        # Of one shard's own writes it may say that one which was only read has not committed.
        alone = kind == "PartialCommitError" and len(case.writers) == 1
        doubt = alone or "may be committed" in str(said.get("error"))
        doubt |= kind in {"GreenletExit", "TransactionInDoubt"}
        if kind and not doubt and there:
            wrong.append(f"{kind} was raised, and it is on {sorted(there)}: {said['error']}")
        if kind and not set(said["committed_on"] or ()) & set(case.writers) <= there:
            wrong.append(f"said to be on {said['committed_on']}, and is on {sorted(there)}")
        if kind == "TransactionInDoubt" and (
            (told := scene.outcome(said["gid"])) != ("committed" if there else "rolled back")
        ):
            wrong.append(f"the outcome is said to be {told}, and it is on {sorted(there)}")
        if left := scene.left_behind():
            wrong.append(f"left behind: {left}")
            scene.clean()
        self.tally[f"{kind or ('committed' if 'committed' in said else 'killed')}"] += 1
        return "; ".join(wrong)
