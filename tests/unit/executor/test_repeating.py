"""Which shard runs which sets of executemany, and what callproc executes."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
from psycopg2.extensions import AsIs

from greenshard import _green, errors
from greenshard._driver import ours
from greenshard.executor import repeating
from greenshard.executor.knowledge.one_database import PlanOutdated
from greenshard.executor.repeating import calling, run_many
from greenshard.links.deadline import within
from greenshard.links.session import Session
from greenshard.planner.code import Trace
from greenshard.planner.plan import Parameter, Refused, Routed
from greenshard.planner.tasks import Task, own_place, settle
from greenshard.sql.effects import Effect
from greenshard.sql.text import Now, Sql
from tests.unit.executor.test_concatenate import Carrying, FakeCursor, FakeParts, FakePhysical
from tests.unit.links.reporting import reporting_session
from tests.unit.planner import scene

PLANNER = scene.planner()
UPDATE = "UPDATE orders SET o_totalprice = %s WHERE o_orderkey = %s"


class FakeDatabase:
    """Knows all that it is asked for, and is told what statements leave."""

    cluster = SimpleNamespace(names=scene.SHARDS)
    is_unsure = False

    def __init__(self):
        self.noted = []

    def certain(self, step, text, given):
        return step

    def plan(self, text, has_parameters, timeout):
        return PLANNER.plan(text, has_parameters, scene.PATH)

    def note(self, trace, shards, *, changes):
        self.noted.append((trace, set(shards), changes))


class Repeating(Carrying):
    """An execution whose sessions are in order."""

    def confirm(self, shards):
        self.session.log.append(("confirmed", list(shards)))


def execution(given, text=UPDATE, **changes):
    plan = replace(PLANNER.plan(text, True, scene.PATH), **changes)
    session = Session([FakePhysical(shard) for shard in scene.SHARDS], {}, scene.SHARDS, 20.0)
    session.log = []
    parts = FakeParts({shard: FakeCursor(shard, session.log) for shard in scene.SHARDS})
    transaction = SimpleNamespace(failed=None, is_open=True)
    return Repeating(
        session, transaction, parts, within(None), False, False, None,
        database=FakeDatabase(), plan=plan, text=text, given=given, limits=None,
    )  # fmt: skip


def shard_of(key):
    _, ((task,),) = settle(PLANNER.plan(UPDATE, True, scene.PATH).step, scene.SHARDS, (0, key))
    return task.place.shard


class OneByOne:
    """Stands for `run_plan`: notes the parameters of each run."""

    def __init__(self):
        self.runs, self.outdated = [], 0
        self.plans, self.before = [], []

    def __call__(self, one):
        self.before.append((one.stages, one.now, one.query, one.ran))
        if self.outdated:
            self.outdated -= 1
            raise PlanOutdated
        self.runs.append((one.text, one.given))
        self.plans.append(one)
        one.query, one.strategy = b"as sent", "any"
        if isinstance(one.given, tuple) and one.given[0] == "wrong":
            raise errors.DataError("wrong")
        return SimpleNamespace(rowcount=len(self.runs) - 2, statusmessage=f"UPDATE {one.given}")


@pytest.fixture(scope="module")
def raw():
    with reporting_session() as raw:
        yield raw


@pytest.fixture
def one_by_one(monkeypatch):
    runs = OneByOne()
    monkeypatch.setattr(repeating, "run_plan", runs)
    return runs


def test_each_shard_runs_its_own_sets_in_their_order():
    given = [(key / 2, key) for key in range(30)]
    e = execution(given)
    answer = run_many(e)
    expected = {shard: [] for shard in scene.SHARDS}
    for one in given:
        expected[shard_of(one[1])].append(one)
    assert all(expected.values())
    assert e.session.log == [(s, UPDATE, "each of", expected[s]) for s in scene.SHARDS]
    assert answer.rowcount == 4  # as the cursors say
    assert e.strategy == "route"
    assert e.database.noted == []


def test_shards_without_sets_run_nothing():
    e = execution([(1, 7), (2, 7)])
    run_many(e)
    assert e.session.log == [(shard_of(7), UPDATE, "each of", [(1, 7), (2, 7)])]


def test_shards_are_asked_first_whether_the_plan_holds_if_that_is_not_sure():
    e = execution([(1, 7)])
    e.database.is_unsure = True
    run_many(e)
    shard = shard_of(7)
    assert e.session.log == [("confirmed", [shard]), (shard, UPDATE, "each of", [(1, 7)])]


def test_what_the_sets_leave_is_noted_even_if_one_fails():
    e = execution([(1, 7)], trace=Trace.ANYTHING)

    def fail(text, every):
        raise errors.DataError("wrong")

    e.parts.cursors[shard_of(7)].executemany = fail
    with pytest.raises(errors.DataError):
        run_many(e)
    assert e.database.noted == [(Trace.ANYTHING, {shard_of(7)}, False)]


@pytest.mark.parametrize("unsure", [False, True])
def test_sets_that_are_not_split_are_numbered_or_run_one_by_one(monkeypatch, one_by_one, unsure):
    asked = []

    def numbered(e):
        asked.append(e.given)
        return (Task(own_place("s1"), Sql("numbered"), [1], repeats=True),) if unsure else None

    monkeypatch.setattr(repeating, "numbered_rows", numbered)
    e = execution([(1, None)])  # a NULL key
    e.database.is_unsure = unsure
    run_many(e)
    assert asked == [[(1, None)]]
    assert e.session.log == ([("s1", "numbered", "each of", [1])] if unsure else [])
    assert [given for _, given in one_by_one.runs] == ([] if unsure else [(1, None)])


def test_with_a_function_that_is_not_known_each_set_is_run_by_itself(monkeypatch, one_by_one):
    monkeypatch.setattr(repeating, "numbered_rows", lambda e: pytest.fail("it is not known"))
    e = execution([(1, 7), (2, 7)], unknown=True)
    run_many(e)
    assert e.session.log == []
    assert [given for _, given in one_by_one.runs] == [(1, 7), (2, 7)]


INSERT = "INSERT INTO orders (o_totalprice, o_orderkey) VALUES (%s, %s)"


@pytest.mark.parametrize(
    ("text", "in_turn"),
    [
        (UPDATE, True),
        (INSERT, False),
        ("\n insert" + INSERT[6:], False),
        (INSERT + "\nON CONFLICT DO NOTHING", True),
    ],
)
def test_what_may_lock_what_others_lock_is_done_on_the_first_shard_first(
    monkeypatch, text, in_turn
):
    turns = []

    def atomically(e, shards, run):
        turns.append((e.effect, shards))
        return run()

    monkeypatch.setattr(repeating, "atomically", atomically)
    e = execution([(1, key) for key in range(30)], text)
    e.effect = Effect(atomic=True, in_turn=True)
    assert run_many(e).rowcount == 4
    assert turns == [(Effect(atomic=True, in_turn=in_turn), list(scene.SHARDS))]


@pytest.mark.parametrize(
    ("given", "text", "changes"),
    [
        ([(1, 7), (2, None)], UPDATE, {}),
        ([(1, 7), (2, AsIs("1 + 2"))], UPDATE, {}),
        ([(1, 2), (3, 7)], "UPDATE orders SET o_totalprice = 0 WHERE o_orderkey IN (%s, %s)", {}),
        ([(1,), (2,)], "UPDATE orders SET o_totalprice = %s", {}),
        ([(1,), (AsIs("1 + 2"),)], "UPDATE orders SET o_totalprice = %s WHERE o_orderkey = 7", {}),
        ([(1, 7)], UPDATE, {"policies": ("any",)}),
    ],
)
def test_sets_of_which_one_is_not_for_one_shard_are_run_one_by_one(
    one_by_one, raw, given, text, changes
):
    e = execution(given, text, **changes)
    e.parts.quoting = lambda: raw
    answer = run_many(e)
    assert e.session.log == []
    assert len(one_by_one.runs) == len(given)
    assert one_by_one.runs[0] == (text, given[0])
    assert (e.query, e.strategy) == (b"as sent", "any")
    assert answer.rowcount == 0  # -1 is none
    assert answer.statusmessage == f"UPDATE {one_by_one.runs[-1][1]}"


def test_in_a_transaction_that_has_failed_each_set_is_refused_by_its_server(one_by_one):
    e = execution([(1, 7)])
    e.transaction.failed = "s1"
    run_many(e)
    assert one_by_one.runs == [(UPDATE, (1, 7))]


def test_text_that_is_not_the_users_is_not_run_by_the_driver(one_by_one):
    e = execution([(1, 7)])
    e.plan = replace(e.plan, step=replace(e.plan.step, sql=Sql(UPDATE, ())))
    run_many(e)
    assert one_by_one.runs == [(UPDATE, (1, 7))]


def test_rows_of_all_sets_are_counted(one_by_one):
    answer = run_many(execution([(key, None) for key in range(5)]))
    assert answer.rowcount == 0 + 0 + 1 + 2 + 3


def test_no_sets_run_nothing(one_by_one):
    e = execution([])
    answer = run_many(e)
    assert (answer.rowcount, answer.statusmessage) == (0, None)
    assert (e.session.log, one_by_one.runs) == ([], [])


def test_set_whose_plan_is_outdated_is_planned_again_and_runs_once(one_by_one):
    one_by_one.outdated = 2
    run_many(execution([(1, None), (2, None)]))
    assert one_by_one.runs == [(UPDATE, (1, None)), (UPDATE, (2, None))]


def test_each_set_has_a_plan_and_notes_of_its_own(one_by_one, raw):
    e = execution([(1, None), (2, AsIs("1 + 2"))])
    e.parts.quoting = lambda: raw
    e.stages, e.now, e.query = object(), "then", b"before"
    e.ran.add("s0")
    run_many(e)
    assert one_by_one.before == [(None, None, None, set())] * 2
    assert one_by_one.runs[1] == (
        "UPDATE orders SET o_totalprice = 2 WHERE o_orderkey = 1 + 2",
        None,
    )
    assert [one.plan for one in one_by_one.plans] == [
        PLANNER.plan(text, given is not None, scene.PATH) for text, given in one_by_one.runs
    ]


def test_what_was_sent_for_the_set_that_failed_is_told(one_by_one):
    e = execution([("wrong", None)])
    with pytest.raises(errors.DataError):
        run_many(e)
    assert (e.query, e.strategy) == (b"as sent", "any")


@pytest.mark.parametrize(("sets", "pauses"), [(999, 0), (2000, 2)])
def test_others_have_their_turn_while_many_sets_are_looked_at(monkeypatch, sets, pauses):
    slept = []
    monkeypatch.setattr(_green, "sleep", slept.append)
    run_many(execution([(1, 7)] * sets))
    assert len(slept) == pauses
    assert all(0 < pause <= 0.001 for pause in slept)


@pytest.mark.parametrize(
    ("name", "parameters", "text", "values"),
    [
        ("f", (1, "a"), "SELECT * FROM f(%s,%s)", [1, "a"]),
        (b"s.f%", (), "SELECT * FROM s.f%%()", []),
        ("f", None, "SELECT * FROM f()", []),
        ("f", {"a": 1, "b %": 2}, 'SELECT * FROM f("a":=%s,"b %%":=%s)', [1, 2]),
        ("f", {}, "SELECT * FROM f()", []),
    ],
)
def test_procedure_is_called_as_psycopg2_does(raw, name, parameters, text, values):
    assert calling(raw.cursor(), name, parameters) == (text, values)


class Timed:
    """A session and a database that say whether a shard's own time is right."""

    def __init__(self, e, *, right, there=True):
        self.reached, self.asked, self.right = [], [], right
        physicals = {"s1": "s1's"} if there else {}
        e.session = SimpleNamespace(reach=lambda *given: self.reached.append(given))
        e.session.physicals = physicals
        e.database = SimpleNamespace(clock=SimpleNamespace(tells_right=self.tells_right))

    def tells_right(self, plan, step, physical):
        self.asked.append((plan, step, physical))
        return self.right


