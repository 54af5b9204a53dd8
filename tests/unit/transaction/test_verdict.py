"""What recovery does, without a server: its steps, and every interleaving of a few of them."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace

import pytest

from greenshard.transaction.gids import Gid, time_digits
from greenshard.transaction.verdict import (
    Ask,
    Decide,
    Ending,
    Failure,
    Finish,
    Forget,
    Found,
    Prepared,
    Recovery,
    Verdict,
)

CLUSTER, NOW_MS = "c" * 32, 1_800_000_000_000
IDS = {"a": "a" * 32, "b": "b" * 32, "d": "d" * 32}
WEEK_MS = 7 * 86400 * 1000


def gid_of(anchor="a", ago_ms=5000, number=1):
    return Gid(CLUSTER, IDS[anchor], time_digits(NOW_MS - ago_ms) + f"{number:020x}")


def prepared(gid, shard, age_s=5.0):
    return Prepared(gid.prepared(IDS[shard]), "app", NOW_MS / 1000 - age_s, age_s)


def found(shard, *parts, old=False):
    return Found(CLUSTER, IDS[shard], parts, NOW_MS - WEEK_MS, has_old=old)


def test_no_shard_waits_for_one_that_it_needs_no_answer_of():
    steps, gid = Recovery("abd"), gid_of()
    assert steps.begin() == [Ask("a"), Ask("b"), Ask("d")]
    assert steps.answer(Ask("b"), found("b", prepared(gid, "b"))) == []
    (decide,) = steps.answer(Ask("a"), found("a"))
    assert isinstance(decide, Decide)
    (finish,) = steps.answer(decide, Verdict.COMMITTED)
    assert finish == Finish("b", gid.prepared(IDS["b"]), committed=True)
    assert steps.answer(finish, Ending.DONE) == []
    # One that comes later is finished by the same word, which is not asked for again.
    late = Finish("d", gid.prepared(IDS["d"]), committed=True)
    assert steps.answer(Ask("d"), found("d", prepared(gid, "d"))) == [late]
    assert steps.answer(late, Ending.GONE) == []
    report = steps.report()
    assert [(p.shard, p.committed) for p in report.finished] == [("b", True)]
    assert (report.gone, report.ok) == (1, True)


@pytest.mark.parametrize(
    ("answers", "committed", "lost", "why"),
    [
        ([Failure("down")], None, False, "a, which decides, could not be asked: down"),
        ([Verdict.HELD], None, False, "open on shard a"),
        ([Verdict.FORGOTTEN], None, True, "removed those of its time"),
        ([Verdict.COMMITTED, Ending.BUSY], True, False, "another session"),
        ([Verdict.ROLLED_BACK, Ending.DENIED], False, False, "only app and superusers"),
        ([Verdict.ROLLED_BACK, Failure("lost")], False, False, "lost"),
        ([], None, False, "no answer in time"),
    ],
)
def test_what_is_left_says_why(answers, committed, lost, why):
    steps, gid = Recovery("ab"), gid_of()
    steps.answer(Ask("b"), found("b", prepared(gid, "b")))
    (action,) = steps.answer(Ask("a"), found("a"))
    for answer in answers:
        action = next(iter(steps.answer(action, answer)), None)
    (part,) = steps.report().in_doubt
    assert (part.committed, part.lost, part.anchor) == (committed, lost, "a")
    assert why in part.why
    assert (part.gid, part.owner, part.age_s) == (gid.decision, "app", 5.0)


@pytest.mark.parametrize(
    ("answers", "is_foreign"),
    [
        ([Verdict.ROLLED_BACK, Ending.DENIED], True),
        ([Verdict.FORGOTTEN], True),
        # A role that has decided could; one that is about to may.
        ([Verdict.COMMITTED, Ending.DENIED], False),
        ([Verdict.HELD], False),
        ([Failure("down")], False),
    ],
)
def test_what_nobody_could_have_decided_is_foreign(answers, is_foreign):
    steps, gid = Recovery("ab"), gid_of()
    part = replace(prepared(gid, "b"), may_decide=False)
    steps.answer(Ask("b"), found("b", part))
    (action,) = steps.answer(Ask("a"), found("a"))
    for answer in answers:
        action = next(iter(steps.answer(action, answer)), None)
    report = steps.report()
    assert (report.ok, len(report.foreign)) == (is_foreign, int(is_foreign))


def test_an_anchor_that_is_none_of_the_shards_is_lost_only_if_all_were_asked():
    for answer, lost in ((found("a"), True), (Failure("down"), False)):
        steps = Recovery("ab")
        steps.answer(Ask("b"), found("b", prepared(gid_of("d"), "b")))
        assert steps.answer(Ask("a"), answer) == []
        (part,) = steps.report().in_doubt
        assert (part.lost, part.anchor) == (lost, None)


def test_copies_of_an_anchor_decide_nothing():
    steps = Recovery("abd")
    steps.answer(Ask("a"), found("a"))
    steps.answer(Ask("d"), found("a", old=True))
    assert steps.answer(Ask("b"), found("b", prepared(gid_of(), "b"))) == []
    (part,) = steps.report().in_doubt
    assert part.lost


def test_forgetting_waits_for_all_and_stops_at_what_is_prepared_anywhere():
    gid = gid_of(ago_ms=WEEK_MS + 5000)
    steps = Recovery("ab", young_s=60)
    assert steps.answer(Ask("a"), found("a", old=True)) == []
    (forget,) = steps.answer(Ask("b"), found("b", prepared(gid, "b")))  # a young one counts, too
    assert forget == Forget("a", forget.before, NOW_MS - WEEK_MS - 5000)
    assert forget.before < gid.decision
    assert steps.answer(forget, False) == [forget]
    assert steps.answer(forget, True) == []
    assert steps.report().young == 1
    broken = Recovery("ab")
    broken.answer(Ask("b"), Failure("down"))
    assert broken.answer(Ask("a"), found("a", old=True)) == []


def test_a_part_that_was_prepared_lately_was_not_decided_long_ago():
    steps, gid = Recovery("ab"), gid_of(ago_ms=400 * 86400 * 1000)
    steps.answer(Ask("b"), found("b", prepared(gid, "b")))
    (decide,) = steps.answer(Ask("a"), found("a"))
    assert decide.since_ms == NOW_MS - 5000 - 3600 * 1000


def test_what_is_not_ours_is_not_looked_at():
    steps, gid = Recovery("ab"), gid_of()
    names = ["x", gid.decision, Gid("e" * 32, IDS["a"], gid.transaction).prepared(IDS["b"])]
    others = [Prepared(name, "app", 0.0, 9.0) for name in names]
    steps.answer(Ask("a"), found("a"))
    assert steps.answer(Ask("b"), found("b", *others)) == []
    assert steps.report().ok


# Every interleaving ---------------------------------------------------------------------------


GID = gid_of()


@dataclass
class World:
    """The servers, a coordinator that dies at any point, and one who asks for the outcome."""

    parts: dict
    row: object = None  # None, "open", True or False
    sent: int = 0
    dead: bool = False
    told: object = None

    def coordinate(self):
        """Its next message; when it cannot go on, it undoes what it has begun."""
        others = tuple(self.parts)
        messages = ["insert", *others, "decide", *others]
        message, self.sent = messages[self.sent], self.sent + 1
        if message == "insert":
            self.row, self.dead = ("open", False) if self.row is None else (self.row, True)
        elif message == "decide":
            self.row = True
        elif self.row == "open":
            self.parts[message] = "prepared"
        elif self.parts[message] == "prepared":
            self.parts[message] = "committed"
        self.dead = self.dead or self.sent == len(messages)

    def die(self):
        self.dead = True
        if self.row == "open":
            self.row = None

    def ask(self, decide):
        verdict = decide(self)
        self.told = None if verdict is Verdict.HELD else verdict

    def do(self, action, decide):
        if isinstance(action, Ask):
            shard = action.shard
            has = self.parts.get(shard) == "prepared"
            return found(shard, *([prepared(GID, shard)] if has else []))
        if isinstance(action, Decide):
            return decide(self)
        if self.parts[action.shard] != "prepared":
            return Ending.GONE
        self.parts[action.shard] = "committed" if action.committed else "rolled back"
        return Ending.DONE

    def check(self):
        ended = set(self.parts.values()) & {"committed", "rolled back"}
        assert len(ended) <= 1, "half done"
        assert self.row is True or "committed" not in ended, "committed without a decision"
        assert self.row is not True or "rolled back" not in ended, "a decision was not obeyed"
        assert self.told in (None, Verdict.COMMITTED if self.row is True else Verdict.ROLLED_BACK)


def insert_and_look(world):
    if world.row == "open":
        return Verdict.HELD
    if world.row is None:
        world.row = False
    return Verdict.COMMITTED if world.row else Verdict.ROLLED_BACK


def look(world):
    return Verdict.COMMITTED if world.row is True else Verdict.ROLLED_BACK


def wait_and_look(world):
    return Verdict.HELD if world.row == "open" else look(world)


def explore(decide, others, recoverers):
    """Go every way; returns how many states were seen."""
    shards = ("a", *others)
    machines = [(Recovery(shards), tuple(Recovery(shards).begin())) for _ in range(recoverers)]
    pending, seen = [(World(dict.fromkeys(others)), machines)], set()
    while pending:
        world, machines = pending.pop()
        key = repr((world, [(todo, machine.report()) for machine, todo in machines]))
        if key in seen:
            continue
        seen.add(key)
        world.check()
        if world.dead and not any(todo for _, todo in machines):
            finish(copy.deepcopy(world), decide)
        pending += nexts(world, machines, decide)
    return len(seen)


def nexts(world, machines, decide):
    moves = [World.coordinate, World.die] if not world.dead else []
    if world.told is None:
        moves.append(lambda each: each.ask(decide))
    for move in moves:
        after = copy.deepcopy(world)
        move(after)
        yield after, machines
    for number, (_, todo) in enumerate(machines):
        for action in todo:
            after, others = copy.deepcopy((world, machines))
            machine = others[number][0]
            more = machine.answer(action, after.do(action, decide))
            rest = [each for each in todo if each is not action]
            others[number] = (machine, (*rest, *more))
            yield after, others


def finish(world, decide):
    """One more round leaves nothing prepared."""
    machine = Recovery(("a", *world.parts))
    todo = machine.begin()
    while todo:
        action = todo.pop()
        todo += machine.answer(action, world.do(action, decide))
    world.check()
    assert "prepared" not in world.parts.values()
    assert machine.report().ok


@pytest.mark.parametrize(("others", "recoverers"), [("bd", 1), ("b", 2)])
def test_no_interleaving_leaves_a_transaction_half_done(others, recoverers):
    assert explore(insert_and_look, others, recoverers) > 300


@pytest.mark.parametrize("fault", [look, wait_and_look, lambda world: Verdict.ROLLED_BACK])
def test_a_recovery_that_only_looks_is_found(fault):
    """It says, or sees to it, that the transaction is rolled back, which is then committed."""
    with pytest.raises(AssertionError):
        explore(fault, "bd", 1)