TIMED = Routed(
    Sql("UPDATE t SET at = %(now)s WHERE k = %(p1)s", (("now", Now.NOW), ("p1", 0))),
    (),
    Refused("", ""),
)


def of_a_shard(*sets, **changes):
    e = execution(list(sets), **changes)
    e.now = "2024-01-01"
    return e, Task(own_place("s1"), Sql("UPDATE t"), list(sets), repeats=True)


@pytest.mark.parametrize(
    ("sets", "expected"),
    [([("now", 7)], False), ([("x", 7), ("now", 8)], False), ([("x", 7), ("y", 8)], True)],
)
def test_now_in_a_parameter_is_found_out_set_by_set(sets, expected):
    e, task = of_a_shard(*sets, clock=frozenset({Parameter(0)}))
    assert repeating._in_time(e, task) is (task if expected else None)
    # What is no time may say so.
    e, task = of_a_shard(*sets)
    assert repeating._in_time(e, task) is task


def test_a_shard_whose_time_is_right_tells_it_itself():
    e, task = of_a_shard((7,), (8,), timed=TIMED)
    known = Timed(e, right=True)
    assert repeating._in_time(e, task) is task
    assert known.reached == [(("s1",), e.timeout)]
    assert known.asked == [(e.plan, None, "s1's")]


def test_to_another_shard_it_is_told():
    e, task = of_a_shard((7,), (8,), timed=TIMED)
    Timed(e, right=False)
    found = repeating._in_time(e, task)
    assert (found.place, found.sql, found.repeats) == (task.place, Sql(TIMED.sql.text), True)
    assert [(str(each["now"]), each["p1"]) for each in found.given] == [
        (str(ours("2024-01-01")), 7),
        (str(ours("2024-01-01")), 8),
    ]


def test_what_cannot_be_told_the_time_is_run_set_by_set():
    e, task = of_a_shard((7,), timed=Refused("", ""))
    Timed(e, right=False)
    assert repeating._in_time(e, task) is None


def test_a_shard_that_is_not_there_is_found_out_later():
    e, task = of_a_shard((7,), timed=TIMED)
    known = Timed(e, right=False, there=False)
    assert repeating._in_time(e, task) is task
    assert known.asked == []


def test_one_shard_whose_sets_are_looked_at_by_themselves_has_all_looked_at(monkeypatch):
    e = execution([(1, 1), (2, 2), (3, 3)])
    places = {shard_of(key) for key in (1, 2, 3)}
    assert len(places) > 1
    first = min(places)
    assert {task.place.shard for task in repeating._split(e)} == places
    monkeypatch.setattr(
        repeating, "_in_time", lambda e, task: None if task.place.shard == first else task
    )
    assert repeating._split(e) is None


def failed(*codes):
    """What shards have told, or one server if that is one."""
    told = [errors.refused("no", pgcode=code) for code in codes]
    if len(told) == 1:
        return told[0]
    whole = errors.refused("several shards failed")
    whole.failures = {f"s{number}": each for number, each in enumerate(told)}
    return whole


@pytest.mark.parametrize("code", ["21000", "22012", "23505", "44000", "P0001"])
def test_what_is_wrong_with_a_set_is_of_it(code):
    assert repeating._is_of_a_set(failed(code))
    assert repeating._is_of_a_set(failed(code, "23502"))
    assert not repeating._is_of_a_set(failed(code, "57014"))
    assert not repeating._is_of_a_set(failed("40001", code))


@pytest.mark.parametrize("code", [None, "40001", "57014", "2D000", "2F005"])
def test_what_hinders_any_statement_is_of_no_set(code):
    assert not repeating._is_of_a_set(failed(code))


def test_what_is_committed_in_part_is_not_run_again():
    error = errors.PartialCommitError("committed on s0", code="GS502")
    error.failures = {"s1": errors.refused("no", pgcode="23505")}
    assert not repeating._is_of_a_set(error)
